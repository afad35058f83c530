"""A mount's statistics for Prometheus: the text format, and the small HTTP server that serves it (``metrics=``).

The format is the text-based one of Prometheus' documentation ("Exposition formats", version 0.0.4). Names begin with
``cosfs_``; counters count since the mount began.

Threading: a thread of the server's own for each request. Memory: one page, some 10 KiB.
"""

from __future__ import annotations

import logging
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any, Callable, Iterable, Iterator, List, Mapping, Tuple

from cosfs.metrics import bucket_begin_us, bucket_of

log = logging.getLogger(__name__)

Stats = Mapping[str, Any]
_Sample = Tuple[Mapping[str, str], float]

_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
_TIMEOUT_S = 10.0
"""How long a client may take for its request."""


def exposition(stats: Stats) -> str:
    """The page, of what ``.cosfs/stats`` has."""
    page: List[str] = []
    requests = stats["requests"].items()

    def family(name: str, kind: str, text: str, samples: Iterable[_Sample]) -> None:
        page.append(f"# HELP cosfs_{name} {text}\n# TYPE cosfs_{name} {kind}")
        page.extend(f"cosfs_{name}{_labels(labels)} {value:.12g}" if isinstance(value, float)
                    else f"cosfs_{name}{_labels(labels)} {value}" for labels, value in samples)

    for name, field, text in (
            ("requests_total", "count", "Requests, each sending of one counted."),
            ("request_errors_total", "errors", "Requests without a usable answer, or refused."),
            ("request_retries_total", "retries", "Requests that were not the first sending of a call."),
            ("received_bytes_total", "bytes_in", "Bytes of the bodies of answers."),
            ("sent_bytes_total", "bytes_out", "Bytes of the bodies of requests.")):
        family(name, "counter", text, [({"kind": kind}, counts[field]) for kind, counts in requests])
    page.append("# HELP cosfs_request_seconds Time from sending a request until its answer begins.\n"
                "# TYPE cosfs_request_seconds histogram")
    for kind, counts in requests:
        page.extend(_histogram(kind, counts))
    caches = [(name, told) for name, told in stats["caches"].items() if told is not None]
    for field in ("hits", "misses"):
        family(f"cache_{field}_total", "counter", f"What the caches had: {field}.",
               [({"cache": name}, told[field]) for name, told in caches])
    family("kept_out_total", "counter", "Folders that did not open to a program that indexes.",
           [({"program": program}, count) for program, count in stats["kept_out"].items()])
    gauges = [("open_files", "Handles of open files.", stats["open_files"]),
              ("uploads_under_way", "Multipart uploads that are open.", len(stats["pending"]["uploads"])),
              ("files_waiting", "Files that wait for their upload.", len(stats["pending"]["waiting"])),
              ("uptime_seconds", "Time since the mount began.", float(stats["uptime_s"]))]
    for budget in ("memory", "staging"):
        gauges += [(f"{budget}_{field}", f"{budget.capitalize()}: {field}.", stats[budget][field])
                   for field in ("used_bytes", "limit_bytes") if stats[budget][field] is not None]
    for name, text, value in gauges:
        family(name, "gauge", text, [({}, value)])
    cost = stats["cost"]
    family("estimated_cost", "counter", "What the requests may have cost.",
           [({"currency": cost["currency"]}, float(cost["estimate"]))])
    return "\n".join(page) + "\n"


def _histogram(kind: str, counts: Mapping[str, Any]) -> Iterator[str]:
    """A bucket of ours belongs to the first bound that it does not reach beyond."""
    ends_us = [(bucket_begin_us(bucket_of(begin) + 1), number) for begin, number in counts["latencies_us"]]
    total = sum(number for _, number in ends_us)
    for bound_s in _BOUNDS_S:
        below = sum(number for end_us, number in ends_us if end_us <= bound_s * 1e6)
        yield f"cosfs_request_seconds_bucket{_labels({'kind': kind, 'le': f'{bound_s:g}'})} {below}"
    yield f"cosfs_request_seconds_bucket{_labels({'kind': kind, 'le': '+Inf'})} {total}"
    yield f"cosfs_request_seconds_sum{_labels({'kind': kind})} {counts['seconds']:.6f}"
    yield f"cosfs_request_seconds_count{_labels({'kind': kind})} {total}"


def _labels(labels: Mapping[str, str]) -> str:
    escaped = ",".join('{}="{}"'.format(name, value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n"))
                       for name, value in labels.items())
    return f"{{{escaped}}}" if escaped else ""


@contextmanager
def served(address: Tuple[str, int], stats: Callable[[], Stats]) -> Iterator[int]:
    """Serve the page at ``/metrics`` while inside; gives the port. Raises: OSError, when the address cannot be had."""

    class Handler(BaseHTTPRequestHandler):
        timeout = _TIMEOUT_S

        def do_GET(self) -> None:
            if self.path.partition("?")[0] != "/metrics":
                self.send_error(404, "the page is /metrics")
                return
            page = exposition(stats()).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_: object) -> None:
            """Each look at the page is no line in the log."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def server_bind(self) -> None:
            """Without the base class's question for the host's full name, which a name server may not answer."""
            TCPServer.server_bind(self)

        def handle_error(self, *_: object) -> None:
            level = logging.DEBUG if isinstance(sys.exc_info()[1], OSError) else logging.ERROR
            log.log(level, "the metrics page was not sent", exc_info=True)

    with Server(address, Handler) as server:
        thread = threading.Thread(target=server.serve_forever, name="cosfs-metrics", daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()
