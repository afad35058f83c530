"""``cosfs recover``: deal with what mounts that were killed have left on this machine, without mounting.

Options and credentials are those of the mount command (cosfs/cli/mount.py).
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from typing import Sequence

from cosfs.cli.mount import UsageError, build, one_line, scan
from cosfs.daemon import configure_logging
from cosfs.mount import recover
from cosfs.preflight import MountError

HELP = """\
usage: cosfs recover BUCKET-APPID[:/PREFIX] -o url=URL[,OPTION...]
Finish or undo what mounts that were killed on this machine have left undone.

A rename of a folder copies every object and then deletes the old ones. Before
that it writes a journal on the local disk (state_dir=). When it was cut off
while copying, the copies are deleted; when it was cut off while deleting, the
rest is deleted. The next mount of the bucket does the same by itself.

Nothing is deleted whose content is not under its other name. What does not fit
is left, and listed. With PREFIX, only renames below it are dealt with. A rename
that a running mount is at work on is left to it.

Options are those of the mount command, see cosfs --help; those that matter are
url, the ones about keys, and state_dir. What is done is logged to standard
error, or to logfile=.

Exit status: 0 when nothing remains, 1 when something does or went wrong."""


def run(argv: Sequence[str]) -> int:
    """Carry out the command; returns the exit status."""
    try:
        line = scan(argv)
        if line.show:
            print(HELP)
            return 0
        if len(line.words) != 1:
            raise UsageError("one word is needed, BUCKET-APPID or BUCKET-APPID:/PREFIX; see cosfs recover --help")
        line.words.append(os.curdir)  # the mount command's second word; nothing is mounted
        config = build(line)
        configure_logging(min(config.log_level, logging.INFO), config.log_file, foreground=True)
        found = recover(config)
    except (UsageError, MountError) as exc:
        print(f"cosfs: {one_line(str(exc))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    for journal in found:
        print(f"{journal.journal}: {journal.outcome}")
        for left in journal.left:
            print(f"  {left}")
    if not found:
        print("nothing to recover")
    return int(any(journal.remains for journal in found))
