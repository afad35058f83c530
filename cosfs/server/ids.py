"""The identifiers that the service makes up, in the service's formats, and the times it prints.

Formats: decoded from samples of the COS documentation.
"""

from __future__ import annotations

import base64
import secrets
import time
from datetime import datetime, timezone
from email.utils import formatdate, parsedate_to_datetime
from typing import Optional


def request_id(now_s: float) -> str:
    text = f"{int(now_s):x}_7f000001_{secrets.token_hex(2)}_{secrets.token_hex(4)}"
    return base64.b64encode(text.encode()).decode()


def trace_id() -> str:
    return base64.b64encode(secrets.token_hex(32).encode()).decode()


def upload_id(now_s: float) -> str:
    return f"{int(now_s)}{secrets.token_hex(32)}"


def opaque_etag(part_count: Optional[int] = None) -> str:
    """An ETag that is no MD5; with the number of parts for a multipart object (and not by the S3 formula)."""
    tail = "" if part_count is None else f"-{part_count}"
    return secrets.token_hex(16) + tail


class VersionIds:
    """Makes version ids, each newer than the one before, even within one microsecond."""

    def __init__(self) -> None:
        self._last_us = 0

    def next(self) -> str:
        self._last_us = max(time.time_ns() // 1000, self._last_us + 1)
        number = 2 ** 64 - 1 - self._last_us
        return base64.b64encode(str(number).encode()).decode().rstrip("=")


def http_date(when_s: float) -> str:
    return formatdate(when_s, usegmt=True)


def parse_http_date(text: str) -> Optional[float]:
    """Seconds since the epoch, None for text that is no date."""
    try:
        return parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError, IndexError):
        return None


def xml_date(when_s: float) -> str:
    """``2020-12-10T03:37:30.000Z``: the form of listings, whole seconds."""
    return datetime.fromtimestamp(int(when_s), timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z")
