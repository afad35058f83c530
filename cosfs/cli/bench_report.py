"""The results of ``cosfs bench``: rows, medians of repeated runs, the table, and the JSON file.

The JSON file holds one object:

    version    1; another number means that older programs cannot read it
    program    "cosfs" and its version
    date       when it was made, ISO 8601, UTC
    machine    facts that times depend on: processor, cores, memory_bytes, kernel, python, folder (where the data lay)
    options    as given or by default: store ("embedded", or the URL of the bucket's service), latency_ms, mbps,
               size_bytes, scale, repeat, mount_options
    rows       a list, in the order of running, of objects with
                 name               of the row
                 seconds            until the last close returned; the median, as all numbers are, over the runs
                 durable_seconds    until the bucket held everything, which may be later
                 cpu_seconds        of the mount, user and system
                 peak_bytes         of memory, of the mount, since it was made
                 requests           of the mount, numbers by kind as in the access log of ``cosfs serve``, or null
                 up_bytes, down_bytes    of bodies, to and from the bucket; null: not known
                 server_cpu_seconds of the embedded server; null: there was none
                 calls, bytes       of --null: calls of FUSE, bytes that they moved; else null
                 error              what went wrong, null: nothing, all bytes were checked
                 note               what else is to be said, or null
                 runs               durable_seconds of each run
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import statistics
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from cosfs.cli.bench_processes import BenchError
from cosfs.units import MIB
from cosfs.version import __version__

VERSION = 1
_MEGABYTE = 1_000_000
_BUSY_SERVER = 0.7
"""Share of the time that a server of one thread works, beyond which it is what is measured."""

Column = Tuple[str, int, Callable[["Row"], str]]
"""Title, width, and the cell of a row."""

_RED, _PLAIN = "\033[31m", "\033[0m"


@dataclass
class Row:
    """One measured thing; the module's text says what the fields are."""

    name: str
    seconds: float = 0.0
    durable_seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_bytes: int = 0
    requests: Optional[Dict[str, int]] = None
    up_bytes: Optional[int] = None
    down_bytes: Optional[int] = None
    server_cpu_seconds: Optional[float] = None
    calls: Optional[int] = None
    bytes: Optional[int] = None
    error: Optional[str] = None
    note: Optional[str] = None
    runs: List[float] = field(default_factory=list)

    @property
    def measured(self) -> bool:
        return self.error is None and self.durable_seconds > 0

    @property
    def busy_server(self) -> bool:
        return (self.server_cpu_seconds or 0.0) > _BUSY_SERVER * self.durable_seconds > 0


@dataclass
class Report:
    """One run of the benchmark."""

    options: Dict[str, Any]
    rows: List[Row]
    machine: Dict[str, Any] = field(default_factory=dict)
    date: str = ""
    program: str = f"cosfs {__version__}"

    @property
    def failed(self) -> bool:
        return any(row.error for row in self.rows)

    def write(self, path: Path) -> None:
        """Raises: OSError."""
        path.write_text(json.dumps({"version": VERSION, **asdict(self)}, indent=1) + "\n")

    @staticmethod
    def read(path: Path) -> Report:
        """Raises: BenchError."""
        try:
            data = json.loads(path.read_text())
            if data.pop("version") != VERSION:
                raise BenchError(f"{path} was written by another version of cosfs; measure it again")
            rows = [Row(**row) for row in data.pop("rows")]
            return Report(rows=rows, **data)
        except OSError as exc:
            raise BenchError(f"{path}: {exc.strerror}; give a file that --json has written") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise BenchError(f"{path} holds no results; give a file that --json has written") from None


def machine_facts(folder: Path) -> Dict[str, Any]:
    return {"processor": _processor(), "cores": len(os.sched_getaffinity(0)),
            "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), "kernel": platform.release(),
            "python": platform.python_version(), "folder": str(folder.parent)}


def _processor() -> str:
    with open("/proc/cpuinfo") as file:
        for line in file:
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.machine()


def now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def medians(runs: Sequence[Sequence[Row]]) -> List[Row]:
    """One row of each name, of the medians of those runs that had no error, or the first error of all."""
    names = dict.fromkeys(row.name for run in runs for row in run)
    return [_median([row for run in runs for row in run if row.name == name]) for name in names]


def _median(rows: Sequence[Row]) -> Row:
    failed = [row for row in rows if row.error]
    if failed:
        return replace(failed[0], runs=[row.durable_seconds for row in rows])
    chosen: Dict[str, Any] = {}
    for item in fields(Row):
        values = [getattr(row, item.name) for row in rows]
        if all(isinstance(value, float) for value in values):
            chosen[item.name] = round(statistics.median(values), 4)
        elif all(isinstance(value, int) for value in values):
            chosen[item.name] = statistics.median_low(values)
    totals = [sum((row.requests or {}).values()) for row in rows]
    middle = rows[totals.index(statistics.median_low(totals))]
    return replace(rows[0], **chosen, requests=middle.requests, note=next((r.note for r in rows if r.note), None),
                   runs=[round(row.durable_seconds, 4) for row in rows])


def ratio(row: Row, before: Mapping[str, Row]) -> Optional[float]:
    """Time of the row against that of an earlier run; below 1 is faster. None when one of them has none."""
    old = before.get(row.name)
    if old is None or not (row.measured and old.measured):
        return None
    return row.durable_seconds / old.durable_seconds


def table(report: Report, baseline: Optional[Report] = None, *, colour: bool = False) -> str:
    """The report as text, at most 80 columns wide but for what went wrong."""
    before = {row.name: row for row in baseline.rows} if baseline else None
    null = report.options.get("store") == "null"
    columns = _NULL_COLUMNS if null else _COLUMNS
    lines = [_line("workload", [title for title, _, _ in columns], columns) + ("  ratio" if before is not None else "")]
    for row in report.rows:
        if row.error or not row.measured:
            text = f"{row.name:{_NAME_WIDTH}}  {row.error or row.note or 'nothing was measured'}"
            lines.append(f"{_RED}{text}{_PLAIN}" if row.error and colour else text)
            continue
        line = _line(row.name, [show(row) for _, _, show in columns], columns)
        if before is not None:
            change = ratio(row, before)
            line += f"{change:7.2f}" if change is not None else f"{_UNKNOWN:>7}"
        lines.append(line)
    return "\n".join([*lines, *_remarks(report, baseline)])


_NAME_WIDTH = 14
_UNKNOWN = "–"


def _line(name: str, cells: Sequence[str], columns: Sequence[Column]) -> str:
    return f"{name:{_NAME_WIDTH}}" + "".join(f"{cell:>{width}}" for cell, (_, width, _) in zip(cells, columns))


def _seconds(value: float) -> str:
    return f"{value:.2f}" if value < 1000 else f"{value:.0f}"


def _megabytes(value: Optional[int]) -> str:
    return _UNKNOWN if value is None else f"{value / _MEGABYTE:.1f}" if value < 1e9 else f"{value / _MEGABYTE:.0f}"


def _requests(row: Row) -> str:
    return _UNKNOWN if row.requests is None else str(sum(row.requests.values())) + "*" * row.busy_server


def _per_call(row: Row, value: float) -> str:
    return f"{value / row.calls:.1f}" if row.calls else _UNKNOWN


_COLUMNS: Sequence[Column] = (
    ("seconds", 9, lambda row: _seconds(row.seconds)),
    ("durable", 9, lambda row: _seconds(row.durable_seconds)),
    ("CPU s", 8, lambda row: _seconds(row.cpu_seconds)),
    ("MiB", 6, lambda row: str(row.peak_bytes // MIB)),
    ("requests", 10, _requests),
    ("MB up", 8, lambda row: _megabytes(row.up_bytes)),
    ("MB down", 8, lambda row: _megabytes(row.down_bytes)),
)
_NULL_COLUMNS: Sequence[Column] = (
    ("seconds", 9, lambda row: _seconds(row.seconds)),
    ("calls/s", 10, lambda row: f"{row.calls / row.seconds:,.0f}" if row.calls else _UNKNOWN),
    ("CPU us/call", 13, lambda row: _per_call(row, row.cpu_seconds * 1e6)),
    ("GB/s", 8, lambda row: f"{row.bytes / row.seconds / 1e9:.2f}" if row.bytes else _UNKNOWN),
)


def _remarks(report: Report, baseline: Optional[Report]) -> Iterator[str]:
    if any(row.busy_server for row in report.rows):
        yield "* the embedded server was busy most of this time: the row is about it, too"
    for row in report.rows:
        if row.measured and row.note:
            yield f"{row.name}: {row.note}"
    if baseline is not None:
        yield f"ratio: time until durable, against {baseline.program} of {baseline.date}; below 1 is faster"
        changed = [name for name, value in report.options.items() if baseline.options.get(name) != value]
        changed += [name for name in ("processor", "cores") if baseline.machine.get(name) != report.machine.get(name)]
        if changed:
            yield f"the earlier run differs in {', '.join(changed)}: its times tell little"
