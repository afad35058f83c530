"""``cosfs bench``: how fast mounts are on this machine, by workloads that many programs resemble.

By default everything is made for the occasion: a server with the latency and rate of a bucket far away, a mount for
each workload, and a folder for all that, which are gone when the command ends, whatever ends it. Arguments and order
of events are here; beside this module are bench_workloads.py (what is done), bench_stage.py (how it is measured),
bench_server.py and bench_bucket.py (on what), bench_processes.py, bench_null.py, bench_report.py and bench_picture.py.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence

from cosfs.cli import bench_null, bench_picture, values
from cosfs.cli.bench_bucket import Bucket, RealBucket, Source
from cosfs.cli.bench_processes import INTERRUPTS, BenchError
from cosfs.cli.bench_report import Report, Row, machine_facts, medians, now, table
from cosfs.cli.bench_server import EmbeddedBucket
from cosfs.cli.bench_stage import Stage
from cosfs.cli.bench_workloads import WORKLOADS, Workload
from cosfs.cli.mount import UsageError, one_line
from cosfs.errors import CosException
from cosfs.preflight import MountError
from cosfs.units import GIB, MAX_PUT_BYTES, MIB

_SIZE = values.size(MIB, plain="M")
_MEMORY_FOLDER = "/dev/shm"
_ROOM_FACTOR = 4
"""Room that a run needs, in sizes of the big object: the source, an upload in the server and in the staging folder,
and one for the rest."""

_ROOM_BYTES = 256 * MIB
_OWN_OPTIONS = ("url", "host", "passwd_file")

EPILOG = """\
Every workload gets an empty bucket, a mount of its own with nothing cached, and
a time limit. Bytes that are read are compared, and what was written is looked
up in the bucket. Without arguments all is done, with an embedded server, in
some three minutes on a machine of two cores.

columns
  seconds    until the last close returned
  durable    until the bucket held everything, which may be later
  CPU s      of the mount, user and system
  MiB        of memory, of the mount, at most
  requests, MB up, MB down    of the mount, at the server
  ratio      of durable, against the run of --baseline; below 1 is faster

examples
  cosfs bench
  cosfs bench --workloads seq_read,seq_write --size 1G --repeat 3
  cosfs bench --json new.json --baseline old.json --picture change.svg
  cosfs bench -o parallel_count=32,memory_limit=1G
  cosfs bench -o 'use_cache={dir}'       {dir}: an empty folder, at each mount
  cosfs bench --bucket BUCKET-APPID -o url=https://cos.REGION.myqcloud.com
  cosfs bench --null                     the cost of FUSE itself

exit status: 0; 1 when a row has an error, or nothing could be measured"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]  # argparse exits with 2 and prints usage
        raise BenchError(f"{message} (see: cosfs bench --help)")


def _parser() -> _Parser:
    parser = _Parser(prog="cosfs bench", formatter_class=argparse.RawDescriptionHelpFormatter, epilog=EPILOG,
                     description="Measure mounts on this machine: time, CPU, memory and requests of workloads.")
    what = parser.add_argument_group("what to measure")
    what.add_argument("--workloads", type=_names, default=list(WORKLOADS), metavar="A,B", help="only these")
    what.add_argument("--list", action="store_true", help="list the workloads, and end")
    what.add_argument("--null", action="store_true", help="a filesystem that does nothing instead of a bucket")
    what.add_argument("--size", type=_size, default=256 * MIB, help="size of the big object (256M)")
    what.add_argument("--scale", type=_positive, default=1.0, metavar="F",
                      help="factor for numbers of files and calls (1)")
    what.add_argument("--repeat", type=_whole, default=1, metavar="N", help="run N times and show medians (1)")
    what.add_argument("--timeout", type=_positive, default=120.0, metavar="S", help="seconds for each row (120)")
    where = parser.add_argument_group("where")
    where.add_argument("--latency-ms", type=_number, default=20.0, metavar="N",
                       help="of each answer of the embedded server (20)")
    where.add_argument("--mbps", type=_number, default=90.0, metavar="N",
                       help="MB/s of each of its connections, each way; 0: no limit (90)")
    where.add_argument("--fault", action="append", default=[], metavar="SPEC",
                       help="have the embedded server fail, see cosfs serve --help")
    where.add_argument("--bucket", metavar="BUCKET-APPID[:/PREFIX]",
                       help="measure this bucket, with url= among the options; below a prefix of its own, which is "
                            "deleted at the end")
    where.add_argument("--yes", action="store_true", help="do not ask whether the costs of --bucket are all right")
    where.add_argument("-o", action="append", default=[], dest="options", metavar="OPTION[,OPTION...]",
                       help="options of the mount, see cosfs --help")
    where.add_argument("--dir", type=Path, help=f"folder for temporary files ({_MEMORY_FOLDER} if it has room, else "
                                                "the system's)")
    result = parser.add_argument_group("results")
    result.add_argument("--json", type=Path, metavar="FILE", help="save the results")
    result.add_argument("--baseline", type=Path, metavar="FILE", help="compare with results saved earlier")
    result.add_argument("--picture", type=Path, metavar="FILE", help="draw them, as .svg or .png (needs matplotlib)")
    result.add_argument("--show", type=Path, metavar="FILE", help="show saved results instead of measuring")
    result.add_argument("--quiet", action="store_true", help="show no progress")
    return parser


def _names(text: str) -> List[str]:
    names = [name for name in text.split(",") if name]
    unknown = [name for name in names if name not in WORKLOADS]
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"there is no workload {unknown[0] if unknown else text!r}; --list shows all")
    return names


def _size(text: str) -> int:
    try:
        found = int(_SIZE.parse(text))
    except ValueError:
        found = 0
    if not MIB <= found <= MAX_PUT_BYTES:
        raise argparse.ArgumentTypeError("give a size such as 512M or 2G, from 1M to 5G")
    return found


def _number(text: str) -> float:
    if not re.fullmatch(r"\d+(\.\d*)?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number, or a negative one")
    return float(text)


def _positive(text: str) -> float:
    if not _number(text):
        raise argparse.ArgumentTypeError("give more than 0")
    return _number(text)


def _whole(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError("give a whole number from 1 to 1000")
    return int(text)


class Progress:
    """One line on a terminal's standard error, written over again and again; elsewhere a line for each subject."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._terminal = sys.stderr.isatty()
        self.subject = ""
        self._told = ""

    def __call__(self, text: str) -> None:
        if self._terminal and not self._quiet:
            sys.stderr.write(f"\r\033[K{self.subject}: {text}"[:84])
        elif not self._quiet and self._told != self.subject:
            sys.stderr.write(f"{self.subject}\n")
        self._told = self.subject
        sys.stderr.flush()

    def clear(self) -> None:
        if self._terminal and not self._quiet:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()


def run(argv: Sequence[str]) -> int:
    """Carry out the command; returns the exit status."""
    try:
        options = _parser().parse_args(list(argv))
        if options.list:
            print(_list())
            return 0
        with INTERRUPTS.received():
            return _run(options)
    except (BenchError, UsageError, MountError, CosException) as exc:
        print(f"cosfs bench: {one_line(str(exc))}", file=sys.stderr)
        return 1
    except OSError as exc:
        print(f"cosfs bench: {exc.filename or 'the benchmark'}: {exc.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ncosfs bench: interrupted; nothing is left behind", file=sys.stderr)
        return 128 + INTERRUPTS.number


def _list() -> str:
    return "\n".join(f"{name:14} {workload.about}" for name, workload in WORKLOADS.items())


def _run(options: argparse.Namespace) -> int:
    """Raises: what ``run`` turns into one line."""
    baseline = Report.read(options.baseline) if options.baseline else None
    if options.picture:
        bench_picture.check(options.picture)
    for path in (options.json, options.picture):
        if path and not os.access(path.absolute().parent, os.W_OK):
            raise BenchError(f"{path} cannot be written; give a file in a folder that is yours")
    report = Report.read(options.show) if options.show else _measure(options)
    if options.json:
        report.write(options.json)
    if options.picture:
        bench_picture.draw(options.picture, report, baseline)
    print(table(report, baseline, colour=sys.stdout.isatty() and "NO_COLOR" not in os.environ))
    return int(report.failed)


def _measure(options: argparse.Namespace) -> Report:
    _check(options)
    progress = Progress(quiet=options.quiet)
    with ExitStack() as stack:
        stack.callback(progress.clear)
        folder = _make_folder(options, stack)
        if options.null:
            progress.subject = "null"
            runs = [bench_null.measure(folder, _libfuse(options), options.scale, options.timeout, progress)
                    for _ in range(options.repeat)]
        else:
            runs = _measure_bucket(options, folder, stack, progress)
        return Report(_facts(options), medians(runs), machine_facts(folder), now())


def _check(options: argparse.Namespace) -> None:
    words = [re.split("[=,]", item)[0] for text in options.options for item in re.split(r"(?<!\\),", text)]
    for name in _OWN_OPTIONS:
        if name in words and not options.bucket:
            raise BenchError(f"option {name} needs --bucket: the embedded server has an address and keys of its own")
    if options.bucket and not options.yes:
        _ask(options)


def _ask(options: argparse.Namespace) -> None:
    """Tell what a run costs at a real bucket, and go on only if that is wanted. Raises: BenchError."""
    chosen = [WORKLOADS[name] for name in options.workloads]
    up = sum(workload.up for workload in chosen) * options.size * options.repeat
    down = sum(workload.down for workload in chosen) * options.size * options.repeat
    requests = sum(workload.requests for workload in chosen) * options.scale * options.repeat + (up + down) / (8 * MIB)
    print(f"This makes some {requests:,.0f} requests at {options.bucket}, sends {up / GIB:.1f} GiB there and fetches "
          f"{down / GIB:.1f} GiB.", file=sys.stderr)
    if not sys.stdin.isatty():
        raise BenchError("add --yes if that is all right")
    print("Go on? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise BenchError("nothing was done")


def _make_folder(options: argparse.Namespace, stack: ExitStack) -> Path:
    """A temporary folder that goes with the stack. Raises: BenchError when there is no room."""
    needed = 0 if options.null else _ROOM_FACTOR * options.size + _ROOM_BYTES
    places = [options.dir] if options.dir else [Path(_MEMORY_FOLDER), Path(tempfile.gettempdir())]
    for place in places:
        if place.is_dir() and os.access(place, os.W_OK) and shutil.disk_usage(place).free >= needed:
            break
    else:
        raise BenchError(f"{places[-1]} has no room for {needed / GIB:.1f} GiB, or cannot be written to; give --dir "
                         "or a smaller --size")
    with INTERRUPTS.held():
        folder = Path(tempfile.mkdtemp(prefix="cosfs-bench-", dir=place.absolute()))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _libfuse(options: argparse.Namespace) -> str:
    match = re.findall(r"(?:^|,)libfuse=([23])\b", ",".join(options.options))
    return match[-1] if match else "2"


def _facts(options: argparse.Namespace) -> Dict[str, object]:
    """What the results depend on, without the places of keys."""
    shown = [item for text in options.options for item in re.split(r"(?<!\\),", text)
             if not item.startswith("passwd_file=")]
    return {"store": options.bucket or ("null" if options.null else "embedded"), "latency_ms": options.latency_ms,
            "mbps": options.mbps, "size_bytes": options.size, "scale": options.scale, "repeat": options.repeat,
            "mount_options": shown}


def _measure_bucket(options: argparse.Namespace, folder: Path, stack: ExitStack, progress: Progress,
                    ) -> List[List[Row]]:
    progress.subject = "all"
    progress("making random bytes")
    source = Source(folder / "source", options.size)
    bucket: Bucket
    if options.bucket:
        bucket = RealBucket(options.bucket, options.options)
    else:
        serve = [f"--latency-ms={options.latency_ms}", *([f"--mbps={options.mbps}"] if options.mbps else []),
                 *(f"--fault={spec}" for spec in options.fault)]
        place = folder / "bucket"
        place.mkdir()
        bucket = EmbeddedBucket(place, source, serve)
    stack.callback(bucket.close)

    def stage() -> Stage:
        return Stage(bucket, source, folder, options=options.options, scale=options.scale, limit_s=options.timeout,
                     tell=progress)
    total = options.repeat * len(options.workloads)
    runs: List[List[Row]] = []
    for number in range(total):
        workload = WORKLOADS[options.workloads[number % len(options.workloads)]]
        progress.subject = f"[{number + 1}/{total}] {workload.name}"
        runs.append(_play(workload, bucket, stage))
    return runs


def _play(workload: Workload, bucket: Bucket, make_stage: Callable[[], Stage]) -> List[Row]:
    """One workload; what keeps it from being measured is the error of its rows."""
    missing = [program for program in workload.programs if not shutil.which(program)]
    if missing:
        return [Row(name, note=f"not measured: {missing[0]} is not installed") for name in workload.rows]
    stage = make_stage()
    problem: Optional[str] = None
    try:
        bucket.begin()
        workload.run(stage)
    except (BenchError, MountError, CosException, OSError) as exc:
        problem = one_line(f"{type(exc).__name__}: {exc}" if isinstance(exc, OSError) else str(exc))
    finally:
        stage.unmount()
    done = {row.name for row in stage.rows}
    problem = problem or next((f"{row.name} failed" for row in stage.rows if row.error), "not measured")
    return stage.rows + [Row(name, error=problem) for name in workload.rows if name not in done]
