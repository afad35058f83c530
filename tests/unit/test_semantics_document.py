"""Every statement of ``docs/SEMANTICS.md`` names tests, and those exist.

A statement is an item of a list, with a table that belongs to it. A test is named by its file, relative to ``tests/``,
and its function: ``fs/test_x.py::test_y``.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import FrozenSet, List

import pytest

TESTS = Path(__file__).resolve().parents[1]
DOCUMENT = (TESTS.parent / "docs" / "SEMANTICS.md").read_text(encoding="utf-8")

_ITEM = re.compile(r"^\* (.*?)(?=^\* |^## |\Z)", re.MULTILINE | re.DOTALL)
_NAMED = re.compile(r"`([\w/]+\.py)(?:::(\w+))?`")


def statements(text: str) -> List[str]:
    return [" ".join(item.split()) for item in _ITEM.findall(text)]


def faults(statement: str) -> List[str]:
    """What is wrong with the tests that a statement names."""
    named = _NAMED.findall(statement)
    if not named:
        return [f"names no test: {statement[:80]}"]
    return [f"names {path}::{name or '?'}, which does not exist: {statement[:80]}" for path, name in named
            if name not in functions(path)]


@cache
def functions(path: str) -> FrozenSet[str]:
    file = TESTS / path
    if not file.is_file():
        return frozenset()
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body
                     if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"))


@pytest.mark.parametrize("statement", statements(DOCUMENT), ids=lambda text: re.sub(r"\W+", "_", text)[:60])
def test_each_statement_names_tests_that_exist(statement: str) -> None:
    assert faults(statement) == []


def test_all_statements_are_found() -> None:
    assert len(statements(DOCUMENT)) == DOCUMENT.count("\n* ") > 20


@pytest.mark.parametrize(("item", "count"), [
    ("* It holds.", 1),
    ("* It holds. (`unit/test_semantics_document.py`)", 1),
    ("* It holds. (`unit/test_no_such_file.py::test_all_statements_are_found`)", 1),
    ("* It holds. (`unit/test_semantics_document.py::test_no_such_test`)", 1),
    ("* It\n  holds. (`unit/test_semantics_document.py::test_all_statements_are_found`)\n* So\n  does this.\n", 1),
    ("* It holds:\n\n  | a |\n\n  (`unit/test_semantics_document.py::test_all_statements_are_found`)\n", 0),
])
def test_a_statement_without_its_test_is_found(item: str, count: int) -> None:
    assert len([fault for statement in statements(item) for fault in faults(statement)]) == count
