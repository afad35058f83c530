"""docs/TROUBLESHOOTING.md: each mistake of its tables, made for real, ends in the one line that stands there."""

from __future__ import annotations

import re
from typing import Dict, Iterator, List

import pytest

from tests.conftest import require_fuse
from tests.support import archive_mistakes  # noqa: F401 - registers its own
from tests.support.desk import Desk
from tests.support.mistakes import MISTAKES, Values
from tests.support.mount import REPOSITORY
from tests.support.server import CosServer

pytestmark = pytest.mark.mount

DOCUMENT = (REPOSITORY / "docs" / "TROUBLESHOOTING.md").read_text("utf-8")
HEAD = ["mistake", "message", "what it means", "what to do"]


def rows() -> List[List[str]]:
    """The cells of all tables, without heads and rules."""
    lines = [line for line in DOCUMENT.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return [row for row in cells if row != HEAD and set(row[0]) != {"-"}]


MESSAGES: Dict[str, str] = {row[0]: row[1].strip("`") for row in rows()}


def pattern(message: str, values: Values) -> re.Pattern[str]:
    """What a message of the document matches with these values in place of its words in ``<…>``."""
    parts = re.split(r"<([a-z ]+)>", message)
    assert set(parts[1::2]) == set(values), f"{message} has other words than {sorted(values)}"
    for number in range(1, len(parts), 2):
        value = values[parts[number]]
        parts[number] = re.escape(value) if isinstance(value, str) else f"(?:{value.pattern})"
    parts[::2] = [re.escape(part) for part in parts[::2]]
    return re.compile("".join(parts))


@pytest.fixture
def desk(server: CosServer) -> Iterator[Desk]:
    require_fuse()
    made = Desk(server)
    yield made
    made.close()


@pytest.mark.parametrize("name", MESSAGES)
def test_each_mistake_ends_in_the_line_of_the_document(desk: Desk, name: str) -> None:
    line, values = MISTAKES[name](desk)

    assert pattern(MESSAGES[name], values).fullmatch(line), f"{line!r} is not {MESSAGES[name]!r}"


def test_the_tables_are_whole_and_each_row_is_tried() -> None:
    assert len(MESSAGES) == len(rows()) >= 20
    assert all(len(row) == len(HEAD) and all(row) for row in rows())
    assert set(MESSAGES) == set(MISTAKES)


@pytest.mark.parametrize(("message", "values", "line"), [
    ("a <b> c", {"b": "x"}, "a y c"),
    ("a <b> c", {"b": "x"}, "a x c; and more"),
    ("a (<b>)", {"b": re.compile("[0-9]+")}, "a (x)"),
])
def test_another_line_is_found(message: str, values: Values, line: str) -> None:
    assert not pattern(message, values).fullmatch(line)
