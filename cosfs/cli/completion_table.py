"""What may stand where in a command line, for completion in a shell.

Nothing is listed here: options come from their table (options.py), switches from each command's parser or its
``--help``, words from what the manual page says of a command (man.py). Used by what writes for each shell.
"""

from __future__ import annotations

import argparse
import enum
import importlib
import re
import textwrap
from dataclasses import dataclass
from typing import Dict, Iterator, List, Optional, Sequence, Tuple

from cosfs.cli import COMMANDS, MODULES, options
from cosfs.cli.man import commands
from cosfs.cli.mount import SWITCHES
from cosfs.cli.options import Option, State

NOTHING, FILE, FOLDER, USER, GROUP = "nothing", "file", "folder", "user", "group"
MOUNT, SECTION, OPTIONS, COMMAND, WORDS = "mount", "section", "options", "command", "words"
"""Kinds of what is wanted: ``MOUNT`` a mount of cosfs that there is, ``SECTION`` one of the file of mounts, ``OPTIONS``
options joined by commas, ``COMMAND`` a command or a bucket, ``WORDS`` one of certain words."""

_WIDTH = 60
_HELP = ("--help", "this text")
_KINDS = {"FILE": FILE, "PATH": FILE, "DIR": FOLDER, "FOLDER": FOLDER, "MOUNTPOINT": FOLDER, "NAME": SECTION,
          "OPTION": OPTIONS}


@dataclass(frozen=True)
class Wanted:
    """What completes a word."""

    kind: str
    words: Tuple[str, ...] = ()


@dataclass(frozen=True)
class Switch:
    """A switch in all its spellings; ``value``: None if it takes none."""

    names: Tuple[str, ...]
    text: str
    value: Optional[Wanted] = None


@dataclass(frozen=True)
class Command:
    """A command, or the mount itself (``name`` is empty). ``words``: those that are no switches, in order; with
    ``repeats`` the last kind goes on."""

    name: str
    text: str
    switches: Tuple[Switch, ...]
    words: Tuple[Wanted, ...]
    repeats: bool = False


@dataclass(frozen=True)
class Offer:
    """An option of -o under one of its names. ``alone``: it may stand without a value."""

    name: str
    text: str
    alone: bool
    value: Optional[Wanted]


def offers() -> List[Offer]:
    """All that may follow -o, by the order of the table: names and other names, but for those that are refused."""
    return [Offer(name, brief(option.help or _without_help(option)), alone=option.value is None or option.bare,
                  value=_value(option))
            for option in options.TABLE if option.state is not State.REFUSED
            for name in (option.name, *option.aliases)]


def _without_help(option: Option) -> str:
    return "no effect here" if option.state is State.DROPPED else "passed to the kernel or the FUSE library"


def _value(option: Option) -> Optional[Wanted]:
    if option.value is None:
        return None
    if option.value.words:
        return Wanted(WORDS, option.value.words)
    return Wanted(option.value.names or NOTHING)


def brief(text: str) -> str:
    """The first clause, at most a line of a list."""
    clause = re.split(r"[;:.] ", " ".join(text.split()), maxsplit=1)[0].rstrip(".")
    return re.sub(r" \([^)]*$", "", textwrap.shorten(clause, _WIDTH, placeholder=" ..."))


def mount_command() -> Command:
    """The command line that begins with a bucket, or with the name of a command."""
    return Command("", "", tuple(_mount_switches()), (Wanted(COMMAND), Wanted(FOLDER)))


def all_commands() -> List[Command]:
    """The other commands, by name."""
    told = commands()
    return [_command(name, *told[name]) for name in COMMANDS]


def _command(name: str, form: str, text: str) -> Command:
    words = [word for word in form.split()[1:] if word != "|" and word.strip("[")[0] != "-"]
    names = [word.strip("[].") for word in words]
    wanted = tuple(_word(word, after=names[:number]) for number, word in enumerate(names))
    return Command(name, brief(text), tuple(_switches(name)), wanted, repeats=form.rstrip("]").endswith("..."))


def _word(word: str, *, after: Sequence[str]) -> Wanted:
    """What stands for a word in a form such as ``doctor BUCKET-APPID [MOUNTPOINT]``."""
    if word.islower():
        return Wanted(WORDS, tuple(word.split("|")))
    if word == "MOUNTPOINT" and not after:
        return Wanted(MOUNT)
    return Wanted(_KINDS.get(word, NOTHING))


def _switches(name: str) -> Iterator[Switch]:
    """Of a command; of one that does not run here, because it needs a package of an extra, --help alone."""
    found: List[Switch]
    try:
        module = importlib.import_module(f"cosfs.cli.{MODULES.get(name, name)}")
    except ModuleNotFoundError:
        found = []
    else:
        found = list(_of_parser(module._parser()) if hasattr(module, "_parser") else _of_help(module.HELP))
    given = {name for switch in found for name in switch.names}
    yield from found
    if "--help" not in given:
        yield Switch((_HELP[0],), _HELP[1])


def _of_parser(parser: argparse.ArgumentParser) -> Iterator[Switch]:
    for action in parser._actions:
        if action.option_strings:
            metavar = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
            value = None if action.nargs == 0 else _metavar(metavar)
            if action.choices is not None:
                value = Wanted(WORDS, tuple(choice.value if isinstance(choice, enum.Enum) else str(choice)
                                            for choice in action.choices))
            text = _HELP[1] if "--help" in action.option_strings else brief(action.help or "")
            yield Switch(tuple(action.option_strings), text, value)


def _of_help(text: str) -> Iterator[Switch]:
    """The switches of a help text, whose lines begin with two blanks and a dash; further lines of one stand deeper."""
    mount = {name: switch for switch in _mount_switches() for name in switch.names}
    found: Dict[str, Switch] = {}
    for term, told in re.findall(r"^  (-\S*(?: [^ \n]+)*)(?:  +(.*(?:\n {4,}\S.*)*))?$", text, re.MULTILINE):
        for form in re.split(r", (?=-)", term):
            switch = _form(form, told)
            found[switch.names[0]] = mount.get(switch.names[0], switch)
    usage = re.match(r"(?:usage:| ).*(?:\n .*)*", text)
    if usage is not None and re.search(r"\s\[?-o\b", usage[0]):
        found.setdefault("-o", mount["-o"])
    yield from found.values()


def _mount_switches() -> Iterator[Switch]:
    for forms, text in SWITCHES:
        names: List[str] = []
        value: Optional[Wanted] = None
        for form in re.split(r", (?=-)", forms):
            switch = _form(form, text)
            names += switch.names
            value = switch.value or value
        yield Switch(tuple(names), brief(text), value)


def _form(form: str, text: str) -> Switch:
    """``--export DIR`` and the like."""
    name, _, metavar = form.partition(" ")
    return Switch((name,), brief(text), _metavar(metavar) if metavar else None)


def _metavar(metavar: str) -> Wanted:
    return Wanted(_KINDS.get(re.split(r"[^A-Z-]", metavar)[0], NOTHING))
