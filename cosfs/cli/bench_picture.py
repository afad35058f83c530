"""The picture of ``cosfs bench``: bars of times until durable, beside those of an earlier run.

matplotlib is imported when a picture is wanted: it comes with the extra ``cosfs-fuse[bench]``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, List, Optional

from cosfs.cli.bench_processes import BenchError
from cosfs.cli.bench_report import Report, Row

SUFFIXES = (".svg", ".png")
_BAR_INCHES = 0.19
_BAR = 0.38
"""Width of a bar; two of them and a gap make 1."""


def check(path: Path) -> None:
    """See that a picture can be made, before anything is measured. Raises: BenchError."""
    if path.suffix.lower() not in SUFFIXES:
        raise BenchError(f"--picture {path}: the name must end in {' or '.join(SUFFIXES)}")
    _pyplot()


def _pyplot() -> Any:
    try:
        import matplotlib  # noqa: PLC0415  an extra
        matplotlib.use("agg")
        from matplotlib import pyplot  # noqa: PLC0415
    except ImportError:
        raise BenchError(f"--picture needs matplotlib; install it with: {sys.executable} -m pip install matplotlib"
                         ) from None
    return pyplot


def draw(path: Path, report: Report, baseline: Optional[Report]) -> None:
    """Horizontal bars on a logarithmic axis, one group for each row that was measured. Raises: OSError."""
    pyplot = _pyplot()
    rows = [row for row in report.rows if row.measured]
    before = {row.name: row for row in baseline.rows if row.measured} if baseline else {}
    figure, axes = pyplot.subplots(figsize=(8, 1.6 + _BAR_INCHES * len(rows) * (2 if before else 1)))
    _bars(axes, -_BAR / 2 if before else 0.0, rows, f"{report.program}, {report.date}", "#2f6fb3")
    if baseline is not None:
        places = [number for number, row in enumerate(rows) if row.name in before]
        _bars(axes, _BAR / 2, [before[rows[number].name] for number in places],
              f"{baseline.program}, {baseline.date}", "#c0c4c9", places)
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.margins(x=0.12, y=0.01)
    axes.set_xlabel("seconds" if report.options.get("store") == "null" else "seconds until the bucket has everything")
    figure.suptitle(_title(report), fontsize=10)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, fontsize=8, frameon=False)
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


def _bars(axes: Any, shift: float, rows: List[Row], label: str, colour: str,
          places: Optional[List[int]] = None) -> None:
    where = [place + shift for place in (range(len(rows)) if places is None else places)]
    bars = axes.barh(where, [row.durable_seconds for row in rows], height=_BAR, color=colour, label=label)
    axes.bar_label(bars, [f"{row.durable_seconds:.2f}" for row in rows], padding=3, fontsize=7)


def _title(report: Report) -> str:
    options = report.options
    if options.get("store") == "embedded":
        return f"embedded server, {options['latency_ms']:g} ms a request, {options['mbps']:g} MB/s a connection"
    return str(options.get("store") or "")
