"""``cosfs serve``: the embedded COS-compatible server on a directory."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Dict, Optional, Sequence

from cosfs.server.access_log import AccessLog
from cosfs.server.app import Application
from cosfs.server.call import Settings
from cosfs.server.errors import ApiError
from cosfs.server.faults import FAULT_HELP, FaultPlan
from cosfs.server.store import Store

_MEGABYTE = 1_000_000


class _UsageError(Exception):
    """What is wrong with the arguments or their surroundings, in one line."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]  # argparse exits with 2 and prints usage
        raise _UsageError(f"{message} (see: cosfs serve --help)")


def _parser() -> _Parser:
    parser = _Parser(
        prog="cosfs serve", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Serve the directory DIR as Tencent COS buckets (COS XML API; AWS Signature V4 too).\n"
                    "Once it answers, the first line printed is: listening on http://HOST:PORT",
        epilog=FAULT_HELP)
    parser.add_argument("directory", metavar="DIR", help="existing directory that holds the buckets")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=0, help="port; 0 takes a free one (0)")
    parser.add_argument("--bucket", action="append", default=[], metavar="NAME-APPID",
                        help="make this bucket if it is not there; repeatable")
    parser.add_argument("--secret-id", action="append", default=[], metavar="ID",
                        help="accept requests signed by this key; repeatable, with --secret-key in the same order")
    parser.add_argument("--secret-key", action="append", default=[], metavar="KEY")
    parser.add_argument("--token", help="session token that every signed request must carry")
    parser.add_argument("--anonymous", action="store_true", help="accept every request, signed or not")
    parser.add_argument("--region", default="ap-local", help="region to report (ap-local)")
    parser.add_argument("--access-log", metavar="FILE", help="append one JSON object for each request")
    parser.add_argument("--latency-ms", type=float, default=0, metavar="N", help="delay of each answer's first byte")
    parser.add_argument("--mbps", type=float, metavar="N",
                        help="limit of each connection, each direction, in MB/s (1 MB = 1,000,000 bytes)")
    parser.add_argument("--restore-seconds", type=float, default=0, metavar="N",
                        help="how long restoring an archived object takes (0)")
    parser.add_argument("--day-seconds", type=float, default=86400, metavar="N",
                        help="how long a day is for which it stays restored (86400)")
    parser.add_argument("--fault", action="append", default=[], metavar="SPEC", help="see below; repeatable")
    parser.add_argument("--control", action="store_true",
                        help="let anyone replace the faults: PUT /-/faults with a JSON list of SPECs; and the keys: "
                             "PUT /-/keys with {ID: {\"secret_key\": KEY, \"token\": TOKEN, \"expires_s\": TIME}}")
    return parser


def run(argv: Sequence[str]) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit status."""
    try:
        options = _parser().parse_args(list(argv))
        asyncio.run(_serve(options))
    except _UsageError as exc:
        print(f"cosfs serve: {exc}", file=sys.stderr)
        return 1
    return 0


def _keys(options: argparse.Namespace) -> Dict[str, str]:
    if len(options.secret_id) != len(options.secret_key):
        raise _UsageError("--secret-id and --secret-key must come in pairs")
    if not options.secret_id and not options.anonymous:
        raise _UsageError("give --secret-id and --secret-key, or --anonymous")
    return dict(zip(options.secret_id, options.secret_key))


def _settings(options: argparse.Namespace) -> Settings:
    if options.latency_ms < 0 or options.restore_seconds < 0 or (options.mbps is not None and options.mbps <= 0):
        raise _UsageError("--latency-ms, --restore-seconds and --mbps must not be negative, nor --mbps 0")
    if options.day_seconds <= 0:
        raise _UsageError("--day-seconds must be more than 0")
    return Settings(
        region=options.region, anonymous=options.anonymous, latency_s=options.latency_ms / 1000,
        rate_bytes_s=None if options.mbps is None else options.mbps * _MEGABYTE,
        restore_s=options.restore_seconds, day_s=options.day_seconds, control=options.control)


def _open_store(options: argparse.Namespace) -> Store:
    root = Path(options.directory)
    if not os.path.isdir(root):  # Path.is_dir fails below a folder that is closed to us
        raise _UsageError(f"{root} is not a directory that you can reach: make it first")
    try:
        store = Store(root)
    except BlockingIOError:
        raise _UsageError(f"{root} is in use by another cosfs serve: end that one or give another directory") from None
    except OSError as exc:
        raise _UsageError(f"{root}: {exc.strerror}; give a directory that you can write to") from None
    for name in options.bucket:
        if store.find_bucket(name) is None:
            try:
                store.create_bucket(name)
            except ApiError:
                raise _UsageError(f"{name!r} is no bucket name: it must be NAME-APPID, like demo-1250000000") from None
    return store


def _open_access_log(name: Optional[str]) -> AccessLog:
    try:
        return AccessLog(Path(name) if name else None)
    except OSError as exc:
        raise _UsageError(f"--access-log {name}: {exc.strerror}; give another file") from None


async def _serve(options: argparse.Namespace) -> None:
    keys, settings = _keys(options), _settings(options)
    try:
        faults = FaultPlan(options.fault)
    except ValueError as exc:
        raise _UsageError(f"{exc} (see: cosfs serve --help)") from None
    store = _open_store(options)
    access_log = _open_access_log(options.access_log)
    application = Application(store, settings, keys, options.token, access_log, faults)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        listener, port = await application.listen(options.host, options.port)
    except (OSError, OverflowError) as exc:
        # asyncio puts a sentence of its own in place of the system's
        code = getattr(exc, "errno", None) or 0  # a resolver's error has a negative one
        reason = os.strerror(code) if code > 0 else getattr(exc, "strerror", None) or exc
        raise _UsageError(f"cannot listen on {options.host}:{options.port}: {reason}; give another --host or --port, "
                          "or 0 for a free port") from None
    host = f"[{options.host}]" if ":" in options.host else options.host
    print(f"listening on http://{host}:{port}", flush=True)
    await stop.wait()
    listener.close()
    await application.close()
    store.close()
    access_log.close()
