"""How often, when and how long: with a clock that only moves by sleeping."""

from __future__ import annotations

import logging

import pytest

from cosfs.cos.retry import RetryPolicy, is_transient
from cosfs.errors import (
    CredentialsError,
    IntegrityError,
    InvalidAnswer,
    InvalidParameter,
    NetworkError,
    RequestTimeout,
    TlsError,
    service_error,
)
from tests.support.clients import Pauses

BROKEN = NetworkError("broken")


def service(status, code=""):
    return service_error("GET", {"code": code}, status)


@pytest.mark.parametrize("error", [
    BROKEN, RequestTimeout("t"), InvalidAnswer("a"), IntegrityError("i"), service(500), service(502), service(503),
    service(504), service(429), service(503, "SlowDown"), service(409, "PathConflict"), service(409, "UploadConflict"),
    service(400, "BadDigest"), service(400, "RequestTimeout"), service(400, "IncompleteBody"),
    service(200, "InternalError")])
def test_transient(error):
    assert is_transient(error)


@pytest.mark.parametrize("error", [
    InvalidParameter("p"), TlsError("t"), CredentialsError("c"), service(400, "InvalidArgument"),
    service(403, "AccessDenied"),
    service(404, "NoSuchKey"), service(409, "FileAlreadyExists"), service(412), service(416), service(501),
    service(301)])
def test_not_transient(error):
    assert not is_transient(error)
    assert not Pauses().policy().start().pause(error, "x")


def test_pauses_double_up_to_the_limit_and_attempts_end(expected_logs):
    expected_logs("attempt")
    pauses = Pauses()
    retrying = pauses.policy(attempts=8, base_delay_s=1, max_delay_s=10, deadline_s=1000).start()
    while retrying.pause(BROKEN, "x"):
        pass
    assert pauses.slept == [1.0, 2.0, 4.0, 5.0, 5.0, 5.0, 5.0]  # half of 2, 4, 8, 10 …


@pytest.mark.parametrize("jitter, least, most", [(0.0, 0.0, 0.0), (0.999, 0.39, 0.4)])
def test_jitter_is_full(jitter, least, most):
    pauses = Pauses()
    pauses.policy(random=lambda: jitter).start().pause(BROKEN, "x")
    assert least <= pauses.slept[0] <= most


def test_one_attempt_never_sleeps():
    pauses = Pauses()
    assert not pauses.policy(attempts=1).start().pause(BROKEN, "x")
    assert pauses.slept == []


def test_throttling_has_a_floor():
    pauses = Pauses()
    pauses.policy(random=lambda: 0.0).start().pause(service(503, "SlowDown"), "x")
    assert pauses.slept == [1.0]


@pytest.mark.parametrize("asked_s, slept_s", [(5.0, 5.0), (0.0, 0.2), (3600.0, 60.0)])
def test_retry_after_is_honoured_and_clamped(asked_s, slept_s):
    pauses = Pauses()
    pauses.policy().start().pause(service(503), "x", retry_after_s=asked_s)
    assert pauses.slept == [slept_s]


def test_nothing_is_sent_after_the_deadline():
    pauses = Pauses()
    retrying = pauses.policy(attempts=100, deadline_s=10, base_delay_s=4).start()
    while retrying.pause(BROKEN, "x"):
        pass
    assert sum(pauses.slept) <= 10 and len(pauses.slept) < 5


def test_progress_starts_anew():
    pauses = Pauses()
    retrying = pauses.policy(attempts=2, deadline_s=1).start()
    for _ in range(5):
        assert retrying.pause(BROKEN, "x")
        retrying.progressed()
    assert retrying.pause(BROKEN, "x")
    assert not retrying.pause(BROKEN, "x")


def test_log_level_rises_with_the_attempt(caplog, expected_logs):
    expected_logs("attempt")
    caplog.set_level(logging.DEBUG)
    retrying = Pauses().policy().start()
    while retrying.pause(BROKEN, "Head Object key"):
        pass
    assert [record.levelno for record in caplog.records] == [
        logging.DEBUG, logging.INFO, logging.WARNING, logging.WARNING, logging.WARNING]
    assert "Head Object key" in caplog.text


def test_default_policy_is_bounded():
    policy = RetryPolicy()
    assert policy.attempts > 1 and policy.deadline_s <= 300
