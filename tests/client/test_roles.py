"""The services that issue keys, against a stand-in: what is asked, what an answer may lack, and how failures read."""

from __future__ import annotations

import logging
import time
from typing import Any, Iterator

import pytest

from cosfs.cos import roles
from cosfs.cos.credentials import ChainOptions, find_credentials
from cosfs.cos.roles import list_roles, role_keys, web_identity, web_identity_keys
from cosfs.cos.signing import Credentials
from cosfs.errors import CredentialsError
from tests.client.test_secrets import check, everything_about
from tests.support.clients import make_client
from tests.support.raw_server import RawServer, answer
from tests.support.server import CosServer
from tests.support.token_services import TokenServices

NO_SERVICE = "http://127.0.0.1:1/roles"


@pytest.fixture(scope="module")
def own() -> Iterator[CosServer]:
    """A server of these tests' own, which accepts what they say and nothing else."""
    with CosServer(token="t") as made:
        yield made


@pytest.fixture
def services() -> Iterator[TokenServices]:
    with TokenServices() as made:
        yield made


@pytest.fixture
def identity(services: TokenServices, tmp_path: Any) -> Any:
    (tmp_path / "token").write_text(f"{services.identity_token}\n")
    return {**services.identity, "TKE_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token"),
            "COSFS_STS_ENDPOINT": services.url}


def options(tmp_path: Any, **fields: Any) -> ChainOptions:
    return ChainOptions(**{"bucket": CosServer.bucket, "environ": {}, "home": tmp_path, "system_folder": tmp_path,
                           "role_endpoint": NO_SERVICE, **fields})


def test_keys_of_a_role_and_when_they_end(services: TokenServices) -> None:
    services.lifetime_s = 3000
    issued = role_keys(services.roles_url, "worker")
    assert issued.credentials == services.issued[0]
    assert issued.expires_s == pytest.approx(time.time() + 3000, abs=5)
    assert list_roles(services.roles_url + "/") == ["worker"]


def test_ending_counts_by_the_clock_of_the_service() -> None:
    body = b'{"TmpSecretId": "a", "TmpSecretKey": "b", "Token": "c", "Expiration": "2023-11-15T00:13:20Z"}'
    with RawServer(answer(200, body)) as server:  # which says that it is 22:13:20, two hours before
        assert role_keys(server.url, "r").expires_s == pytest.approx(time.time() + 7200, abs=5)


@pytest.mark.parametrize(("fields", "lifetime_s"), [
    ({"Code": None}, 7200), ({"ExpiredTime": None, "Code": None, "Expiration": "2100-01-01T00:00:00Z"}, None),
    ({"ExpiredTime": None, "Expiration": None}, None)])
def test_answers_may_lack_what_other_services_leave_out(services: TokenServices, fields: Any, lifetime_s: Any) -> None:
    services.fields = fields
    issued = role_keys(services.roles_url, "worker")
    assert issued.credentials.secret_id == "AKIDissued1"
    if lifetime_s:
        assert issued.expires_s == pytest.approx(time.time() + lifetime_s, abs=5)
    assert (issued.expires_s is None) == (fields.get("Expiration", "") is None)


@pytest.mark.parametrize(("fields", "role", "message"), [
    ({"Code": "Failed"}, "worker", "/latest/roles/worker answers Failed; see that the role is bound to this machine"),
    ({"Code": "SECRET text"}, "worker", "answers an error; see"),
    ({"Token": None}, "worker", "answers without TmpSecretId"),
    ({"TmpSecretKey": 1}, "worker", "answers without TmpSecretId"),
    ({}, "nobody/..", "/nobody%2F.. knows no such role; give the one that this machine has with cam_role=")])
def test_refusal_of_a_role_says_why(services: TokenServices, fields: Any, role: str, message: str, caplog: Any) -> None:
    services.fields = fields
    with pytest.raises(CredentialsError) as raised:
        role_keys(services.roles_url, role)
    assert message in str(raised.value)
    check(raised.value, caplog)


@pytest.mark.parametrize("body", [b"SECRET-page", b"[\"SECRET-x\"]", b"\xff", b'"SECRET-x"'])
def test_answers_that_are_something_else_are_not_repeated(body: bytes, caplog: Any) -> None:
    with RawServer(answer(200, body)) as server, pytest.raises(CredentialsError) as raised:
        role_keys(server.url, "r")
    assert "check the address" in str(raised.value)
    check(raised.value, caplog)
    assert not any("SECRET" in text for text in everything_about(raised.value))


def test_web_identity(services: TokenServices, identity: Any) -> None:
    services.lifetime_s = 3000
    issued = web_identity_keys(web_identity(identity))
    assert issued.credentials == services.issued[0]
    assert issued.expires_s == pytest.approx(time.time() + 3000, abs=5)


def test_web_identity_token_is_read_at_each_request(services: TokenServices, identity: Any, tmp_path: Any) -> None:
    found = find_credentials(options(tmp_path, environ=identity))
    (tmp_path / "token").write_text("SECRET-second")
    services.identity_token = "SECRET-second"
    found.reload()
    assert [body["WebIdentityToken"] for _, _, body in services.requests] == ["SECRET-identity-token", "SECRET-second"]
    assert found.get().secret_id == "AKIDissued2"


def test_refused_web_identity_says_why(services: TokenServices, identity: Any, tmp_path: Any, caplog: Any) -> None:
    (tmp_path / "token").write_text("SECRET-wrong")
    with pytest.raises(CredentialsError, match=r"AuthFailure.TokenFailure .request id r-1.; check the role") as raised:
        find_credentials(options(tmp_path, environ=identity))
    check(raised.value, caplog)
    (tmp_path / "token").unlink()
    with pytest.raises(CredentialsError, match=r"token cannot be read .No such file.*TKE_WEB_IDENTITY_TOKEN_FILE"):
        find_credentials(options(tmp_path, environ=identity))


@pytest.mark.parametrize("name", ["TKE_PROVIDER_ID", "TKE_ROLE_ARN", "TKE_WEB_IDENTITY_TOKEN_FILE"])
def test_incomplete_web_identity_is_named(identity: Any, name: str) -> None:
    del identity[name]
    with pytest.raises(CredentialsError, match=f"{name} must be set"):
        web_identity(identity)


@pytest.mark.parametrize("failure", ["closed", "stalled"])
def test_service_that_does_not_answer_comes_with_a_remedy(failure: str, services: TokenServices, identity: Any,
                                                          tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roles, "_STS_TIMEOUT_S", 0.2)
    services.go.clear()
    if failure == "closed":
        identity["COSFS_STS_ENDPOINT"] = NO_SERVICE
    with pytest.raises(CredentialsError, match="; see that STS can be reached, or name another address in COSFS_STS"):
        find_credentials(options(tmp_path, environ=identity))
    with pytest.raises(CredentialsError, match="; roles are to be had on a CVM, or from the address that cam_role_e"):
        find_credentials(options(tmp_path, role="worker"))


@pytest.mark.parametrize("failure", ["closed", "stalled", "500"])
def test_services_that_do_not_answer_cost_a_mount_two_seconds(failure: str, services: TokenServices, tmp_path: Any,
                                                             ) -> None:
    if failure == "stalled":
        services.go.clear()
    services.failing = failure == "500"
    endpoint = NO_SERVICE if failure == "closed" else services.roles_url
    began = time.monotonic()
    with pytest.raises(CredentialsError, match="no keys of the CVM role worker: "):
        find_credentials(options(tmp_path, role="worker", role_endpoint=endpoint))
    assert time.monotonic() - began < 2.5


def test_name_that_is_looked_up_for_long_costs_two_seconds(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roles, "START_LIMIT_S", 0.2)
    with TokenServices() as services:
        services.go.clear()
        monkeypatch.setattr(roles, "METADATA_TIMEOUT_S", 20.0)
        with pytest.raises(CredentialsError, match=r"no keys of the CVM role worker: no answer within 0.2 s"):
            find_credentials(options(tmp_path, role="worker", role_endpoint=services.roles_url))


def test_metadata_service_of_tencent_is_not_asked_for_another_service(tmp_path: Any,
                                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    with TokenServices() as services:
        monkeypatch.setattr(roles, "ROLE_ENDPOINT", services.roles_url)
        with pytest.raises(CredentialsError, match="no keys found"):
            find_credentials(options(tmp_path, aws=True, role_endpoint=None))
        assert services.requests == []
        assert find_credentials(options(tmp_path, role_endpoint=None)).source == "the CVM role worker"


SOURCES = ["role", "machine", "identity", "sts file", "environment", "coscmd"]


@pytest.mark.parametrize("source", SOURCES)
def test_keys_of_each_source_are_accepted_with_their_token(source: str, own: CosServer, identity: Any, tmp_path: Any,
                                                           caplog: Any) -> None:
    """By a server that knows these keys alone, and demands the token."""
    with TokenServices(own) as issuing:
        identity["COSFS_STS_ENDPOINT"] = issuing.url
        first, _ = issuing._issue()
        fields = {
            "role": {"role": "worker", "role_endpoint": issuing.roles_url},
            "machine": {"role_endpoint": issuing.roles_url},
            "identity": {"environ": identity},
            "sts file": {"passwd_file": str(tmp_path / "passwd"), "role": "sts"},
            "environment": {"environ": {"TENCENTCLOUD_SECRET_ID": first.secret_id, "TENCENTCLOUD_TOKEN": first.token,
                                        "TENCENTCLOUD_SECRET_KEY": first.secret_key}},
            "coscmd": {},
        }[source]
        files = {"sts file": ("passwd", f"COSAccessKeyId={first.secret_id}\nCOSSecretKey={first.secret_key}\n"
                                        f"COSAccessToken={first.token}\n"),
                 "coscmd": (".cos.conf", f"[common]\nsecret_id={first.secret_id}\nsecret_key={first.secret_key}\n"
                                         f"token={first.token}\n")}
        if source in files:
            name, text = files[source]
            (tmp_path / name).write_text(text)
            (tmp_path / name).chmod(0o600)
        caplog.set_level(logging.DEBUG)
        found = find_credentials(options(tmp_path, **fields))
        client = make_client(own.url, bucket=own.bucket, credentials=found)
        client.list_objects("")
        client.close()
        assert not any(secret in text for secret in issuing.secrets()
                       for text in [repr(found), found.source, *(record.getMessage() for record in caplog.records)])


@pytest.mark.parametrize(("ends_s", "token", "code"), [(1.0, "t", "ExpiredToken"), (None, "other", "AccessDenied")])
def test_embedded_server_refuses_keys_that_have_ended_or_a_wrong_token(ends_s: Any, token: str, code: str,
                                                                       own: CosServer) -> None:
    key = own.credentials
    own.set_keys(key)
    assert own.request("GET")[0] == 200
    own.set_keys(Credentials(key.secret_id, key.secret_key, token), expires_s={key.secret_id: ends_s})
    status, _, body = own.request("GET")
    assert status == 403 and code.encode() in body
    own.set_keys()
    assert b"InvalidAccessKeyId" in own.request("GET")[2]
