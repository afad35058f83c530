"""The levels of the log by name, and the one that is in force. Used by options, the control folder and SIGUSR2.

Threading: any thread.
"""

from __future__ import annotations

import logging
from typing import Dict

log = logging.getLogger(__name__)

LEVELS: Dict[str, int] = {
    "silent": logging.CRITICAL + 10, "critical": logging.CRITICAL, "crit": logging.CRITICAL,
    "error": logging.ERROR, "err": logging.ERROR, "wan": logging.WARNING, "warn": logging.WARNING,
    "warning": logging.WARNING, "inf": logging.INFO, "info": logging.INFO, "information": logging.INFO,
    "dbg": logging.DEBUG, "debug": logging.DEBUG,
}
"""All spellings of the C++ tool."""

NAMES = ("silent", "crit", "err", "warn", "info", "debug")
"""The names under which levels are shown, the quietest first."""


def level_named(name: str) -> int:
    """Raises: KeyError."""
    return LEVELS[name.lower()]


def current_level() -> str:
    """The name of the least level that is logged."""
    number = logging.getLogger("cosfs").getEffectiveLevel()
    return next((name for name in reversed(NAMES) if LEVELS[name] >= number), NAMES[0])


def set_level(name: str) -> None:
    """Log from that level on. Raises: KeyError."""
    logging.getLogger("cosfs").setLevel(level_named(name))
    log.info("the log level is now %s", current_level())


def cycle_level() -> None:
    """The next more talkative level, and after the last one crit, as the C++ tool does it."""
    following = NAMES.index(current_level()) + 1
    set_level(NAMES[following] if following < len(NAMES) else NAMES[1])
