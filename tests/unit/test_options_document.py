"""docs/OPTIONS.md and the table that it is made from."""

from __future__ import annotations

from pathlib import Path

from cosfs.cli.options import TABLE
from cosfs.cli.options_document import document

PAGE = Path(__file__).parents[2] / "docs" / "OPTIONS.md"


def test_the_page_is_what_the_table_makes() -> None:
    assert PAGE.read_text(encoding="utf-8") == document(), "run: python -m cosfs.cli.options_document > docs/OPTIONS.md"


def test_every_option_and_alias_is_on_the_page() -> None:
    text = document()
    assert [name for option in TABLE for name in (option.name, *option.aliases)
            if not any(f"`{name}{end}" in text for end in ("`", "=", "[="))] == []
