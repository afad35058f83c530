"""``cosfs man``: the manual page, made from the same tables as ``--help`` and the parser.

On a terminal it is shown by man(1); elsewhere its source comes out, for a file such as man1/cosfs.1.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import Dict, List, Sequence, Tuple

from cosfs.cli import COMMANDS, options
from cosfs.cli.mount import SWITCHES, described, form
from cosfs.cli.mounts_file import usual_files
from cosfs.cli.options import Option, State
from cosfs.version import __version__

HELP = """\
usage: cosfs man
Show the manual page. Into a pipe or a file goes its source:

  cosfs man | sudo tee /usr/local/share/man/man1/cosfs.1 >/dev/null"""

_COMMANDS = {
    "bench": ("bench", "measure mounts on this machine, or of a bucket"),
    "completion": ("completion bash|zsh|fish", "print what completes command lines in that shell"),
    "doctor": ("doctor BUCKET-APPID [MOUNTPOINT]", "look at all that a mount depends on, each with its next step"),
    "man": ("man", "show this page"),
    "mount": ("mount NAME | --all | --list", "mount what a configuration file describes"),
    "recover": ("recover BUCKET-APPID[:/PREFIX]", "deal with what killed mounts have left, without mounting"),
    "restore": ("restore PATH...", "have archived files of a mount restored, or show how far that is"),
    "serve": ("serve DIR", "serve folders as buckets, for tests and offline work"),
    "stats": ("stats MOUNTPOINT", "show what a mount has done: requests, latencies, caches, uploads"),
    "systemd-unit": ("systemd-unit", "print a template for systemd, with mounts by name as services"),
    "top": ("top MOUNTPOINT", "show that live"),
    "umount": ("umount MOUNTPOINT", "unmount, and wait until all is in the bucket"),
    "uploads": ("uploads list|abort BUCKET-APPID", "show, or take back, uploads in parts that were never finished"),
}

_DESCRIPTION = """\
Mounts a bucket of Tencent COS, or of another service that speaks the S3 protocol, as a folder: one file is one object,
byte for byte. The command returns when the mount answers, or says in one line what is wrong and what to do.
PREFIX mounts a part of the bucket. Options follow -o, joined by commas; a comma within a value is written \\,."""

_FSTAB = "examplebucket-1250000000 /mnt/bucket cosfs _netdev,allow_other,url=https://cos.ap-guangzhou.myqcloud.com 0 0"


def page() -> str:
    """The source of the page, for man(7)."""
    parts = [f'.TH COSFS 1 "" "cosfs {__version__}" "User Commands"',
             ".SH NAME", "cosfs, mount.cosfs \\- mount a bucket of object storage as a folder", ".SH SYNOPSIS",
             *_synopsis("BUCKET-APPID[:/PREFIX] MOUNTPOINT -o url=URL[,OPTION...] [-fsd]"),
             *(line for name in COMMANDS for line in (".br", *_synopsis(_usage(name)))),
             ".SH DESCRIPTION", _escaped(_DESCRIPTION),
             ".SH COMMANDS", *_entries([(f"cosfs {_usage(name)}", _told(name)) for name in COMMANDS]),
             "Each has --help.".replace("-", "\\-"),
             ".SH SWITCHES", *_entries(SWITCHES), ".SH OPTIONS"]
    for title, members in sections().items():
        parts.append(f".SS {_escaped(title)}")
        if members[0].help:
            parts += _entries([(form(option), described(option)) for option in members])
        else:
            parts.append(_escaped(", ".join(form(option) for option in members)))
    own, system = usual_files({"XDG_CONFIG_HOME": ""})[0], usual_files()[1]
    parts += [".SH FILES", *_entries([
        ("~/.passwd-cosfs, /etc/passwd-cosfs", "keys, readable by their owner only"),
        (f"~/.config/{own.partition('/.config/')[2]}, {system}", "mounts by name, see cosfs mount --help"),
        ("/var/lib/cosfs, ~/.local/state/cosfs", "what outlives a mount (state_dir=)"),
        ("/etc/fstab", _FSTAB)]),
        ".SH EXIT STATUS", "0 when the mount answers, in the foreground when it has ended cleanly; else 1.",
        ".SH SEE ALSO", ".BR mount (8), .BR umount (8), .BR fusermount (1)".replace(", .BR", ",\n.BR")]
    return "\n".join(parts) + "\n"


def sections() -> Dict[str, List[Option]]:
    """The options that a user may give, by title, in the order of the table."""
    found: Dict[str, List[Option]] = {}
    for option in options.TABLE:
        if option.state is not State.REFUSED:
            found.setdefault(option.section, []).append(option)
    return found


def commands() -> Dict[str, Tuple[str, str]]:
    """How each command is written, without ``cosfs``, and what it does."""
    return {name: (_usage(name), _told(name)) for name in COMMANDS}


def _usage(name: str) -> str:
    return _COMMANDS.get(name, (name, ""))[0]


def _told(name: str) -> str:
    return _COMMANDS.get(name, ("", f"see cosfs {name} --help"))[1]


def _synopsis(words: str) -> List[str]:
    return [f".B cosfs\n{_escaped(words)}"]


def _entries(rows: Sequence[Sequence[str]]) -> List[str]:
    return [f".TP\n.B {_escaped(term)}\n{_escaped(text)}" for term, text in rows] + [".PP"]


def _escaped(text: str) -> str:
    """Text that man(7) takes for nothing but text."""
    plain = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join("\\&" + line if line.startswith((".", "'")) else line for line in plain.split("\n"))


def run(argv: Sequence[str]) -> int:
    """Carry out the command; returns the exit status."""
    if argv:
        asked = argv[0] in ("-h", "--help")
        print(HELP if asked else f"cosfs: cosfs man takes no word {argv[0]}; see cosfs man --help",
              file=sys.stdout if asked else sys.stderr)
        return int(not asked)
    if sys.stdout.isatty() and shutil.which("man"):
        return subprocess.run(["man", "-l", "-"], input=page(), text=True, check=False).returncode
    print(page(), end="")
    return 0
