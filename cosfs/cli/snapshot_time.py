"""The syntax of ``snapshot=``: a time that has passed.

===========================  =======================================================================================
``2026-11-28T10:00:00Z``     UTC; ``+08:00`` or ``+0800`` in place of ``Z``: of that zone. Seconds may have decimals, or
                             be left out; a blank in place of ``T`` will do.
``2026-11-28T10:00:00``      In the time zone of this machine (``TZ``).
``2026-11-28``               The begin of that day, likewise; or with a zone.
``@1700000000``              Seconds since the epoch.
``-90s -30m -2h -3d -1w``    So long before now, that is before the mount is made.
===========================  =======================================================================================
"""

from __future__ import annotations

import re
import time
from datetime import datetime, timedelta, timezone

from cosfs.cli.values import Value

_DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(\.\d+)?)?)?(Z|[+-]\d\d:?\d\d)?",
                   re.IGNORECASE | re.ASCII)
_EPOCH = re.compile(r"@(\d{1,11}(?:\.\d+)?)", re.ASCII)
_AGO = re.compile(r"-(\d{1,9})([smhdw])", re.IGNORECASE | re.ASCII)
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def parse(text: str, now_s: float) -> float:
    """Seconds since the epoch. Raises: ValueError, for what is no time, or has not come yet."""
    time_s = _seconds(text, now_s)
    if not 0 <= time_s <= now_s:
        raise ValueError(f"{text} is not between 1970 and now")
    return time_s


def _seconds(text: str, now_s: float) -> float:
    epoch, ago, date = _EPOCH.fullmatch(text), _AGO.fullmatch(text), _DATE.fullmatch(text)
    if epoch:
        return float(epoch[1])
    if ago:
        return now_s - int(ago[1]) * _UNITS_S[ago[2].lower()]
    if not date:
        raise ValueError(text)
    year, month, day, hour, minute, second, fraction, zone = date.groups()
    if int(year) < 1970:
        raise ValueError(text)
    when = datetime(int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0))
    if zone is not None:
        when = when.replace(tzinfo=_zone(zone))
    return when.timestamp() + float(fraction or 0)


def _zone(text: str) -> timezone:
    if text in "Zz":
        return timezone.utc
    offset = timedelta(hours=int(text[1:3]), minutes=int(text[-2:]))
    return timezone(-offset if text[0] == "-" else offset)


SNAPSHOT_TIME = Value("TIME", "a time that has passed, such as 2026-11-28T10:00:00Z, 2026-11-28, @1700000000 or -2h",
                      lambda text: parse(text, time.time()))
