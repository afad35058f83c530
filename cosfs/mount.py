"""The composition root: a ``MountConfig`` becomes credentials, client, filesystem, operations and a mount.

Nothing else knows how the parts fit together. Threading: everything is built, without threads, in the
process that will serve the mount; threads and connections start in the filesystem's ``start``, which the
FUSE library's ``init`` calls.
"""

from __future__ import annotations

import ctypes
import logging
import mimetypes
import os
import signal
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

from cosfs import systemd
from cosfs.config import ConnectionConfig, FuseOptions, MountConfig
from cosfs.cos.additions import Additions
from cosfs.cos.additions_files import make_additions
from cosfs.cos.client import BucketClient
from cosfs.cos.credentials import ChainOptions, CredentialsProvider, FoundCredentials, find_credentials
from cosfs.cos.endpoint import ClientConfig
from cosfs.cos.requester import Learned
from cosfs.cos.retry import RetryPolicy
from cosfs.daemon import (
    CapturedStderr,
    StartFailed,
    configure_logging,
    reopen_log,
    run_in_background,
)
from cosfs.dead_mounts import clear_dead_mounts
from cosfs.errors import CosException
from cosfs.exposition import served
from cosfs.filesystem import ControlledFilesystem, CosFilesystem, Listed, Recovered, shown_settings, waiting_files
from cosfs.fuse_callbacks import THREADS
from cosfs.fuse_library import find_binding
from cosfs.log_levels import cycle_level
from cosfs.metrics import About, Refusals, RequestMeter
from cosfs.mount_process import announce
from cosfs.network_wait import wait_for_network
from cosfs.operations import CosOperations
from cosfs.preflight import MountError, check_bucket, check_local, proxies_of, source_of
from cosfs.scanner_guard import ScannerGuard
from cosfs.signals import not_ended_by_signals, signal_actions
from cosfs.snapshot import clients_of
from cosfs.state import bucket_folder, cache_folder, make_folder
from cosfs.units import MIB

log = logging.getLogger(__name__)

KERNEL_TIMEOUT_S = 1.0
"""How long the kernel believes names and attributes by itself. One second takes the bulk of the calls off
programs that stat the same file again and again, and adds no noticeable delay to the caches' own TTLs."""

PREFLIGHT_RETRY = RetryPolicy(attempts=3, deadline_s=10.0)
"""The first request fails fast: somebody is waiting for the answer."""
PREFLIGHT_TIMEOUT_S = 5.0

READY_LIMIT_S = 60.0
"""What the service manager is to allow for the checks once there is a network; they take a second."""


def mount(config: MountConfig, *, dropped_options: Sequence[str] = ()) -> int:
    """Check everything, mount, and serve: here with ``foreground``, else in a process of its own.

    Returns 0 in the background when the mount answers, in the foreground when it has ended cleanly.
    Raises: MountError, with nothing mounted.
    """
    cleared = clear_dead_mounts(config.mount_point)
    check_local(config)
    find_binding(config.libfuse)

    def work(ready: Callable[[], None]) -> None:
        configure_logging(config.log_level, config.log_file, foreground=config.foreground, as_json=config.log_as_json)
        if cleared:
            log.warning("%s was a dead mount, whose process had ended without unmounting; it is cleared",
                        config.mount_point)
        if dropped_options:
            log.info("options without meaning here: %s", " ".join(dropped_options))
        found: List[FoundCredentials] = []
        with signal_actions({signal.SIGHUP: lambda: _hang_up(found), signal.SIGUSR2: cycle_level}):
            _wait_for_network(config)  # those who issue keys may be in it
            credentials = credentials_of(config.connection)
            if credentials is not None:
                found.append(credentials)
                log.info("the keys are from %s", credentials.source)
            _serve(config, client_config(config.connection, credentials), ready)

    if config.foreground:
        work(lambda: None)
        return 0
    device = os.stat(config.mount_point).st_dev
    try:
        run_in_background(work)
    except StartFailed as exc:
        raise MountError(str(exc)) from None
    try:
        seen = os.stat(config.mount_point).st_dev
    except OSError as exc:
        raise MountError(f"{config.mount_point} is mounted, but cannot be looked at ({exc.strerror}); see its log, and "
                         f"unmount it with: cosfs umount {config.mount_point}") from None
    if seen == device:
        raise MountError(f"{config.mount_point} was mounted but cannot be seen; it may be in another mount namespace")
    return 0


def _hang_up(found: Sequence[FoundCredentials]) -> None:
    """What SIGHUP is for: the log was moved away, or there are new keys."""
    reopen_log()
    log.info("SIGHUP: the log is opened again, the keys are looked for anew")
    for credentials in found:
        credentials.reload()


def recover(config: MountConfig) -> List[Recovered]:
    """Deal with what killed mounts have left, without mounting. Raises: MountError."""
    with _unmounted(config) as filesystem:
        return [] if filesystem is None else filesystem.recover()


def list_waiting(config: MountConfig) -> List[Listed]:
    """The files that mounts in writeback mode have not stored yet. Raises: CosfsError, when they cannot be read."""
    prefix = "/" + config.filesystem.prefix
    return [file for file in waiting_files(_kept_folder(config)) if file.path.startswith(prefix)]


def export_waiting(config: MountConfig, target: str, *, discard: bool) -> List[Tuple[str, str]]:
    """Write those of killed mounts to local files; see filesystem/writeback_recovery.py. Raises: MountError."""
    with _unmounted(config) as filesystem:
        return [] if filesystem is None else filesystem.export_waiting(target, discard=discard)


@contextmanager
def _unmounted(config: MountConfig) -> Iterator[Optional[CosFilesystem]]:
    """A filesystem that serves nobody; None when no mount of the bucket has left anything."""
    settings = client_config(config.connection, credentials_of(config.connection))
    _check_bucket(config, settings)
    folder = _kept_folder(config)
    if not os.path.isdir(folder):
        yield None
        return
    client = BucketClient(settings)
    filesystem = CosFilesystem(client, replace(config.filesystem, state_folder=folder))
    try:
        yield filesystem
    finally:
        filesystem.stop()
        client.close()


def _kept_folder(config: MountConfig) -> str:
    return bucket_folder(config.state_folder, config.connection.url, config.connection.bucket)


def open_client(connection: ConnectionConfig) -> BucketClient:
    """A client such as a mount of that connection has. Raises: MountError."""
    return BucketClient(client_config(connection, credentials_of(connection)))


def credentials_of(connection: ConnectionConfig) -> Optional[FoundCredentials]:
    """The keys, found now so that a mistake shows before anything is mounted. Raises: MountError."""
    if connection.anonymous:
        return None
    try:
        return find_credentials(ChainOptions(connection.bucket, connection.passwd_file, aws=connection.aws_v4,
                                             role=connection.cam_role, role_endpoint=connection.cam_role_endpoint))
    except CosException as exc:
        raise MountError(str(exc)) from exc


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
        content_md5=connection.content_md5,
        service_path=connection.service_path,
        trace=connection.trace,
        additions=_additions(connection),
        proxies=proxies_of(connection.url),
    )


def _additions(connection: ConnectionConfig) -> Additions:
    """What is sent along with requests. Raises: MountError, when a file cannot be used."""
    try:
        return make_additions(connection.encryption, connection.key_file, connection.header_file, acl=connection.acl,
                              client_info=connection.client_info)
    except CosException as exc:
        raise MountError(str(exc)) from exc


def _allocate_from_one_heap() -> None:
    """Keep the process's size near what its buffers hold (glibc; elsewhere nothing happens).

    By default every thread has a heap of its own and keeps what was freed there. Measured with a memory limit of
    64 MiB while 300 MiB were read: 270 MiB resident, 104 with one heap, and reading was no slower.

    The buffers that libfuse makes for each read, of up to 1 MiB, stay in the heap: their pages would go back to
    the system after each, and be cleared for the next (measured: 0.3 s of CPU in 1 GiB read).
    """
    m_arena_max, m_trim_threshold, m_mmap_threshold = -8, -1, -3  # malloc.h
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(m_arena_max, 1)
        mallopt(m_trim_threshold, 16 * MIB)
        mallopt(m_mmap_threshold, 2 * MIB)


def _serve(config: MountConfig, settings: ClientConfig, ready: Callable[[], None]) -> None:
    """Serve the mount until it is unmounted. Raises: MountError when it could not be made."""
    _allocate_from_one_heap()
    if config.mime_file is not None:
        mimetypes.init([*mimetypes.knownfiles, config.mime_file])
    meter, refusals = RequestMeter(), Refusals()
    client = BucketClient(settings, learned=_check_bucket(config, settings, meter), meter=meter)
    shown, versions = clients_of(client, config)
    about = About(fsname(config), config.mount_point, shown_settings(config), config.prices)
    filesystem = ControlledFilesystem(shown, replace(config.filesystem, state_folder=_state_folder(config),
                                                     copies=find_binding(config.libfuse).COPIES,
                                                     cache_folder=_cache_folder(config)), meter, about, refusals,
                                      versions=versions)
    try:
        with _metrics_page(config, filesystem.stats):
            _run_fuse(filesystem, config, ready, refusals)
    finally:
        with not_ended_by_signals(f"still storing what was written to {config.mount_point}; only SIGKILL ends that"):
            log.debug("the filesystem on %s stops, and stores what is left", config.mount_point)
            filesystem.stop()
            shown.close()
    log.info("%s is unmounted", config.mount_point)


@contextmanager
def _metrics_page(config: MountConfig, stats: Callable[[], Dict[str, Any]]) -> Iterator[None]:
    """Serve it while inside, if it is wanted. Raises: MountError."""
    with ExitStack() as stack:
        if config.metrics_address is not None:
            try:
                stack.enter_context(served(config.metrics_address, stats))
            except OSError as exc:
                raise MountError("metrics={}:{} cannot be served ({}); give another address".format(
                    *config.metrics_address, exc.strerror or exc)) from exc
        yield


def _wait_for_network(config: MountConfig) -> None:
    url, limit_s = config.connection.url, config.wait_for_network_s
    wait_for_network(url, proxies_of(url), limit_s,
                     waits=lambda text: systemd.status(text, extend_s=limit_s + READY_LIMIT_S))


def _check_bucket(config: MountConfig, settings: ClientConfig, meter: Optional[RequestMeter] = None) -> Learned:
    """See that the bucket answers; returns what that has shown of the service. Raises: MountError."""
    probe = BucketClient(replace(settings, retry=PREFLIGHT_RETRY,
                                 read_timeout_s=min(settings.read_timeout_s, PREFLIGHT_TIMEOUT_S)), meter=meter)
    try:
        check_bucket(probe, config, lambda: probe.learned.clock_offset_s, source_of(settings.credentials))
    finally:
        probe.close()
    return probe.learned


def _state_folder(config: MountConfig) -> Optional[str]:
    """Raises: MountError, when it cannot be made and is needed. A snapshot has nothing to keep or to finish."""
    if config.snapshot_s is not None:
        return None
    folder = make_folder(_kept_folder(config))
    if folder is None and config.filesystem.writeback_delay_s is not None:
        raise MountError(f"writeback needs a folder for data that must outlive the mount, and {config.state_folder} is "
                         "none that can be written to; give another state_dir=, or leave writeback out")
    return folder


def _cache_folder(config: MountConfig) -> Optional[str]:
    connection = config.connection
    folder = config.cache_folder
    return None if folder is None else cache_folder(folder, connection.url, connection.bucket)


def _run_fuse(filesystem: CosFilesystem, config: MountConfig, ready: Callable[[], None], refusals: Refusals) -> None:
    binding = find_binding(config.libfuse)
    captured = CapturedStderr()

    real_point = os.path.realpath(config.mount_point)
    guard = ScannerGuard(config.scanners, refusals, real_point) if config.scanners else None
    said = f"{fsname(config)} is mounted on {config.mount_point}"

    def on_ready() -> None:
        os.write(2, captured.release().encode())
        announce(real_point)
        log.info("%s", said)
        systemd.ready(said)
        ready()

    try:
        binding.run(CosOperations(filesystem, binding.caller_ids, on_ready, guard, real_point), config.mount_point,
                    foreground=True, threads=config.threads, options=fuse_options(config),
                    read_ahead_bytes=config.read_ahead_bytes)
        systemd.stopping(f"{config.mount_point} is unmounted; storing what waits")
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
    """Options for libfuse 2, which refuses to mount with one that it does not know; fuse3_binding.py adapts them."""
    return {
        "fsname": fsname(config).replace("\\", "\\\\").replace(",", "\\,"),
        "subtype": "cosfs",
        # 128 KiB a write instead of 4 KiB
        "big_writes": True,
        # reads of the page cache, in flight at once over all files; the kernel's 12 would leave threads idle
        "max_background": THREADS,
        # opening with O_TRUNC is one operation, and one upload, instead of a truncate and an open
        "atomic_o_trunc": True,
        # the kernel checks modes, sticky folders and ownership; ours would be a second, worse opinion
        "default_permissions": True,
        "attr_timeout": min(KERNEL_TIMEOUT_S, config.filesystem.stat_ttl_s),
        "entry_timeout": min(KERNEL_TIMEOUT_S, config.filesystem.stat_ttl_s),
        "negative_timeout": min(KERNEL_TIMEOUT_S, config.filesystem.negative_ttl_s),
        **config.fuse_options,
    }
