from __future__ import annotations

import logging
from typing import Any, Callable, Iterator, List

import pytest

from tests.fs.archived.mount import Lines, Mount


@pytest.fixture
def make(expected_logs: Callable[[str], None]) -> Iterator[Callable[..., Mount]]:
    expected_logs(" is archived")
    made: List[Mount] = []

    def mount(**settings: Any) -> Mount:
        made.append(Mount(**settings))
        return made[-1]
    yield mount
    for one in made:
        one.filesystem.stop()


@pytest.fixture
def mount(make: Callable[..., Mount]) -> Mount:
    return make()


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Lines:
    """What was logged at WARNING and above."""
    return lambda: [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
