"""Progress of long work in the log: a line now and then, none for what is done at once."""

from __future__ import annotations

import logging
from typing import Callable

log = logging.getLogger(__name__)

EVERY_S = 5.0
EVERY_COUNT = 10_000


class Progress:
    """``text`` has one ``%d``, for the number of objects done. ``clock`` is monotonic seconds. One thread."""

    def __init__(self, text: str, clock: Callable[[], float]) -> None:
        self._text = text
        self._clock = clock
        self._logged_s = clock()
        self._logged_count = 0

    def report(self, count: int) -> None:
        now = self._clock()
        if now - self._logged_s >= EVERY_S or count - self._logged_count >= EVERY_COUNT:
            self._logged_s, self._logged_count = now, count
            log.info("%s", self._text.replace("%d", str(count), 1))
