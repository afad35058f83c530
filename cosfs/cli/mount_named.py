"""``cosfs mount NAME`` and ``cosfs mount --all``: mounts that a configuration file describes (mounts_file.py)."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Dict, List, Sequence, Tuple

from cosfs.cli.mount import CommandLine, UsageError, build, carry_out, one_line, reported, scan
from cosfs.cli.mounts_file import Section, apply, read, usual_files
from cosfs.config import MountConfig
from cosfs.dead_mounts import is_dead
from cosfs.errors import CosfsError
from cosfs.mount_table import KIND, mount_at

HELP = """\
usage: cosfs mount NAME [-o OPTION[,OPTION...]] [-fsd] [--config FILE]
       cosfs mount --all | --list [--config FILE]
Mount what a section of a configuration file describes.

  NAME            the section
  --all           all that are not mounted yet, but for those with noauto
  --list          show the sections, where they are mounted, and change nothing
  --config FILE   read this file; by default ~/.config/cosfs/mounts.conf and
                  /etc/cosfs.conf, of which the first to have a NAME counts
  -o, -f, -s, -d  as in cosfs --help; options given here win over the file's

A section has a bucket, a mountpoint, and options as -o has them:

  [photos]
  bucket = examplebucket-1250000000:/photos
  mountpoint = /mnt/photos
  url = https://cos.ap-guangzhou.myqcloud.com
  passwd_file = /etc/passwd-cosfs
  allow_other

What stands in [DEFAULT] holds for all sections. Keys are refused in the file."""


@dataclass
class _Words:
    """The command's own words; the rest is the mount command's."""

    files: Sequence[str]
    needed: bool = False
    every: bool = False
    show: bool = False
    rest: Tuple[str, ...] = ()


def _own_words(argv: Sequence[str]) -> _Words:
    words = _Words(usual_files())
    rest: List[str] = []
    left = list(argv)
    while left:
        word = left.pop(0)
        name, equals, value = word.partition("=")
        if word in ("--all", "-a"):
            words.every = True
        elif word == "--list":
            words.show = True
        elif name == "--config":
            if not equals:
                value = left.pop(0) if left else ""
            if not value:
                raise UsageError("--config needs a file; write --config FILE")
            words.files, words.needed = [value], True
        else:
            rest.append(word)
            if word == "-o" and left:
                rest.append(left.pop(0))
    words.rest = tuple(rest)
    return words


def run(argv: Sequence[str]) -> int:
    """Carry out the command; returns the exit status."""
    return reported(lambda: _run(_own_words(argv)))


def _run(words: _Words) -> int:
    given = scan(words.rest)
    if given.show:
        print(HELP)
        return 0
    if given.utility:
        raise UsageError("-u is no switch of cosfs mount; unfinished uploads are shown by: cosfs uploads list "
                         "BUCKET-APPID")
    if words.every or words.show:
        if given.words or (words.every and words.show):
            raise UsageError("--all and --list stand alone; see cosfs mount --help")
        sections = read(words.files, needed=words.needed)
        return _list(sections) if words.show else _mount_all(sections, words)
    if len(given.words) == 2:
        raise UsageError("cosfs mount takes the name of a section; to mount a bucket, leave the word out: cosfs "
                         "BUCKET-APPID MOUNTPOINT -o url=URL")
    if len(given.words) != 1:
        raise UsageError("cosfs mount takes the name of a section, or --all; see cosfs mount --help")
    return carry_out(*_prepare(_chosen(given.words[0], words), words.rest))


def _chosen(name: str, words: _Words) -> Section:
    sections = read(words.files, needed=words.needed)
    if name not in sections:
        known = f"; there are: {', '.join(sections)}" if sections else "; no mount is described there"
        raise UsageError(f"no section [{name}] in {' or '.join(words.files)}{known}")
    return sections[name]


def _prepare(section: Section, switches: Sequence[str]) -> Tuple[MountConfig, CommandLine]:
    """The mount of a section, with what the command line adds. Raises: UsageError, naming file and section."""
    line = CommandLine()
    apply(section, line)
    line = scan(switches, line)
    line.words = [section.bucket, section.mount_point]
    try:
        return build(line), line
    except UsageError as exc:
        raise UsageError(f"{section.place}: {exc}") from None


def _mounted(section: Section) -> bool:
    entry = mount_at(section.mount_point)
    return entry is not None and entry.kind == KIND and not is_dead(entry)


def _list(sections: Dict[str, Section]) -> int:
    for section in sections.values():
        state = "mounted" if _mounted(section) else "not mounted"
        print(f"{section.name}: {section.bucket} on {section.mount_point}, {state} ({section.file})")
    if not sections:
        print("no mount is described")
    return 0


def _mount_all(sections: Dict[str, Section], words: _Words) -> int:
    """One after the other; a mistake in one is told, and does not keep the others from being mounted."""
    if not sections:
        raise UsageError(f"no mount is described in {' or '.join(words.files)}; see cosfs mount --help")
    failed = 0
    for section in sections.values():
        if section.by_hand_only or _mounted(section):
            continue
        try:
            config, line = _prepare(section, words.rest)
            if config.foreground:
                raise UsageError("--all and -f do not go together: mounts in the foreground are one process each")
            carry_out(config, line)
        except CosfsError as exc:
            failed += 1
            print(f"cosfs: {section.name}: {one_line(str(exc))}", file=sys.stderr)
    return int(failed > 0)
