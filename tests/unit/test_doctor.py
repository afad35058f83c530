"""How checks are run, and what is said of keys."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional

import pytest

from cosfs.cos.credentials import FileCredentials
from cosfs.cos.renewal import Issued, RenewedCredentials
from cosfs.cos.signing import Credentials
from cosfs.doctor.bucket import _described
from cosfs.doctor.findings import Check, Outcome, State, ok, run_checks, skipped, warning
from cosfs.preflight import MountError


def _raise(exc: BaseException) -> Outcome:
    raise exc


def test_a_check_that_does_not_end_is_a_failure_and_the_next_one_runs() -> None:
    never = threading.Event()
    found = list(run_checks([Check("s", "stuck", lambda: ok(str(never.wait())), limit_s=0.05, late="it hangs; end it"),
                             Check("s", "next", lambda: ok("well"))]))
    never.set()

    assert [finding.outcome.state for finding in found] == [State.FAILURE, State.OK]
    assert found[0].outcome == Outcome(State.FAILURE, "it hangs", "end it")


def test_a_failure_is_split_into_what_and_what_to_do() -> None:
    [found] = run_checks([Check("s", "c", lambda: _raise(MountError("it is\nwrong; mend it; now")))])

    assert found.outcome == Outcome(State.FAILURE, "it is wrong", "mend it; now")


def test_an_error_of_the_system_is_a_failure() -> None:
    found = list(run_checks([Check("s", "c", lambda: _raise(PermissionError(13, "Permission denied", "/x"))),
                             Check("s", "d", lambda: _raise(TimeoutError(110, "Connection timed out")))]))

    assert [finding.outcome.text for finding in found] == ["/x: Permission denied", "the system: Connection timed out"]


def test_a_defect_is_not_taken_for_a_finding() -> None:
    with pytest.raises(ZeroDivisionError):
        list(run_checks([Check("s", "c", lambda: ok(str(1 // 0)))]))


@pytest.mark.parametrize(("outcome", "state"), [
    (ok("x"), State.OK), (warning("x", "y"), State.OK), (skipped("x"), State.SKIPPED),
    (Outcome(State.FAILURE, "x"), State.SKIPPED),
])
def test_what_needs_a_check_runs_when_that_went_well_or_with_a_warning(outcome: Outcome, state: State) -> None:
    found = list(run_checks([Check("s", "first", lambda: outcome), Check("s", "then", lambda: ok("z"), ("first",))]))

    assert found[1].outcome.state is state


@dataclass
class Keys:
    token: Optional[str] = None
    source: str = "somewhere"
    expires_s: Optional[float] = None

    def get(self) -> Credentials:
        return Credentials("id", "secret", self.token)

    def refresh(self, rejected: Credentials, *, certain: bool = True) -> Credentials:  # noqa: ARG002 - of the protocol
        return rejected

    def reload(self) -> None:
        """There are no others."""


def test_keys_and_how_long_they_last() -> None:
    assert _described(Keys()) == ok("from somewhere")
    assert _described(Keys("the-token")) == ok("from somewhere: temporary (with a session token); when they end is not "
                                               "said")
    found = _described(Keys("the-token", expires_s=time.time() + 7260))
    assert found == ok("from somewhere: temporary, for 2 h 00 min from now")
    soon = _described(Keys("the-token", expires_s=time.time() + 330))
    assert soon == warning("from somewhere: temporary, for 5 min from now",
                           "fetch new ones; a mount takes them from a file when it changes")
    renewed = RenewedCredentials("a role", lambda: Issued(Credentials("id", "key", "t"), time.time() + 330))
    assert _described(renewed) == ok("from a role: temporary, for 5 min from now")
    with pytest.raises(MountError, match="temporary, and ended; fetch new ones"):
        _described(Keys("the-token", expires_s=time.time() - 1))


@pytest.mark.parametrize(("left_s", "state", "text"), [
    (7260, State.OK, "for 2 h 01 min"), (290, State.WARNING, "for 4 min")])
def test_keys_of_a_file_that_says_when_they_end(tmp_path: Path, expected_logs: Callable[[str], None], left_s: int,
                                                state: State, text: str) -> None:
    expected_logs("the session token from the file .* ends in 4 min")
    path = tmp_path / "passwd"
    ends = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + left_s + 1))
    path.write_text(f"COSAccessKeyId=id\nCOSSecretKey=key\nCOSAccessToken=token\nCOSAccessTokenExpire={ends}\n")
    path.chmod(0o600)

    found = _described(FileCredentials(path))

    assert (found.state, found.text) == (state, f"from the file {path}: temporary, {text} from now")
