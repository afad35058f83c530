"""The table of all options as a document: ``python -m cosfs.cli.options_document > docs/OPTIONS.md``."""

from __future__ import annotations

from typing import Dict, List

from cosfs.cli import options
from cosfs.cli.options import Option, State

_HEAD = """\
# Options

All options of the mount command, as `cosfs --help` shows them. This page is made from the same table by
`python -m cosfs.cli.options_document > docs/OPTIONS.md`; change `cosfs/cli/options.py` instead.

Options follow `-o`, joined by commas without blanks; a comma inside a value is written `\\,`. Of repeated options the
last counts. An option that does not exist is an error that names the nearest one. Names and values are those of the C++
tool of the same name, and some of s3fs.
"""


def document() -> str:
    """The whole page."""
    sections: Dict[str, List[Option]] = {}
    for option in options.TABLE:
        sections.setdefault(option.section, []).append(option)
    parts = [_HEAD]
    for title, members in sections.items():
        parts.append(f"\n## {title}\n")
        parts.append(_table(members) if members[0].help else _words(members))
    return "\n".join(parts)


def _table(members: List[Option]) -> str:
    refused = members[0].state is State.REFUSED
    lines = ["| option | instead |", "|---|---|"] if refused else ["| option | meaning | default |", "|---|---|---|"]
    for option in members:
        names = ", ".join(f"`{_form(option, name)}`" for name in (option.name, *option.aliases))
        cells = [names, option.help]
        if not refused:
            cells.append(f"`{option.default}`" if option.default else "")
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _words(members: List[Option]) -> str:
    """Options of one line each would say nothing but their names."""
    return ", ".join(f"`{_form(option, option.name)}`" for option in members) + "\n"


def _form(option: Option, name: str) -> str:
    if option.value is None:
        return name
    metavar = option.value.metavar if option.help and option.state is not State.REFUSED else "…"
    return f"{name}[={metavar}]" if option.bare else f"{name}={metavar}"


if __name__ == "__main__":
    print(document(), end="")
