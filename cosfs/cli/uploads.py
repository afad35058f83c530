"""``cosfs uploads``: list, and abort, the uploads in parts of a bucket that were never finished.

Options and credentials are those of the mount command (cosfs/cli/mount.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import List, Sequence, Tuple

from cosfs.cli.bucket_command import build_without_mount_point, run_on_bucket
from cosfs.cli.mount import CommandLine, UsageError
from cosfs.cli.pending import Uploads, agreed, show
from cosfs.daemon import configure_logging

HELP = """\
usage: cosfs uploads list BUCKET-APPID[:/PREFIX] -o url=URL[,OPTION...]
                     [--older-than AGE] [--prefix P]
       cosfs uploads abort BUCKET-APPID[:/PREFIX] -o url=URL[,OPTION...]
                     [--older-than AGE] [--prefix P] [--yes]
Show, or abort, the uploads in parts that were neither finished nor aborted.
Their parts are in no object, and are paid for until the upload is aborted.

A mount aborts what it leaves behind, also after a crash, when it is made anew
on the same machine. What others left behind stays until somebody aborts it,
or a lifecycle rule of the bucket does.

  list              a line each: when it was begun, its id, its key
  abort             show them, ask, and abort them. Uploads that are going on
                    at this moment are among them: their programs then fail, so
                    give an age
  --older-than AGE  only those begun at least that long ago, such as 90m, 12h,
                    7d, 2w or 1d12h
  --prefix P        only those whose keys begin with P (behind PREFIX)
  --yes             do not ask

Options are those of the mount command, see cosfs --help; those that matter are
url and the ones about keys.

Exit status: 0 when done, 1 when something could not be aborted, or nothing was
because the answer was no."""

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_VALUES = {"--older-than": "an age such as 12h", "--prefix": "the beginning of keys"}


@dataclass
class _Switches:
    """Those that the mount command does not have."""

    older_than_s: float = 0.0
    prefix: str = ""
    yes: bool = False


def parse_age(text: str) -> float:
    """Seconds of ``1d12h``. Raises: UsageError."""
    parts = re.findall(r"(\d{1,9})([smhdw])", text.lower(), re.ASCII)
    if not parts or "".join(number + unit for number, unit in parts) != text.lower():
        raise UsageError(f"--older-than {text} is wrong; give an age such as 90m, 12h, 7d, 2w or 1d12h")
    return float(sum(int(number) * _UNITS_S[unit] for number, unit in parts))


def _own_switches(argv: Sequence[str]) -> Tuple[_Switches, List[str]]:
    switches, rest, words = _Switches(), [], list(argv)
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=")
        if word == "-o" and words:
            rest += [word, words.pop(0)]
        elif word == "--yes":
            switches.yes = True
        elif name in _VALUES:
            if not equals and not words:
                raise UsageError(f"{name} needs a value; give {_VALUES[name]}")
            value = value if equals else words.pop(0)
            if name == "--prefix":
                switches.prefix = value
            else:
                switches.older_than_s = parse_age(value)
        else:
            rest.append(word)
    return switches, rest


def run(argv: Sequence[str]) -> int:
    """Carry out the command; returns the exit status."""
    return run_on_bucket("uploads", HELP, argv, _own_switches, _run)


def _run(line: CommandLine, switches: _Switches) -> int:
    action = line.words.pop(0) if line.words else ""
    if action not in ("list", "abort"):
        raise UsageError(f"cosfs uploads {action or 'alone'} is no command; write cosfs uploads list BUCKET-APPID, "
                         "or abort, see cosfs uploads --help")
    if switches.yes and action == "list":
        raise UsageError("--yes goes with abort; list changes nothing")
    if len(line.words) != 1:
        raise UsageError(f"one word is needed after {action}, BUCKET-APPID or BUCKET-APPID:/PREFIX; see cosfs "
                         "uploads --help")
    config = build_without_mount_point(line)
    configure_logging(config.log_level, config.log_file, foreground=True, as_json=config.log_as_json)
    with Uploads(config) as uploads:
        found = uploads.find(switches.prefix, older_than_s=switches.older_than_s)
        show(found)
        if not found:
            print("no unfinished upload")
            return 0
        if action == "list":
            return 0
        if not switches.yes and not agreed(f"Abort {_counted(len(found))}? [y/N]"):
            print("nothing was aborted")
            return 1
        failed = uploads.abort(found)
        print(f"{_counted(len(found) - failed)} aborted")
        return int(failed > 0)


def _counted(number: int) -> str:
    return f"{number} upload{'' if number == 1 else 's'}"
