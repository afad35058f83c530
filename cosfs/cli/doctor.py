"""``cosfs doctor``: look at all that a mount depends on, and say what to do about each thing that is wrong.

Options and credentials are those of the mount command (cosfs/cli/mount.py); the checks are in cosfs/doctor/.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import textwrap
from contextlib import closing
from dataclasses import dataclass
from typing import Iterable, List, Sequence, TextIO, Tuple

from cosfs.cli.bucket_command import build_without_mount_point, run_on_bucket
from cosfs.cli.mount import WIDTH, CommandLine, UsageError, build, one_line
from cosfs.daemon import configure_logging
from cosfs.doctor import Finding, State, examine

HELP = """\
usage: cosfs doctor BUCKET-APPID[:/PREFIX] [MOUNTPOINT] -o url=URL[,OPTION...]
                    [--write-test] [--json]
Look at all that a mount of the bucket depends on, without mounting it.

Endpoint, name, connection, certificate, clock, keys, bucket, region, each
permission that a mount needs, FUSE, mount point, folders and free space. Each
line is ok, a warning, a failure, or skipped, followed by what to do. What
depends on something that failed is skipped.

  --write-test  try what writes, too: one object below PREFIX, of a name that
                nobody else has, and uploads of it; all is removed again, but
                for versions in a bucket that keeps them.
                Without it nothing is changed, neither in the bucket nor here
  --json        one list of objects: section, check, state, text, next

Options are those of the mount command, see cosfs --help; give those that the
mount is to have.

Exit status: 0, or 1 when something failed."""

NAME_WIDTH = 13
STATE_WIDTH = 9
COLOURS = {State.OK: "32", State.WARNING: "33", State.FAILURE: "31", State.SKIPPED: "2"}
"""Parameters of SGR (ECMA-48): green, yellow, red, faint."""


@dataclass
class _Switches:
    """Those that the mount command does not have."""

    as_json: bool = False
    write_test: bool = False


def _own_switches(argv: Sequence[str]) -> Tuple[_Switches, List[str]]:
    switches = _Switches("--json" in argv, "--write-test" in argv)
    return switches, [word for word in argv if word not in ("--json", "--write-test")]


def run(argv: Sequence[str]) -> int:
    """Carry out the command; returns the exit status."""
    return run_on_bucket("doctor", HELP, argv, _own_switches, _run)


def _run(line: CommandLine, switches: _Switches) -> int:
    if len(line.words) not in (1, 2):
        raise UsageError("one or two words are needed, BUCKET-APPID and MOUNTPOINT; see cosfs doctor --help")
    with_mount_point = len(line.words) == 2
    config = build(line) if with_mount_point else build_without_mount_point(line)
    _configure_logging(config.log_level)
    with closing(examine(config, with_mount_point=with_mount_point, write_test=switches.write_test)) as found:
        return _report_json(found) if switches.as_json else _report(found, sys.stdout)


def _configure_logging(level: int) -> None:
    """What is wrong is told by the findings; warnings are for those who ask for more than a mount logs by itself. The
    log does not go to ``logfile=``, which would be made: nothing is changed here."""
    configure_logging(level if level < logging.WARNING else max(level, logging.ERROR), None, foreground=True)


def _report_json(found: Iterable[Finding]) -> int:
    findings = list(found)
    print(json.dumps([{"section": finding.section, "check": finding.check, "state": finding.outcome.state.value,
                       "text": one_line(finding.outcome.text), "next": one_line(finding.outcome.advice)}
                      for finding in findings], indent=1, ensure_ascii=False))
    return _status(findings)


def _report(found: Iterable[Finding], out: TextIO) -> int:
    """Print each finding as it comes."""
    coloured = out.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    findings: List[Finding] = []
    for finding in found:
        if not findings or findings[-1].section != finding.section:
            print(("\n" if findings else "") + finding.section, file=out)
        findings.append(finding)
        print(render(finding, coloured=coloured), file=out, flush=True)
    print("\n" + _summary(findings), file=out)
    return _status(findings)


def _summary(findings: Sequence[Finding]) -> str:
    counts = {state: sum(finding.outcome.state is state for finding in findings) for state in State}
    several = {State.WARNING: "warnings", State.FAILURE: "failures"}
    return ", ".join(f"{count} {several.get(state, state.value) if count != 1 else state.value}"
                     for state, count in counts.items())


def _status(findings: Iterable[Finding]) -> int:
    return int(any(finding.outcome.state is State.FAILURE for finding in findings))


def render(finding: Finding, *, coloured: bool) -> str:
    """A finding in lines of 80 columns, but for words that are longer than fits."""
    outcome = finding.outcome
    indent = 2 + STATE_WIDTH + NAME_WIDTH
    lines = _wrapped(outcome.text, WIDTH - indent) or [""]
    if outcome.advice:
        first, *rest = _wrapped(outcome.advice, WIDTH - indent - 3)
        lines += [f"-> {first}", *(f"   {line}" for line in rest)]
    state = outcome.state.value.ljust(STATE_WIDTH)
    if coloured:
        state = f"\033[{COLOURS[outcome.state]}m{state}\033[0m"
    head = f"  {state}{finding.check.ljust(NAME_WIDTH)}{lines[0]}"
    return "\n".join([head, *(" " * indent + line for line in lines[1:])])


def _wrapped(text: str, width: int) -> List[str]:
    """Names, paths and URLs stay whole, so that they can be copied."""
    return textwrap.wrap(one_line(text), width, break_long_words=False, break_on_hyphens=False)
