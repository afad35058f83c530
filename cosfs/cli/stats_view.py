"""The picture of a mount's statistics in plain text, at most 80 columns wide. Pure: values in, lines out.

With an earlier look at the same mount, rates are those since then, and so are latencies and hit rates of whatever was
used meanwhile; without, all is since the mount began.
"""

from __future__ import annotations

import unicodedata
from typing import Any, Dict, List, Mapping, Optional

from cosfs.metrics import bucket_of, percentile_us

WIDTH = 80
_BAR = 20
_PENDING_LINES = 4
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_COLUMNS = f"{'REQUEST':26}{'PER S':>8}{'TOTAL':>9}{'ERRORS':>8}{'RETRIES':>8}{'P50':>7}{'P95':>7}{'P99':>7}"
_CACHES = (("metadata", "metadata"), ("data", "data in memory"), ("disk", "disk cache"))

Stats = Mapping[str, Any]


def picture(now: Stats, before: Optional[Stats] = None, *, most_lines: Optional[int] = None) -> List[str]:
    """The lines of one look. Where not all have room, uploads keep a few, and each table says how much is left out."""
    head, requests, pending = _head(now, before), _requests(now, before), _pending(now)
    if most_lines is not None:
        room = most_lines - len(head) - 2
        for_pending = min(len(pending), max(_PENDING_LINES, room - len(requests)))
        requests, pending = _first(requests, room - for_pending), _first(pending, for_pending)
    return [*head, "", *requests, "", *pending][:most_lines]


def _first(rows: List[str], most: int) -> List[str]:
    return rows if len(rows) <= most else [*rows[:max(0, most - 1)], f"... and {len(rows) - max(0, most - 1)} more"]


def _head(now: Stats, before: Optional[Stats]) -> List[str]:
    seconds = _seconds(now, before)
    total = {name: sum(kind[name] for kind in now["requests"].values()) for name in
             ("count", "errors", "retries", "bytes_in", "bytes_out")}
    past = {name: sum(kind[name] for kind in before["requests"].values()) if before else 0 for name in total}
    rate = {name: (total[name] - past[name]) / seconds for name in total}
    memory, staging, cost = now["memory"], now["staging"], now["cost"]
    flow = "   ".join(f"{text} {size(rate[name])}/s ({size(total[name])} in all)".ljust(36)
                      for text, name in (("in ", "bytes_in"), ("out", "bytes_out")))
    rows = [
        fit(f"{now['bucket']} on {now['mount_point']}, for {_duration(now['uptime_s'])}"),
        flow.rstrip(),
        f"requests {rate['count']:.1f}/s ({count(total['count'])} in all)   errors {count(total['errors'])}   "
        f"retries {count(total['retries'])}",
        f"cost     {money(cost['estimate'])} {cost['currency']} (an estimate, of requests alone)",
        f"memory   {_bar(memory['used_bytes'], memory['limit_bytes'])} {_of(memory)}   open files {now['open_files']}",
        f"staging  {_bar(staging['used_bytes'], staging['limit_bytes'])} {_of(staging)}",
        "hits     " + "   ".join(f"{text} {_hits(name, now, before)}" for name, text in _CACHES),
    ]
    kept_out = now.get("kept_out")  # a mount of an older version has none
    if kept_out:
        rows.append("kept out " + "   ".join(f"{program} {count(number)}" for program, number in sorted(
            kept_out.items(), key=lambda item: (-item[1], item[0]))))
    return [fit(row) for row in rows]


def _requests(now: Stats, before: Optional[Stats]) -> List[str]:
    seconds = _seconds(now, before)
    rows = [_COLUMNS]
    for kind, counts in sorted(now["requests"].items(), key=lambda item: (-item[1]["count"], item[0])):
        past = (before["requests"].get(kind) if before else None) or {"count": 0, "latencies_us": []}
        new = counts["count"] - past["count"]
        latencies = _buckets(counts)
        if before is not None and new:
            earlier = _buckets(past)
            latencies = {bucket: number - earlier.get(bucket, 0) for bucket, number in latencies.items()}
        shares = "".join(f"{_latency(percentile_us(latencies, share)):>7}" for share in (0.5, 0.95, 0.99))
        rate = new / seconds
        rate_text = f"{rate:.1f}" if rate < 100_000 else count(int(rate))
        rows.append(f"{kind[:25]:26}{rate_text:>8}{count(counts['count']):>9}{count(counts['errors']):>8}"
                    f"{count(counts['retries']):>8}{shares}")
    return rows


def _pending(now: Stats) -> List[str]:
    uploads, waiting = now["pending"]["uploads"], now["pending"]["waiting"]
    rows = [f"UPLOADS UNDER WAY {len(uploads)}   FILES WAITING {len(waiting)}"]
    for upload in uploads:
        done = {"used_bytes": upload["sent_bytes"], "limit_bytes": upload["size_bytes"]}
        rows.append(f"{_bar(*done.values())} {_of(done):24} {_tail(upload['path'] or upload['key'], 32)}")
    for file in waiting:
        note = f"failed {file['failures']}x" if file["failures"] else f"for {file['age_s']:.0f} s"
        rows.append(f"waiting  {size(file['size_bytes']):>10}   {note:22} {_tail(file['path'], 34)}")
    return rows


def _seconds(now: Stats, before: Optional[Stats]) -> float:
    """Between the two looks; since the mount began, without an earlier one."""
    return float(max(now["uptime_s"] - (before["uptime_s"] if before else 0.0), 0.001))


def _buckets(counts: Mapping[str, Any]) -> Dict[int, int]:
    return {bucket_of(begin): number for begin, number in counts["latencies_us"]}


def _hits(name: str, now: Stats, before: Optional[Stats]) -> str:
    told = now["caches"][name]
    if told is None:
        return "off"
    past = (before["caches"][name] if before else None) or {"hits": 0, "misses": 0}
    for hits, misses in ((told["hits"] - past["hits"], told["misses"] - past["misses"]),
                         (told["hits"], told["misses"])):
        if hits + misses:
            return f"{100 * hits / (hits + misses):.1f} %"
    return "-"


def size(number: float) -> str:
    """Bytes in a unit that leaves at most four digits before the point."""
    for unit in _UNITS:
        if number < 1024 or unit == _UNITS[-1]:
            break
        number /= 1024
    return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"


def count(number: int) -> str:
    """In at most eight characters."""
    if number < 10_000_000:
        return f"{number:,}" if number < 1_000_000 else str(number)
    return f"{number / 1e6:.1f}M" if number < 100_000_000_000 else f"{number / 1e9:.0f}G"


def money(amount: float) -> str:
    return f"{amount:.2f}" if amount >= 1 else f"{amount:.6f}"


def _latency(latency_us: Optional[float]) -> str:
    if latency_us is None:
        return "-"
    if latency_us < 9_950:
        return f"{latency_us / 1000:.1f}ms"
    return f"{latency_us / 1000:.0f}ms" if latency_us < 999_500 else f"{latency_us / 1e6:.1f}s"


def _duration(seconds: float) -> str:
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}"


def _of(budget: Mapping[str, Optional[int]]) -> str:
    used, limit = budget["used_bytes"] or 0, budget["limit_bytes"]
    return size(used) + (" (no limit)" if limit is None else f" of {size(limit)}")


def _bar(used: Optional[int], limit: Optional[int]) -> str:
    share = min(1.0, (used or 0) / limit) if limit else 0.0
    filled = round(share * _BAR)
    return "[" + "#" * filled + "-" * (_BAR - filled) + "]"


def _tail(text: str, width: int) -> str:
    """A path in so many columns; what is left out is its beginning."""
    text = _printable(text)
    if _columns(text) <= width:
        return text
    while _columns(text) > width - 3:
        text = text[1:]
    return "..." + text


def fit(text: str, width: int = WIDTH) -> str:
    """A line in so many columns; what is left out is its end."""
    text = _printable(text)
    if _columns(text) <= width:
        return text
    while text and _columns(text) > width - 3:
        text = text[:-1]
    return (text + "...")[:width]


def _columns(text: str) -> int:
    """How wide a terminal shows it: Chinese characters take two columns."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)
