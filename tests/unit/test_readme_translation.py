"""The Chinese README says all that the English one says: the commands, which tests/mount/test_readme.py runs, are the
same, and so are headings, rows of tables, words of code and links."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Counter, List

from tests.support.mount import REPOSITORY

ENGLISH_FILE, CHINESE_FILE = REPOSITORY / "README.md", REPOSITORY / "docs" / "README.zh-CN.md"
ENGLISH, CHINESE = (path.read_text("utf-8") for path in (ENGLISH_FILE, CHINESE_FILE))
BLOCK = re.compile(r"^```\w*\n.*?^```$", re.MULTILINE | re.DOTALL)


def prose(text: str) -> str:
    return BLOCK.sub("", text)


def words_of_code(text: str) -> Counter[str]:
    return Counter(re.sub(r"\s+", " ", word) for word in re.findall(r"`([^`]+)`", prose(text)))


def links(path: Path) -> List[str]:
    """What a page links to, as paths in the repository; not the other language's page, nor places in itself."""
    targets = [target for target in re.findall(r"\]\(([^)]+)\)", prose(path.read_text("utf-8"))) if target[0] != "#"]
    places = [target if ":" in target else str((path.parent / target).resolve()) for target in targets]
    return [place for place in places if place not in (str(ENGLISH_FILE), str(CHINESE_FILE))]


def test_the_commands_are_the_same() -> None:
    assert BLOCK.findall(CHINESE) == BLOCK.findall(ENGLISH)


def test_headings_and_rows_are_as_many() -> None:
    for mark in (r"^(#+) ", r"^(\|).*\|$"):
        assert re.findall(mark, prose(CHINESE), re.MULTILINE) == re.findall(mark, prose(ENGLISH), re.MULTILINE)


def test_every_word_of_code_is_there() -> None:
    assert words_of_code(CHINESE) == words_of_code(ENGLISH)


def test_links_lead_to_the_same_places_which_exist() -> None:
    assert links(CHINESE_FILE) == links(ENGLISH_FILE)
    assert all(Path(place).exists() for place in links(CHINESE_FILE) if "://" not in place)


def test_links_inside_a_page_lead_to_as_many_headings() -> None:
    found = [[re.search(rf"^#+ {re.escape(place)}$", text, re.MULTILINE | re.IGNORECASE) is not None
              for place in re.findall(r"\]\(#([^)]+)\)", text)] for text in (CHINESE, ENGLISH)]
    assert found[0] == found[1] and all(found[0])


def test_each_page_names_the_other() -> None:
    assert "](docs/README.zh-CN.md)" in ENGLISH
    assert "](../README.md)" in CHINESE
