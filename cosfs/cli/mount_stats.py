"""What ``cosfs stats`` and ``cosfs top`` have in common: finding a mount, and reading what it tells of itself."""

from __future__ import annotations

import errno
import getopt
import json
import os
from typing import Any, Callable, Dict, Sequence

from cosfs.cli.mount import reported
from cosfs.errors import CosfsError

Stats = Dict[str, Any]
"""The content of ``.cosfs/stats``; docs/SEMANTICS.md has its fields."""


class NoStats(CosfsError):
    """There is nothing to read there; the message is the whole line shown, but for the program's name."""


def run_on_mount(name: str, text: str, argv: Sequence[str], switches: Sequence[str],
                 work: Callable[[str, Dict[str, str]], int]) -> int:
    """Carry out the command ``name``, whose ``--help`` is ``text``; returns the exit status.

    ``switches``: its long ones, as getopt(3) has them. ``work`` gets the mount point as given, and those given.
    """
    def carry_out() -> int:
        try:
            found, words = getopt.gnu_getopt(list(argv), "h", ["help", *switches])
        except getopt.GetoptError as exc:
            raise NoStats(f"{exc.msg}; see cosfs {name} --help") from None
        given = dict(found)
        if given.keys() & {"-h", "--help"}:
            print(text)
            return 0
        if len(words) != 1:
            raise NoStats(f"one word is needed, the mount point; see cosfs {name} --help")
        return work(words[0], given)
    return reported(carry_out)


def find_mount(word: str) -> str:
    """The mount point at or above a path. Raises: NoStats."""
    path = os.path.realpath(word)
    try:
        os.stat(path)
        while not os.path.ismount(path):
            path = os.path.dirname(path)
    except OSError as exc:
        raise NoStats(_reason(word, exc)) from exc
    return path


def read_stats(mount_point: str, word: str) -> Stats:
    """What the mount tells now. ``word``: how the user named it. Raises: NoStats."""
    try:
        with open(os.path.join(mount_point, ".cosfs", "stats"), "rb") as file:
            stats = json.loads(file.read())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        stats = None
    except OSError as exc:
        raise NoStats(_reason(word, exc)) from exc
    if not isinstance(stats, dict) or stats.get("program") != "cosfs":
        raise NoStats(f"{word} is in no mount of cosfs; give the folder that a bucket is mounted on, as "
                      "mount -t fuse.cosfs shows them")
    return stats


def _reason(word: str, exc: OSError) -> str:
    if exc.errno == errno.ENOENT:
        return f"{word} does not exist; give the folder that a bucket is mounted on"
    if exc.errno == errno.ENOTCONN:
        return f"{word} is a dead mount (transport endpoint is not connected); clear it with: fusermount -uz {word}"
    if exc.errno in (errno.EACCES, errno.EPERM):
        return f"{word} tells its statistics to its owner only; ask as the user who has mounted it, or as root"
    return f"{word} cannot be read ({exc.strerror}); see its log"
