"""Session tokens that say when they end: who reads that, and when the log tells of it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

import pytest

from cosfs.cos.credentials import ChainOptions, FileCredentials, find_credentials
from cosfs.cos.key_files import time_of_end, token_end
from cosfs.cos.signing import Credentials
from cosfs.cos.token_end import EndingCredentials, TokenWatch, span

SECRETS = "SECRET-key", "SECRET-token"


def stamp(seconds_from_now: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + seconds_from_now))


def write(path: Path, end: Optional[str], secret_id: str = "id") -> Path:
    path.write_text(f"COSAccessKeyId={secret_id}\nCOSSecretKey={SECRETS[0]}\nCOSAccessToken={SECRETS[1]}\n"
                    + (f"COSAccessTokenExpire={end}\n" if end is not None else ""))
    path.chmod(0o600)
    return path


@pytest.fixture
def lines(caplog: Any, expected_logs: Callable[[str], None]) -> Callable[[], List[str]]:
    expected_logs("the session token from|is no time such as")

    def read() -> List[str]:
        found = [record.getMessage() for record in caplog.records]
        caplog.clear()
        assert not any(secret in line for secret in SECRETS for line in found)
        return found
    return read


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_the_log_tells_ten_minutes_before_and_when_it_is_over_once_each(lines: Callable[[], List[str]]) -> None:
    clock = Clock()
    watch = TokenWatch("the test", "do something", clock)
    told: Dict[float, List[str]] = {}
    while clock.now_s <= 5000:
        watch.look(4600.0)
        found = lines()
        if found:
            told[clock.now_s] = found
        clock.now_s += 50
    assert told == {
        4000.0: ["the session token from the test ends in 10 min; do something"],
        4600.0: ["the session token from the test has ended, and what is asked with it is refused; do something"]}
    watch.look(5100.0)  # another token
    assert lines() == ["the session token from the test ends in 0 min; do something"]
    watch.look(None)
    watch.look(10_000.0)
    assert lines() == []


def test_a_passwd_file_tells_when_its_token_ends(tmp_path: Path, lines: Callable[[], List[str]]) -> None:
    path = write(tmp_path / "p", stamp(7200))
    provider = FileCredentials(path)
    assert provider.expires_s == pytest.approx(time.time() + 7200, abs=2)
    assert provider.get() == Credentials("id", *SECRETS)
    assert lines() == []


def test_a_token_that_ends_soon_is_told_and_another_one_in_the_file_is_taken(tmp_path: Path,
                                                                            lines: Callable[[], List[str]]) -> None:
    path = write(tmp_path / "p", stamp(330))
    provider = FileCredentials(path)
    for _ in range(3):
        provider.get()
    assert lines() == [f"the session token from the file {path} ends in 5 min; write new keys into it, they are taken "
                       "at once"]
    write(tmp_path / "new", stamp(7200), "another").replace(path)
    assert provider.get().secret_id == "another"
    assert provider.expires_s == pytest.approx(time.time() + 7200, abs=2)
    assert [line for line in lines() if "session token" in line] == []
    write(tmp_path / "new", stamp(-1)).replace(path)
    provider.get()
    assert [line for line in lines() if "session token" in line] == [
        f"the session token from the file {path} has ended, and what is asked with it is refused; write new keys into "
        "it, they are taken at once"]


def test_a_file_without_an_end_or_without_a_token_says_nothing(tmp_path: Path, lines: Callable[[], List[str]]) -> None:
    provider = FileCredentials(write(tmp_path / "p", None))
    provider.get()
    assert provider.expires_s is None
    (tmp_path / "p").write_text(f"COSAccessKeyId=id\nCOSSecretKey=key\nCOSAccessTokenExpire={stamp(-5)}\n")
    provider.get()
    assert provider.expires_s is None
    assert not [line for line in lines() if "session token" in line]


@pytest.mark.parametrize(("text", "end_s"), [
    ("2026-08-29T11:32:00", 1788003120.0), ("2026-08-29T11:32:00Z", 1788003120.0),
    ("1970-01-01T00:00:00", 0.0)])
def test_times_are_of_gmt(text: str, end_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    time.tzset()
    try:
        assert time_of_end(text, "f") == end_s
        assert token_end(f"COSAccessKeyId=id\r\nCOSAccessTokenExpire={text}\r\n", "f") == end_s
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("text", ["SECRET-x", "2026-08-29", "2026-08-29 11:32:00", "1788003120", ""])
def test_what_is_no_time_is_told_and_the_keys_work(text: str, tmp_path: Path, lines: Callable[[], List[str]]) -> None:
    path = write(tmp_path / "p", text)
    provider = FileCredentials(path)
    assert provider.get().secret_id == "id"
    assert provider.expires_s is None
    assert lines() == [f"{path}: COSAccessTokenExpire is no time such as 2026-08-29T11:32:00 (GMT); when the session "
                       "token ends is not known"]


def test_the_environment_may_tell_it_too(tmp_path: Path, lines: Callable[[], List[str]]) -> None:
    environ = {"COSACCESSKEYID": "id", "COSSECRETACCESSKEY": SECRETS[0], "COSSESSIONTOKEN": SECRETS[1],
               "COSACCESSTOKENEXPIRE": stamp(90)}
    found = find_credentials(ChainOptions("b-1", environ=environ, home=tmp_path, system_folder=tmp_path))
    assert found.get() == Credentials("id", *SECRETS)
    assert isinstance(found, EndingCredentials)
    assert found.expires_s == pytest.approx(time.time() + 90, abs=2)
    assert lines() == ["the session token from the environment (COSACCESSKEYID) ends in 1 min; mount again with new "
                       "keys, or keep them in a passwd_file"]
    assert found.refresh(found.get()) == found.get()
    assert not any(secret in repr(found) for secret in SECRETS)
    del environ["COSSESSIONTOKEN"]
    found = find_credentials(ChainOptions("b-1", environ=environ, home=tmp_path, system_folder=tmp_path))
    assert not isinstance(found, EndingCredentials)


@pytest.mark.parametrize(("seconds", "text"), [(59, "0 min"), (3599, "59 min"), (7260, "2 h 01 min")])
def test_spans_of_time(seconds: float, text: str) -> None:
    assert span(seconds) == text
