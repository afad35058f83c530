"""Archived objects: their classes, how a restore is asked for, and what the service tells of one. Pure.

An archived object is there, with all its headers; its bytes can be read, and copied by the service, only while there is
a restored copy of it, which somebody has to ask for and to wait for ("Post Object restore").
"""

from __future__ import annotations

import email.utils
import enum
import re
from dataclasses import dataclass
from typing import Mapping, Optional

ARCHIVE_CLASSES = frozenset(("ARCHIVE", "DEEP_ARCHIVE", "MAZ_ARCHIVE", "MAZ_DEEP_ARCHIVE", "GLACIER"))
"""The last one is S3's, whose other archive class has the name of COS's."""

MAX_DAYS = 365
"""How long a restored copy can be asked for at a time."""


ORDERS = f"a number of days from 1 to {MAX_DAYS}, or DAYS:TIER with a tier of Expedited, Standard or Bulk"
"""What ``RestoreOrder.parse`` takes."""


class Tier(enum.Enum):
    """How fast an object is restored, and how dear."""

    EXPEDITED = "Expedited"
    STANDARD = "Standard"
    BULK = "Bulk"


_DURATIONS: Mapping[bool, Mapping[Tier, str]] = {
    False: {Tier.EXPEDITED: "1 to 5 minutes", Tier.STANDARD: "3 to 5 hours", Tier.BULK: "5 to 12 hours"},
    True: {Tier.STANDARD: "12 to 24 hours", Tier.BULK: "24 to 48 hours"},
}
"""By whether the class is a deep one ("Post Object restore"); of tiers that it knows."""


def is_archived(storage_class: str) -> bool:
    """Whether objects of this class can be read after a restore only. Letter case does not matter."""
    return storage_class.upper() in ARCHIVE_CLASSES


def usual_duration(storage_class: str, tier: Tier) -> Optional[str]:
    """How long a restore usually takes, in words; None when the class does not know the tier."""
    return _DURATIONS["DEEP" in storage_class.upper()].get(tier)


@dataclass(frozen=True)
class RestoreOrder:
    """``days``: how long the restored copy is to stay."""

    days: int
    tier: Tier = Tier.STANDARD

    def __post_init__(self) -> None:
        if not 1 <= self.days <= MAX_DAYS:
            raise ValueError(f"{self.days} days are not between 1 and {MAX_DAYS}")

    @classmethod
    def parse(cls, text: str) -> RestoreOrder:
        """Of ``7`` or ``7:Expedited``. Raises: ValueError."""
        match = re.fullmatch(r"(\d{1,3})(?::([a-z]+))?", text, re.ASCII | re.IGNORECASE)
        if match is None:
            raise ValueError(f"{text!r} is not of the form DAYS or DAYS:TIER")
        return cls(int(match[1]), Tier((match[2] or Tier.STANDARD.value).capitalize()))

    def __str__(self) -> str:
        return f"{self.days}:{self.tier.value}"


@dataclass(frozen=True)
class RestoreTold:
    """What ``x-cos-restore`` says: a restore goes on; or there is a copy, until ``expiry_s``, if that is told."""

    ongoing: bool
    expiry_s: Optional[float] = None


_FIELD = re.compile(r'([a-z-]+)="([^"]*)"')


def parse_restore_header(value: Optional[str]) -> Optional[RestoreTold]:
    """None when nothing is told, or not understood: then nothing is restored."""
    fields = dict(_FIELD.findall(value or ""))
    if "ongoing-request" not in fields:
        return None
    if fields["ongoing-request"].lower() == "true":
        return RestoreTold(ongoing=True)
    parsed = email.utils.parsedate_tz(fields.get("expiry-date", ""))
    return RestoreTold(ongoing=False, expiry_s=None if parsed is None else float(email.utils.mktime_tz(parsed)))
