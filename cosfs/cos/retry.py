"""When a failed request is sent again: the predicate, the pauses, the limits.

``RetryPolicy`` is a value of the configuration; ``Retrying`` is the state of one call. Only requester.py
decides *whether* a request may be repeated (idempotent, body at hand); this module decides how often and
when. Delays follow the "full jitter" of AWS ("Exponential Backoff And Jitter"), the list of codes COS
"Error codes" (product/436/7730).
"""

from __future__ import annotations

import logging
import random
import time
from dataclasses import dataclass, field
from typing import Callable, Optional

from cosfs.errors import (
    CosException,
    CosServiceError,
    IntegrityError,
    InvalidAnswer,
    NetworkError,
    RequestTimeout,
)

log = logging.getLogger(__name__)

_TRANSIENT_CODES = frozenset((
    "BadDigest", "EntitySizeNotMatch", "IncompleteBody",
    "RequestTimeout", "RequestTimeOut", "UserNetworkTooSlow",
    "PathConflict", "UploadConflict",
    "InternalError", "ServiceUnavailable", "SlowDown",
))
_TRANSIENT_STATUSES = frozenset((408, 429, 500, 502, 503, 504))
_THROTTLED_CODES = frozenset(("SlowDown", "KmsFreqControl"))


def is_transient(error: CosException) -> bool:
    """Whether the same request may succeed if it is sent again."""
    if isinstance(error, CosServiceError):
        return error.status in _TRANSIENT_STATUSES or error.code in _TRANSIENT_CODES
    return isinstance(error, (NetworkError, RequestTimeout, InvalidAnswer, IntegrityError))


def is_throttled(error: CosException) -> bool:
    """Whether the service said that it did nothing because it has too much to do."""
    return isinstance(error, CosServiceError) and (error.status == 429 or error.code in _THROTTLED_CODES)


@dataclass(frozen=True)
class RetryPolicy:
    """The n-th pause is random in ``[0, min(max_delay_s, base_delay_s * 2**n))``."""

    attempts: int = 6
    """Sendings in all, the first included. Six outlast a failover of some seconds."""

    deadline_s: float = 120.0
    """No sending starts later than this after the first, or after the last progress."""

    base_delay_s: float = 0.2
    max_delay_s: float = 20.0

    slow_down_floor_s: float = 1.0
    """Least pause when the service throttles: a shorter one makes it worse."""

    retry_after_limit_s: float = 60.0
    """A longer ``Retry-After`` is cut to this."""

    clock: Callable[[], float] = field(default=time.monotonic, repr=False)
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)
    random: Callable[[], float] = field(default=random.random, repr=False)  # jitter, not a secret

    def start(self) -> Retrying:
        return Retrying(self)


class Retrying:
    """The retries of one call. Not for several threads.

    Invariant: ``failures < policy.attempts`` while ``pause`` has answered True only.
    """

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self.failures = 0
        self._started_s = policy.clock()

    def progressed(self) -> None:
        """Bytes arrived: attempts and deadline count from here."""
        self.failures = 0
        self._started_s = self._policy.clock()

    def pause(self, error: CosException, what: str, *, retry_after_s: Optional[float] = None) -> bool:
        """Count a failure and sleep before the next sending; False: give up."""
        policy = self._policy
        self.failures += 1
        if not is_transient(error) or self.failures >= policy.attempts:
            return False
        delay_s = self._delay_s(error, retry_after_s)
        if policy.clock() + delay_s - self._started_s > policy.deadline_s:
            return False
        level = (logging.DEBUG, logging.INFO)[self.failures - 1] if self.failures <= 2 else logging.WARNING
        log.log(level, "%s failed (attempt %d of %d, next in %.2f s): %s", what, self.failures, policy.attempts,
                delay_s, error)
        policy.sleep(delay_s)
        return True

    def _delay_s(self, error: CosException, retry_after_s: Optional[float]) -> float:
        policy = self._policy
        delay_s = policy.random() * min(policy.max_delay_s, policy.base_delay_s * 2 ** self.failures)
        if is_throttled(error):
            delay_s += policy.slow_down_floor_s
        if retry_after_s is not None:
            delay_s = max(delay_s, min(retry_after_s, policy.retry_after_limit_s))
        return float(delay_s)
