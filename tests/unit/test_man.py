"""The manual page: made from the option table, and in the language of man(7)."""

from __future__ import annotations

import re
from typing import Set

import pytest

from cosfs.cli import COMMANDS, man, options
from cosfs.cli.options import TABLE, Option, State

MACROS = {".TH", ".SH", ".SS", ".TP", ".PP", ".B", ".BR", ".br"}


def plain(source: str) -> str:
    return source.replace("\\-", "-").replace("\\&", "").replace("\\e", "\\")


def bold(source: str) -> Set[str]:
    return {plain(line)[3:] for line in source.splitlines() if line.startswith(".B ")}


def test_every_option_and_command_is_there_and_nothing_that_is_refused() -> None:
    page = man.page()
    for option in TABLE:
        shown = re.search(rf"(?m)(^\.B |^|[ ,]){re.escape(option.name)}\b(?!-)", plain(page)) is not None
        assert shown or option.state is State.REFUSED, option.name
    assert "secretAccessKey" not in page and "remount" not in bold(page)
    assert {f"cosfs {man._usage(name)}" for name in COMMANDS} <= bold(page)
    assert set(man._COMMANDS) == set(COMMANDS)


def test_a_new_option_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    extra = Option("brand_new", "How files look", "does something", targets=("filesystem.read_only",))
    monkeypatch.setattr(options, "TABLE", (*TABLE, extra))
    assert ".B brand_new\ndoes something" in man.page()


def test_only_macros_begin_with_a_dot_and_no_escape_is_left_open() -> None:
    for line in man.page().splitlines():
        assert not line.startswith("'"), line
        assert not line.startswith(".") or line.split()[0] in MACROS, line
        assert re.fullmatch(r"(?:[^\\]|\\[-e&])*", line), line


def test_text_that_looks_like_a_macro_is_text() -> None:
    assert man._escaped(".so x\n'y\na-b\\c") == "\\&.so x\n\\&'y\na\\-b\\ec"


def test_it_takes_no_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert man.run(["mount"]) == 1
    assert capsys.readouterr().err == "cosfs: cosfs man takes no word mount; see cosfs man --help\n"
    assert man.run([]) == 0
    assert capsys.readouterr().out == man.page()
