"""What an examination finds, and how its checks are run: in order, none for ever, none without what it needs.

A check is a function that returns an ``Outcome``, or raises a ``CosfsError`` whose message is
``what is wrong; what to do``, as those of a mount are: that is a failure.

Threading: each check runs on a thread of its own, which is left behind when the check does not come to an end. So a
check must not hold anything that later ones wait for.
"""

from __future__ import annotations

import enum
import threading
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Callable, Iterator, Sequence, Set, Tuple

from cosfs.errors import CosfsError

LIMIT_S = 20.0
"""Longest time for one check: two sendings with the time-outs of ``bucket.py``, and some more."""


class State(enum.Enum):
    """What became of a check."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Outcome:
    """A state, what was seen, and what to do about it ("" when there is nothing to do)."""

    state: State
    text: str
    advice: str = ""


def ok(text: str) -> Outcome:
    return Outcome(State.OK, text)


def warning(text: str, advice: str) -> Outcome:
    return Outcome(State.WARNING, text, advice)


def skipped(text: str, advice: str = "") -> Outcome:
    return Outcome(State.SKIPPED, text, advice)


def failure(message: str) -> Outcome:
    """From a message ``what is wrong; what to do``."""
    text, _, advice = " ".join(message.split()).partition("; ")
    return Outcome(State.FAILURE, text, advice)


@dataclass(frozen=True)
class Check:
    """One check. ``needs``: names of checks that must have gone well (or with a warning) before it makes sense.

    ``late``: the message when it has no result after ``limit_s``.
    """

    section: str
    name: str
    look: Callable[[], Outcome]
    needs: Tuple[str, ...] = ()
    limit_s: float = LIMIT_S
    late: str = "no result in time; try again"


@dataclass(frozen=True)
class Finding:
    """The outcome of a check, by the check's name."""

    section: str
    check: str
    outcome: Outcome


def run_checks(checks: Sequence[Check]) -> Iterator[Finding]:
    """Run the checks in order; each finding comes as soon as it is known."""
    passed: Set[str] = set()
    for check in checks:
        missing = [name for name in check.needs if name not in passed]
        outcome = skipped(f"not checked: it needs {missing[0]}") if missing else _outcome(check)
        if outcome.state in (State.OK, State.WARNING):
            passed.add(check.name)
        yield Finding(check.section, check.name, outcome)


def _outcome(check: Check) -> Outcome:
    result: Future[Outcome] = Future()

    def work() -> None:
        try:
            result.set_result(check.look())
        except BaseException as exc:  # noqa: BLE001  raised again by result()
            result.set_exception(exc)

    threading.Thread(target=work, name=f"cosfs-doctor-{check.name}", daemon=True).start()
    if not wait([result], check.limit_s).done:
        return failure(check.late)
    try:
        return result.result()
    except CosfsError as exc:
        return failure(str(exc))
    except OSError as exc:
        return failure(f"{exc.filename or 'the system'}: {exc.strerror or exc}; see that you may use it")
