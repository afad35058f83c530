"""Every sample of the seed document, turned to Python 3, runs as it stands."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

import cosfs
from cosfs import CosClientError, CosConfig, CosS3Client, CosServiceError
from tests.support.server import CosServer

DOCUMENT = Path(__file__).parent.parent / "data" / "seed-python-sdk-v5.md"


class SeedServer(CosServer):
    """A server that knows the keys that the document writes."""

    secret_id = "xxxxxxxx"
    secret_key = "xxxxxxx"


def samples():
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL)
    return [re.sub(r"^print (.+)$", r"print(\1)", textwrap.dedent(block), flags=re.MULTILINE) for block in blocks]


@pytest.fixture(scope="module")
def seed_server():
    with SeedServer(buckets=["test04-100000"]) as server:
        yield server


@pytest.fixture
def names(seed_server, monkeypatch, tmp_path):
    """The names that the samples find, with the region's address replaced as a user would do it."""
    monkeypatch.setenv("COSFS_ENDPOINT_URL", seed_server.url)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "test.txt").write_bytes(b"content of the file")
    return {"CosConfig": CosConfig, "CosS3Client": CosS3Client}


def test_all_samples_run(names, tmp_path, capsys):
    *blocks, getters = samples()
    assert len(blocks) == 5
    for block in blocks:
        exec(compile(block, str(DOCUMENT), "exec"), names)

    printed = capsys.readouterr().out.split("\n")
    assert re.fullmatch(r'"[0-9a-f]{32}"', printed[0]) and re.fullmatch(r'"[0-9a-f]{32}"', printed[1])
    assert printed[2] == "b'ab'"  # of 'abcdefg', which the second upload put in place of the file
    assert (tmp_path / "output.txt").read_bytes() == b"abcdefg"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["output.txt", "test.txt"]

    with pytest.raises(CosServiceError) as raised:
        names["client"].get_object(Bucket="test04", Key="missing")
    exec(compile(getters, str(DOCUMENT), "exec"), {"e": raised.value})


def test_getters_of_a_service_error(names):
    exec(samples()[0], names)
    with pytest.raises(CosServiceError) as raised:
        names["client"].get_object(Bucket="test04", Key="missing")
    error = raised.value
    assert error.get_status_code() == 404
    assert error.get_error_code() == "NoSuchKey"
    assert error.get_origin_msg().lstrip().startswith("<?xml")
    assert set(error.get_digest_msg()) == {"code", "message", "resource", "requestid", "traceid"}
    for text in (error.get_error_msg(), error.get_trace_id(), error.get_request_id(), error.get_resource_location()):
        assert text and text != "Unknown"


@pytest.mark.parametrize("storage_class", ["STANDARD", "STANDARD_IA", "NEARLINE"])
def test_storage_classes_are_passed_through_as_given(storage_class):
    from tests.support.raw_server import RawServer, answer
    with RawServer(answer(200, ETag='"e"')) as server:
        config = CosConfig(Appid="100000", Access_id="xxxxxxxx", Access_key="xxxxxxx", Endpoint=server.url, Token="")
        CosS3Client(config).put_object(Bucket="test04", Body="x", Key="k", StorageClass=storage_class)
        assert server.requests[0].headers["x-cos-storage-class"] == storage_class
        assert "x-cos-security-token" not in server.requests[0].headers  # an empty token is none


def test_time_out_is_a_client_error():
    from tests.support.raw_server import RawServer, Reply
    with RawServer(Reply(b"", "stall")) as server:
        config = CosConfig(Endpoint=server.url, SecretId="a", SecretKey="b", Timeout=0.2)
        with pytest.raises(CosClientError):
            CosS3Client(config, retry=0).get_object(Bucket="b-1", Key="k")


def test_public_names_are_what_all_says():
    for name in cosfs.__all__:
        assert getattr(cosfs, name)
    assert set(dir(cosfs)) == set(cosfs.__all__)
    with pytest.raises(AttributeError):
        cosfs.nothing  # noqa: B018


def test_importing_the_package_loads_neither_fuse_nor_requests():
    import subprocess
    import sys
    code = "import cosfs, sys; assert not {'fuse', 'requests', 'urllib3'} & set(sys.modules); cosfs.CosS3Client; " \
           "assert 'fuse' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, cwd=Path(cosfs.__file__).parent.parent)
