"""fusepy, on libfuse 2: the binding that comes with the package. The only module that imports ``fuse``.

fusepy knows libfuse's structures; what libfuse calls are ``Callbacks``, and for rare operations fusepy's own methods.
Those decode names strictly: so they are told a codec of their own.

Threading: ``_Loops`` makes the threads in which libfuse calls.
"""

from __future__ import annotations

import codecs
import ctypes
import logging
import os
import select
import signal
import threading
from contextlib import suppress
from functools import partial
from typing import Any, Callable, List, Tuple

import fuse

from cosfs.config import FuseOptions
from cosfs.fuse_callbacks import THREADS, Callbacks

__all__ = ["COPIES", "caller_ids", "run"]

log = logging.getLogger(__name__)

COPIES = False

_ENCODING = "cosfs-path"
_SAME = {"fgetattr": "getattr", "ftruncate": "truncate"}
"""Callbacks of libfuse 2 that are one operation with another."""

_FIRST_THREADS = 16

_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Signals that unmount; SIGHUP only where signals.py has not blocked it. libfuse handles them itself where nobody does;
``_Loops`` cannot have that."""

_WAKING = signal.SIGURG
"""Interrupts a thread that waits for a request. Nobody sends it to a process by hand, and where nobody handles it, it
does nothing; SIGUSR1 and SIGUSR2 are for users."""

_PIPE_BYTES = 4096

_setup, _loop, _exit, _teardown = (  # fuse.h
    getattr(fuse._libfuse, name) for name in ("fuse_setup", "fuse_loop", "fuse_exit", "fuse_teardown"))
_setup.restype = ctypes.c_void_p
_setup.argtypes = [ctypes.c_int, *[ctypes.c_void_p] * 2, ctypes.c_size_t, *[ctypes.c_void_p] * 3]
_loop.argtypes = _exit.argtypes = [ctypes.c_void_p]
_teardown.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
_teardown.restype = None


def _path_codec(name: str) -> Any:
    """UTF-8 with surrogate escapes, as a codec of its own because fusepy passes no error handler."""
    if name.replace("_", "-") != _ENCODING:
        return None
    return codecs.CodecInfo(
        name=_ENCODING,
        encode=lambda text, errors="strict": (text.encode("utf-8", "surrogateescape"), len(text)),
        decode=lambda data, errors="strict": (bytes(data).decode("utf-8", "surrogateescape"), len(data)))


codecs.register(_path_codec)


class _ConnectionInfo(ctypes.Structure):
    """The beginning of ``struct fuse_conn_info`` (libfuse 2, fuse_common.h)."""

    _fields_ = tuple((name, ctypes.c_uint) for name in (
        "proto_major", "proto_minor", "async_read", "max_write", "max_readahead"))


class _Fuse(Callbacks, fuse.FUSE):  # type: ignore[misc]  # fusepy has no type hints
    """fusepy's ``FUSE``, but for its ``__init__``, whose one call of libfuse would make the threads by itself."""

    _stat_type = fuse.c_stat
    fgetattr = Callbacks.getattr
    ftruncate = Callbacks.truncate

    def __init__(self, operations: Callable[..., Any], mount_point: str, read_ahead_bytes: int) -> None:
        self.operations, self.raw_fi, self.encoding = operations, True, _ENCODING  # for fusepy's methods
        self._prepare(operations, mount_point, read_ahead_bytes)
        self._table = fuse.fuse_operations()
        for name, kind, *_ in fuse.fuse_operations._fields_:
            known = getattr(operations, _SAME.get(name, name), None)
            if known is not None:
                callback = hasattr(kind, "argtypes")
                setattr(self._table, name,
                        kind(partial(self._wrapper, getattr(self, name))) if callback else known)

    def serve(self, words: List[str], threads: int) -> None:
        """Mount as the command line ``words`` says, and serve until unmounted. Raises: RuntimeError."""
        argv = (ctypes.c_char_p * len(words))(*(word.encode("utf-8", "surrogateescape") for word in words))
        mount_point, wants_threads = ctypes.c_char_p(), ctypes.c_int()
        handle = _setup(len(words), argv, ctypes.byref(self._table), ctypes.sizeof(self._table),
                        ctypes.byref(mount_point), ctypes.byref(wants_threads), None)
        if not handle:
            raise RuntimeError("libfuse has not mounted")
        self._loops = _Loops(handle, threads)
        try:
            self._loops.run()
        finally:
            _teardown(handle, mount_point)

    def _wrapper(self, function: Callable[..., Any], *args: Any) -> int:  # type: ignore[override]
        self._loops.begin_call()
        try:
            return super()._wrapper(function, *args)
        finally:
            self._loops.end_call()

    def _connection_info(self, conn: Any) -> Any:
        return _ConnectionInfo.from_address(conn)


class _Loops:
    """libfuse's loop over the kernel's requests, in threads of Python's own.

    They are few, so that their memory stays in the processor's caches (measured: 128 KiB written take 57 us of CPU with
    16 threads, 71 with 64), and become up to ``most`` when all are busy.

    libfuse has one flag that ends all loops, and each one that ends takes it back. So nothing but ``run`` sets it, for
    one thread after the other, and signals are Python's to handle. Python handles them in the main thread, which does
    not notice one that was delivered to another thread, or just before it began to wait for a lock; so it waits for a
    byte in a pipe, which each signal writes (``signal.set_wakeup_fd``).
    """

    def __init__(self, handle: int, most: int) -> None:
        self._handle = handle
        self._most = most
        self._stop = threading.Event()
        self._wakes = -1
        """The pipe's end for those who have set ``_stop``."""
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads: List[Tuple[threading.Thread, threading.Event]] = []
        """With what is set when the thread's loop has ended."""
        self._spare: List[None] = []
        """An item for each thread that waits for a request, but for the last one."""

    def run(self) -> None:
        """Returns when the mount is gone or a signal came, and no thread serves a request any more."""
        before = {number: signal.signal(number, self._on_signal) for number in _ENDING
                  if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler)}
        before[_WAKING] = signal.signal(_WAKING, self._on_wake)
        waits, self._wakes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        wakes_before = signal.set_wakeup_fd(self._wakes, warn_on_full_buffer=False)
        try:
            for number in range(min(_FIRST_THREADS, self._most)):
                self._add()
                self._spare += [None] * (number > 0)
            if not self._threads:
                raise RuntimeError("no thread can be started")
            while not self._stop.is_set():
                select.select([waits], [], [])
                os.read(waits, _PIPE_BYTES)
            self._end()
        finally:
            signal.set_wakeup_fd(wakes_before)
            os.close(waits)
            os.close(self._wakes)
            for number, handler in before.items():
                signal.signal(number, handler)

    def begin_call(self) -> None:
        """A thread has got a request; another one is started if it was the last that waited."""
        try:
            self._spare.pop()
        except IndexError:
            self._add()

    def end_call(self) -> None:
        self._spare.append(None)

    def _add(self) -> None:
        with self._lock:
            if len(self._threads) < self._most and not self._stop.is_set():
                ended = threading.Event()
                thread = threading.Thread(target=self._work, args=(ended,), daemon=True,
                                          name=f"cosfs-fuse-{len(self._threads)}")
                try:
                    thread.start()
                except RuntimeError as exc:  # nothing may come out of here: libfuse would take it for an answer
                    log.warning("no more than %d threads serve the mount: %s", len(self._threads), exc)
                    self._most = len(self._threads)
                else:
                    self._threads.append((thread, ended))

    def _on_signal(self, number: int, frame: Any) -> None:
        self._stop.set()

    def _on_wake(self, number: int, frame: Any) -> None:
        """Nothing: the signal has interrupted read(2)."""

    def _work(self, ended: threading.Event) -> None:
        _loop(self._handle)
        ended.set()
        self._stop.set()
        with suppress(BlockingIOError):  # full of others
            os.write(self._wakes, b"\0")
        self._over.wait()  # a thread that is sent a signal must be there

    def _end(self) -> None:
        """End the loops: wake up the threads that wait for a request which may never come."""
        with self._lock:  # there will be no more
            threads = list(self._threads)
        for thread, ended in threads:
            while not ended.is_set():
                _exit(self._handle)
                signal.pthread_kill(thread.ident or 0, _WAKING)
                ended.wait(0.05)
        self._over.set()
        for thread, _ in threads:
            thread.join()


def caller_ids() -> Tuple[int, int, int]:
    """User, group and thread id of whoever made the request that this thread serves; 0 for an id out of sight."""
    uid, gid, tid = fuse.fuse_get_context()
    return uid, gid, tid


def run(operations: Callable[..., Any], mount_point: str, *, foreground: bool, threads: bool, options: FuseOptions,
        read_ahead_bytes: int = 0) -> None:
    """Mount, and serve until unmounted (``Binding.run``)."""
    words = ["cosfs", *(["-f"] if foreground else []), "-o", ",".join(fuse.FUSE._normalize_fuse_options(**options)),
             mount_point]
    _Fuse(operations, mount_point, read_ahead_bytes).serve(words, THREADS if threads else 1)
