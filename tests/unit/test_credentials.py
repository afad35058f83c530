"""Passwd files, the environment, and the order in which they are looked for."""

from __future__ import annotations

import os
from functools import partial

import pytest

from cosfs.cos import key_files
from cosfs.cos.credentials import AGAIN_S, ChainOptions, FileCredentials, StaticCredentials, find_credentials
from cosfs.cos.key_files import NoKeys, parse_passwd
from cosfs.cos.signing import Credentials
from cosfs.errors import CredentialsError
from tests.support.token_services import TokenServices

BUCKET = "examplebucket-1250000000"
NOWHERE = "http://127.0.0.1:1/roles"


def write(path, text, mode=0o600):
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def options(tmp_path, **fields):
    return ChainOptions(**{"bucket": BUCKET, "environ": {}, "home": tmp_path, "system_folder": tmp_path / "etc",
                           "role_endpoint": NOWHERE, **fields})


@pytest.mark.parametrize("text, secret_id", [
    ("id:key", "id"), ("id:key\n", "id"), ("id:key\r\n", "id"), ("# comment\n\nid:key\n", "id"),
    (f"other:o:k\n{BUCKET}:mine:key\nid:key", "mine"), ("examplebucket:short:key\nid:key", "short"),
    (f"examplebucket:short:key\n{BUCKET}:long:key", "long"), (f"{BUCKET}:first:key\n{BUCKET}:second:key", "first"),
])
def test_lines(text, secret_id):
    assert parse_passwd(text, BUCKET, "f").secret_id == secret_id


def test_values_with_token():
    text = "COSAccessKeyId=id\nCOSSecretKey=ke=y\nCOSAccessToken=tok==\nCOSAccessTokenExpire=2026-08-29T11:32:00\n"
    assert parse_passwd(text, BUCKET, "f") == Credentials("id", "ke=y", "tok==")


@pytest.mark.parametrize("text",
                         ["", "# nothing", "secretword", "a:b:c:d", "id:", ":key", "id: secretword", "[section]\n",
                                  "a:secretword\nb:secretword", "other:id:secretword", "COSAccessKeyId=id",
                                  "COSSecretKey=secretword"])
def test_unusable_texts_are_refused_and_not_repeated(text):
    with pytest.raises(CredentialsError) as raised:
        parse_passwd(text, BUCKET, "/path/of/file")
    assert "/path/of/file" in str(raised.value)
    assert "secretword" not in str(raised.value)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o700, 0o610, 0o601])
def test_file_that_others_may_read_is_refused_with_the_way_out(tmp_path, mode):
    path = write(tmp_path / "p", "id:key", mode)
    with pytest.raises(CredentialsError, match=f"{mode:04o}.*chmod 600"):
        FileCredentials(path, BUCKET)


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_private_file_is_read(tmp_path, mode):
    assert FileCredentials(write(tmp_path / "p", "id:key", mode), BUCKET).get() == Credentials("id", "key")


def test_folder_and_missing_file_are_refused(tmp_path):
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(CredentialsError, match=str(path)):
            FileCredentials(path, BUCKET)


@pytest.mark.parametrize(("text", "advice"), [
    ("id:key \n", "line 1: a blank or a quotation mark; take it out"), ("'id':'key'", "a quotation mark"),
    ("id\nkey\n", "line 1: not of the form"), ("", "no line for bucket .*; write SecretId:SecretKey or"),
    ("COSAccessKeyId = id\nCOSSecretKey = key\n", "a blank"),
    ("COSAccessKeyId=id", "has one of COSAccessKeyId= and COSSecretKey=; write both"),
    ("\xff", "not UTF-8")])
def test_mistakes_in_a_file_are_named(tmp_path, text, advice):
    path = write(tmp_path / "p", "")
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(CredentialsError, match=f"{path}.*{advice}"):
        FileCredentials(path, BUCKET)


def test_places_that_cannot_be_looked_at(tmp_path):
    closed = tmp_path / ("n" * 300)  # as root no folder is closed; a name that is too long fails in the same way
    with pytest.raises(CredentialsError, match="no keys found"):
        find_credentials(options(closed))
    with pytest.raises(CredentialsError, match=r"cannot be read .File name too long.; it must be"):
        find_credentials(options(tmp_path, passwd_file=str(closed)))


@pytest.mark.parametrize("text", ["id:key\r\n", "\ufeffid:key\n", "# mine\n\nid:key"])
def test_line_ends_and_marks_of_other_editors_do_no_harm(tmp_path, text):
    assert FileCredentials(write(tmp_path / "p", text), BUCKET).get() == Credentials("id", "key")


def test_changed_file_is_read_again(tmp_path):
    path = write(tmp_path / "p", "id:key")
    provider = FileCredentials(path, BUCKET)
    write(tmp_path / "new", "other-id:key")
    os.replace(tmp_path / "new", path)
    assert provider.get().secret_id == "other-id"


def test_change_that_keeps_size_and_time_is_found_by_refresh(tmp_path):
    path = write(tmp_path / "p", "id1:key")
    provider = FileCredentials(path, BUCKET)
    before = path.stat()
    path.write_text("id2:key")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    first = provider.get()
    assert first.secret_id == "id1"
    assert provider.refresh(first).secret_id == "id2"


def test_file_that_becomes_unusable_leaves_the_keys(tmp_path, expected_logs):
    expected_logs("keeping the keys")
    path = write(tmp_path / "p", "id:key")
    provider = FileCredentials(path, BUCKET)
    path.write_text("half a li")
    assert provider.get().secret_id == "id"
    path.unlink()
    assert provider.refresh(Credentials("id", "key")).secret_id == "id"


def test_file_that_is_unusable_is_read_again_when_it_changes_and_after_a_pause(tmp_path, expected_logs, caplog):
    expected_logs("keeping the keys as they were: .*half")
    now_s, texts = [100.0], []

    def parse(text, name):
        texts.append(text)
        if text.startswith("half"):
            raise CredentialsError(f"{name}: half")
        return Credentials(text, "key")
    path = write(tmp_path / "p", "id")
    provider = FileCredentials(path, parse=parse, clock=lambda: now_s[0])
    path.write_text("half")
    assert {provider.get().secret_id for _ in range(100)} == {"id"}
    now_s[0] += AGAIN_S
    assert {provider.get().secret_id for _ in range(100)} == {"id"}
    assert texts == ["id", "half", "half"]
    assert len(caplog.records) == 1
    path.write_text("new-id")
    assert provider.get().secret_id == "new-id"


def test_reload_tells_again_what_is_wrong(tmp_path, expected_logs, caplog):
    expected_logs("keeping the keys as they were")
    path = write(tmp_path / "p", "id:key")
    provider = FileCredentials(path, BUCKET)
    path.write_text("half a li")
    provider.get()
    provider.reload()
    assert len(caplog.records) == 2


def test_users_without_a_home_have_no_keys_there(tmp_path, monkeypatch):
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 5)  # of whom passwd(5) knows nothing
    assert str(ChainOptions(BUCKET).home) == "/"
    with pytest.raises(CredentialsError, match="passwd file ~nobody-here/keys does not exist"):
        find_credentials(options(tmp_path, environ={"COS_CREDENTIAL_FILE": "~nobody-here/keys"}))


def test_chain_follows_the_order_of_the_cpp_tool(tmp_path):
    write(tmp_path / "etc" / "passwd-cosfs", "system:key", 0o600)
    assert find_credentials(options(tmp_path)).get().secret_id == "system"
    write(tmp_path / ".passwd-cosfs", "home:key")
    assert find_credentials(options(tmp_path)).get().secret_id == "home"
    environ = {"COS_CREDENTIAL_FILE": str(write(tmp_path / "env", "envfile:key"))}
    assert find_credentials(options(tmp_path, environ=environ)).get().secret_id == "envfile"
    environ |= {"COSACCESSKEYID": "env", "COSSECRETACCESSKEY": "key"}
    assert find_credentials(options(tmp_path, environ=environ)).get().secret_id == "env"
    given = str(write(tmp_path / "given", "given:key"))
    assert find_credentials(options(tmp_path, environ=environ, passwd_file=given)).get().secret_id == "given"


@pytest.mark.parametrize("names", [
    ("COSACCESSKEYID", "COSSECRETACCESSKEY"), ("COS_SECRET_ID", "COS_SECRET_KEY"), ("COS_SECRETID", "COS_SECRETKEY"),
    ("COSN_SECRET_ID", "COSN_SECRET_KEY"), ("TENCENTCLOUD_SECRET_ID", "TENCENTCLOUD_SECRET_KEY"),
    ("TENCENTCLOUD_SECRETID", "TENCENTCLOUD_SECRETKEY")])
def test_environment_spellings(tmp_path, names):
    environ = dict(zip(names, ("the-id", "the-key")))
    assert find_credentials(options(tmp_path, environ=environ)).get() == Credentials("the-id", "the-key")
    del environ[names[1]]
    with pytest.raises(CredentialsError, match=names[1]):
        find_credentials(options(tmp_path, environ=environ))


@pytest.mark.parametrize("name", ["COS_SECRET_ID", "COS_SECRET_KEY", "COS_TOKEN"])
@pytest.mark.parametrize("value", ["secretword\r", " secretword", "secretword\n"])
def test_blanks_around_keys_of_the_environment_are_named(tmp_path, name, value):
    environ = {"COS_SECRET_ID": "id", "COS_SECRET_KEY": "key", name: value}
    with pytest.raises(CredentialsError, match=f"^{name} in the environment has a blank") as raised:
        find_credentials(options(tmp_path, environ=environ))
    assert "secretword" not in str(raised.value)


OTHER_FILES = {
    ".cos.conf": "[common]\nsecret_id = the-id\nsecret_key = the%key\ntoken = tok\nregion = ap-x\n",
    ".cos.yaml": "cos:\n  base:\n    secretid: the-id\n    secretkey: the%key\n    sessiontoken: tok\n",
    ".tencentcloud/credentials": "[default]\nsecret_id = the-id\nsecret_key = the%key\ntoken=tok\n",
    ".tccli/default.credential": '{"secretId": "the-id", "secretKey": "the%key", "token": "tok"}',
}


@pytest.mark.parametrize("name", OTHER_FILES)
def test_files_of_other_tools(tmp_path, name):
    write(tmp_path / name, OTHER_FILES[name])
    provider = find_credentials(options(tmp_path))
    assert provider.get() == Credentials("the-id", "the%key", "tok")
    assert provider.source == f"the file {tmp_path / name}"
    write(tmp_path / name, OTHER_FILES[name].replace("the-id", "another-id"))
    assert provider.get().secret_id == "another-id"


@pytest.mark.parametrize("name", OTHER_FILES)
def test_files_of_other_tools_that_others_may_read_are_refused(tmp_path, name):
    path = write(tmp_path / name, OTHER_FILES[name], 0o644)
    message = f"{path}: its mode 0644 lets others at the keys; set it with: chmod 600 {path}$"
    with pytest.raises(CredentialsError, match=message):
        find_credentials(options(tmp_path))


@pytest.mark.parametrize(("name", "text"), [
    (".cos.conf", "[common]\nregion = ap-x\n"),
    (".cos.conf", "[common]\nsecret_id=a\nsecret_key=b\nanonymous = True\n"),
    (".cos.conf", "[other]\nsecret_id = a\n"), (".cos.yaml", "cos:\n  base:\n    secretid: \"\"\n"),
    (".tencentcloud/credentials", "[other]\nsecret_id = a\n"), (".tccli/default.credential", "{}")])
def test_files_of_other_tools_without_keys_are_passed_over(tmp_path, name, text):
    write(tmp_path / name, text, 0o644)
    with pytest.raises(CredentialsError, match="no keys found"):
        find_credentials(options(tmp_path))


@pytest.mark.parametrize(("parse", "text", "advice"), [
    (key_files.parse_coscmd, "secret_key = secretword\n", "line 1: not of the form"),
    (key_files.parse_coscmd, "[common]\nsecretword\n", "line 2: not of the form"),
    (key_files.parse_coscmd, "[common]\nsecret_key = secretword\n", "has one of secret_id and secret_key; write both"),
    (key_files.parse_tencentcloud, "[default]\nsecret_id=secretword\nsecret_key=secretword\nrole_arn=r\n", "role_arn"),
    (key_files.parse_tccli, '{"secretKey": "secretword"', "no JSON"),
    (key_files.parse_tccli, '["secretword"]', "no JSON"),
    (key_files.parse_tccli, '{"secretKey": "secretword", "secretId": 1}', "has one of")])
def test_mistakes_in_files_of_other_tools_are_named_and_not_repeated(parse, text, advice):
    with pytest.raises(CredentialsError, match=f"^/the/file.*{advice}") as raised:
        parse(text, "/the/file")
    assert not isinstance(raised.value, NoKeys)
    assert "secretword" not in f"{raised.value}{vars(raised.value)}{raised.value.__context__!r}"


def drop(environ, *names):
    for name in names:
        del environ[name]


def test_every_source_has_its_place_in_the_order(tmp_path):
    """All of them at once; then the first one goes, and the next one's keys are found, to the last."""
    names = ["COSACCESSKEYID", "COSSECRETACCESSKEY", "COS_SECRET_ID", "COS_SECRET_KEY", "COS_SECRETID", "COS_SECRETKEY",
             "COSN_SECRET_ID", "COSN_SECRET_KEY", "TENCENTCLOUD_SECRET_ID", "TENCENTCLOUD_SECRET_KEY",
             "TENCENTCLOUD_SECRETID", "TENCENTCLOUD_SECRETKEY"]
    environ = {name: name for name in names}
    environ["COS_CREDENTIAL_FILE"] = str(write(tmp_path / "envfile", "env-file:key"))
    files = {".passwd-cosfs": "home:key", "etc/passwd-cosfs": "system:key", **OTHER_FILES,
             "etc/tencentcloud/credentials": OTHER_FILES[".tencentcloud/credentials"]}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write(tmp_path / name, text)
    given = str(write(tmp_path / "given", "given:key"))
    environment = [f"the environment ({names[at]})" for at in range(0, len(names), 2)]
    places = [".passwd-cosfs", "etc/passwd-cosfs", ".cos.conf", ".cos.yaml", ".tencentcloud/credentials",
              "etc/tencentcloud/credentials", ".tccli/default.credential"]
    with TokenServices() as services:
        (tmp_path / "identity").write_text(services.identity_token)
        environ |= {**services.identity, "TKE_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "identity"),
                    "COSFS_STS_ENDPOINT": services.url}
        fields = {"role": "worker", "passwd_file": given}
        steps = [  # what is found, and how it goes
            ("the CVM role worker", partial(drop, fields, "role")),
            (f"the file {given}", partial(drop, fields, "passwd_file")),
            *((source, partial(drop, environ, *names[2 * at:2 * at + 2])) for at, source in enumerate(environment)),
            *((f"the file {tmp_path / name}", (tmp_path / name).unlink) for name in places),
            (f"the TKE role {services.identity['TKE_ROLE_ARN']}", environ.clear), ("the CVM role worker", dict)]
        steps.insert(3, (f"the file {tmp_path / 'envfile'}", partial(drop, environ, "COS_CREDENTIAL_FILE")))
        found = []
        for _, remove in steps:
            found.append(find_credentials(options(tmp_path, environ=environ, role_endpoint=services.roles_url,
                                                  **fields)).source)
            remove()
    assert found == [source for source, _ in steps]


def test_metadata_service_is_not_asked_when_there_are_keys(tmp_path):
    write(tmp_path / ".passwd-cosfs", "home:key")
    with TokenServices() as services:
        find_credentials(options(tmp_path, role_endpoint=services.roles_url, role="sts"))
        assert services.requests == []
        (tmp_path / ".passwd-cosfs").unlink()
        find_credentials(options(tmp_path, role_endpoint=services.roles_url, role="sts"))
        assert [path for _, path, _ in services.requests] == ["/latest/roles/", "/latest/roles/worker"]


def test_role_that_coscli_is_told_to_use(tmp_path):
    write(tmp_path / ".cos.yaml", "cos:\n  base:\n    mode: CvmRole\n    cvmrolename: worker\n", 0o644)
    with TokenServices() as services:
        assert find_credentials(options(tmp_path, role_endpoint=services.roles_url)).get().secret_id == "AKIDissued1"
        assert [path for _, path, _ in services.requests] == ["/latest/roles/worker"]


def test_aws_names_count_in_v4_mode_only(tmp_path):
    environ = {"AWS_ACCESS_KEY_ID": "aws", "AWS_SECRET_ACCESS_KEY": "key", "AWS_SESSION_TOKEN": "tok"}
    assert find_credentials(options(tmp_path, environ=environ, aws=True)).get() == Credentials("aws", "key", "tok")
    with pytest.raises(CredentialsError, match="passwd_file"):
        find_credentials(options(tmp_path, environ=environ))


def test_reload_reads_what_looks_unchanged(tmp_path):
    path = write(tmp_path / "p", "id1:key")
    provider = FileCredentials(path, BUCKET)
    before = path.stat()
    path.write_text("id2:key")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    provider.reload()
    assert provider.get().secret_id == "id2"


def test_providers_show_no_secret(tmp_path):
    path = write(tmp_path / "p", "id:very-secret")
    static = StaticCredentials(Credentials("id", "very-secret", "the-token"))
    for text in (repr(FileCredentials(path, BUCKET)), repr(static),
                 repr(options(tmp_path, environ={"K": "very-secret"}))):
        assert "very-secret" not in text and "the-token" not in text
