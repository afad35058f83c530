"""The options of the mount command: the one table that parser, ``--help`` and tests are made from.

An option's ``targets`` name the settings it fills in, as ``group.field``: ``connection``, ``filesystem`` and
``mount`` are the classes of cosfs/config.py, ``fuse`` are options of the FUSE library. Names, values and
switches follow the C++ tool of the same name, so that its command lines and fstab lines go on working.
"""

from __future__ import annotations

import difflib
import enum
import fnmatch
from dataclasses import dataclass, replace
from typing import Any, Dict, List, Optional, Tuple

from cosfs.cli import values
from cosfs.cli.snapshot_time import SNAPSHOT_TIME
from cosfs.cli.values import Value
from cosfs.config import SCANNERS, Conflict
from cosfs.cos.additions import EncryptedBy, Encryption
from cosfs.units import MIB


class State(enum.Enum):
    """What giving an option does."""

    WORKS = "works"
    DROPPED = "accepted and dropped: means nothing to a running mount, or is always so"
    REFUSED = "an error that says what to do instead"


@dataclass(frozen=True)
class Option:
    """One option. Without ``value`` it is a word that sets its targets to ``constant``; with ``bare`` both
    forms are allowed. ``default`` is in the syntax of ``value``, for --help."""

    name: str
    section: str
    help: str = ""
    value: Optional[Value] = None
    targets: Tuple[str, ...] = ()
    constant: Any = True
    default: str = ""
    aliases: Tuple[str, ...] = ()
    bare: bool = False
    state: State = State.WORKS


def _section(section: str, *options: Option) -> List[Option]:
    return [replace(option, section=section) for option in options]


def _option(name: str, text: str, targets: str, value: Optional[Value] = None, **more: Any) -> Option:
    return Option(name, "", text, value, tuple(targets.split()), **more)


ENDPOINT = _section(
    "Endpoint and identity",
    _option("url", "endpoint without the bucket, e.g. https://cos.ap-guangzhou.myqcloud.com; required",
            "connection.url", values.URL, aliases=("host",)),
    _option("passwd_file", "file with the keys, one line SecretId:SecretKey or BUCKET-APPID:SecretId:SecretKey, "
            "readable by its owner only; without it the environment, ~/.passwd-cosfs, /etc/passwd-cosfs, the files of "
            "other Tencent tools and the roles of TKE and CVM are tried",
            "connection.passwd_file", values.PATH),
    _option("cam_role", "role of this CVM whose keys to use; they are renewed before they end. sts: the passwd file "
            "has a session token", "connection.cam_role", values.TEXT),
    _option("cam_role_endpoint", "address that gives the keys of roles; default: the metadata service of a CVM",
            "connection.cam_role_endpoint", values.ADDRESS),
    _option("public_bucket", "1: send unsigned requests, no keys needed", "connection.anonymous", values.SWITCH,
            default="0", bare=True),
    _option("sigv4", "sign by AWS Signature V4: for other services that speak the S3 protocol", "connection.aws_v4"),
    _option("endpoint", "region that AWS V4 signatures name; unused without sigv4", "connection.region", values.TEXT,
            default="us-east-1"),
    _option("use_path_request_style", "bucket in the path of URLs, not in the host name; needs no saying for an "
            "endpoint that is an IP address or localhost", "connection.path_style"),
    _option("servicepath", "path that stands before every path of a request, for a service behind a gateway",
            "connection.service_path", values.SERVICE_PATH, default="/"),
)

ATTRIBUTES = _section(
    "How files look",
    _option("allow_other", "let other users in, by the modes of the files; as non-root this needs user_allow_other "
            "in /etc/fuse.conf", "filesystem.allow_other fuse.allow_other"),
    _option("uid", "user shown as owner of everything", "filesystem.uid", values.USER),
    _option("gid", "group shown for everything", "filesystem.gid", values.GROUP),
    _option("umask", "show every mode as 0777 less these bits", "filesystem.umask", values.OCTAL),
    _option("mp_umask", "bits taken from the mode 0777 that the root folder has with allow_other",
            "filesystem.mp_umask", values.C_OCTAL, default="0"),
    _option("default_permission", "mode of objects that store none", "filesystem.default_mode", values.OCTAL,
            default="777"),
    _option("storage_class", "storage class of new objects: standard, standard_ia, intelligent_tiering, ...",
            "filesystem.storage_class", values.STORAGE_CLASS, default="standard"),
    _option("use_rrs", "1: the same as storage_class=reduced_redundancy, 0: as standard", "filesystem.storage_class",
            values.choice({"0": None, "1": "REDUCED_REDUNDANCY"}), constant="REDUCED_REDUNDANCY", bare=True),
    _option("restore", "opening an archived file has it restored for so many days, and fails until it is; by tier "
            "Standard (3 to 5 hours), Expedited (1 to 5 minutes) or Bulk (5 to 12 hours), of DEEP_ARCHIVE 12 to 48 "
            "hours. Each restore costs money, and programs such as grep -r open everything. no: only cosfs restore "
            "starts one", "filesystem.restore", values.RESTORE, default="no"),
    _option("meta", "list: show only what listings tell, which saves a request per file; modes, owners and symbolic "
            "links are then not seen", "filesystem.attributes_by_listing", values.choice({"full": False, "list": True}),
            default="full"),
    _option("conflict", "when a file that was changed here has changed in the bucket as well: overwrite what is there, "
            "fail (close and fsync report it), or keep-both, the own version under a second name",
            "filesystem.conflict", values.choice({kind.value: kind for kind in Conflict}), default="overwrite"),
    _option("create", "eager: a new file is in the bucket, empty, when open returns; lazy: when it is closed first, "
            "which saves a request", "filesystem.eager_create", values.choice({"lazy": False, "eager": True}),
            default="lazy"),
    _option("noxattr", "no extended attributes", "filesystem.xattr", constant=False),
    _option("use_xattr", "1: extended attributes, 0: none", "filesystem.xattr", values.SWITCH, default="1", bare=True),
    _option("noversions", "no folder .versions with the old versions of what is in a folder; by default there is one, "
            "in no listing, where the bucket has versioning", "mount.versions", constant=False),
    _option("versions", "the opposite; the default", "mount.versions"),
    _option("mime", "file with content types by extension, which count before the system's; lines TYPE EXTENSION...",
            "mount.mime_file", values.PATH),
    _option("bucket_size", "size that df shows", "filesystem.bucket_size_bytes", values.size(1 << 20, plain=""),
            default="8P"),
)

STORING = _section(
    "Encryption and headers of what is stored",
    _option("use_sse", "encrypt on the server: 1 with keys of the service, kmsid with the default key or the key ID of "
            "KMS, custom with the first key in FILE (mode 600, a key a line: base64 of 32 bytes), which needs https; "
            "its other keys read older objects. Objects that are encrypted in another way stay so",
            "connection.encryption", values.ENCRYPTION, constant=Encryption(EncryptedBy.SERVICE), bare=True),
    _option("load_sse_c", "file with more keys of use_sse=custom, or with those that objects are read with; needs "
            "https", "connection.key_file", values.PATH),
    _option("default_acl", "ACL of what is stored, such as private or public-read; an account has 1,000 entries for "
            "ACLs of single objects. By default none is sent and the bucket's holds", "connection.acl", values.ACL),
    _option("ahbe_conf", "file with headers for what is stored, lines SUFFIX HEADER VALUE such as: .gz "
            "Content-Encoding gzip; a blank in front: for all, reg:PATTERN as suffix: for keys in which that is found. "
            "The last line that fits counts", "connection.header_file", values.PATH),
    _option("disable_content_md5", "no Content-MD5 with uploads: less CPU, and what arrives damaged is noticed by its "
            "CRC-64 only, after it was stored", "connection.content_md5", constant=False),
    _option("enable_content_md5", "the opposite; the default", "connection.content_md5"),
    _option("enable_clientinfo", "deletes carry the number and the control group of this process (x-delete-client-pid, "
            "x-delete-client-cgroup) for the service's logs", "connection.client_info"),
)

MOUNTING = _section(
    "Mounting",
    _option("ro", "read only", "filesystem.read_only fuse.ro"),
    _option("rw", "read and write; the default", "filesystem.read_only fuse.ro", constant=False),
    _option("snapshot", "show the bucket, which must have versioning, as it was at TIME, read only. TIME is "
            "2026-11-28T10:00:00Z, or with +08:00 in place of Z, or with neither in the time zone of this machine; "
            "2026-11-28, its begin; @ and seconds since 1970; or -30m, -2h, -3d, -1w: so long ago", "mount.snapshot_s",
            SNAPSHOT_TIME),
    _option("libfuse", "2 or 3: which version of the FUSE library to use; 3 needs cosfs-fuse[fuse3] and brings 1 MiB "
            "writes and copies on the server by cp; default: 3 if that is installed, else 2", "mount.libfuse",
            values.choice({"2": 2, "3": 3})),
    _option("max_readahead", "bytes that the kernel reads ahead of a program in a file; over 131072 for root only",
            "mount.read_ahead_bytes", values.whole(4096, 1 << 30), default="524288"),
    _option("wait_for_network", "how long to wait for a network that is not there yet: unknown host, no route, refused "
            "connection; where fstab says _netdev 30, if it is not given", "mount.wait_for_network_s",
            values.seconds(0), default="0"),
    _option("scanner_guard", "programs that folders do not open to, because walking the bucket costs requests: "
            "those of updatedb, GNOME's Tracker (localsearch) and KDE's Baloo. NAME:NAME... are others in their place; "
            "+NAME and -NAME change the list", "mount.scanners", values.PROGRAMS, constant=SCANNERS, bare=True),
    _option("noscanner_guard", "let all programs in", "mount.scanners", constant=()),
    _option("nonempty", "mount over a folder that is not empty", "mount.nonempty fuse.nonempty"),
)

TRANSFER = _section(
    "Transfer",
    _option("retries", "times a request is sent in all, at most 100", "connection.attempts", values.capped(1, 100),
            default="6"),
    _option("connect_timeout", "longest wait for a connection", "connection.connect_timeout_s", values.seconds(0.1),
            default="10"),
    _option("readwrite_timeout", "longest pause in an answer", "connection.read_timeout_s", values.seconds(0.1),
            default="60"),
    _option("parallel_count", "parts in flight at once, up and down, at most 256", "filesystem.parallel_parts",
            values.capped(1, 256), default="10", aliases=("parallel_upload", "max_thread_count")),
    _option("multipart_size", "size of a part in MB", "filesystem.part_size_bytes",
            values.scaled(values.whole(1, 5120, "MB"), MIB), default="10"),
    _option("multipart_threshold", "MB up to which a file is stored by one request; default: two parts",
            "filesystem.put_threshold_bytes", values.scaled(values.whole(1, 5120, "MB"), MIB)),
    _option("nomultipart", "no uploads in parts: files of up to 5 GiB, each in one request when it is closed",
            "filesystem.multipart", constant=False),
    _option("nocopyapi", "no copies by the service: what is renamed, or changed in mode, owner or part, is fetched and "
            "sent", "filesystem.server_copies", constant=False),
    _option("norenameapi", "the same for renames alone", "filesystem.server_renames", constant=False),
    _option("max_prefetch_bytes", "bytes that are read ahead of a program in one file, beside what the kernel reads "
            "ahead (max_readahead); default: 104857600, and the rest of an object when random reads have shown that it "
            "is wanted", "filesystem.prefetch_limit_bytes", values.whole(0, 1 << 40)),
    _option("multireq_max", "HEAD requests in flight at once for a listing, at most 256", "filesystem.parallel_heads",
            values.capped(1, 256), default="64"),
    _option("memory_limit", "memory for read-ahead and upload buffers of all files together",
            "filesystem.memory_limit_bytes", values.size(16 * MIB, plain="M"), default="512M"),
    _option("user_agent_suffix", "text added to the User-Agent header", "connection.user_agent_suffix", values.TEXT),
    _option("no_check_certificate", "do not check the server's certificate", "connection.verify_tls", constant=False),
    _option("ssl_verify_hostname", "0: accept a certificate made for another host", "connection.verify_hostname",
            values.SWITCH, default="1"),
)

CACHES = _section(
    "Caches and local disk",
    _option("stat_cache_expire", "how long attributes, listings and absence of names are believed; by default "
            "attributes 60, the others 10; 0: not at all. Of this and the next two, what is given last counts",
            "filesystem.stat_ttl_s filesystem.listing_ttl_s filesystem.negative_ttl_s", values.seconds(0),
            aliases=("stat_cache_interval_expire",)),
    _option("listing_cache_expire", "how long a folder's listing is believed: until then new files of others do not "
            "show", "filesystem.listing_ttl_s", values.seconds(0), default="10"),
    _option("negative_cache_expire", "how long a name that was not there is believed to be absent",
            "filesystem.negative_ttl_s", values.seconds(0), default="10"),
    _option("disable_noobj_cache", "the same as negative_cache_expire=0", "filesystem.negative_ttl_s", constant=0.0,
            aliases=("disable_negative_cache",)),
    _option("attr_timeout", "how long the kernel itself believes attributes; default: 1, but no longer than "
            "stat_cache_expire", "fuse.attr_timeout", values.seconds(0)),
    _option("entry_timeout", "the same for names", "fuse.entry_timeout", values.seconds(0)),
    _option("negative_timeout", "the same for absent names; default: 1, but no longer than negative_cache_expire",
            "fuse.negative_timeout", values.seconds(0)),
    _option("max_stat_cache_size", "entries of the attribute cache; 0: as few as possible",
            "filesystem.max_stat_entries", values.capped(0, 100_000_000, least=1), default="100000"),
    _option("writeback", "close and fsync return when a file is safe on the disk of state_dir, and it is uploaded "
            "SECONDS later (1); what a crash leaves the next mount uploads. By default they return when it is in the "
            "bucket", "filesystem.writeback_delay_s", values.seconds(0), constant=1.0, bare=True),
    _option("staging_limit", "most that data not yet uploaded takes on the local disk; then writers wait for uploads; "
            "default: what the disk has, but for ensure_diskfree", "filesystem.staging_limit_bytes",
            values.size(16 * MIB, plain="M")),
    _option("tmpdir", "folder for data not yet uploaded", "filesystem.staging_folder", values.FOLDER),
    _option("ensure_diskfree", "MB that stay free on the disks of tmpdir and use_cache",
            "filesystem.staging_reserve_bytes", values.scaled(values.whole(0, 1 << 30, "MB"), MIB), default="512"),
    _option("state_dir", "folder for what outlives the mount: renames under way, headers of objects; default: "
            "/var/lib/cosfs, for users other than root ~/.local/state/cosfs", "mount.state_folder", values.FOLDER),
    _option("use_cache", "folder of the data cache: what was read is kept there, over mounts, in a subfolder for each "
            "bucket; by default there is none", "mount.cache_folder", values.FOLDER),
    _option("cache_size", "most that the data cache of the bucket takes, all mounts of this machine together; what was "
            "not used for longest goes first; default: what the disk has, but for ensure_diskfree",
            "filesystem.cache_limit_bytes", values.size(16 * MIB, plain="M")),
    _option("del_cache", "empty the data cache at the start and at the end", "filesystem.wipe_cache"),
)

LOGGING = _section(
    "Log and statistics",
    _option("dbglevel", "silent, crit, err, warn, info or debug", "mount.log_level", values.LOG_LEVEL,
            default="warn"),
    _option("f2", "the same as dbglevel=debug", "mount.log_level", constant=10),
    _option("debug", "show every call of the kernel, and stay in the foreground", "mount.foreground fuse.debug"),
    _option("log_format", "text, or json: an object a line, with time, level, logger, thread and message",
            "mount.log_as_json", values.choice({"text": False, "json": True}), default="text"),
    _option("metrics", "serve the statistics for Prometheus at http://HOST:PORT/metrics; without HOST on 127.0.0.1, "
            "for this machine alone", "mount.metrics_address", values.HOST_AND_PORT),
    _option("request_price", "what 10,000 GET and HEAD requests cost, and 10,000 others, for the estimate that cosfs "
            "stats and top show; in CNY, or what follows a second colon", "mount.prices", values.PRICES,
            default="0.01:0.01:CNY"),
    _option("logfile", "append the log to this file; by default it goes to syslog, with -f to standard error",
            "mount.log_file", values.PATH),
    _option("curldbg", "log every request and answer, without what is secret, whatever dbglevel says",
            "connection.trace"),
)


def _words(section: str, names: str, state: State = State.WORKS, *, text: str = "") -> List[Option]:
    """Options that need no help text each. ``name=`` takes a value, ``name[=]`` may."""
    made = []
    for spec in names.split():
        name = spec.rstrip("[]=")
        targets = (f"fuse.{name}",) if state is State.WORKS else ()
        made.append(Option(name, section, text, values.TEXT if "=" in spec else None, targets, state=state,
                           bare=spec.endswith("[=]")))
    return made


def _fuse_values(value: Value, names: str) -> List[Option]:
    return [Option(name, FUSE_SECTION, "", value, (f"fuse.{name}",)) for name in names.split()]


FUSE_SECTION = "Passed to the kernel or the FUSE library"
KERNEL = [
    *_fuse_values(values.seconds(0), "ac_attr_timeout"),
    *_fuse_values(values.whole(4096, 1 << 30), "max_read max_write"),
    *_fuse_values(values.whole(1, 65535), "max_background congestion_threshold"),
    *_words(FUSE_SECTION, "default_permissions big_writes suid nosuid dev nodev exec noexec atime noatime sync async "
            "dirsync allow_root auto_unmount kernel_cache auto_cache noauto_cache direct_io async_read sync_read"),
]

DROPPED = _words(
    "Accepted and dropped",
    # words of fstab, for mount(8) and systemd
    "_netdev defaults nofail auto noauto user[=] users owner group nouser nousers comment= "
    "helper= uhelper= "
    # of other kernels' and libraries' versions, or what is always so here
    "relatime norelatime strictatime nostrictatime diratime nodiratime lazytime nolazytime mand nomand iversion "
    "noiversion silent loud large_read nopath use_ino readdir_ino hard_remove intr intr_signal= fsname= subtype= "
    "noforget remember= atomic_o_trunc splice_read splice_write splice_move no_splice_read no_splice_write "
    "no_splice_move no_remote_lock no_remote_flock no_remote_posix_lock enable_noobj_cache noxmlns xmlns "
    "nodnscache nosscache noflush_in_other_proc fd_page_size= singlepart_copy_limit= "
    # of s3fs: what is decided for each file here, or is always so
    "multipart_copy_size= putheader_mp_threshold= max_dirty_data= nomixupload streamupload listobjectsv2 "
    "list_object_max_keys= use_session_token check_cache_dir_exist update_parent_dir_stat compat_dir notsup_compat_dir "
    "use_wtf8 no_time_stamp_msg instance_name= set_check_cache_sigusr1[=]",
    State.DROPPED)
DROPPED_PATTERNS = ("x-*", "X-*", "comment=*")

REFUSED = _words("Refused", "accessKeyId= secretAccessKey=", State.REFUSED,
                 text="a key on the command line can be read by every user of this machine: put it into a passwd_file")
REFUSED += _words("Refused", "bucket=", State.REFUSED,
                  text="the bucket is the first word: cosfs BUCKET-APPID MOUNTPOINT")
REFUSED += _words("Refused", "free_space_ratio=", State.REFUSED, text="say how many MB stay free with ensure_diskfree")
REFUSED += _words("Refused", "proxy= proxy_cred_file=", State.REFUSED,
                  text="set http_proxy or https_proxy in the environment")
REFUSED += _words("Refused", "sigv2", State.REFUSED, text="services that speak S3 take sigv4")
REFUSED += _words("Refused", "profile= iam_role[=] ecs ibm_iam_auth imdsv1only credlib= credlib_opts=", State.REFUSED,
                  text="keys come from passwd_file or the environment")
REFUSED += _words("Refused", "requester_pays ipresolve= ssl_client_cert= cipher_suites= insecure_logging noua",
                  State.REFUSED, text="leave it out, there is no such thing here")
REFUSED += _words("Refused", "remount", State.REFUSED,
                  text="unmount and mount again: a running mount keeps its options")
REFUSED += _words("Refused", "region=", State.REFUSED, text="name the region in url=https://cos.REGION.myqcloud.com")

TABLE: Tuple[Option, ...] = (*ENDPOINT, *ATTRIBUTES, *STORING, *MOUNTING, *TRANSFER, *CACHES, *LOGGING, *KERNEL,
                             *DROPPED, *REFUSED)
BY_NAME: Dict[str, Option] = {name: option for option in TABLE for name in (option.name, *option.aliases)}


def find(name: str) -> Optional[Option]:
    """The option of that name or alias; None for one that does not exist."""
    if name not in BY_NAME and any(fnmatch.fnmatchcase(name, pattern) for pattern in DROPPED_PATTERNS):
        return Option(name, "Accepted and dropped", value=values.TEXT, bare=True, state=State.DROPPED)
    return BY_NAME.get(name)


def nearest(name: str) -> Optional[str]:
    """The known name that an unknown one was probably meant to be."""
    known = [known for known, option in BY_NAME.items() if option.state is not State.REFUSED]
    return next(iter(difflib.get_close_matches(name.lower(), known, 1, cutoff=0.6)), None)
