"""Files that describe several mounts, one section each, for ``cosfs mount NAME``.

::

    [DEFAULT]                                   for all sections
    url = https://cos.ap-guangzhou.myqcloud.com

    [photos]
    bucket = examplebucket-1250000000:/photos
    mountpoint = ~/photos
    allow_other                                 options of -o, with or without a value
    cache_size = 20G

Defined here and only here: where the files are, and what a section may say. Options are checked against the one table
(cosfs/cli/options.py); a mistake names file and section. Keys are refused: such files are not kept secret.
"""

from __future__ import annotations

import configparser
import os
import re
from dataclasses import dataclass
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

from cosfs.cli.mount import CommandLine, UsageError

SYSTEM_FILE = "/etc/cosfs.conf"
COMMON = "DEFAULT"
BUCKET, MOUNT_POINT = "bucket", "mountpoint"

_NAME = re.compile(r"[\w.-]{1,31}", re.ASCII)
"""What may be shown as a name in a message; keys are longer."""
_SECRET = re.compile(r"secret|access_?key|(session|security|access)_?token|^(token|password)$", re.IGNORECASE)


@dataclass(frozen=True)
class Section:
    """One mount as a file describes it. ``options``: in the file's order; None for a word without a value."""

    file: str
    name: str
    options: Tuple[Tuple[str, Optional[str]], ...]
    bucket: str
    mount_point: str

    @property
    def place(self) -> str:
        return f"{self.file} [{self.name}]"

    @property
    def by_hand_only(self) -> bool:
        """``noauto``, as in fstab: left out by ``--all``."""
        return any(name == "noauto" for name, _ in self.options)


def usual_files(environment: Optional[Mapping[str, str]] = None) -> List[str]:
    """The user's file and the system's; a section of the first goes before one of that name in the second."""
    values = os.environ if environment is None else environment
    base = values.get("XDG_CONFIG_HOME", "")
    own = base if os.path.isabs(base) else os.path.expanduser("~/.config")
    return [os.path.join(own, "cosfs", "mounts.conf"), SYSTEM_FILE]


def read(files: Sequence[str], *, needed: bool = False) -> Dict[str, Section]:
    """All sections by name. ``needed``: a file that is not there is a mistake. Raises: UsageError."""
    found: Dict[str, Section] = {}
    for file in files:
        for section in _read_one(file, needed=needed):
            found.setdefault(section.name, section)
    return found


def _read_one(file: str, *, needed: bool) -> List[Section]:
    parser = configparser.ConfigParser(allow_no_value=True, delimiters=("=",), comment_prefixes=("#", ";"),
                                       interpolation=None, default_section="")
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # names of options know capital letters
    try:
        with open(file, encoding="utf-8-sig") as text:
            parser.read_file((line.lstrip() for line in text), file)  # indented lines continue nothing
    except FileNotFoundError:
        if needed:
            raise UsageError(f"{file} does not exist; write a section for each mount into it") from None
        return []
    except OSError as exc:
        raise UsageError(f"{file} cannot be read ({exc.strerror}); correct that, or give another --config") from None
    except UnicodeDecodeError:
        raise UsageError(f"{file} is no text in UTF-8; correct it") from None
    except configparser.Error as exc:
        raise UsageError(f"{file}: {_mistake(exc)}") from None
    common = dict(parser[COMMON]) if COMMON in parser else {}
    return [_section(file, name, common, dict(parser[name])) for name in parser.sections() if name != COMMON]


def _mistake(exc: configparser.Error) -> str:
    """What is wrong with a file's form; never the text of its lines, which may be a key."""
    line = getattr(exc, "lineno", None) or next((number for number, _ in getattr(exc, "errors", [])), None)
    where = f"line {line}" if line else "the file"
    if isinstance(exc, configparser.DuplicateSectionError):
        return f"{where} begins [{exc.section}] a second time; join the two"
    if isinstance(exc, configparser.DuplicateOptionError):
        return f"{where} gives {exc.option} in [{exc.section}] a second time; remove one"
    if isinstance(exc, configparser.MissingSectionHeaderError):
        return f"{where} stands before any section; begin with a line [NAME]"
    return f"{where} is no [NAME] and no NAME = VALUE; correct it"


def _section(file: str, name: str, common: Mapping[str, Optional[str]], own: Mapping[str, Optional[str]]) -> Section:
    place = f"{file} [{name}]"
    # what is common comes first: of options that set the same thing, the last one counts
    items = {**{option: value for option, value in common.items() if option not in own}, **own}
    for option in items:
        if not _NAME.fullmatch(option):
            raise UsageError(f"{place}: a line is neither NAME = VALUE nor the name of an option; correct it")
        if _SECRET.search(option):
            raise UsageError(f"{place}: {option} does not belong here, because others may read this file; write the "
                             "keys into a file of their own and name that: passwd_file = PATH")
    words = {}
    for word, example in ((BUCKET, "examplebucket-1250000000"), (MOUNT_POINT, "/mnt/bucket")):
        value = items.get(word)
        if not value:
            raise UsageError(f"{place}: {word} is missing; add a line such as {word} = {example}")
        words[word] = value
    options = tuple((option, value) for option, value in items.items() if option not in words)
    return Section(file, name, options, words[BUCKET], os.path.abspath(os.path.expanduser(words[MOUNT_POINT])))


def apply(section: Section, line: CommandLine) -> None:
    """Have a command line say what the section does. Raises: UsageError, naming file and section."""
    for name, value in section.options:
        try:
            line.apply(name, value)
        except UsageError as exc:
            text = str(exc).replace("see cosfs --help", "cosfs --help lists all")
            raise UsageError(f"{section.place}: {text}") from None
    line.words = [section.bucket, section.mount_point]
