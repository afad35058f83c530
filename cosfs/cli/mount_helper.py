"""``mount.cosfs``: what mount(8) calls for lines of fstab, and for ``mount -t cosfs`` and ``mount -t fuse.cosfs``.

Its words are those of mount(8)'s helpers: ``mount.cosfs SOURCE MOUNTPOINT [-sfnv] [-N NAMESPACE] [-o OPTIONS]
[-t TYPE]``. Two switches mean something else than in the ``cosfs`` command: ``-f`` checks without mounting, ``-s``
tolerates options that nobody knows.
"""

from __future__ import annotations

import getopt
import sys
from dataclasses import dataclass, field
from typing import Optional, Sequence

from cosfs.cli import options
from cosfs.cli.mount import CommandLine, UsageError, build, carry_out, reported, split_options
from cosfs.mount import fsname
from cosfs.version import __version__

HELP = """\
usage: mount.cosfs BUCKET-APPID[:/PREFIX] MOUNTPOINT [-sfnv]
                   [-o OPTION[,OPTION...]]
Called by mount(8), for lines of /etc/fstab of the types cosfs and fuse.cosfs.

  -o OPTION[,OPTION...]   options, see cosfs --help
  -s                      ignore options that are not known
  -f                      check everything that needs no network; do not mount
  -v                      say what was done
  -n                      accepted: nothing is written to /etc/mtab anyway

A line of fstab:
  BUCKET-APPID /mnt/bucket cosfs _netdev,allow_other,url=https://... 0 0"""


@dataclass
class Call:
    """What mount(8) asks for."""

    line: CommandLine = field(default_factory=CommandLine)
    fake: bool = False
    verbose: bool = False
    show: Optional[str] = None


def parse(argv: Sequence[str]) -> Call:
    """Read a helper's command line. Raises: UsageError."""
    call = Call()
    try:
        switches, call.line.words = getopt.gnu_getopt(list(argv), "sfnvhVN:t:o:", ["help", "version"])
    except getopt.GetoptError as exc:
        raise UsageError(f"{exc.msg}; see mount.cosfs --help") from None
    given = [switch for switch, _ in switches]
    for switch, text in switches:
        if switch == "-o":
            _apply(call.line, text, sloppy="-s" in given)
        elif switch == "-N":
            raise UsageError("another mount namespace is not supported; enter it first: nsenter -m -t PID mount ...")
        elif switch in ("-h", "--help", "-V", "--version"):
            call.show = call.show or switch
    call.fake, call.verbose = "-f" in given, "-v" in given
    return call


def _apply(line: CommandLine, text: str, *, sloppy: bool) -> None:
    for name, value in split_options(text):
        if sloppy and options.find(name) is None:
            line.warnings.append(f"option {name} is not known, and ignored")
        else:
            line.apply(name, value)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Carry out the call (by default the process's own command line); returns the exit status."""
    return reported(lambda: _run(parse(sys.argv[1:] if argv is None else argv)))


def _run(call: Call) -> int:
    if call.show:
        print(HELP if call.show in ("-h", "--help") else f"mount.cosfs {__version__}")
        return 0
    config = build(call.line)
    status = 0 if call.fake else carry_out(config, call.line)
    if call.verbose:
        print(f"{fsname(config)} {'would be' if call.fake else 'is'} mounted on {config.mount_point}")
    return status
