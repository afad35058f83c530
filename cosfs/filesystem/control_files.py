"""The files of the control folder ``.cosfs``: what each tells when it is opened, and does when it is written to.

``control.py`` has them in the filesystem. Contents are made when a file is opened, and are small.

Threading: any thread.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import posixpath
import re
import time
from typing import Callable, Dict, List, Mapping, Optional

from cosfs.errors import InvalidArgument
from cosfs.filesystem.status import Values
from cosfs.log_levels import NAMES, current_level, set_level
from cosfs.log_text import printable
from cosfs.metrics import About, Refusals, RequestCounts, RequestMeter, bucket_begin_us, percentile_us
from cosfs.version import __version__

MODES: Mapping[str, int] = {"stats": 0o400, "config": 0o400, "pending": 0o400, "refresh": 0o200, "loglevel": 0o600}
"""For the owner of the mount alone: what is pending names files that others may not see."""

BY_LINE = "refresh"
"""The file that takes any number of lines, a path each."""

_SECRET = re.compile(r"secret|token|password|passphrase|credential|customer|(^|_)sse(_|$)|(^|_)keys?$")
_OCTAL = frozenset(("umask", "mp_umask", "default_mode"))
_SHARES = (("p50_ms", 0.5), ("p95_ms", 0.95), ("p99_ms", 0.99))


class ControlFiles:
    """``status``: what the filesystem tells. ``refresh``: has it forget what is cached of a path. ``refusals``: of
    programs that were kept out."""

    def __init__(self, status: Callable[[], Values], refresh: Callable[[str], None], meter: RequestMeter, about: About,
                 clock: Callable[[], float] = time.time, *, refusals: Optional[Refusals] = None) -> None:
        self._status = status
        self._refresh = refresh
        self._meter = meter
        self._about = about
        self._clock = clock
        self._refusals = refusals or Refusals()
        self._started_s = clock()

    def content(self, name: str) -> bytes:
        """What a reader of the file gets."""
        texts: Dict[str, Callable[[], str]] = {
            "stats": self._stats, "config": self._config, "pending": self._pending,
            "loglevel": lambda: current_level() + "\n", "refresh": str}
        return texts[name]().encode("utf-8", "surrogateescape")

    def command(self, name: str, text: str) -> None:
        """Do what was written to the file. Raises: InvalidArgument."""
        if name == "loglevel":
            try:
                set_level(text.strip())
            except KeyError:
                raise InvalidArgument(f"no log level {text.strip()!r}; write one of {', '.join(NAMES)}") from None
            return
        lines = text.split("\n")
        for path in lines[:-1] if len(lines) > 1 and not lines[-1] else lines:
            if not path:
                raise InvalidArgument("no path; write one as seen from the mount point, / for all")
            self._refresh(posixpath.normpath("/" + path.lstrip("/")))

    def stats(self) -> Values:
        """What ``stats`` tells."""
        requests = self._meter.told()
        prices = self._about.prices
        now_s = self._clock()
        return {
            "program": "cosfs", "version": __version__, "bucket": self._about.bucket,
            "mount_point": self._about.mount_point, "time_s": now_s, "uptime_s": round(now_s - self._started_s, 3),
            "requests": {kind: _told(counts) for kind, counts in sorted(requests.items())},
            "cost": {"estimate": round(prices.estimate(requests), 6), "currency": prices.currency,
                     "per_10000_reads": prices.read, "per_10000_writes": prices.write},
            "kept_out": self._refusals.told(),
            **self._status()}

    def _stats(self) -> str:
        return json.dumps(self.stats(), indent=1) + "\n"

    def _config(self) -> str:
        return json.dumps({**self._about.settings, "log_level": current_level()}, indent=1) + "\n"

    def _pending(self) -> str:
        return "".join(line + "\n" for line in pending_lines(self._status()["pending"]))


def _told(counts: RequestCounts) -> Dict[str, object]:
    shares: Dict[str, Optional[float]] = {}
    for name, share in _SHARES:
        latency_us = percentile_us(counts.latencies, share)
        shares[name] = None if latency_us is None else round(latency_us / 1000, 3)
    return {"count": counts.count, "errors": counts.errors, "retries": counts.retries, "unsent": counts.unsent,
            "bytes_in": counts.bytes_in, "bytes_out": counts.bytes_out, "seconds": counts.latency_us / 1e6, **shares,
            "latencies_us": [[bucket_begin_us(bucket), count] for bucket, count in sorted(counts.latencies.items())]}


def pending_lines(pending: object) -> List[str]:
    """One line for each upload that is under way, and for each file that waits for its upload."""
    assert isinstance(pending, dict)
    lines = []
    for upload in pending["uploads"]:
        total = upload["size_bytes"]
        share = f" of {total} bytes ({100 * upload['sent_bytes'] // total} %)" if total else " bytes"
        lines.append(f"uploading {printable(upload['path'] or upload['key'])}: {upload['sent_bytes']}{share}, "
                     f"for {upload['age_s']:.0f} s")
    for file in pending["waiting"]:
        cause = f", failed {file['failures']} times: {file['cause'].strip()}" if file["failures"] else ""
        lines.append(f"waiting {printable(file['path'])}: {file['size_bytes']} bytes, for {file['age_s']:.0f} s{cause}")
    return lines


def shown_settings(config: object) -> Dict[str, object]:
    """The fields of a configuration as JSON has them; what may be secret is named only."""
    assert dataclasses.is_dataclass(config)
    return {field.name: _shown_setting(field.name, getattr(config, field.name)) for field in dataclasses.fields(config)}


def _shown_setting(name: str, value: object) -> object:
    if value is not None and not isinstance(value, bool) and (_SECRET.search(name) or isinstance(value, bytes)):
        return "***"
    if dataclasses.is_dataclass(value):
        return shown_settings(value)
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): _shown_setting(str(key), item) for key, item in value.items()}
    if name in _OCTAL and isinstance(value, int):
        return f"{value:04o}"
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
