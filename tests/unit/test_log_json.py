"""The log as one JSON object a line."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any, Dict

from cosfs.log_json import JsonLines


def line(message: str, *args: object, error: bool = False) -> Dict[str, Any]:
    record = logging.LogRecord("cosfs.x", logging.WARNING, __file__, 1, message, args,
                               sys.exc_info() if error else None)
    record.created, record.msecs = 1_700_000_000.5, 500.0
    text = JsonLines().format(record)
    assert "\n" not in text
    assert text.isascii()
    parsed = json.loads(text)
    assert isinstance(parsed, dict)
    return parsed


def test_a_record_is_one_line_whatever_is_in_it() -> None:
    assert line("read %s: errno %d", "/a\n\u00e4\udc80", 5) == {
        "time": "2023-11-14T22:13:20.500Z", "level": "WARNING", "logger": "cosfs.x", "thread": "MainThread",
        "message": "read /a\n\u00e4\udc80: errno 5"}


def test_an_exception_comes_with_its_trace() -> None:
    try:
        raise ValueError("reason")
    except ValueError:
        found = line("failed", error=True)
    assert found["exception"].startswith("Traceback")
    assert found["exception"].endswith("ValueError: reason")
