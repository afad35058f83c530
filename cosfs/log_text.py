"""The log as text: a line for each record, whatever the names of files in it are, and an exception's trace below.

Names may hold line feeds, with which a user could write lines of his own into the log, and bytes that are no UTF-8,
with which a line could not be written at all.
"""

from __future__ import annotations

import logging
from types import TracebackType
from typing import Tuple, Type, Union

_ExcInfo = Union[Tuple[Type[BaseException], BaseException, Union[TracebackType, None]], Tuple[None, None, None]]


class TextLines(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  logging's name
        return printable(super().formatMessage(record))

    def formatException(self, ei: _ExcInfo) -> str:  # noqa: N802  logging's name
        return super().formatException(ei).encode("utf-8", "backslashreplace").decode()


def printable(text: str) -> str:
    """The same in one line that does nothing to a terminal; what cannot be shown is escaped as in Python."""
    return text if text.isprintable() else "".join(map(_shown, text))


def _shown(char: str) -> str:
    """A byte that is no UTF-8 is a surrogate in Python (PEP 383)."""
    if char.isprintable():
        return char
    return f"\\x{ord(char) - 0xDC00:02x}" if "\udc80" <= char <= "\udcff" else char.encode("unicode_escape").decode()
