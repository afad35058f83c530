"""Faults on demand: the little language of ``--fault`` (FAULT_HELP), and which request gets one."""

from __future__ import annotations

import random
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from typing import Dict, List, Optional, Sequence, Tuple
from urllib.parse import unquote

KINDS = ("status", "html-502", "expired-token", "reset", "truncate", "corrupt", "wrong-crc", "wrong-etag",
         "wrong-range", "lost-answer", "error-in-200", "stall", "stale-list", "clock-skew")
_DEFAULT_CODES = {"status": "SlowDown", "error-in-200": "InternalError"}
_DEFAULT_SECONDS = 1.0

FAULT_HELP = """\
faults: SPEC is NAME=VALUE pairs joined by commas, as in kind=status,status=503,op=put_object,key=a/*,times=3.
A value may percent-encode what it holds. kind is one of

  status         answer with status=503 and code=SlowDown; nothing is done
  html-502       a gateway's answer: 502, HTML, no request id; nothing is done
  expired-token  403 ExpiredToken; nothing is done
  reset          reset the connection after at=0 bytes: of the request's body where there is one, else of the
                 answer's
  truncate       end the connection after at=0 bytes of the answer's body, short of its Content-Length
  corrupt        flip a bit of byte at=0 of the answer's body
  wrong-crc      a wrong x-cos-hash-crc64ecma header, and a wrong CRC64 in the answer to a copy
  wrong-etag     a wrong ETag header
  wrong-range    Content-Range, and the bytes, start one further on than asked for
  lost-answer    do it, then end the connection without an answer
  error-in-200   copy, part copy and complete: answer 200 with code=InternalError in the body; nothing is done
  stall          hold the answer back for seconds=1, after at=N bytes of its body if given
  stale-list     listings show the state of seconds=1 ago, but not from before the fault was set
  clock-skew     the server's clock, in Date and in checking signatures, is seconds=N ahead (negative: behind)

Which requests: op (put_object, get_object, list_objects ... as in the access log), key and bucket are globs;
after=N lets the first N that match pass, times=N stops after N faults, p=0.2 hits one in five by chance, drawn
from seed=0. All faults that match a request apply to it.
"""


@dataclass(frozen=True)
class Fault:
    """One parsed specification; FAULT_HELP says what the fields mean."""

    kind: str
    op: str = "*"
    key: str = "*"
    bucket: str = "*"
    times: Optional[int] = None
    after: int = 0
    p: float = 1.0
    seed: int = 0
    status: int = 503
    code: str = ""
    at: Optional[int] = None
    seconds: float = _DEFAULT_SECONDS

    def matches(self, op: str, bucket: str, key: str) -> bool:
        return fnmatchcase(op, self.op) and fnmatchcase(bucket, self.bucket) and fnmatchcase(key, self.key)


_CONVERT = {"times": int, "after": int, "p": float, "seed": int, "status": int, "at": int, "seconds": float}


def parse_fault(text: str) -> Fault:
    """Raises: ValueError with a message that names what is wrong."""
    values: Dict[str, object] = {}
    names = {item.name for item in fields(Fault)}
    for pair in text.split(","):
        name, equals, value = pair.strip().partition("=")
        if not equals or name not in names:
            raise ValueError(f"fault {text!r}: {pair!r} is not NAME=VALUE with NAME one of {', '.join(sorted(names))}")
        try:
            values[name] = _CONVERT.get(name, unquote)(value)
        except ValueError:
            raise ValueError(f"fault {text!r}: {name} must be a number") from None
    if values.get("kind") not in KINDS:
        raise ValueError(f"fault {text!r}: kind must be one of {', '.join(KINDS)}")
    fault = Fault(**values)  # type: ignore[arg-type]  # checked against the fields just above
    return replace(fault, code=fault.code or _DEFAULT_CODES.get(fault.kind, ""))


class FaultPlan:
    """The faults in force, with how often each one matched and hit."""

    def __init__(self, specs: Sequence[str] = ()) -> None:
        self.specs: Tuple[str, ...] = ()
        self._faults: List[Fault] = []
        self._matched: List[int] = []
        self._hits: List[int] = []
        self._chance: List[random.Random] = []
        self.replace(specs)

    def replace(self, specs: Sequence[str]) -> None:
        """Put other faults in force. Raises: ValueError, and the old ones stay."""
        faults = [parse_fault(spec) for spec in specs]
        self.specs = tuple(specs)
        self._faults = faults
        self._matched = [0] * len(faults)
        self._hits = [0] * len(faults)
        self._chance = [random.Random(fault.seed) for fault in faults]

    def take(self, op: str, bucket: str, key: str) -> Tuple[Fault, ...]:
        """The faults that hit this request; each counts as used."""
        hit = []
        for number, fault in enumerate(self._faults):
            if not fault.matches(op, bucket, key):
                continue
            self._matched[number] += 1
            if self._matched[number] <= fault.after or self._hits[number] == fault.times:
                continue
            if self._chance[number].random() < fault.p:
                self._hits[number] += 1
                hit.append(fault)
        return tuple(hit)

    def history_s(self) -> float:
        """How far back stale listings look."""
        return max((fault.seconds for fault in self._faults if fault.kind == "stale-list"), default=0.0)
