"""What a client adds to requests: the files it comes from, and which request gets what."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Dict, List, Tuple

import pytest

from cosfs.cos.additions import SSE, Additions, CustomerKey, EncryptedBy, Encryption, HeaderRule
from cosfs.cos.additions_files import make_additions, read_customer_keys, read_header_rules
from cosfs.errors import CosClientError, CredentialsError

ONE, OTHER = CustomerKey(bytes(range(32))), CustomerKey(b"0123456789ABCDEF0123456789ABCDEF")
OF_SERVICE = {SSE: "AES256"}
SECRET_LINE = "not-a-key-but-secret"


def written(folder: Path, text: str, mode: int = 0o600) -> str:
    path = folder / "file"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_keys_in_every_spelling(tmp_path: Path) -> None:
    encoded = base64.b64encode(ONE.key).decode()
    path = written(tmp_path, f"# new\n{encoded}\r\n\n{OTHER.key.decode()}\n{ONE.key.hex()}\n")
    assert read_customer_keys(path) == [ONE, OTHER, ONE]


@pytest.mark.parametrize(("text", "mode", "message"), [
    (f"# key\n{SECRET_LINE}\n", 0o600, ", line 2: no key; write base64 of 32 bytes, such as: openssl rand -base64 32 "
                                       "makes"),
    ("AAAA\n", 0o600, ", line 1: no key; write base64 of 32 bytes, such as: openssl rand -base64 32 makes"),
    ("# nothing\n", 0o600, " holds no key; write base64 of 32 bytes into it"),
    ("AAAA\n", 0o644, ": its mode 0644 lets others at the keys; set it with: chmod 600 "),
])
def test_a_bad_key_file_is_explained_without_its_content(tmp_path: Path, text: str, mode: int, message: str) -> None:
    path = written(tmp_path, text, mode)
    with pytest.raises(CredentialsError) as caught:
        read_customer_keys(path)
    assert str(caught.value).startswith(path + message)
    assert SECRET_LINE not in str(caught.value)


def test_a_folder_is_no_key_file(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match=f"{tmp_path} is not a regular file; name the file that holds the keys"):
        read_customer_keys(str(tmp_path))


def test_a_missing_key_file_is_explained(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match="does not exist; write the key into it"):
        read_customer_keys(str(tmp_path / "none"))


def test_keys_do_not_show_in_a_repr() -> None:
    assert "01234567" not in repr(OTHER)


def test_rules_by_suffix_for_all_and_by_pattern(tmp_path: Path) -> None:
    rules = read_header_rules(written(tmp_path, "# c\n\n.gz  Content-Encoding\tgzip\n"
                                                " Cache-Control  max-age=60, public \n"
                                                "reg:^a/.*\\.htm Content-Type text/html\n"))
    assert [(rule.name, rule.value) for rule in rules] == [
        ("Content-Encoding", "gzip"), ("Cache-Control", "max-age=60, public"), ("Content-Type", "text/html")]
    assert [[rule.matches(key) for rule in rules] for key in ("x/y.gz", "a/b.html", "b/a/b.html")] == [
        [True, True, False], [False, True, True], [False, True, False]]


@pytest.mark.parametrize(("line", "message"), [
    (".gz Content-Encoding", "no rule; write SUFFIX HEADER VALUE, such as: .gz Content-Encoding gzip"),
    ("gzip", "no rule; write SUFFIX HEADER VALUE, such as: .gz Content-Encoding gzip"),
    (" Bad:Name x", "no rule; write SUFFIX HEADER VALUE, such as: .gz Content-Encoding gzip"),
    (".gz X-A caf\u00e9", "no rule; write SUFFIX HEADER VALUE, such as: .gz Content-Encoding gzip"),
    (" Content-Length 5", "Content-Length cannot be added, it is the mount's own; take the line out"),
    (" x-cos-meta-mode 5", "x-cos-meta-mode cannot be added, it is the mount's own; take the line out"),
    (" x-amz-acl private", "x-amz-acl cannot be added, it is the mount's own; take the line out"),
    ("reg:( X-A b", "reg:( is no regular expression; correct what follows reg:"),
])
def test_a_line_that_is_no_rule_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = written(tmp_path, f"#\n{line}\n")
    with pytest.raises(CosClientError) as caught:
        read_header_rules(path)
    assert str(caught.value) == f"{path}, line 2: {message}"


def stored(additions: Additions, *given: Tuple[str, str], source: bool = False,
           keeps_headers: bool = False) -> Tuple[Dict[str, str], object]:
    headers, key = additions.stored("a.gz", given, OTHER if source else None, keeps_headers=keeps_headers)
    return dict(headers), key


KEPT: List[Tuple[str, str]] = [("Content-Type", "text/plain")]


@pytest.mark.parametrize(("additions", "given", "expected", "key"), [
    (Additions(), KEPT, dict(KEPT), None),
    (Additions(OF_SERVICE), KEPT, {**dict(KEPT), **OF_SERVICE}, None),
    (Additions(OF_SERVICE), [(SSE, "cos/kms")], {SSE: "cos/kms"}, None),
    (Additions(OF_SERVICE, (ONE,)), [(f"{SSE}-customer-key-md5", ONE.md5)], {}, ONE),
    (Additions({}, (ONE, OTHER), encrypts=True), [], {}, ONE),
    (Additions({}, (ONE, OTHER), encrypts=True), [(f"{SSE}-customer-key-md5", OTHER.md5)], {}, ONE),
    (Additions({}, (ONE,), encrypts=True), [(SSE, "AES256")], OF_SERVICE, None),
    (Additions(acl="private"), [], {"x-cos-acl": "private"}, None),
    (Additions(acl="private"), [("x-cos-grant-read", "id=1")], {"x-cos-grant-read": "id=1"}, None),
    (Additions(rules=(HeaderRule("content-type", "a/b", ".gz"), HeaderRule("content-type", "c/d", "gz"))), KEPT,
     {"content-type": "c/d"}, None),
])
def test_what_a_stored_object_gets(additions: Additions, given: List[Tuple[str, str]], expected: Dict[str, str],
                                   key: object) -> None:
    assert stored(additions, *given) == (expected, key)


def test_a_copy_that_keeps_its_headers_gets_none_but_encryption_and_acl() -> None:
    additions = Additions(OF_SERVICE, acl="private", rules=(HeaderRule("Content-Encoding", "gzip"),))
    assert stored(additions, keeps_headers=True) == ({**OF_SERVICE, "x-cos-acl": "private"}, None)


def test_a_copy_of_an_object_with_a_customers_key_keeps_it() -> None:
    assert stored(Additions({}, (ONE, OTHER)), source=True) == ({}, OTHER)


def test_additions_of_the_options(tmp_path: Path) -> None:
    key_file = written(tmp_path, base64.b64encode(ONE.key).decode())
    assert not make_additions(None, None, None)
    assert make_additions(Encryption(EncryptedBy.KMS, "id"), None, None).encryption == {
        SSE: "cos/kms", f"{SSE}-cos-kms-key-id": "id"}
    custom = make_additions(Encryption(EncryptedBy.CUSTOMER), key_file, None)
    assert (custom.encryption, custom.customer_keys, custom.encrypts) == ({}, (ONE,), True)
    reading = make_additions(Encryption(EncryptedBy.SERVICE), key_file, None)
    assert (reading.encryption, reading.customer_keys, reading.encrypts) == (OF_SERVICE, (ONE,), False)
