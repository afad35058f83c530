"""Session tokens that say when they end, and that nobody renews: the log tells it while there is time.

``TokenWatch`` is looked at by whoever gives the keys out, before each request, so a mount that nobody uses says nothing
until somebody does. ``EndingCredentials`` are such keys from the environment; those of a file are in credentials.py.

Threading: any thread.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Callable, Optional, Tuple

from cosfs.cos.signing import Credentials

log = logging.getLogger(__name__)

SOON_S = 600.0
"""As long before its end the C++ tool looks for another token."""


class TokenWatch:
    """``source``: where the token is from; ``remedy``: what to do about its end; both for people."""

    def __init__(self, source: str, remedy: str, clock: Callable[[], float] = time.time) -> None:
        self._source = source
        self._remedy = remedy
        self._clock = clock
        self._lock = threading.Lock()
        self._told: Tuple[float, bool] = (0.0, False)
        """Of which end, and whether it was told to be over."""

    def look(self, expires_s: Optional[float]) -> None:
        """``expires_s``: when the present token ends, in seconds since the epoch; None: not known."""
        if expires_s is None:
            return
        left_s = expires_s - self._clock()
        if left_s > SOON_S or self._told == (expires_s, left_s <= 0):
            return
        with self._lock:
            if self._told in ((expires_s, left_s <= 0), (expires_s, True)):
                return
            self._told = (expires_s, left_s <= 0)
        if left_s > 0:
            log.warning("the session token from %s ends in %s; %s", self._source, span(left_s), self._remedy)
        else:
            log.warning("the session token from %s has ended, and what is asked with it is refused; %s", self._source,
                        self._remedy)


class EndingCredentials:
    """Keys that never change, with a token that ends."""

    def __init__(self, credentials: Credentials, source: str, expires_s: float, remedy: str,
                 clock: Callable[[], float] = time.time) -> None:
        self._credentials = credentials
        self.source = source
        self.expires_s = expires_s
        self._watch = TokenWatch(source, remedy, clock)

    def __repr__(self) -> str:
        return f"EndingCredentials({self.source!r})"

    def get(self) -> Credentials:
        self._watch.look(self.expires_s)
        return self._credentials

    def refresh(self, rejected: Credentials, *, certain: bool = True) -> Credentials:  # noqa: ARG002 - of the protocol
        return self._credentials

    def reload(self) -> None:
        """There are no others."""


def span(seconds: float) -> str:
    """For people: hours and minutes, or minutes."""
    minutes = int(seconds // 60)
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min"
