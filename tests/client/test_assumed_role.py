"""Roles that are assumed with keys from a file or the environment, by a stand-in of STS that checks signatures."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any, Dict, Iterator

import pytest

from cosfs.cos import roles
from cosfs.cos.credentials import ChainOptions, FoundCredentials, find_credentials
from cosfs.cos.renewal import RenewedCredentials
from cosfs.cos.signing import Credentials
from cosfs.errors import CredentialsError
from tests.client.test_secrets import check
from tests.support.clients import make_client
from tests.support.server import CosServer
from tests.support.token_services import TokenServices

ARN = TokenServices.role_arn
ID, KEY = TokenServices.caller.secret_id, TokenServices.caller.secret_key
KEYS = f"secret_id = {ID}\nsecret_key = {KEY}\n"


@pytest.fixture
def services() -> Iterator[TokenServices]:
    with TokenServices() as made:
        yield made


class Home:
    """A user's home, with ``~/.tencentcloud/credentials``."""

    def __init__(self, folder: Path, services: TokenServices) -> None:
        self.folder = folder
        self.file = folder / ".tencentcloud" / "credentials"
        self.environ = {"COSFS_STS_ENDPOINT": services.url}
        self.file.parent.mkdir()

    def write(self, text: str) -> None:
        self.file.write_text(text)
        self.file.chmod(0o600)

    def find(self, **environ: str) -> FoundCredentials:
        return find_credentials(ChainOptions(
            CosServer.bucket, environ={**self.environ, **environ}, home=self.folder, system_folder=self.folder,
            role_endpoint="http://127.0.0.1:1/roles"))


@pytest.fixture
def home(tmp_path: Path, services: TokenServices) -> Home:
    return Home(tmp_path, services)


def test_keys_of_a_file_assume_the_role_that_it_names(home: Home, services: TokenServices) -> None:
    home.write(f"[default]\n{KEYS}role_arn = {ARN}\n")
    services.lifetime_s = 3000
    found = home.find()
    assert found.get() == services.issued[0]
    assert found.source == f"the role {ARN}, assumed with the file {home.file}"
    assert isinstance(found, RenewedCredentials)
    assert found.expires_s == pytest.approx(time.time() + 3000, abs=5)
    assert services.requests == [("POST", "/", {"RoleArn": ARN, "RoleSessionName": "cosfs", "DurationSeconds": 7200})]
    assert {"X-TC-Region": "ap-guangzhou", "X-TC-Version": "2018-08-13"}.items() <= services.headers.items()


def test_all_that_a_file_may_say_reaches_sts(home: Home, services: TokenServices) -> None:
    services.caller = Credentials(ID, KEY, "SECRET-token")
    home.write(f"[keys]\n{KEYS}token = SECRET-token\n[default]\nrole_arn = {ARN}\nsource_profile = keys\n"
               "role_session_name = backup\nduration_seconds = 900\nexternal_id = SECRET-e\nregion = ap-beijing\n")
    assert home.find().get() == services.issued[0]
    assert services.requests[0][2] == {"RoleArn": ARN, "RoleSessionName": "backup", "DurationSeconds": 900,
                                       "ExternalId": "SECRET-e"}
    assert {"X-TC-Region": "ap-beijing", "X-TC-Token": "SECRET-token"}.items() <= services.headers.items()


def test_keys_of_the_environment_assume_a_role(home: Home, services: TokenServices) -> None:
    found = home.find(TENCENTCLOUD_SECRET_ID=ID, TENCENTCLOUD_SECRET_KEY=KEY, TENCENTCLOUD_ROLE_ARN=ARN,
                      TENCENTCLOUD_ROLE_SESSION_NAME="backup", TENCENTCLOUD_REGION="ap-beijing")
    assert found.get() == services.issued[0]
    assert found.source == f"the role {ARN}, assumed with the environment (TENCENTCLOUD_SECRET_ID)"
    assert services.requests[0][2]["RoleSessionName"] == "backup"
    assert services.headers["X-TC-Region"] == "ap-beijing"


@pytest.mark.parametrize(("refusal", "advice"), [
    ("UnauthorizedOperation", "allow the keys in {} name/sts:AssumeRole on it, and have the role trust their account"),
    ("AuthFailure.UnauthorizedOperation", "allow the keys in {} name/sts:AssumeRole on it, and"),
    ("ResourceNotFound.RoleNotFound", "correct the role in {}: its account's number and its name"),
    ("InvalidParameter.OverTimeError", "the role allows less: lower duration_seconds in {}"),
    ("AuthFailure.SignatureExpire", "set the clock of this machine, for example with: timedatectl set-ntp true"),
    ("InternalError.SystemError", "check the role and the keys in {}")])
def test_a_refusal_says_what_to_do(refusal: str, advice: str, home: Home, services: TokenServices, caplog: Any) -> None:
    services.refusal = refusal
    home.write(f"[default]\n{KEYS}role_arn = {ARN}\n")
    with pytest.raises(CredentialsError) as raised:
        home.find()
    assert str(raised.value).startswith(
        f"{services.url} gives no keys for {ARN}: {refusal} (request id r-1); {advice.format(home.file)}")
    assert "\n" not in str(raised.value)
    check(raised.value, caplog)


def test_wrong_role_and_wrong_keys_are_told_apart(home: Home, services: TokenServices) -> None:
    home.write(f"[default]\n{KEYS}role_arn = {ARN}s\n")
    with pytest.raises(CredentialsError, match=r"InternalError.GetRoleError .*; correct the role in "):
        home.find()
    home.write(f"[default]\nsecret_id = {ID}\nsecret_key = SECRET-wrong\nrole_arn = {ARN}\n")
    with pytest.raises(CredentialsError, match=r"AuthFailure.SignatureFailure .*; check the SecretId and the"):
        home.find()
    home.write(f"[default]\nsecret_id = AKIDother\nsecret_key = {KEY}\nrole_arn = {ARN}\n")
    with pytest.raises(CredentialsError, match=r"AuthFailure.SecretIdNotFound .*; check the SecretId and the"):
        home.find()
    assert services.issued == []


@pytest.mark.parametrize(("text", "message"), [
    (f"[default]\nrole_arn = {ARN}\n", "a role is assumed with keys, and there are none; write secret_id and"),
    (f"[default]\n{KEYS}role_arn = {ARN}\nsource_profile = none\n", "there are none; write secret_id and secret_key"),
    (f"[default]\nsecret_id = {ID}\nrole_arn = {ARN}\n", "has one of secret_id and secret_key; write both into it"),
    (f"[default]\n{KEYS}role_arn = SECRET-x\n", "role_arn is not the name of a role; give it as the console shows it"),
    (f"[default]\n{KEYS}role_arn = {ARN}\nduration_seconds = 2h\n", "duration_seconds is no number of seconds such as"),
    (f"[default]\n{KEYS}role_arn = {ARN}\nsource_profile = b\n[b]\n{KEYS}role_arn = {ARN}\n",
     "source_profile names a section with a role of its own; name one with keys")])
def test_mistakes_in_the_file_are_named_and_cost_no_request(text: str, message: str, home: Home,
                                                           services: TokenServices, caplog: Any) -> None:
    home.write(text)
    with pytest.raises(CredentialsError) as raised:
        home.find()
    assert str(raised.value).startswith(str(home.file)) and message in str(raised.value)
    check(raised.value, caplog)
    assert services.requests == []


def test_a_role_in_the_environment_that_is_none_is_named(home: Home) -> None:
    with pytest.raises(CredentialsError, match=r"^TENCENTCLOUD_ROLE_ARN in the environment is not the name"):
        home.find(TENCENTCLOUD_SECRET_ID=ID, TENCENTCLOUD_SECRET_KEY=KEY, TENCENTCLOUD_ROLE_ARN="reader")


def test_sts_that_does_not_answer_comes_with_a_remedy(home: Home, services: TokenServices,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roles, "_STS_TIMEOUT_S", 0.2)
    home.write(f"[default]\n{KEYS}role_arn = {ARN}\n")
    services.go.clear()
    with pytest.raises(CredentialsError, match=r"; see that STS can be reached, or name"):
        home.find()
    with pytest.raises(CredentialsError, match=r"COSFS_STS_ENDPOINT nowhere is no address such as https://sts\."):
        home.find(COSFS_STS_ENDPOINT="nowhere")


def test_keys_of_the_role_are_replaced_before_they_end(home: Home, services: TokenServices) -> None:
    home.write(f"[default]\n{KEYS}role_arn = {ARN}\n")
    services.lifetime_s = 1.0
    found = home.find()
    limit = time.monotonic() + 10
    while found.get() == services.issued[0]:  # which raises when they have ended and there are no others
        assert time.monotonic() < limit
        time.sleep(0.01)
    assert found.get() in services.issued[1:]


def test_keys_that_were_changed_in_the_file_are_those_that_ask_next(home: Home, services: TokenServices) -> None:
    home.write(f"[default]\n{KEYS}role_arn = {ARN}\n")
    found = home.find()
    services.caller = Credentials("AKIDnew", "SECRET-new")
    services.role_arn = ARN + "2"
    home.write(f"[default]\nsecret_id = AKIDnew\nsecret_key = SECRET-new\nrole_arn = {ARN}2\n")
    found.reload()
    assert found.get() == services.issued[1]
    assert services.requests[1][2]["RoleArn"] == ARN + "2"


@pytest.mark.parametrize("first", ["", f"role_arn = {ARN}\n"])
def test_a_role_that_comes_or_goes_leaves_the_keys_as_they_were(first: str, home: Home, services: TokenServices,
                                                                expected_logs: Any, caplog: Any) -> None:
    expected_logs("role_arn has come or gone; mount again")
    home.write(f"[default]\n{KEYS}{first}")
    found = home.find()
    home.write(f"[default]\n{KEYS}" + (f"role_arn = {ARN}\n" if not first else ""))
    found.reload()
    assert found.get() == (services.issued[-1] if first else Credentials(ID, KEY))
    assert "keeping the keys as they were: " in caplog.text


def test_a_file_with_a_role_that_others_may_read_is_refused(home: Home, services: TokenServices) -> None:
    home.write(f"[default]\n{KEYS}role_arn = {ARN}\n")
    home.file.chmod(0o644)
    with pytest.raises(CredentialsError, match="chmod 600"):
        home.find()
    assert services.requests == []


def test_the_service_takes_the_roles_keys_and_no_secret_shows(home: Home, caplog: Any) -> None:
    home.write(f"[default]\n{KEYS}role_arn = {ARN}\n")
    caplog.set_level(logging.DEBUG)
    with CosServer(token="t") as own, TokenServices(own) as issuing:
        found = home.find(COSFS_STS_ENDPOINT=issuing.url)
        client = make_client(own.url, bucket=own.bucket, credentials=found)
        client.list_objects("")
        client.close()
        shown: Dict[str, Any] = {"repr": repr(found), "source": found.source, "log": caplog.text}
        assert not [secret for secret in [*issuing.secrets(), KEY] for text in shown.values() if secret in text]
