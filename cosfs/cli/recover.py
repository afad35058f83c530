"""``cosfs recover``: deal with what mounts that were killed have left on this machine, without mounting.

Options and credentials are those of the mount command (cosfs/cli/mount.py).
"""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass
from typing import List, Optional, Sequence, Tuple

from cosfs.cli.bucket_command import build_without_mount_point, run_on_bucket
from cosfs.cli.mount import CommandLine, UsageError, one_line
from cosfs.config import MountConfig
from cosfs.daemon import configure_logging
from cosfs.mount import export_waiting, list_waiting, recover

HELP = """\
usage: cosfs recover BUCKET-APPID[:/PREFIX] -o url=URL[,OPTION...]
                     [--list | --export DIR [--discard]]
Finish or undo what mounts that were killed on this machine have left undone.

A rename of a folder copies every object and then deletes the old ones. Before
that it writes a journal on the local disk (state_dir=). When it was cut off
while copying, the copies are deleted; when it was cut off while deleting, the
rest is deleted. Nothing is deleted whose content is not under its other name.

Files that a mount with the option writeback had promised and not uploaded yet
are uploaded. What conflict= says holds; what cannot be uploaded stays.

The next mount of the bucket does all this by itself. With PREFIX, only what is
below it is dealt with. What a running mount is at work on is left to it.

  --list        show the files that wait, and change nothing: path, bytes, since
                when, and why they could not be uploaded
  --export DIR  write these files to DIR instead of uploading them; parts that
                were not changed are fetched. No file there is overwritten, and
                the files go on waiting
  --discard     with --export: forget each file that was written whole

Options are those of the mount command, see cosfs --help; those that matter are
url, the ones about keys, conflict, and state_dir. What is done is logged to
standard error, or to logfile=.

Exit status: 0 when nothing remains, 1 when something does or went wrong."""


@dataclass
class _Switches:
    """Those that the mount command does not have."""

    show: bool = False
    export: Optional[str] = None
    discard: bool = False


def _own_switches(argv: Sequence[str]) -> Tuple[_Switches, List[str]]:
    switches, rest = _Switches(), list(argv)
    for number, word in enumerate(list(rest)):
        if word == "--list":
            switches.show = True
        elif word == "--discard":
            switches.discard = True
        elif word == "--export":
            if number + 1 == len(argv):
                raise UsageError("--export needs a folder; write --export DIR")
            switches.export = argv[number + 1]
        elif word.startswith("--export="):
            switches.export = word.partition("=")[2]
        elif not (number and argv[number - 1] == "--export"):
            continue
        rest[number] = ""
    if switches.export == "":
        raise UsageError("--export needs a folder; write --export DIR")
    if switches.show and (switches.export or switches.discard):
        raise UsageError("--list stands alone; it changes nothing")
    if switches.discard and not switches.export:
        raise UsageError("--discard goes with --export DIR: what is forgotten is brought out first")
    return switches, [word for word in rest if word]


def run(argv: Sequence[str]) -> int:
    """Carry out the command; returns the exit status."""
    return run_on_bucket("recover", HELP, argv, _own_switches, _run)


def _run(line: CommandLine, switches: _Switches) -> int:
    if len(line.words) != 1:
        raise UsageError("one word is needed, BUCKET-APPID or BUCKET-APPID:/PREFIX; see cosfs recover --help")
    config = build_without_mount_point(line)
    configure_logging(min(config.log_level, logging.INFO), config.log_file, foreground=True,
                      as_json=config.log_as_json)
    if switches.show:
        return _list(config)
    if switches.export is not None:
        return _export(config, os.path.abspath(switches.export), discard=switches.discard)
    return _recover(config)


def _recover(config: MountConfig) -> int:
    found = recover(config)
    for journal in found:
        print(f"{journal.journal}: {journal.outcome}")
        for left in journal.left:
            print(f"  {left}")
    if not found:
        print("nothing to recover")
    return int(any(journal.remains for journal in found))


def _list(config: MountConfig) -> int:
    found = list_waiting(config)
    for file in found:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(file.since_s))
        notes = [note for note in ("its mount is running" if file.in_use else "", one_line(file.failure)) if note]
        print(f"{file.path}: {file.size_bytes} bytes, since {since}" + "".join(f"; {note}" for note in notes))
    if not found:
        print("no file waits")
    return int(bool(found))


def _export(config: MountConfig, target: str, *, discard: bool) -> int:
    found = export_waiting(config, target, discard=discard)
    for path, problem in found:
        print(f"{path}: {one_line(problem)}" if problem else path)
    if not found:
        print("no file waits")
    return int(any(problem for _, problem in found))
