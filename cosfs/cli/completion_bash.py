"""Completion for bash 4.4 and newer, with or without the package bash-completion.

bash hands over a line in pieces, which it also cuts at ``=`` and ``:``; the script joins them again, and gives back
what comes after the last cut.
"""

from __future__ import annotations

from typing import Dict, Iterable, Iterator, List, Sequence, Tuple

from cosfs.cli.completion_table import WORDS, Command, Offer, Wanted, all_commands, mount_command, offers
from cosfs.version import __version__

_SCRIPT = r"""# Completion for bash, made by: cosfs completion bash (cosfs @VERSION@)

_cosfs_options='@OPTIONS@'

# $1: an option of -o; what its value is
_cosfs_option()
{
    case $1 in
@OPTION_VALUES@
        *) wanted=nothing ;;
    esac
}

# $1: a command, or nothing; its switches
_cosfs_switches()
{
    case $1 in
@SWITCHES@
    esac
}

# $1: a command, $2: a switch; true if the next word is its value, with what that is
_cosfs_takes_value()
{
    case $1/$2 in
@SWITCH_VALUES@
        *) return 1 ;;
    esac
}

# $1: a command, $2: the number of a word that is no switch; what it is
_cosfs_word()
{
    case $1/$2 in
@WORDS@
        *) wanted=nothing ;;
    esac
}

# The line up to the cursor, in words as the program will get them.
_cosfs_join()
{
    local line=${COMP_LINE:0:COMP_POINT} word i
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if ((i == 0)) || [[ $line == [[:space:]]* ]]; then
            line=${line#"${line%%[![:space:]]*}"}
            words+=('')
        fi
        if ((${#word} > ${#line})); then word=$line; fi
        words[${#words[@]} - 1]+=$word
        line=${line#"$word"}
    done
}

_cosfs_mounts()
{
    local point kind
    while read -r _ point kind _; do
        if [[ $kind == fuse.cosfs ]]; then printf '%b\n' "$point"; fi
    done </proc/self/mounts
}

_cosfs_sections()
{
    local files=("${XDG_CONFIG_HOME:-$HOME/.config}/cosfs/mounts.conf" /etc/cosfs.conf) i
    for ((i = 1; i < ${#words[@]} - 1; i++)); do
        case ${words[i]} in
            --config) files=("${words[i + 1]/#\~\//$HOME/}") ;;
            --config=*) files=("${words[i]#*=}") ;;
        esac
    done
    sed -n 's/^[[:space:]]*\[\(.*\)\].*/\1/p' "${files[@]}" 2>/dev/null | grep -vx DEFAULT
}

# Those of the lines that are read that begin with $part.
_cosfs_beginning()
{
    local line
    while IFS= read -r line; do
        if [[ $line == "$part"* ]]; then found+=("$line"); fi
    done
}

# What may follow $before, of the kind $wanted.
_cosfs_find()
{
    local found=() item
    case $wanted in
        options) _cosfs_find_option; return ;;
        file | folder | mount) part=${part//\\/} ;;
    esac
    case $wanted in
        words\ *) mapfile -t found < <(compgen -W "${wanted#words }" -- "$part") ;;
        mount)
            _cosfs_beginning < <(_cosfs_mounts)
            # no file names to bash, which would look at them: a mount may hang
            if ((${#found[@]} && !quoted)); then mapfile -t found < <(printf '%q\n' "${found[@]}"); fi ;;
        section) _cosfs_beginning < <(_cosfs_sections) ;;
        user) mapfile -t found < <(compgen -u -- "$part") ;;
        group) mapfile -t found < <(compgen -g -- "$part") ;;
        file) mapfile -t found < <(compgen -f -- "$part") ;;
    esac
    if [[ $wanted == mount && ${#found[@]} == 0 ]]; then wanted=folder; fi
    if [[ $wanted == folder ]]; then mapfile -t found < <(compgen -d -- "$part"); fi
    if [[ $wanted == file || $wanted == folder ]]; then compopt -o filenames; fi
    for item in "${found[@]}"; do COMPREPLY+=("$before$item"); done
}

# The last of several options, joined by commas; another may follow.
_cosfs_find_option()
{
    local name
    before+=${part%"${part##*,}"} part=${part##*,}
    compopt -o nospace
    if [[ $part == *=* ]]; then
        name=${part%%=*} before+=${part%%=*}= part=${part#*=}
        _cosfs_option "$name"
    else
        wanted="words $_cosfs_options"
    fi
    if ((COMP_TYPE == 63)); then cut=$before; fi  # they are shown, not inserted: without what is there already
    _cosfs_find
}

_cosfs()
{
    local words=() command='' first=1 last number=0 wanted='' before='' quoted=0 part i mark cut=''
    _cosfs_join
    last=$((${#words[@]} - 1)) part=${words[-1]}
    if ((last > 1)) && [[ ' @COMMANDS@ ' == *" ${words[1]} "* ]]; then command=${words[1]} first=2; fi
    case $part in
        [\"\']*) part=${part:1} quoted=1 ;;  # bash cuts nothing inside quotes
        *) for mark in = : @; do
            if [[ $COMP_WORDBREAKS == *$mark* && $part == *$mark* ]]; then
                before=${part%"${part##*"$mark"}"}
                if ((${#before} > ${#cut})); then cut=$before; fi
            fi
        done ;;
    esac
    before=''
    for ((i = first; i < last; i++)); do
        wanted=''
        if _cosfs_takes_value "$command" "${words[i]}"; then i=$((i + 1));
        elif [[ ${words[i]} != -* ]]; then number=$((number + 1)); fi
    done
    if ((i == last)); then
        wanted=''
        if [[ $part == --*=* ]] && _cosfs_takes_value "$command" "${part%%=*}"; then
            before=${part%%=*}= part=${part#*=}
        elif [[ $part == -[!-]?* ]] && _cosfs_takes_value "$command" "${part:0:2}"; then
            before=${part:0:2} part=${part:2}
        elif [[ $part == -* ]]; then
            wanted="words $(_cosfs_switches "$command")"
        else
            _cosfs_word "$command" "$number"
        fi
    fi
    _cosfs_find
    COMPREPLY=("${COMPREPLY[@]#"$cut"}")
}

complete -F _cosfs cosfs
"""


def script() -> str:
    """The whole script."""
    commands = [mount_command(), *all_commands()]
    offered = offers()
    parts = {
        "VERSION": __version__,
        "COMMANDS": " ".join(command.name for command in commands[1:]),
        "OPTIONS": " ".join(_spellings(offered)),
        "OPTION_VALUES": _cases((_wanted(offer.value), offer.name) for offer in offered if offer.value is not None),
        "SWITCHES": "\n".join(f"        {command.name or repr('')}) echo '{' '.join(_names(command))}' ;;"
                              for command in commands),
        "SWITCH_VALUES": _cases((_wanted(switch.value), f"{command.name}/{name}") for command in commands
                                for switch in command.switches if switch.value is not None for name in switch.names),
        "WORDS": _cases(_positions(commands)),
    }
    text = _SCRIPT
    for name, part in parts.items():
        text = text.replace(f"@{name}@", part)
    return text


def _spellings(offered: Iterable[Offer]) -> Iterator[str]:
    for offer in offered:
        if offer.alone:
            yield offer.name
        if offer.value is not None:
            yield offer.name + "="


def _names(command: Command) -> List[str]:
    return [name for switch in command.switches for name in switch.names]


def _wanted(wanted: Wanted) -> str:
    return " ".join((wanted.kind, *wanted.words))


def _positions(commands: Sequence[Command]) -> Iterator[Tuple[str, str]]:
    names = [command.name for command in commands[1:]]
    for command in commands:
        for number, wanted in enumerate(command.words):
            whole = Wanted(WORDS, tuple(names)) if wanted.kind == "command" else wanted
            yield _wanted(whole), f"{command.name}/{number}"
        if command.repeats:
            yield _wanted(command.words[-1]), f"{command.name}/*"


def _cases(pairs: Iterable[Tuple[str, str]]) -> str:
    """Lines of ``case`` that set ``wanted``, one for each of its values."""
    patterns: Dict[str, List[str]] = {}
    for wanted, pattern in pairs:
        patterns.setdefault(wanted, []).append(pattern)
    return "\n".join(f"        {'|'.join(found)}) wanted='{wanted}' ;;" for wanted, found in patterns.items())
