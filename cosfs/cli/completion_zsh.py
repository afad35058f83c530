"""Completion for zsh: a function for its completion system (zshcompsys(1)), with descriptions."""

from __future__ import annotations

from typing import Iterator, List, Optional

from cosfs.cli.completion_table import Command, Offer, Switch, Wanted, all_commands, mount_command, offers
from cosfs.version import __version__

_SCRIPT = r"""#compdef cosfs
# Completion for zsh, made by: cosfs completion zsh (cosfs @VERSION@)

_cosfs_options()
{
    _values -s , option \
@OPTIONS@
}

_cosfs_commands()
{
    local -a commands=(
@COMMANDS@
    )
    _describe -t commands 'command, or bucket' commands
}

_cosfs_mounts()
{
    local -a mounts
    local point kind rest
    while read -r rest point kind rest; do
        [[ $kind == fuse.cosfs ]] && mounts+=("${(g:o:)point}")
    done </proc/self/mounts
    _wanted mounts expl 'mount of cosfs' compadd -a mounts || _files -/
}

_cosfs_sections()
{
    local -a files=(${XDG_CONFIG_HOME:-$HOME/.config}/cosfs/mounts.conf /etc/cosfs.conf) sections
    [[ -n $opt_args[--config] ]] && files=(${~opt_args[--config]})
    sections=(${(f)"$(sed -n 's/^[[:space:]]*\[\(.*\)\].*/\1/p' $files 2>/dev/null)"})
    sections=(${sections:#DEFAULT})
    _wanted sections expl 'mount by name' compadd -a sections
}

_cosfs()
{
    local curcontext=$curcontext state line expl
    typeset -A opt_args
    local command=
    if ((CURRENT > 2)) && [[ " @NAMES@ " == *" $words[2] "* ]]; then
        command=$words[2]
        shift words
        ((CURRENT--))
    fi
    case $command in
@ARGUMENTS@
    esac
}

_cosfs "$@"
"""


def script() -> str:
    """The whole script."""
    commands = all_commands()
    parts = {
        "VERSION": __version__,
        "NAMES": " ".join(command.name for command in commands),
        "COMMANDS": "\n".join(f"        {_quoted(command.name + ':' + command.text)}" for command in commands),
        "OPTIONS": _joined([_option(offer) for offer in offers()], 8),
        "ARGUMENTS": "\n".join(_arguments(command) for command in (mount_command(), *commands)),
    }
    text = _SCRIPT
    for name, part in parts.items():
        text = text.replace(f"@{name}@", part)
    return text


def _arguments(command: Command) -> str:
    specs = [spec for switch in command.switches for spec in _switch(switch)]
    for number, wanted in enumerate(command.words, 1):
        place = "*" if command.repeats and number == len(command.words) else str(number)
        specs.append(_quoted(f"{place}:{_message(wanted)}:{_action(wanted)}"))
    return f"        {command.name or repr('')})\n            _arguments -s \\\n{_joined(specs, 16)} ;;"


def _switch(switch: Switch) -> Iterator[str]:
    """One specification for each spelling, which may be given again."""
    for name in switch.names:
        takes = ""
        if switch.value is not None:
            name += "=" if name.startswith("--") else "+"
            takes = f":{_message(switch.value)}:{_action(switch.value)}"
        yield _quoted(f"*{name}[{_escaped(switch.text)}]{takes}")


def _option(offer: Offer) -> str:
    spec = f"{offer.name}[{_escaped(offer.text)}]"
    if offer.value is not None:
        spec += f"{'::' if offer.alone else ':'}{_message(offer.value)}:{_action(offer.value)}"
    return _quoted(spec)


_ACTIONS = {"file": "_files", "folder": "_files -/", "user": "_users", "group": "_groups", "mount": "_cosfs_mounts",
            "section": "_cosfs_sections", "options": "_cosfs_options", "command": "_cosfs_commands", "nothing": ""}


def _action(wanted: Wanted) -> str:
    return f"({' '.join(wanted.words)})" if wanted.words else _ACTIONS[wanted.kind]


def _message(wanted: Wanted) -> str:
    return "value" if wanted.kind in ("words", "nothing") else wanted.kind


def _escaped(text: Optional[str]) -> str:
    """Text within the brackets of a specification."""
    found = (text or "").replace("\\", "\\\\")
    for mark in "[]:":
        found = found.replace(mark, "\\" + mark)
    return found


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _joined(specs: List[str], indent: int) -> str:
    return " \\\n".join(" " * indent + spec for spec in specs)
