"""``cosfs top``: a live view of a mount in the terminal.

One thread; it waits for the keyboard between two looks. The terminal is put back however the command ends.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
import termios
import time
import tty
from contextlib import contextmanager
from typing import Dict, Iterator, NoReturn, Sequence

from cosfs.cli.mount_stats import NoStats, Stats, find_mount, read_stats, run_on_mount
from cosfs.cli.stats_view import fit, picture

HELP = """\
usage: cosfs top MOUNTPOINT [--interval SECONDS] [--once]
Show what the mount there is doing, anew every second: throughput, requests by
kind with their latencies, hits of its caches, memory and local disk in use,
uploads under way, and an estimate of what the requests have cost.

  --interval SECONDS   time between two looks, 0.1 or more (default: 1)
  --once               show one interval and end; also when the output is no
                       terminal

q ends it. Rates are those of the last interval, as are latencies and hits of
what was used in it; of all else they are since the mount began. What the
columns mean says cosfs stats --help."""

_LEAST_S, _MOST_S = 0.1, 3600.0
_ENTER, _LEAVE = b"\x1b[?1049h\x1b[?25l", b"\x1b[?25h\x1b[?1049l"
"""To the other screen, without a cursor, and back (xterm control sequences)."""
_QUIT = frozenset(b"qQ\x04")
_HOME, _REST_OF_LINE, _REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"


def run(argv: Sequence[str]) -> int:
    """Carry out the command; returns the exit status."""
    return run_on_mount("top", HELP, argv, ["once", "interval="], _watch)


def _watch(word: str, given: Dict[str, str]) -> int:
    interval_s = _interval(given.get("--interval", "1"))
    mount_point = find_mount(word)
    if "--once" in given or not sys.stdout.isatty() or not sys.stdin.isatty():
        _once(mount_point, word, interval_s)
    else:
        _live(mount_point, word, interval_s)
    return 0


def _interval(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not _LEAST_S <= seconds <= _MOST_S:
        raise NoStats(f"--interval {text} is wrong; give seconds, from {_LEAST_S} to {_MOST_S:.0f}")
    return seconds


def _once(mount_point: str, word: str, interval_s: float) -> None:
    before = read_stats(mount_point, word)
    time.sleep(interval_s)
    print("\n".join(picture(read_stats(mount_point, word), before)))


def _live(mount_point: str, word: str, interval_s: float) -> None:
    before = read_stats(mount_point, word)
    with _screen():
        wait_s = _LEAST_S  # the first picture soon
        while not _quit_within(wait_s):
            wait_s = interval_s
            now = read_stats(mount_point, word)
            _draw(now, before)
            before = now


def _draw(now: Stats, before: Stats) -> None:
    columns, rows = shutil.get_terminal_size()
    lines = [*picture(now, before, most_lines=max(0, rows - 2)), "", "q quits"]
    shown = [fit(line, columns) for line in lines[:rows]]
    rest = "\n" + _REST_OF_SCREEN if len(shown) < rows else ""
    sys.stdout.write(_HOME + "\n".join(_REST_OF_LINE + line for line in shown) + rest)
    sys.stdout.flush()


def _quit_within(seconds: float) -> bool:
    """Wait so long for the key that ends it; also the end of the input does."""
    until_s = time.monotonic() + seconds
    while True:
        left_s = until_s - time.monotonic()
        if left_s <= 0 or not select.select([sys.stdin], [], [], left_s)[0]:
            return False
        keys = os.read(sys.stdin.fileno(), 64)
        if not keys or _QUIT.intersection(keys):
            return True


@contextmanager
def _screen() -> Iterator[None]:
    """The terminal gives each key at once and shows none; SIGTERM ends it as Ctrl-C does, Ctrl-Z gives it back."""
    descriptor = sys.stdin.fileno()
    settings = termios.tcgetattr(descriptor)

    def enter() -> None:
        tty.setcbreak(descriptor)
        os.write(1, _ENTER)

    def leave() -> None:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, settings)
        os.write(1, _LEAVE)

    def end(number: int, _: object) -> NoReturn:
        raise SystemExit(128 + number)

    def stop(*_: object) -> None:
        leave()
        os.kill(os.getpid(), signal.SIGSTOP)
        enter()

    sys.stdout.flush()
    before = {signal.SIGTERM: signal.signal(signal.SIGTERM, end), signal.SIGTSTP: signal.signal(signal.SIGTSTP, stop)}
    try:
        enter()
        yield
    finally:
        leave()
        for number, handler in before.items():
            signal.signal(number, handler)
