"""Hosts, paths and the encoding of keys."""

from __future__ import annotations

import pytest

from cosfs.cos.credentials import StaticCredentials
from cosfs.cos.endpoint import ClientConfig, Endpoint, check_key, encode_key
from cosfs.cos.sdk_config import CosConfig, region_host
from cosfs.cos.signing import Credentials
from cosfs.errors import CosClientError, InvalidParameter

BUCKET = "test04-1250000000"


@pytest.mark.parametrize("url, host, raw_path, connect_url", [
    ("https://cos.ap-beijing.myqcloud.com", f"{BUCKET}.cos.ap-beijing.myqcloud.com", "/a/b",
     f"https://{BUCKET}.cos.ap-beijing.myqcloud.com"),
    ("cos.ap-beijing.myqcloud.com", f"{BUCKET}.cos.ap-beijing.myqcloud.com", "/a/b",
     f"https://{BUCKET}.cos.ap-beijing.myqcloud.com"),
    ("http://cos.ap-x.tencentcos.cn:80/", f"{BUCKET}.cos.ap-x.tencentcos.cn", "/a/b",
     f"http://{BUCKET}.cos.ap-x.tencentcos.cn"),
    ("http://store.example:8080", f"{BUCKET}.store.example:8080", "/a/b", f"http://{BUCKET}.store.example:8080"),
    ("http://127.0.0.1:9000", "127.0.0.1:9000", f"/{BUCKET}/a/b", "http://127.0.0.1:9000"),
    ("http://localhost:9000", "localhost:9000", f"/{BUCKET}/a/b", "http://localhost:9000"),
    ("http://[::1]:9000", "[::1]:9000", f"/{BUCKET}/a/b", "http://[::1]:9000"),
])
def test_address_of_an_object(url, host, raw_path, connect_url):
    target = Endpoint.parse(url).locate(BUCKET, "a/b")
    assert (target.host, target.raw_path, target.connect_url) == (host, raw_path, connect_url)


@pytest.mark.parametrize("url",
                         ["", "ftp://host", "http://", "http://host/path", "http://user:pass@host", "http://h:port",
                                 "http://host?x", "http://:80"])
def test_what_is_no_endpoint_is_refused_without_repeating_it(url):
    with pytest.raises(InvalidParameter) as raised:
        Endpoint.parse(url)
    assert "pass" not in str(raised.value)


def test_path_style_can_be_forced_either_way():
    assert Endpoint.parse("https://store.example", path_style=True).locate("b", "k").raw_path == "/b/k"
    assert Endpoint.parse("http://127.0.0.1", path_style=False).locate("b", "k").host == "b.127.0.0.1"


def test_signed_host_has_no_port_and_is_lower_case():
    assert Endpoint.parse("http://Store.Example:8080").locate("b", "k").host_name == "b.store.example"
    assert Endpoint.parse("http://[::1]:9000").locate("b", "k").host_name == "[::1]"


def test_bucket_address():
    assert Endpoint.parse("https://cos.x.myqcloud.com").locate(BUCKET).raw_path == "/"
    assert Endpoint.parse("http://127.0.0.1:1").locate(BUCKET).raw_path == f"/{BUCKET}"


@pytest.mark.parametrize("key, raw", [
    ("a b", "a%20b"), ("a+b", "a%2Bb"), ("a//b", "a//b"), ("a/../b", "a/..%2Fb"), ("dir./f", "dir.%2Ff"),
    ("%2F", "%252F"), ("é", "%C3%A9"), ("\udcff", "%FF"), ("~-_.", "~-_."), ("!*'()", "%21%2A%27%28%29"),
    ("a?b#c", "a%3Fb%23c")])
def test_key_encoding(key, raw):
    assert encode_key(key) == raw


def test_v4_signs_paths_as_written_so_dots_stay():
    assert encode_key("a/../b", safe_dots=False) == "a/../b"


@pytest.mark.parametrize("key", ["", "/", "//", ".", "..", "a/..", "./", "a/b/../..", "x" * 851, "ü" * 426])
def test_keys_that_cannot_be(key):
    with pytest.raises(InvalidParameter):
        check_key(key)


@pytest.mark.parametrize("key", ["a", "x" * 850, "ü" * 425, "a/../b", "dir/", "a/."])
def test_keys_that_can_be(key):
    assert check_key(key) == key


def test_client_config_refuses_nonsense_and_shows_no_secret():
    for fields in ({"bucket": "a/b"}, {"signature": "v2"}, {"endpoint": "http://"}):
        with pytest.raises(InvalidParameter):
            ClientConfig(**{"bucket": "b", "endpoint": "http://h", **fields})
    config = ClientConfig("b", "http://h", StaticCredentials(Credentials("id", "very-secret", "the-token")))
    assert "very-secret" not in repr(config) and "the-token" not in repr(config)


# The official SDK's constructor (documentation section "host forms"; checked against the SDK itself below)

KEYS = {"SecretId": "id", "SecretKey": "key"}
CONFIGS = [
    {"Region": "ap-beijing"}, {"Region": "cos.ap-beijing"}, {"Region": "cn-north"}, {"Region": "sg"},
    {"Region": "cosgz"},
    {"Region": "ap-beijing", "EnableOldDomain": False},
    {"Region": "ap-beijing", "EnableOldDomain": False, "EnableInternalDomain": False},
    {"Endpoint": "cos.accelerate.myqcloud.com"}, {"Region": "ap-beijing", "Scheme": "http"},
    {"Region": "ap-beijing", "Domain": "files.example"}, {"Region": "ap-beijing", "Appid": "1250000000"},
]


@pytest.mark.parametrize("fields", CONFIGS, ids=str)
@pytest.mark.parametrize("path", [None, "a b/../c", "/slash"])
def test_urls_are_those_of_the_official_sdk(fields, path):
    from qcloud_cos import CosConfig as TheirConfig
    assert CosConfig(**KEYS, **fields).uri("test04", path) == TheirConfig(**KEYS, **fields).uri("test04", path)


def test_ip_is_connected_to_with_the_bucket_as_host():
    config = CosConfig(**KEYS, Region="ap-beijing", Scheme="http", IP="127.0.0.1", Port=9000)
    target = config.endpoint.locate("b-1", "k")
    assert (target.connect_url, target.host) == ("http://127.0.0.1:9000", "b-1.cos.ap-beijing.myqcloud.com")


@pytest.mark.parametrize("fields", [
    {}, {"Region": ""}, {"Region": "a"}, {"Region": "-x"}, {"Region": "a/b"}, {"Region": "ap-x", "Scheme": "ftp"},
    {"Region": "ap-x", "AllowRedirects": True}, {"Region": "ap-x", "SSLCert": "file"}])
def test_config_refuses(fields):
    with pytest.raises(CosClientError):
        CosConfig(**KEYS, **fields)


def test_config_needs_keys_or_anonymous():
    with pytest.raises(CosClientError):
        CosConfig(Region="ap-x")
    with pytest.raises(CosClientError):
        CosConfig(Region="ap-x", SecretId="only")
    assert CosConfig(Region="ap-x", Anonymous=True).anonymous


@pytest.mark.parametrize("names", [("SecretId", "SecretKey"), ("Secret_id", "Secret_key"), ("Access_id", "Access_key")])
def test_spellings_of_the_keys(names):
    config = CosConfig(Region="ap-x", Token="", **dict(zip(names, ("the-id", "the-key"))))
    assert config.get() == Credentials("the-id", "the-key", None)
    assert "the-key" not in repr(config)


def test_credential_instance_is_read_each_time():
    class Instance:
        secret_id, secret_key, token = "one", "key", ""
    config = CosConfig(Region="ap-x", CredentialInstance=Instance())
    assert config.get().secret_id == "one"
    Instance.secret_id = "two"
    assert config.get().secret_id == "two"


def test_environment_variable_takes_the_place_of_the_region(monkeypatch):
    monkeypatch.setenv("COSFS_ENDPOINT_URL", "http://127.0.0.1:9000")
    assert CosConfig(**KEYS, Region="ap-x", Appid="1").uri("b", "k") == "http://127.0.0.1:9000/b-1/k"
    assert CosConfig(**KEYS, Endpoint="cos.x.myqcloud.com").uri("b", "k") == "https://b.cos.x.myqcloud.com/k"


def test_region_host():
    assert region_host("ap-chengdu") == "cos.ap-chengdu.myqcloud.com"
