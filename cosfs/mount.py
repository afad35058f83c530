"""The composition root: a ``MountConfig`` becomes credentials, client, filesystem, operations and a mount.

Nothing else knows how the parts fit together. Threading: everything is built, without threads, in the
process that will serve the mount; threads and connections start in the filesystem's ``start``, which the
FUSE library's ``init`` calls.
"""

from __future__ import annotations

import ctypes
import logging
import os
import urllib.request
from dataclasses import replace
from typing import Callable, Dict, List, Optional, Sequence
from urllib.parse import urlsplit

from cosfs.config import ConnectionConfig, FuseOptions, MountConfig
from cosfs.cos.client import BucketClient
from cosfs.cos.credentials import ChainOptions, CredentialsProvider, find_credentials
from cosfs.cos.endpoint import ClientConfig
from cosfs.cos.requester import Learned
from cosfs.cos.retry import RetryPolicy
from cosfs.daemon import CapturedStderr, StartFailed, configure_logging, run_in_background
from cosfs.errors import CosException
from cosfs.filesystem import CosFilesystem, Recovered
from cosfs.preflight import MountError, check_bucket, check_local
from cosfs.state import bucket_folder, make_folder

log = logging.getLogger(__name__)

KERNEL_TIMEOUT_S = 1.0
"""How long the kernel believes names and attributes by itself. One second takes the bulk of the calls off
programs that stat the same file again and again, and adds no noticeable delay to the caches' own TTLs."""

PREFLIGHT_RETRY = RetryPolicy(attempts=3, deadline_s=10.0)
"""The first request fails fast: somebody is waiting for the answer."""


def mount(config: MountConfig, *, dropped_options: Sequence[str] = ()) -> int:
    """Check everything, mount, and serve: here with ``foreground``, else in a process of its own.

    Returns 0 in the background when the mount answers, in the foreground when it has ended cleanly.
    Raises: MountError, with nothing mounted.
    """
    check_local(config)
    _check_fuse_library()
    credentials = _credentials(config.connection)

    def work(ready: Callable[[], None]) -> None:
        configure_logging(config.log_level, config.log_file, foreground=config.foreground)
        if dropped_options:
            log.debug("options without meaning here: %s", " ".join(dropped_options))
        _serve(config, client_config(config.connection, credentials), ready)

    if config.foreground:
        work(lambda: None)
        return 0
    device = os.stat(config.mount_point).st_dev
    try:
        run_in_background(work)
    except StartFailed as exc:
        raise MountError(str(exc)) from None
    if os.stat(config.mount_point).st_dev == device:
        raise MountError(f"{config.mount_point} was mounted but cannot be seen; it may be in another mount namespace")
    return 0


def recover(config: MountConfig) -> List[Recovered]:
    """Deal with what killed mounts have left, without mounting. Raises: MountError."""
    settings = client_config(config.connection, _credentials(config.connection))
    _check_bucket(config, settings)
    connection = config.connection
    folder = bucket_folder(config.state_folder, connection.url, connection.bucket)
    if not os.path.isdir(folder):
        return []
    client = BucketClient(settings)
    filesystem = CosFilesystem(client, replace(config.filesystem, state_folder=folder))
    try:
        return filesystem.recover()
    finally:
        filesystem.stop()
        client.close()


def _credentials(connection: ConnectionConfig) -> Optional[CredentialsProvider]:
    """The keys, found now so that a mistake shows before anything is mounted. Raises: MountError."""
    if connection.anonymous:
        return None
    try:
        return find_credentials(ChainOptions(connection.bucket, connection.passwd_file, aws=connection.aws_v4))
    except CosException as exc:
        raise MountError(str(exc)) from exc


def _check_fuse_library() -> None:
    """Importing the binding loads libfuse. Raises: MountError."""
    try:
        from cosfs import fuse_binding  # noqa: F401, PLC0415
    except ImportError as exc:
        raise MountError(f"the Python package fusepy is missing ({exc}); install it with: pip install fusepy") from exc
    except OSError as exc:
        raise MountError("libfuse 2 is not installed; install it with: apt-get install libfuse2") from exc


def client_config(connection: ConnectionConfig, credentials: Optional[CredentialsProvider]) -> ClientConfig:
    """What the client is to be told of a connection; proxies and authorities come from the environment."""
    return ClientConfig(
        bucket=connection.bucket,
        endpoint=connection.url,
        credentials=credentials,
        signature="v4" if connection.aws_v4 else "cos",
        v4_region=connection.region,
        path_style=connection.path_style,
        verify=connection.verify_tls and (os.environ.get("CURL_CA_BUNDLE") or True),
        verify_hostname=connection.verify_hostname,
        connect_timeout_s=connection.connect_timeout_s,
        read_timeout_s=connection.read_timeout_s,
        retry=RetryPolicy(attempts=connection.attempts),
        user_agent_suffix=connection.user_agent_suffix,
        proxies=_proxies(connection.url),
    )


def _proxies(url: str) -> Dict[str, str]:
    """``http_proxy``, ``https_proxy`` and ``no_proxy``, as the C++ tool heeds them."""
    bypassed = urllib.request.proxy_bypass(urlsplit(url).hostname or "")
    return {} if bypassed else urllib.request.getproxies()


def _allocate_from_one_heap() -> None:
    """Keep the process's size near what its buffers hold (glibc; elsewhere nothing happens).

    By default every thread has a heap of its own and keeps what was freed there. Measured with a memory limit of
    64 MiB while 300 MiB were read: 270 MiB resident, 104 with one heap, and reading was no slower.
    """
    m_arena_max = -8  # malloc.h
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(m_arena_max, 1)


def _serve(config: MountConfig, settings: ClientConfig, ready: Callable[[], None]) -> None:
    """Serve the mount until it is unmounted. Raises: MountError when it could not be made."""
    _allocate_from_one_heap()
    client = BucketClient(settings, learned=_check_bucket(config, settings))
    filesystem = CosFilesystem(client, replace(config.filesystem, state_folder=_state_folder(config)))
    try:
        _run_fuse(filesystem, config, ready)
    finally:
        filesystem.stop()
        client.close()
    log.info("%s is unmounted", config.mount_point)


def _check_bucket(config: MountConfig, settings: ClientConfig) -> Learned:
    """See that the bucket answers; returns what that has shown of the service. Raises: MountError."""
    probe = BucketClient(replace(settings, retry=PREFLIGHT_RETRY))
    try:
        check_bucket(probe, config, lambda: probe.learned.clock_offset_s)
    finally:
        probe.close()
    return probe.learned


def _state_folder(config: MountConfig) -> Optional[str]:
    connection = config.connection
    return make_folder(bucket_folder(config.state_folder, connection.url, connection.bucket))


def _run_fuse(filesystem: CosFilesystem, config: MountConfig, ready: Callable[[], None]) -> None:
    from cosfs import fuse_binding  # noqa: PLC0415  needs libfuse
    from cosfs.operations import CosOperations  # noqa: PLC0415
    captured = CapturedStderr()

    def on_ready() -> None:
        os.write(2, captured.release().encode())
        log.info("%s is mounted on %s", fsname(config), config.mount_point)
        ready()

    try:
        fuse_binding.run(CosOperations(filesystem, on_ready), config.mount_point, foreground=True,
                         threads=config.threads, options=fuse_options(config))
    except RuntimeError as exc:
        reason = " ".join(captured.release().split()) or f"status {exc}"
        raise MountError(f"FUSE refused to mount on {config.mount_point} ({reason}); check the options and that you "
                         "may mount there") from exc
    finally:
        captured.release()


def fsname(config: MountConfig) -> str:
    """The source in the mount table, as the command line and fstab name it."""
    prefix = config.filesystem.prefix
    return config.connection.bucket + (f":/{prefix.rstrip('/')}" if prefix else "")


def fuse_options(config: MountConfig) -> FuseOptions:
    """Options for libfuse 2, which refuses to mount with one that it does not know."""
    return {
        "fsname": fsname(config).replace("\\", "\\\\").replace(",", "\\,"),
        "subtype": "cosfs",
        # 128 KiB a write instead of 4 KiB
        "big_writes": True,
        # opening with O_TRUNC is one operation, and one upload, instead of a truncate and an open
        "atomic_o_trunc": True,
        # the kernel checks modes, sticky folders and ownership; ours would be a second, worse opinion
        "default_permissions": True,
        "attr_timeout": min(KERNEL_TIMEOUT_S, config.filesystem.stat_ttl_s),
        "entry_timeout": min(KERNEL_TIMEOUT_S, config.filesystem.stat_ttl_s),
        "negative_timeout": min(KERNEL_TIMEOUT_S, config.filesystem.negative_ttl_s),
        **config.fuse_options,
    }
