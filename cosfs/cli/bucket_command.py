"""What ``cosfs doctor``, ``recover`` and ``uploads`` have in common: the mount command's words beside their own.

Their options and credentials are those of the mount command (mount.py), and so are their mistakes: one line.
"""

from __future__ import annotations

from typing import Callable, List, Sequence, Tuple, TypeVar

from cosfs.cli.mount import CommandLine, UsageError, build, reported, scan
from cosfs.config import MountConfig
from cosfs.version import __version__

Switches = TypeVar("Switches")

_NO_FOLDER = "/"
"""Stands where the mount command has its mount point; nothing is mounted."""


def run_on_bucket(name: str, text: str, argv: Sequence[str],
                  own_switches: Callable[[Sequence[str]], Tuple[Switches, List[str]]],
                  work: Callable[[CommandLine, Switches], int]) -> int:
    """Carry out the command ``name``, whose ``--help`` is ``text``; returns the exit status.

    ``own_switches`` takes the command's own words out; what is left is the mount command's.
    """
    def carry_out() -> int:
        switches, words = own_switches(argv)
        line = scan(words)
        if line.show:
            print(f"cosfs {__version__}" if line.show == "--version" else text)
            return 0
        if line.utility:
            raise UsageError(f"-u is no switch of cosfs {name}; unfinished uploads are shown by: cosfs uploads list "
                             "BUCKET-APPID")
        return work(line, switches)
    return reported(carry_out)


def build_without_mount_point(line: CommandLine) -> MountConfig:
    """The configuration for a command line that names no mount point. Raises: UsageError."""
    line.words.append(_NO_FOLDER)
    return build(line)
