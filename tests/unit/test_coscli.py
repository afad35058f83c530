"""coscli's configuration file: its shape, and the cipher that its secrets are in."""

from __future__ import annotations

import pytest

from cosfs.cos.coscli import CoscliBase, decrypt_block, parse_coscli
from cosfs.cos.signing import Credentials
from cosfs.errors import CredentialsError

WRITTEN = """\
cos:
  base:
    secretid: {secretid}
    secretkey: {secretkey}
    sessiontoken: ""
    protocol: https
    disableencryption: "{plain}"
  buckets:
  - name: examplebucket-1250000000
    alias: example
    region: ap-guangzhou
    endpoint: cos.ap-guangzhou.myqcloud.com
    ofs: false
  - name: [flow, style]
"""
ENCRYPTED = {"secretid": "siwoHCfUCa++6/sDUOyFtgZ77qequNd+KOKMykzbXAc=", "secretkey": "GpsfWlFrpJTsAGCnDj4ZXQ==",
             "plain": "false"}
"""``the-secret-id-of-coscli`` and ``the-secret-key`` as ``openssl enc -aes-128-ecb -nopad`` has them, in base64, under
the key of coscli with three zero bytes, padded with zero bytes."""


def test_cipher_is_that_of_the_standard() -> None:
    """FIPS-197, appendix C.1."""
    found = decrypt_block(bytes(range(16)), bytes.fromhex("69c4e0d86a7b0430d8cdb78070b4c55a"))
    assert found.hex() == "00112233445566778899aabbccddeeff"


def test_secrets_as_coscli_keeps_them() -> None:
    assert parse_coscli(WRITTEN.format(**ENCRYPTED), "f") == CoscliBase(
        Credentials("the-secret-id-of-coscli", "the-secret-key"))


@pytest.mark.parametrize("plain", ["true", "false"])
@pytest.mark.parametrize("value", ["AKIDabc", "AKIDEXAMPLEEXAMPLEEXAMPLEEXAMPLE", "a b", "a:b", "a=", "'a#b'",
                                   '"a: b"'])
def test_secrets_that_are_not_encrypted_are_taken_as_they_stand(plain: str, value: str) -> None:
    found = parse_coscli(WRITTEN.format(secretid=value, secretkey="key", plain=plain), "f").credentials
    assert found == Credentials(value.strip("'\""), "key")


@pytest.mark.parametrize("text", [
    "cos:\n  base:\n    secretid: id # mine\n    secretkey: key\n",
    "---\n# mine\ncos:\n    base:\n        secretid: 'id'\n        secretkey: \"key\"\n\n    buckets: []\n",
    "other:\n  base: {secretid: no}\ncos:\r\n  base:\r\n    secretkey: key\r\n    secretid: id\r\n",
    "cos:\n  buckets:\n    - name: x\n      secretid: no\n  base:\n    nested:\n      secretid: no\n    secretid: id\n"
    "    secretkey: key\n    disableencryption: true\nbase:\n  secretid: no\n",
])
def test_shapes_that_mean_the_same(text: str) -> None:
    assert parse_coscli(text, "f").credentials == Credentials("id", "key")


@pytest.mark.parametrize("text", ["", "cos:\n", "cos:\n  base:\n    protocol: https\n",
                                  "cos:\n  buckets:\n  - name: x\n"])
def test_file_without_keys(text: str) -> None:
    assert parse_coscli(text, "f") == CoscliBase()


def test_role() -> None:
    text = "cos:\n  base:\n    secretid: a\n    secretkey: b\n    mode: CvmRole\n    cvmrolename: worker\n"
    assert parse_coscli(text, "f") == CoscliBase(use_role=True, role="worker")


@pytest.mark.parametrize(("text", "line"), [
    ("cos:\n  base: {secretid: secretword, secretkey: b}\n", 2),
    ("cos:\n  base:\n    secretid: >\n      secretword\n", 3),
    ("cos:\n  base:\n    secretid: \"secretword\n", 3), ("cos:\n  base:\n    secretid: *secretword\n", 3),
    ("cos:\n  base:\n\tsecretid: secretword\n", 3), ("[common]\nsecretid = secretword\n", 1),
    ("cos:\n  base:\n    secretid:secretword\n", 3), ('cos:\n  base:\n    secretid: "a\\x62secretword"\n', 3)])
def test_other_shapes_are_refused_by_line_and_not_repeated(text: str, line: int) -> None:
    with pytest.raises(CredentialsError, match=f"^/the/file, line {line}: not as coscli writes it") as raised:
        parse_coscli(text, "/the/file")
    assert "secretword" not in str(raised.value)


def test_half_a_pair_is_refused() -> None:
    with pytest.raises(CredentialsError, match="f has one of secretid and secretkey; write both"):
        parse_coscli("cos:\n  base:\n    secretkey: secretword\n", "f")
