"""``TracedTransport``: a line in the log for each exchange, whatever the log's level, without what is secret.

The logger is ``cosfs.requests``.
"""

from __future__ import annotations

import logging
import time
from typing import Iterable, Optional, Tuple

from cosfs.cos.headers import HeaderList
from cosfs.cos.transport import Answer, Transport, TransportFailure, TransportSettings
from cosfs.cos.wire import Payload

log = logging.getLogger("cosfs.requests")

_SECRET = ("authorization", "-security-token", "-customer-key")


class TracedTransport(Transport):
    def __init__(self, settings: TransportSettings) -> None:
        super().__init__(settings)
        log.setLevel(logging.DEBUG)

    def send(self, method: str, connect_url: str, target: str, headers: HeaderList, payload: Payload = None, *,
             read_timeout_s: Optional[float] = None) -> Answer:
        started_s = time.monotonic()
        try:
            answer = super().send(method, connect_url, target, headers, payload, read_timeout_s=read_timeout_s)
        except TransportFailure as failure:
            log.debug("%s %s%s [%s]: %s", method, connect_url, target, _shown(headers), failure.error)
            raise
        log.debug("%s %s%s [%s]: %d in %.0f ms [%s]", method, connect_url, target, _shown(headers), answer.status,
                  (time.monotonic() - started_s) * 1000, _shown(answer.headers.items()))
        return answer


def _shown(headers: Iterable[Tuple[str, str]]) -> str:
    return "; ".join(f"{name}: {'***' if name.lower().endswith(_SECRET) else value}" for name, value in headers)
