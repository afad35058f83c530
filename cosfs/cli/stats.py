"""``cosfs stats``: what a mount has done since it began, as text or JSON."""

from __future__ import annotations

import json
from typing import Dict, Sequence

from cosfs.cli.mount_stats import find_mount, read_stats, run_on_mount
from cosfs.cli.stats_view import picture

HELP = """\
usage: cosfs stats MOUNTPOINT [--json]
Show what the mount there has done since it began: requests by kind, bytes in
and out, hits of its caches, memory and local disk in use, uploads under way,
and an estimate of what the requests cost.

  --json   the same as JSON, as it stands in MOUNTPOINT/.cosfs/stats

A request counts each time it is sent. Errors are those that got no usable
answer, or a refusal; that an object is not there (404) or not the version
asked for (412) is an answer. The latency is the time until an answer begins:
half of the requests were faster than P50, 95 % faster than P95. Hits are
reads and lookups that waited for nobody; what the kernel answers from its own
memory is in no count. Prices: the option request_price of the mount. Kept out
are programs that index, once for each folder: the option scanner_guard."""


def run(argv: Sequence[str]) -> int:
    """Carry out the command; returns the exit status."""
    return run_on_mount("stats", HELP, argv, ["json"], _show)


def _show(word: str, given: Dict[str, str]) -> int:
    stats = read_stats(find_mount(word), word)
    print(json.dumps(stats, indent=1) if "--json" in given else "\n".join(picture(stats)))
    return 0
