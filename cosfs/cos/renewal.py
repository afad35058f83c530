"""Keys that end: ``Issued``, and the provider that has new ones before they do.

``RenewedCredentials`` asks a service (roles.py) again when ten minutes are left, or half of the time if that is less:
in a thread of its own, so that nobody waits while the old keys are good. A failure is tried again, after half of the
time that is left and at most a minute. Keys that have ended are asked for by whoever needs them; the others wait.

Threading: any thread may call. One asks, whoever needs keys at that moment takes its result, failures too. The thread
``cosfs-keys`` is there while it asks and no longer; none is started before the first ``get``, that is after any fork.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import Callable, NamedTuple, Optional

from cosfs.cos.signing import Credentials
from cosfs.errors import CredentialsError

log = logging.getLogger(__name__)

_MARGIN_S = 600.0  # what the C++ tool and the Go SDK leave
_LONGEST_PAUSE_S = 60.0
_SHORTEST_PAUSE_S = 1.0
"""Between two attempts, whatever asks for them: requests that are refused for another reason than the keys come by the
hundred, and the service that issues keys is not to be asked for each."""


@dataclass(frozen=True)
class Issued:
    """Keys, and when they end in seconds since the epoch by this machine's clock; None: not known."""

    credentials: Credentials
    expires_s: Optional[float] = None


class _State(NamedTuple):
    credentials: Credentials
    expires_s: float
    due_s: float
    """When to ask again."""


class RenewedCredentials:
    """Keys that a service issues for some time. ``source``: where they come from, for people."""

    def __init__(self, source: str, fetch: Callable[[], Issued], *, first: Optional[Issued] = None,
                 clock: Callable[[], float] = time.time) -> None:
        """``fetch`` raises CredentialsError, blocks, and is asked at once unless ``first`` is given.

        Raises: CredentialsError.
        """
        self.source = source
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        """Held over each attempt."""
        self._starting = threading.Lock()
        self._renewer: Optional[threading.Thread] = None
        self._attempts = 0
        self._attempted_s = clock()
        self._failure = "not asked yet"
        self._state = self._after_success(first or fetch())

    def __repr__(self) -> str:
        return f"RenewedCredentials({self.source!r})"

    @property
    def expires_s(self) -> Optional[float]:
        """When the keys end, in seconds since the epoch; None when that is not known."""
        expires_s = self._state.expires_s
        return None if expires_s == float("inf") else expires_s

    def get(self) -> Credentials:
        """Returns at once while the keys are good. Raises: CredentialsError."""
        state = self._state
        now_s = self._clock()
        if now_s < state.due_s and now_s < state.expires_s:
            return state.credentials
        if now_s < state.expires_s:
            self._renew_behind()
            return state.credentials
        if now_s >= state.due_s:
            self._renew(self._attempts)
        state = self._state
        if self._clock() >= state.expires_s:
            raise CredentialsError(f"the keys from {self.source} have ended, and there are no new ones: "
                                   f"{self._failure}")
        return state.credentials

    def refresh(self, rejected: Credentials, *, certain: bool = True) -> Credentials:
        """Others than these, if the service issues them; blocks while it is asked."""
        seen = self._attempts
        pause_s = _SHORTEST_PAUSE_S if certain else _LONGEST_PAUSE_S
        if self._state.credentials == rejected and self._clock() >= self._attempted_s + pause_s:
            self._renew(seen)
        return self._state.credentials

    def reload(self) -> None:
        """Ask now; without success everything stays as it is. Blocks."""
        self._renew(self._attempts)

    def _renew_behind(self) -> None:
        with self._starting:
            if self._renewer is not None and self._renewer.is_alive():
                return
            self._renewer = threading.Thread(target=self._renew, args=(self._attempts,), name="cosfs-keys", daemon=True)
            try:
                self._renewer.start()
            except RuntimeError:  # no thread is to be had: then whoever needs keys that have ended asks
                self._renewer = None

    def _renew(self, seen: int) -> None:
        """Ask, unless somebody has since ``seen`` was the number of attempts."""
        with self._lock:
            if self._attempts != seen:
                return
            try:
                self._state = self._after_success(self._fetch())
                log.info("there are new keys from %s", self.source)
            except CredentialsError as exc:
                self._state = self._after_failure(str(exc))
            except Exception as exc:  # or each request would ask again at once
                log.debug("the answer of the service is not understood", exc_info=True)
                self._state = self._after_failure(f"unexpected {type(exc).__name__}")
            finally:
                self._attempted_s = self._clock()
                self._attempts += 1

    def _after_success(self, issued: Issued) -> _State:
        now_s = self._clock()
        expires_s = float("inf") if issued.expires_s is None else issued.expires_s
        left_s = expires_s - now_s
        wait_s = left_s - _MARGIN_S if left_s > 2 * _MARGIN_S else left_s / 2
        self._failure = "the service still gives the old ones"
        return _State(issued.credentials, expires_s, now_s + max(wait_s, _SHORTEST_PAUSE_S))

    def _after_failure(self, reason: str) -> _State:
        state = self._state
        now_s = self._clock()
        left_s = state.expires_s - now_s
        self._failure = reason
        log.warning("there are no new keys from %s: %s; the old ones %s", self.source, reason,
                    "have ended" if left_s <= 0 else "stay" if left_s == float("inf") else f"end in {left_s:.0f} s")
        pause_s = max(min(left_s / 2, _LONGEST_PAUSE_S), _SHORTEST_PAUSE_S)
        return state._replace(due_s=now_s + pause_s)
