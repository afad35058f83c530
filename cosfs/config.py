"""Settings of a mount as frozen values, checked once when they are made.

``FilesystemConfig`` is what ``CosFilesystem`` needs, ``ConnectionConfig`` what the client stack is built
from, ``MountConfig`` the whole of one mount. The command line makes them (cosfs/cli/mount.py), the
composition root (cosfs/mount.py) takes them apart; nothing here knows how options are spelled.

Every field states unit, default and why that default. A value out of range raises ``ValueError``.
"""

from __future__ import annotations

import enum
import logging
import tempfile
from dataclasses import dataclass, field
from typing import Dict, Optional, Tuple, Union

from cosfs.archive import RestoreOrder
from cosfs.cos.additions import Encryption
from cosfs.metrics import DEFAULT_PRICES, Prices
from cosfs.state import default_state_folder
from cosfs.units import GIB, MAX_PUT_BYTES, MIB, MIN_PART_BYTES

FuseOptions = Dict[str, Union[str, int, float, bool]]
"""Options of the FUSE library; a bool stands for a word without a value."""


SCANNERS = (
    "updatedb", "updatedb.plocate", "updatedb.mlocate", "updatedb.findutils",
    "tracker-miner-fs", "tracker-extract", "localsearch-3", "localsearch-extractor-3", "baloo_file",
    "baloo_file_extractor")
"""Programs that by themselves walk whatever is mounted: the indexes of locate, of GNOME and of KDE. Not in it are those
that somebody starts for a folder, or wants to see everything: find, du, backups, virus scanners, file managers."""


class Conflict(enum.Enum):
    """What storing a changed file does when somebody else changed the object since it was opened."""

    OVERWRITE = "overwrite"
    FAIL = "fail"
    KEEP_BOTH = "keep-both"


@dataclass(frozen=True)
class FilesystemConfig:
    """What the files of the mount look like, and the resources that serving them may take."""

    prefix: str = ""
    """Keys outside it are not part of the mount; "" or a key prefix that ends with "/"."""

    read_only: bool = False
    """Refuse every change with EROFS; the kernel refuses most of them before we are asked."""

    uid: Optional[int] = None
    """Owner shown for everything, whatever the objects say; None: as stored."""

    gid: Optional[int] = None
    """Group shown for everything, whatever the objects say; None: as stored."""

    default_uid: int = 0
    """Owner of objects that store none: the command passes the mounting user, who can then use them."""

    default_gid: int = 0
    """Group of objects that store none; see ``default_uid``."""

    umask: Optional[int] = None
    """Every mode is shown as ``0o777 & ~umask``, as libfuse's option of that name has it; None: as stored."""

    default_mode: int = 0o777
    """Permission bits of objects that store none; 0777 is what the C++ tool shows."""

    mp_umask: int = 0
    """Permission bits taken away from the mount's root folder; used with ``allow_other`` as the C++ tool does."""

    allow_other: bool = False
    """Other users may enter: an unmarked root folder is then ``0o777 & ~mp_umask``, else 0700."""

    xattr: bool = True
    """Extended attributes; without them getxattr answers ENODATA and setxattr is accepted and forgotten."""

    attributes_by_listing: bool = False
    """Show what a listing tells, and defaults for the rest, until a file's headers are known for another reason:
    no HEAD per file, and no modes, owners, exact times or symbolic links."""

    copies: bool = False
    """Whether files may be copied without being read (libfuse 3). Opening a large one then fetches nothing yet, at the
    price of a request where its version was not asked for a moment ago."""

    conflict: Conflict = Conflict.OVERWRITE
    """What becomes of a changed file whose object another host has changed, too. The last writer wins, as the service
    has it and at no cost; the others ask for the object before each upload."""

    eager_create: bool = False
    """Store a new file, empty, when it is created, not only when it is closed: one request more."""

    writeback_delay_s: Optional[float] = None
    """Writeback mode: close and fsync return when the file is safe in the state folder, and it is stored so many
    seconds later. None: they return when it is stored."""

    stat_ttl_s: float = 60.0
    """Seconds that attributes of an object are believed. Long enough for one walk of a large tree; a changed
    object is noticed earlier when it is opened, because reads carry If-Match."""

    listing_ttl_s: float = 10.0
    """Seconds that a folder's listing is believed: the delay until files made elsewhere appear."""

    negative_ttl_s: float = 10.0
    """Seconds that a name is believed to be absent; as long as the listing, which proves the same thing."""

    max_stat_entries: int = 100_000
    """Entries of the attribute cache, some 2 KB each with all headers (200 MB), and ten times as many listed
    names of 430 bytes; the C++ tool's 1,000 thrash in any real tree."""

    part_size_bytes: int = 10 * MIB
    """Size of a part of an upload (the C++ tool's); the planner enlarges it for objects of over 10,000 parts."""

    min_part_bytes: int = MIN_PART_BYTES
    """Smallest part that the service takes, the last one aside; larger parts make small edits dearer."""

    put_threshold_bytes: Optional[int] = None
    """Largest file that is stored by one PUT; None: two parts, below which an upload in parts has too many requests."""

    multipart: bool = True
    """Uploads in parts; without them a file has at most 5 GiB and leaves in one request, when it is closed."""

    server_copies: bool = True
    """Have the service copy what it has; without, everything is fetched and sent, for services that cannot copy."""

    server_renames: bool = True
    """The same for renames alone."""

    prefetch_limit_bytes: Optional[int] = None
    """Bytes that are read ahead of a program in one file, by us, not by the kernel. None: ten ranges of 10 MiB, and the
    rest of an object when random reads have cost as much as that would."""

    parallel_parts: int = 10
    """Parts in flight at once over all files, up and down (the C++ tool's); one connection carries some
    100 MB/s, so ten fill a 10 Gbit/s line."""

    parallel_heads: int = 64
    """HEADs in flight at once when a listing's attributes are filled in. At 20 ms each that is 3,200 in a second,
    about what one process can decode; the C++ tool's 20 leave it waiting (measured: 10,000 in 10 s)."""

    memory_limit_bytes: int = 512 * MIB
    """Bytes that read-ahead and upload buffers of all files hold together: twice what the default
    ``parallel_parts`` × ``part_size_bytes`` needs for reading and writing at once."""

    staging_folder: str = field(default_factory=tempfile.gettempdir)
    """Folder for the unlinked files that hold unsent data; must exist. The system's temporary folder."""

    staging_limit_bytes: Optional[int] = None
    """Bytes of unsent data on the local disk, then writers wait or get ENOSPC; None: what the disk has free
    above ``staging_reserve_bytes``."""

    staging_reserve_bytes: int = GIB // 2
    """Free bytes that staging leaves on the disk, so that a large copy cannot stop the rest of the machine; the data
    cache leaves as much on its."""

    cache_folder: Optional[str] = None
    """Folder for the blocks of objects that were read, of this bucket alone (cosfs/state.py); None: none are kept."""

    cache_limit_bytes: Optional[int] = None
    """Most bytes that the data cache takes, of all mounts together that share it; None: what the disk has free above
    ``staging_reserve_bytes``."""

    wipe_cache: bool = False
    """Empty the data cache at the start and at the end, as the C++ tool's ``del_cache`` has it."""

    state_folder: Optional[str] = None
    """Folder for what outlives the mount on this machine, of this bucket alone (cosfs/state.py); must exist.
    None: nothing is kept; a directory rename that a crash cuts off cannot be finished, headers are asked for again."""

    storage_class: Optional[str] = None
    """Storage class of new objects, as the service spells it; None: not sent, the service's STANDARD."""

    restore: Optional[RestoreOrder] = None
    """What opening an archived object asks the service for; None: nothing, because a restore costs money, and programs
    that search a tree open all of it."""

    bucket_size_bytes: int = 1 << 53
    """Size that statfs reports: 8 PiB, the largest number that programs counting in floating point hold."""

    def __post_init__(self) -> None:
        if self.prefix.startswith("/") or (self.prefix and not self.prefix.endswith("/")):
            raise ValueError(f"prefix {self.prefix!r} must not start with / and must end with /")
        for name in ("uid", "gid", "default_uid", "default_gid"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 2**32 - 1:
                raise ValueError(f"{name} {value} is not a user or group id")
        for name in ("umask", "default_mode", "mp_umask"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 0o777:
                raise ValueError(f"{name} {value:#o} is not between 0 and 0777")
        for name in ("stat_ttl_s", "listing_ttl_s", "negative_ttl_s"):
            _at_least(self, name, 0)
        if self.writeback_delay_s is not None:
            _at_least(self, "writeback_delay_s", 0)
        for name in ("max_stat_entries", "parallel_parts", "parallel_heads", "memory_limit_bytes",
                     "bucket_size_bytes"):
            _at_least(self, name, 1)
        if self.prefetch_limit_bytes is not None:
            _at_least(self, "prefetch_limit_bytes", 0)
        if self.cache_limit_bytes is not None:
            _at_least(self, "cache_limit_bytes", MIB)
        if not MIN_PART_BYTES <= self.min_part_bytes <= self.part_size_bytes <= MAX_PUT_BYTES:
            raise ValueError(f"part_size_bytes {self.part_size_bytes} is not between {self.min_part_bytes} and 5 GiB")


@dataclass(frozen=True)
class ConnectionConfig:
    """Which bucket, where it is, and how to speak to it."""

    bucket: str
    """Full name, with the APPID."""

    url: str
    """Scheme, host and port of the endpoint, without the bucket."""

    passwd_file: Optional[str] = None
    """File with the keys; None: the places that the credentials chain knows."""

    cam_role: Optional[str] = None
    """Role of this machine whose keys to use; ``sts``: none, the passwd file has a session token. None: only when no
    other keys are found."""

    cam_role_endpoint: Optional[str] = None
    """Address that answers for roles, below which is one path for each; None: the metadata service of a CVM."""

    anonymous: bool = False
    """Send unsigned requests."""

    aws_v4: bool = False
    """Sign by AWS Signature V4, for S3-compatible services; False: the service's own scheme."""

    region: str = "us-east-1"
    """Region that AWS V4 signatures name; most servers take any, and this one."""

    path_style: Optional[bool] = None
    """Bucket in the path instead of the host name; None: for endpoints that are an address or localhost."""

    verify_tls: bool = True
    """Check the server's certificate."""

    verify_hostname: bool = True
    """Check that the certificate is for the host asked for; only with ``verify_tls``."""

    attempts: int = 6
    """Sendings of one request, the first included. The service answers 503 under load for some seconds; six
    with growing pauses outlast that, the C++ tool's three do not."""

    connect_timeout_s: float = 10.0
    """Longest wait for a connection. A healthy endpoint takes milliseconds; the C++ tool's 300 s leave
    programs hanging when the network is gone."""

    read_timeout_s: float = 60.0
    """Longest pause in an answer (the C++ tool's)."""

    user_agent_suffix: str = ""
    """Put into the User-Agent header."""

    service_path: str = ""
    """Path that stands before every path of a request, "" or as ``/base``."""

    content_md5: bool = True
    """Send Content-MD5 with every upload: the service then refuses what arrived damaged, before the CRC-64 tells."""

    encryption: Optional[Encryption] = None
    """How new objects are encrypted on the server; None: as the bucket has it. Objects that are encrypted stay so."""

    key_file: Optional[str] = None
    """File with keys of the customer that objects in the bucket may be encrypted with."""

    header_file: Optional[str] = None
    """File with headers for objects by the end of their key."""

    acl: Optional[str] = None
    """ACL of what is stored; None: not sent, the bucket's holds. An account has 1,000 entries for ACLs of objects."""

    client_info: bool = False
    """Deletes name the process that makes them."""

    trace: bool = False
    """Log every exchange with the service, without what is secret."""

    def __post_init__(self) -> None:
        _at_least(self, "attempts", 1)
        for name in ("connect_timeout_s", "read_timeout_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} {getattr(self, name)} is not positive")


@dataclass(frozen=True)
class MountConfig:
    """One mount."""

    connection: ConnectionConfig
    filesystem: FilesystemConfig
    mount_point: str
    """Absolute path."""

    foreground: bool = False
    """Stay attached to the terminal and log to standard error."""

    threads: bool = True
    """Serve several calls of the kernel at once; without, one slow request stops all others."""

    wait_for_network_s: float = 0.0
    """How long a mount waits for a network that is not there yet, before its checks. By default somebody is waiting
    for the answer."""

    libfuse: Optional[int] = None
    """Major version of the FUSE library, 2 or 3; None: 2 if it is installed, else 3."""

    read_ahead_bytes: int = MIB // 2
    """How far the kernel reads ahead of a program in a file; more than 128 KiB is for root to give, else it stays at
    that. Measured on an empty filesystem, in GB/s: 128 KiB 1.7 with libfuse 2 and 1.9 with 3; 512 KiB 2.2 and 3.0;
    1 MiB 2.1 and 2.9; 4 MiB 1.3 and 2.6. And a page fault in a mapped file reads that much."""

    nonempty: bool = False
    """Mount over a folder that has entries, which then cannot be seen."""

    versions: bool = True
    """Old versions in ``.versions`` of each folder, where the bucket keeps them. It costs nothing until it is used."""

    snapshot_s: Optional[float] = None
    """Show the bucket as it was then, in seconds since the epoch; ``filesystem.read_only`` goes with it. None: as it
    is."""

    state_folder: str = field(default_factory=default_state_folder)
    """Folder in which each bucket has one of its own for what outlives the mount. The system's place for that."""

    cache_folder: Optional[str] = None
    """Folder in which each bucket has one of its own for the data cache; None: there is no data cache."""

    mime_file: Optional[str] = None
    """File with types of content by extension, which count before the system's (mime.types)."""

    scanners: Tuple[str, ...] = SCANNERS
    """Names of programs that folders do not open to, because walking the bucket would cost requests for nothing."""

    log_level: int = logging.WARNING
    """Least severe level logged."""

    log_file: Optional[str] = None
    """File that the log is appended to; None: standard error in the foreground, else syslog."""

    log_as_json: bool = False
    """Log one JSON object a line, for programs, instead of text."""

    metrics_address: Optional[Tuple[str, int]] = None
    """Host and port at which Prometheus finds the mount's statistics; None: nowhere."""

    prices: Prices = DEFAULT_PRICES
    """What requests cost, for the estimate that the mount tells."""

    fuse_options: FuseOptions = field(default_factory=dict)
    """Options given by the user for the FUSE library; they win over those that the mount sets itself."""


def _at_least(config: object, name: str, least: float) -> None:
    value = getattr(config, name)
    if value < least:
        raise ValueError(f"{name} {value} is less than {least}")
