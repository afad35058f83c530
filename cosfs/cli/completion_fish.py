"""Completion for fish 3.2 and newer, with descriptions."""

from __future__ import annotations

from typing import Iterator, Sequence, Tuple

from cosfs.cli.completion_table import (
    COMMAND,
    OPTIONS,
    WORDS,
    Command,
    Offer,
    Switch,
    Wanted,
    all_commands,
    mount_command,
    offers,
)
from cosfs.version import __version__

_SCRIPT = r"""# Completion for fish, made by: cosfs completion fish (cosfs @VERSION@)

set -g __cosfs_commands @NAMES@
set -g __cosfs_with_value @WITH_VALUE@

# The command of the line; "mount-bucket" when it begins with a bucket.
function __cosfs_command
    set -l words (commandline -opc)
    if set -q words[2]; and contains -- $words[2] $__cosfs_commands
        echo $words[2]
    else
        echo mount-bucket
    end
end

# Whether the line is of that command.
function __cosfs_is
    test (__cosfs_command) = $argv[1]
end

# Whether the line is of that command, and the word at the cursor has that number among those that are no switches;
# with a third word: or comes after.
function __cosfs_at
    set -l command (__cosfs_command)
    test $command = $argv[1]; or return 1
    set -l words (commandline -opc)
    set -e words[1]
    test $command = mount-bucket; or set -e words[1]
    set -l number 0
    set -l skip 0
    for word in $words
        if test $skip = 1
            set skip 0
        else if contains -- $command/$word $__cosfs_with_value
            set skip 1
        else if not string match -q -- '-*' $word
            set number (math $number + 1)
        end
    end
    test $skip = 0; or return 1
    test $number = $argv[2]; or begin
        set -q argv[3]; and test $number -gt $argv[2]
    end
end

# Paths that begin with the first word, each behind the second; with a third word: folders alone.
function __cosfs_paths
    set -l real (string replace -r '^~/' $HOME/ -- $argv[1])
    for path in $real*
        set -l shown $argv[2]$argv[1](string sub -s (math (string length -- "$real") + 1) -- $path)
        if test -d $path
            echo $shown/
        else if not set -q argv[3]
            echo $shown
        end
    end
end

function __cosfs_mounts
    while read -l -d ' ' source point kind rest
        if test "$kind" = fuse.cosfs
            printf '%b\n' (string replace -ra '\\\\([0-7]{3})' '\\\\0$1' -- $point)
        end
    end </proc/self/mounts
end

function __cosfs_sections
    set -l folder ~/.config
    set -q XDG_CONFIG_HOME; and set folder $XDG_CONFIG_HOME
    set -l files $folder/cosfs/mounts.conf /etc/cosfs.conf
    set -l words (commandline -opc)
    for number in (seq (count $words))
        switch $words[$number]
            case --config
                set -l next (math $number + 1)
                set -q words[$next]; and set files (string replace -r '^~/' $HOME/ -- $words[$next])
            case '--config=*'
                set files (string replace -- --config= '' $words[$number])
        end
    end
    sed -n 's/^[[:space:]]*\[\(.*\)\].*/\1/p' $files 2>/dev/null | string match -v DEFAULT
end

# The last of several options, joined by commas.
function __cosfs_options
    set -l token (string replace -r '^-o' '' -- (commandline -ct))
    set -l before (string replace -r '[^,]*$' '' -- $token)
    set -l part (string replace -r '^.*,' '' -- $token)
    set -l name (string replace -r '=.*$' '' -- $part)
    if test "$name" = "$part"
        printf "$before%s\t%s\n" $__cosfs_offers
        return
    end
    set -l value (string replace -r '^[^=]*=' '' -- $part)
    switch $name
@VALUES@
    end
end

set -g __cosfs_offers \
@OFFERS@

complete -c cosfs -e
complete -c cosfs -f
@COMPLETE@
"""

_MOUNT = "mount-bucket"
"""For the command line that begins with a bucket."""


def script() -> str:
    """The whole script."""
    commands = all_commands()
    every = [mount_command(), *commands]
    parts = {
        "VERSION": __version__,
        "NAMES": " ".join(command.name for command in commands),
        "WITH_VALUE": " ".join(f"{command.name or _MOUNT}/{name}" for command in every for switch in command.switches
                               if switch.value is not None for name in switch.names),
        "VALUES": "\n".join(_values(offers())),
        "OFFERS": " \\\n".join(f"    {word} {_quoted(text)}" for word, text in _spellings(offers())),
        "COMPLETE": "\n".join([*(f"complete -c cosfs -n '__cosfs_at {_MOUNT} 0' -a {command.name} "
                                 f"-d {_quoted(command.text)}" for command in commands),
                               *(line for command in every for line in _complete(command))]),
    }
    text = _SCRIPT
    for name, part in parts.items():
        text = text.replace(f"@{name}@", part)
    return text


def _spellings(offered: Sequence[Offer]) -> Iterator[Tuple[str, str]]:
    for offer in offered:
        if offer.alone:
            yield offer.name, offer.text
        if offer.value is not None:
            yield offer.name + "=", offer.text


def _values(offered: Sequence[Offer]) -> Iterator[str]:
    """Cases that print what may follow ``$before$name=``."""
    by_kind = {
        "file": "__cosfs_paths \"$value\" $before$name=", "folder": "__cosfs_paths \"$value\" $before$name= folders",
        "user": "printf \"$before$name=%s\\n\" (__fish_complete_users | string replace -r '\\t.*' '')",
        "group": "printf \"$before$name=%s\\n\" (__fish_complete_groups | string replace -r '\\t.*' '')"}
    for offer in offered:
        if offer.value is not None and offer.value.words:
            yield f"        case {offer.name}\n            printf \"$before$name=%s\\n\" {' '.join(offer.value.words)}"
        elif offer.value is not None and offer.value.kind in by_kind:
            yield f"        case {offer.name}\n            {by_kind[offer.value.kind]}"


_SOURCES = {OPTIONS: "(__cosfs_options)", "mount": "(__cosfs_mounts)", "section": "(__cosfs_sections)",
            "folder": "(__fish_complete_directories)", "user": "(__fish_complete_users)",
            "group": "(__fish_complete_groups)"}


def _complete(command: Command) -> Iterator[str]:
    name = command.name or _MOUNT
    for switch in command.switches:
        yield f"complete -c cosfs -n '__cosfs_is {name}' {_switch(switch)}"
    for number, wanted in enumerate(command.words):
        more = " and-more" if command.repeats and number == len(command.words) - 1 else ""
        source = _source(wanted)
        if wanted.kind != COMMAND and source:
            yield f"complete -c cosfs -n '__cosfs_at {name} {number}{more}' {source}"


def _switch(switch: Switch) -> str:
    names = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in switch.names)
    value = f" -x {_source(switch.value)}".rstrip() if switch.value is not None else ""
    if switch.value is not None and switch.value.kind == "file":
        value = " -r -F"
    return f"{names}{value} -d {_quoted(switch.text)}"


def _source(wanted: Wanted) -> str:
    """Words of complete(1) that say where candidates come from."""
    if wanted.kind == WORDS:
        return f"-a '{' '.join(wanted.words)}'"
    if wanted.kind == "file":
        return "-F"
    return f"-a '{_SOURCES[wanted.kind]}'" if wanted.kind in _SOURCES else ""


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
