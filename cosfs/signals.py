"""Signals that have the mount's process do something and go on, and those that must not end it while it stores.

The first (``signal_actions``) are blocked in every thread and waited for in one of their own: so no system call of a
thread that serves the kernel is interrupted, neither FUSE library sets a handler of its own that unmounts, and what is
done may block. It also works where Python's handlers would not be called: the main thread may stay inside libfuse.

Threading: ``signal_actions`` is entered before any other thread starts, in the process that serves the mount.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from contextlib import contextmanager, suppress
from typing import Callable, Iterator, Mapping

log = logging.getLogger(__name__)


@contextmanager
def signal_actions(actions: Mapping[signal.Signals, Callable[[], None]]) -> Iterator[None]:
    """Carry out the action of each signal that comes, one after the other; what fails is logged."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, actions)
    over = threading.Event()

    def serve() -> None:
        while True:
            number = signal.Signals(signal.sigwait(actions))
            if over.is_set():
                return
            try:
                actions[number]()
            except Exception:
                log.exception("%s was not carried out", number.name)

    thread = threading.Thread(target=serve, name="cosfs-signals", daemon=True)
    try:
        thread.start()
        yield
    finally:
        over.set()
        if thread.ident is not None:
            signal.pthread_kill(thread.ident, next(iter(actions)))
            thread.join()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def not_ended_by_signals(said: str) -> Iterator[None]:
    """Outlive SIGTERM and SIGINT while inside; each is answered by a line on standard error.

    The first such signal has unmounted; a second one, of a user without patience or of a machine that goes down, would
    end the process in the middle of storing what it holds. For the main thread.
    """
    def answer(number: int, _: object) -> None:
        with suppress(OSError):  # there may be nobody to tell; the log may be in use by this very thread
            os.write(2, f"cosfs: {signal.Signals(number).name}: {said}\n".encode(errors="replace"))

    before = {number: signal.signal(number, answer) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
