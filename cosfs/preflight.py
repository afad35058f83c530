"""Checks before a mount: each mistake ends in one line that says what is wrong and what to do.

``check_local`` needs no network and runs in the process that the user started; ``check_bucket`` asks the
service, in the process that will serve the mount. Used by the composition root (cosfs/mount.py), and one by one by
``cosfs doctor`` (cosfs/doctor/).
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import socket
import stat
import urllib.request
from pathlib import Path
from typing import Callable, Dict, List, Optional, Tuple
from urllib.parse import urlsplit

from cosfs.config import ConnectionConfig, MountConfig
from cosfs.cos.endpoint import DEFAULT_PORTS, with_scheme, without_login
from cosfs.cos.interface import BucketInfo, ListPage, ObjectClient
from cosfs.dead_mounts import is_dead
from cosfs.errors import (
    BucketNotFound,
    CosException,
    CosfsError,
    CosServiceError,
    CredentialsError,
    InvalidParameter,
    NetworkError,
    ObjectArchived,
    ObjectNotFound,
    PreconditionFailed,
    RequestTimeout,
    TlsError,
)
from cosfs.mount_table import KIND, mount_at
from cosfs.reading.disk_blocks import prepare_folder
from cosfs.state import cache_folder
from cosfs.units import MAX_CLOCK_SKEW_S

log = logging.getLogger(__name__)

FUSE_DEVICE = "/dev/fuse"
FUSE_CONF = "/etc/fuse.conf"
CONNECT_TIMEOUT_S = 5.0
"""For the tries that tell why there is no answer: a host in reach takes milliseconds."""


class MountError(CosfsError):
    """The mount cannot be made; the message is ``what is wrong; what to do``, in one line."""


def check_local(config: MountConfig) -> None:
    """Mount point, FUSE, local folders. Raises: MountError."""
    check_mount_point(config.mount_point, nonempty=config.nonempty)
    check_device()
    check_helper()
    if config.filesystem.allow_other:
        check_allow_other()
    check_staging_folder(config.filesystem.staging_folder)
    if config.cache_folder is not None:
        check_cache_folder(config.cache_folder, config.connection)
    if config.mime_file is not None:
        check_mime_file(config.mime_file)
    if config.log_file:
        try:
            open(config.log_file, "ab").close()
        except OSError as exc:
            raise MountError(f"log file {config.log_file} cannot be written to ({exc.strerror}); give another "
                             "logfile=") from exc


def check_mime_file(path: str) -> None:
    """Raises: MountError."""
    try:
        Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "not UTF-8"
        raise MountError(f"mime file {path} cannot be read ({reason}); give another mime=, or none") from exc


def check_staging_folder(folder: str) -> None:
    """Raises: MountError."""
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK | os.X_OK):
        raise MountError(f"{folder} is not a folder that can be written to; create it or give another tmpdir=")


def check_cache_folder(folder: str, connection: ConnectionConfig) -> None:
    """Make the bucket's part of the data cache. Raises: MountError."""
    try:
        prepare_folder(cache_folder(folder, connection.url, connection.bucket))
    except OSError as exc:
        raise MountError(f"the data cache cannot be kept in {folder} ({exc.strerror}); give another use_cache=, or "
                         "none") from exc


def check_mount_point(path: str, *, nonempty: bool) -> None:
    """Raises: MountError."""
    mounted = mount_at(path)
    if mounted is not None and mounted.kind == KIND and not is_dead(mounted):  # nor asked: it may not answer
        raise MountError(f"{path} is mounted already; unmount it first with: fusermount -u {path}")
    try:
        mode = os.stat(path).st_mode
        entries = os.listdir(path) if stat.S_ISDIR(mode) else []
    except OSError as exc:
        raise MountError(_unreachable(path, exc)) from exc
    if not stat.S_ISDIR(mode):
        raise MountError(f"mount point {path} is not a folder; give a folder")
    if entries and not nonempty:
        raise MountError(f"mount point {path} is not empty; give an empty folder or add -o nonempty")
    if os.geteuid() != 0 and not os.access(path, os.W_OK):
        raise MountError(f"mount point {path} cannot be written to by you; give a folder of your own")


def _unreachable(path: str, exc: OSError) -> str:
    if exc.errno == errno.ENOENT:
        return f"mount point {path} does not exist; create it with: mkdir -p {path}"
    if exc.errno in (errno.ENOTCONN, errno.ECONNABORTED):  # the latter when its process ended at this moment
        command = "umount -l" if os.geteuid() == 0 else "fusermount -uz"
        return (f"mount point {path} is a dead mount (transport endpoint is not connected); "
                f"clear it with: {command} {path}")
    return f"mount point {path} cannot be used ({exc.strerror}); give a folder of your own"


def check_device() -> None:
    """Open it, which is harmless and the only way to know: containers refuse that whatever its mode.

    Raises: MountError.
    """
    try:
        os.close(os.open(FUSE_DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except OSError as exc:
        raise MountError(device_problem(exc)) from exc


def device_problem(exc: OSError) -> str:
    """The line for a device that cannot be opened."""
    container = "in a container, start it with --device /dev/fuse --cap-add SYS_ADMIN"
    if exc.errno == errno.ENOENT:
        return f"{FUSE_DEVICE} does not exist; load the kernel module with: modprobe fuse ({container})"
    if exc.errno == errno.EACCES:
        return f"{FUSE_DEVICE} cannot be opened by you; set its mode to 0666 or mount as root"
    return (f"{FUSE_DEVICE} cannot be opened ({exc.strerror}); load the kernel module with: modprobe fuse "
            f"({container})")


def check_helper() -> None:
    """The program that mounts for users other than root. Raises: MountError."""
    if os.geteuid() != 0 and find_helper() is None:
        raise MountError("fusermount is not installed, without which only root can mount; install it with: apt-get "
                         "install fuse3")


def find_helper() -> Optional[str]:
    return shutil.which("fusermount") or shutil.which("fusermount3")


def check_allow_other() -> None:
    """Raises: MountError."""
    if os.geteuid() != 0 and "user_allow_other" not in _fuse_conf_lines():
        raise MountError(f"allow_other is not allowed to you; add the line user_allow_other to {FUSE_CONF}")


def _fuse_conf_lines() -> List[str]:
    try:
        return [line.strip() for line in Path(FUSE_CONF).read_text(encoding="utf-8").splitlines()]
    except OSError:
        return []


def check_bucket(client: ObjectClient, config: MountConfig, clock_offset_s: Callable[[], float],
                 source: str = "") -> None:
    """That the bucket is there, and what may be done with it. ``source``: where the keys are from.

    Raises: MountError.
    """
    prefix = config.filesystem.prefix
    try:
        _, page = find_bucket(client, prefix)
    except CosException as exc:
        raise MountError(explain(exc, config.connection, source)) from exc
    offset_s = clock_offset_s()
    if abs(offset_s) > MAX_CLOCK_SKEW_S:
        raise MountError(skewed(offset_s))
    try:
        _check_reading(client, page or client.list_objects(prefix, max_keys=1))
    except CosException as exc:
        log.warning("the bucket can be mounted, but: %s", explain(exc, config.connection, source))


def find_bucket(client: ObjectClient, prefix: str) -> Tuple[Optional[BucketInfo], Optional[ListPage]]:
    """What HEAD tells of the bucket; or the listing of one key.

    A key that is limited to a prefix may not ask for the bucket, and the answer to HEAD names no reason, so an error is
    looked at again with a listing. Raises: CosException, that of the listing.
    """
    try:
        return client.head_bucket(), None
    except CosServiceError:
        return None, client.list_objects(prefix, max_keys=1)


def _check_reading(client: ObjectClient, page: ListPage) -> None:
    """Read one byte, which shows whether the keys may, and teaches the client how the server takes conditions."""
    for row in page.objects:
        if row.size_bytes and row.etag:
            try:
                client.get_object(row.key, memoryview(bytearray(1)), if_match=row.etag)
            except (ObjectArchived, ObjectNotFound, PreconditionFailed) as exc:
                log.debug("an object cannot be read now: %s", exc)


def skewed(offset_s: Optional[float] = None) -> str:
    """The line for a wrong clock. ``offset_s``: by how much the service's is ahead."""
    amount = "" if offset_s is None else f" by {abs(offset_s):.0f} seconds ({'behind' if offset_s > 0 else 'ahead'})"
    return f"the clock of this machine is wrong{amount}; set it, for example with: timedatectl set-ntp true"


_BY_CODE = {
    "InvalidAccessKeyId": "the service does not know the SecretId; check the keys{from_source}",
    "SignatureDoesNotMatch": "the SecretKey does not belong to the SecretId; check the keys{from_source}",
    "ExpiredToken": "the temporary keys{from_source} have expired; fetch new ones",
    "InvalidToken": "the session token is not accepted; fetch new temporary keys, or check those{from_source}",
    "PathStyleDomainForbidden": "the service does not take the bucket in the path; leave out use_path_request_style",
}

_NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE")
"""What OpenSSL says, before and from 3.2 on, of an answer that is no TLS."""


def source_of(credentials: Optional[object]) -> str:
    """Where keys come from, for people; "" when that is not known or there are none."""
    return str(getattr(credentials, "source", ""))


def explain(error: CosException, connection: ConnectionConfig, source: str = "") -> str:
    """The one line for a failed first request. ``source``: where its keys are from (``source_of``)."""
    where = f"{connection.bucket} at {connection.url}"
    reason = str(error).removeprefix(f"{connection.url}: ")
    if isinstance(error, CosServiceError):
        if error.code in _BY_CODE:
            from_source = f" from {source}" if source else ""
            return f"{_BY_CODE[error.code].format(from_source=from_source)} (bucket {where})"
        if error.code == "RequestTimeTooSkewed":
            return skewed()
        if isinstance(error, BucketNotFound) or error.status == 404:
            return f"bucket {where} does not exist; check its name (BUCKET-APPID) and the region in url="
        if error.status in (301, 302, 307):
            return f"bucket {where} is in another region; correct the region in url="
        if error.status in (401, 403) and connection.anonymous:
            return (f"bucket {where} is not open to everybody ({error.code}); leave public_bucket out and give keys, "
                    "or have reading granted to all")
        if error.status in (401, 403):
            return (f"access to bucket {where} is denied ({error.code}); check the keys and the permissions granted "
                    "to them")
        return f"the service refuses bucket {where}: {error}; check name and url="
    if isinstance(error, TlsError):
        if any(word in reason for word in _NO_TLS):
            return (f"no trusted connection to {connection.url}: it does not speak TLS; write http:// in url= if it is "
                    "to be reached without")
        return (f"no trusted connection to {connection.url}: {reason}; check url=, install the authority's "
                "certificate, or add -o no_check_certificate")
    if isinstance(error, (NetworkError, RequestTimeout)):
        silent = isinstance(error, RequestTimeout)
        return _network_reason(connection.url) or (
            f"no answer from {connection.url} in time; check url= and the network" if silent else
            f"no connection to {connection.url}: {reason}; check url= (http or https?) and the network")
    if isinstance(error, (CredentialsError, InvalidParameter)):
        return str(error)
    return f"{connection.url} does not answer like an object store: {error}; check url="


def _network_reason(url: str) -> Optional[str]:
    """Find out why a host, or the proxy on the way to it, cannot be reached by one more try; None when it can."""
    proxy = proxies_of(url).get(urlsplit(url).scheme, "")
    parts = urlsplit(with_scheme(proxy) if proxy else url)
    host = parts.hostname or ""
    try:
        socket.create_connection((host, parts.port or DEFAULT_PORTS.get(parts.scheme, 80)),
                                 timeout=CONNECT_TIMEOUT_S).close()
    except (socket.gaierror, UnicodeError):
        return unresolved(host, proxy)
    except OSError as exc:
        return unreachable(url, exc, proxy)
    return None


def unresolved(host: str, proxy: str = "") -> str:
    if proxy:
        return f"the host name of the proxy {without_login(proxy)} cannot be resolved; {_CHECK_PROXY}"
    return f"host name {host} cannot be resolved; check the region in url= and the network"


def unreachable(url: str, exc: OSError, proxy: str = "") -> str:
    if proxy:
        return f"no connection to the proxy {without_login(proxy)}: {exc.strerror or exc}; {_CHECK_PROXY}"
    return f"no connection to {url}: {exc.strerror or exc}; check url= and the network"


_CHECK_PROXY = "check http_proxy and https_proxy in the environment, and no_proxy"


def proxies_of(url: str) -> Dict[str, str]:
    """``http_proxy``, ``https_proxy`` and ``no_proxy``, as the C++ tool heeds them: proxies by scheme."""
    bypassed = urllib.request.proxy_bypass(urlsplit(url).hostname or "")
    return {} if bypassed else urllib.request.getproxies()
