"""A process of the mount's own: going to the background, standard streams, the log's destination.

Used by the composition root (cosfs/mount.py). Threading: ``run_in_background`` forks, so it is called before
any thread exists; what needs threads starts them in the new process.
"""

from __future__ import annotations

import logging
import logging.handlers
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Callable, NoReturn, Optional

from cosfs.errors import CosfsError
from cosfs.log_json import JsonLines
from cosfs.log_text import TextLines

log = logging.getLogger(__name__)

SYSLOG_SOCKET = "/dev/log"
_READY = b"\0"


class StartFailed(CosfsError):
    """The work in the background ended before it was ready; the message is its reason."""


class LogUnusable(CosfsError):
    """The log's file cannot be opened."""


def run_in_background(work: Callable[[Callable[[], None]], None]) -> None:
    """Run ``work(ready)`` in a new session; returns once it has called ``ready``, and leaves it running.

    Raises: StartFailed when it ends without having done so.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        _work_and_exit(work, write_end)
    os.close(write_end)
    try:
        with os.fdopen(read_end, "rb") as pipe:
            answer = pipe.read()
    except KeyboardInterrupt:
        os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)
        raise StartFailed("interrupted") from None
    if answer != _READY:
        _, status = os.waitpid(child, 0)
        raise StartFailed(answer.decode(errors="replace") or f"the mount's process ended at once (status {status})")


def _work_and_exit(work: Callable[[Callable[[], None]], None], pipe: int) -> NoReturn:
    """The child's whole life. ``pipe`` takes one zero byte (ready) or the reason of a failure."""
    started = False

    def ready() -> None:
        nonlocal started
        started = True
        _detach_streams()
        os.write(pipe, _READY)
        os.close(pipe)

    status = 1
    try:
        os.setsid()
        os.chdir("/")
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        work(ready)
        status = 0
    except Exception as exc:
        if started:
            log.exception("the mount ended with an error")
        else:
            os.write(pipe, describe(exc).encode(errors="replace"))
    finally:
        logging.shutdown()
        os._exit(status)


def describe(exc: Exception) -> str:
    """What went wrong, in one line: our own messages as they are, others with their class."""
    text = str(exc) if isinstance(exc, CosfsError) else f"unexpected {type(exc).__name__}: {exc}"
    return " ".join(text.split())


def _detach_streams() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    os.close(null)


class CapturedStderr:
    """Holds back what C libraries and their helpers write to standard error, until released."""

    def __init__(self) -> None:
        sys.stderr.flush()
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  closed by release
        self._stderr: Optional[int] = os.dup(2)
        os.dup2(self._file.fileno(), 2)

    def release(self) -> str:
        """Give standard error back; returns what was held back since the last call."""
        if self._stderr is None:
            return ""
        sys.stderr.flush()
        os.dup2(self._stderr, 2)
        os.close(self._stderr)
        self._stderr = None
        with self._file:
            self._file.seek(0)
            return self._file.read().decode(errors="replace")


def reopen_log() -> None:
    """Go on in a new file where the log's file was moved away; a log that is no file stays as it is."""
    for handler in logging.getLogger("cosfs").handlers:
        if isinstance(handler, logging.FileHandler):
            try:
                stream = open(handler.baseFilename, "a", encoding="utf-8")  # noqa: SIM115  the handler's from now on
            except OSError as exc:
                log.warning("%s cannot be opened again (%s); the log goes on where it was", handler.baseFilename,
                            exc.strerror)
                continue
            old = handler.setStream(stream)
            if old is not None:
                old.close()


def configure_logging(level: int, log_file: Optional[str], *, foreground: bool, as_json: bool = False) -> None:
    """Send the package's log to ``log_file``, else to standard error (foreground) or syslog, if there is one.

    Raises: LogUnusable.
    """
    handler: logging.Handler
    layout = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    if log_file:
        try:
            handler = logging.FileHandler(log_file, encoding="utf-8")
        except OSError as exc:
            raise LogUnusable(f"log file {log_file} cannot be written to ({exc.strerror}); give another "
                              "logfile=") from None
    elif foreground:
        handler = logging.StreamHandler()
    elif Path(SYSLOG_SOCKET).exists():
        handler = logging.handlers.SysLogHandler(SYSLOG_SOCKET)
        handler.ident = f"cosfs[{os.getpid()}]: "
        layout = "%(levelname)s %(name)s: %(message)s"
    else:
        handler = logging.NullHandler()
    handler.setFormatter(JsonLines() if as_json else TextLines(layout))
    package_log = logging.getLogger("cosfs")
    package_log.addHandler(handler)
    package_log.setLevel(level)
    package_log.propagate = False
