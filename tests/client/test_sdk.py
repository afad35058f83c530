"""CosS3Client side by side with the official SDK, and where it is meant to differ."""
# ruff: noqa: ARG005 - the calls of a table share one signature

from __future__ import annotations

import gzip
import io

import pytest
import qcloud_cos

from cosfs import CosClientError, CosConfig, CosS3Client, CosServiceError
from cosfs.cos.crc64 import crc64
from cosfs.errors import IntegrityError, InvalidParameter, NetworkError
from cosfs.units import MIB
from tests.client.conftest import read_back, upload
from tests.support.raw_server import RawServer, Reply, answer

VOLATILE = {"Date", "x-cos-request-id", "Connection", "Keep-Alive", "Transfer-Encoding", "Content-Length"}


def keys_of(result):
    """The shape of a result: its keys, those of the dicts inside, and of the first row of each list."""
    if isinstance(result, dict):
        return {name: keys_of(value) for name, value in result.items() if name not in VOLATILE}
    if isinstance(result, list):
        return [keys_of(result[0])] if result else []
    return None if result is None else type(result).__name__ if isinstance(result, (str, bool)) else "object"


def whole_multipart(client, bucket, source):
    upload_id = upload(client, bucket, "mp")
    first = client.upload_part(Bucket=bucket, Key="mp", Body=bytes(MIB), PartNumber=1, UploadId=upload_id,
                               EnableMD5=True)
    second = client.upload_part_copy(Bucket=bucket, Key="mp", PartNumber=2, UploadId=upload_id, CopySource=source,
                                     CopySourceRange="bytes=0-1048575")
    listed = client.list_parts(Bucket=bucket, Key="mp", UploadId=upload_id)
    pending = client.list_multipart_uploads(Bucket=bucket, Prefix="mp")
    done = client.complete_multipart_upload(Bucket=bucket, Key="mp", UploadId=upload_id, MultipartUpload={"Part": [
        {"PartNumber": 1, "ETag": first["ETag"]}, {"PartNumber": 2, "ETag": second["ETag"]}]})
    return {"first": first, "second": second, "listed": listed, "pending": pending, "done": done}


CALLS = {
    "put_object": lambda c, b, s: c.put_object(Bucket=b, Body=b"x", Key="k", EnableMD5=True, CacheControl="no-cache"),
    "put_text": lambda c, b, s: c.put_object(Bucket=b, Body="täxt", Key="k", ContentType="text/plain"),
    "put_file": lambda c, b, s: c.put_object(Bucket=b, Body=io.BytesIO(b"abc"), Key="k"),
    "put_iterator": lambda c, b, s: c.put_object(Bucket=b, Body=iter([b"ab", b"c"]), Key="k"),
    "get_object": lambda c, b, s: c.get_object(Bucket=b, Key=s["Key"]),
    "get_range": lambda c, b, s: c.get_object(Bucket=b, Key=s["Key"], Range="bytes=3-5"),
    "get_response": lambda c, b,
    s: c.get_object(Bucket=b, Key=s["Key"], ResponseContentType="a/b", ResponseExpires="x"),
    "head_object": lambda c, b, s: c.head_object(Bucket=b, Key=s["Key"]),
    "delete_object": lambda c, b, s: c.delete_object(Bucket=b, Key="nothing"),
    "delete_objects": lambda c, b, s: c.delete_objects(Bucket=b, Delete={
        "Object": [{"Key": "no1"}, {"Key": "no2"}], "Quiet": "false"}),
    "delete_one_quiet": lambda c, b, s: c.delete_objects(Bucket=b, Delete={"Object": [{"Key": "no"}], "Quiet": "true"}),
    "copy_object": lambda c, b, s: c.copy_object(Bucket=b, Key="copied", CopySource=s),
    "copy_replaced": lambda c, b, s: c.copy_object(Bucket=b, Key="copied", CopySource=s, CopyStatus="Replaced",
                                                   Metadata={"x-cos-meta-z": "1"}),
    "list_objects": lambda c, b, s: c.list_objects(Bucket=b, Prefix="sour"),
    "list_delimited": lambda c, b, s: c.list_objects(Bucket=b, Delimiter="o", MaxKeys=1),
    "list_raw": lambda c, b, s: c.list_objects(Bucket=b, Prefix="source +", EncodingType="url"),
    "list_nothing": lambda c, b, s: c.list_objects(Bucket=b, Prefix="no such"),
    "list_versions": lambda c, b, s: c.list_objects_versions(Bucket=b, Prefix="sour"),
    "multipart": whole_multipart,
    "abort": lambda c, b, s: c.abort_multipart_upload(Bucket=b, Key="k", UploadId=upload(c, b, "k")),
    "head_bucket": lambda c, b, s: c.head_bucket(Bucket=b),
    "bucket_exists": lambda c, b, s: c.bucket_exists(Bucket=b),
    "bucket_absent": lambda c, b, s: c.bucket_exists(Bucket="absent-1250000000"),
    "object_exists": lambda c, b, s: c.object_exists(Bucket=b, Key=s["Key"]),
    "object_absent": lambda c, b, s: c.object_exists(Bucket=b, Key="absent"),
    "location": lambda c, b, s: c.get_bucket_location(Bucket=b),
    "versioning": lambda c, b, s: c.get_bucket_versioning(Bucket=b),
    "symlink": lambda c, b, s: (c.put_symlink(Bucket=b, SymlinkName="link", SymlinkTarget=s["Key"]),
                                c.get_symlink(Bucket=b, SymlinkName="link"))[1],
    "append": lambda c, b, s: (c.delete_object(Bucket=b, Key="log"),
                               c.append_object(Bucket=b, Key="log", Position=0, Data=b"line"))[1],
    "tagging": lambda c, b, s: (c.put_object_tagging(Bucket=b, Key=s["Key"], Tagging={
        "TagSet": {"Tag": [{"Key": "a", "Value": "1"}]}}), c.get_object_tagging(Bucket=b, Key=s["Key"]))[1],
    "delete_tagging": lambda c, b, s: c.delete_object_tagging(Bucket=b, Key=s["Key"]),
    "change_class": lambda c, b, s: c.copy_object(Bucket=b, Key=s["Key"], CopySource=s, CopyStatus="Replaced",
                                                  StorageClass="STANDARD"),
    "restore": lambda c, b, s: (c.put_object(Bucket=b, Body=b"x", Key="cold", StorageClass="ARCHIVE"),
                                c.restore_object(Bucket=b, Key="cold", RestoreRequest={
                                    "Days": 1, "CASJobParameters": {"Tier": "Standard"}}))[1],
    "upload_from_buffer": lambda c, b, s: c.upload_file_from_buffer(Bucket=b, Key="buffered", PartSize=1,
                                                                   Body=io.BytesIO(bytes(2 * MIB + 1))),
    "object_url": lambda c, b, s: c.get_object_url(Bucket=b, Key="a b/../ü"),
}


@pytest.mark.parametrize("call", CALLS)
def test_result_has_the_keys_of_the_official_sdk(call, ours, theirs, bucket, source):
    expected = CALLS[call](theirs, bucket, source)
    found = CALLS[call](ours, bucket, source)
    assert keys_of(found) == keys_of(expected)
    if isinstance(expected, (bool, str)):
        assert found == expected


FAILING = {
    "get": lambda c, b: c.get_object(Bucket=b, Key="missing"),
    "head": lambda c, b: c.head_object(Bucket=b, Key="missing"),
    "copy": lambda c,
    b: c.copy_object(Bucket=b, Key="x", CopySource={"Bucket": b, "Key": "missing", "Region": "ap-local"}),
    "part": lambda c, b: c.upload_part(Bucket=b, Key="k", Body=b"", PartNumber=1, UploadId="none"),
    "range": lambda c, b: c.get_object(Bucket=b, Key="source +ü", Range="bytes=99999999-"),
    "condition": lambda c, b: c.get_object(Bucket=b, Key="source +ü", IfMatch='"0"'),
    "no_bucket": lambda c, b: c.list_objects(Bucket="absent-1250000000"),
    "append": lambda c, b: c.append_object(Bucket=b, Key="source +ü", Position=0, Data=b"x"),
    "not_symlink": lambda c, b: c.get_symlink(Bucket=b, SymlinkName="source +ü"),
}


@pytest.mark.parametrize("call", FAILING)
def test_errors_are_those_of_the_official_sdk(call, ours, theirs, bucket, source):
    with pytest.raises(qcloud_cos.CosServiceError) as expected:
        FAILING[call](theirs, bucket)
    with pytest.raises(CosServiceError) as found:
        FAILING[call](ours, bucket)
    assert found.value.get_status_code() == expected.value.get_status_code()
    assert found.value.get_error_code() == expected.value.get_error_code()
    assert found.value.get_error_msg() == expected.value.get_error_msg()
    assert set(found.value.get_digest_msg()) == set(expected.value.get_digest_msg())


@pytest.mark.parametrize("call", [
    lambda c, b: c.put_object(Bucket=b, Body=b"", Key="k", Colour="red"),
    lambda c, b: c.get_object(Bucket=b, Key="k", Colour="red"),
    lambda c, b: c.list_objects(Bucket=b, Colour="red"),
    lambda c, b: c.complete_multipart_upload(b, "k", "u", {"Part": [{"PartNumber": 1, "ETag": "e"}]}, Colour="red")])
def test_unknown_keyword_is_refused_by_name(call, ours, server, bucket):
    with pytest.raises(CosClientError, match="Colour"):
        call(ours, bucket)
    assert server.requests() == []


@pytest.mark.parametrize("call", [
    lambda c, b: c.list_objects(Bucket=b, EncodingType="xml"), lambda c, b: c.get_object(Bucket=b, Key=""),
    lambda c, b: c.get_object(Bucket=b, Key="a/.."), lambda c, b: c.get_object(Bucket="in/valid", Key="k"),
    lambda c, b: c.get_object(Bucket=b, Key=None), lambda c, b: c.delete_object(Bucket=b, Key=None),
    lambda c, b: c.put_object(Bucket=b, Body=5, Key="k"),
    lambda c, b: c.put_bucket_versioning(Bucket=b, Status="On"), lambda c,
    b: c.complete_multipart_upload(b, "k", "u", {}),
    lambda c, b: c.copy_object(b, "k", {"Bucket": b}), lambda c, b: c.copy_object(b, "k", {}, CopyStatus="Other"),
    lambda c, b: c.upload_file_from_buffer(b, "k", b"no file")])
def test_wrong_parameters_are_refused_before_sending(call, ours, server, bucket):
    with pytest.raises(InvalidParameter):
        call(ours, bucket)
    assert server.requests() == []


class HugeFile(io.RawIOBase):
    """Claims a size and gives no byte."""

    def seekable(self):
        return True

    def tell(self):
        return 0

    def seek(self, offset, whence=0):
        return 5 * 1024**3 + 1 if whence == io.SEEK_END else offset

    def readinto(self, _):
        raise AssertionError("nothing is to be read")


@pytest.mark.parametrize("call", [
    lambda c, b: c.put_object(Bucket=b, Body=HugeFile(), Key="k"),
    lambda c, b: c.upload_part(Bucket=b, Key="k", Body=HugeFile(), PartNumber=1, UploadId="u"),
    lambda c, b: c.put_object(Bucket=b, Body=iter([b""]), Key="k", ContentLength=5 * 1024**3 + 1)])
def test_more_than_5_gb_is_refused_locally(call, ours, server, bucket):
    with pytest.raises(CosClientError, match="5GB"):
        call(ours, bucket)
    assert server.requests() == []


@pytest.mark.parametrize("body, expected", [
    ("täxt", "täxt".encode()), (b"bytes", b"bytes"), (bytearray(b"array"), b"array"), (memoryview(b"view"), b"view"),
    (lambda: io.BytesIO(b"file"), b"file"), (lambda: io.StringIO("täxt file"), "täxt file".encode()),
    (lambda: (chunk for chunk in [b"gen", "erätor"]), "generätor".encode()), (lambda: [b"a", b"b"], b"ab"), (b"", b"")])
def test_kinds_of_body(ours, bucket, body, expected):
    ours.put_object(Bucket=bucket, Body=body() if callable(body) else body, Key="body")
    assert read_back(ours, bucket, "body") == expected


def test_file_is_sent_from_where_it_stands(ours, bucket):
    file = io.BytesIO(b"0123456789")
    file.seek(4)
    ours.put_object(Bucket=bucket, Body=file, Key="tail", EnableMD5=True)
    assert read_back(ours, bucket, "tail") == b"456789"


def raw_client(server, **fields):
    client = CosS3Client(CosConfig(**{"Endpoint": server.url, "SecretId": "a", "SecretKey": "b", **fields}), retry=1)
    client._requester.config.retry.__dict__["sleep"] = lambda _: None
    return client


def test_file_is_rewound_for_a_retry_and_an_iterator_is_not_retried():
    done = answer(200, ETag='"e"', x_cos_hash_crc64ecma=str(crc64(b"456789")))
    with RawServer(Reply(b"", "close"), done) as server:
        file = io.BytesIO(b"0123456789")
        file.seek(4)
        raw_client(server).put_object(Bucket="b-1", Body=file, Key="k")
        assert [request.body for request in server.requests] == [b"456789"] * 2
    with RawServer(Reply(b"", "close"), done) as server:
        with pytest.raises(NetworkError):
            raw_client(server).put_object(Bucket="b-1", Body=iter([b"456789"]), Key="k")
        assert len(server.requests) == 1
        assert server.requests[0].headers["transfer-encoding"] == "chunked"


def test_wrong_crc_of_an_upload_is_an_error():
    wrong = answer(200, ETag='"e"', x_cos_hash_crc64ecma="5")
    with RawServer(wrong, wrong) as server, pytest.raises(IntegrityError):
        raw_client(server).put_object(Bucket="b-1", Body=io.BytesIO(b"x"), Key="k")


def test_not_modified_is_an_answer(ours, bucket):
    etag = ours.put_object(Bucket=bucket, Body=b"x", Key="nm")["ETag"]
    found = ours.get_object(Bucket=bucket, Key="nm", IfNoneMatch=etag)
    assert found["Body"].read() == b""
    assert ours.head_object(Bucket=bucket, Key="nm", IfNoneMatch=etag)["ETag"] == etag


# StreamBody

PLAIN = b"some text " * 1000


@pytest.fixture
def zipped(ours, bucket):
    ours.put_object(Bucket=bucket, Body=gzip.compress(PLAIN), Key="zipped", ContentEncoding="gzip")
    return lambda: ours.get_object(Bucket=bucket, Key="zipped")["Body"]


def test_ways_to_read(ours, bucket, tmp_path):
    ours.put_object(Bucket=bucket, Body=PLAIN, Key="plain")

    def body():
        return ours.get_object(Bucket=bucket, Key="plain")["Body"]
    assert len(body()) == len(PLAIN)
    assert body().read(10) == PLAIN[:10]
    assert b"".join(body().get_stream(100)) == PLAIN
    assert body().get_raw_stream().read() == PLAIN
    stream = body().get_raw_stream()
    assert stream.read(2) + stream.read(3) == PLAIN[:5]
    stream.close()
    body().get_stream_to_file(str(tmp_path / "f"))
    assert (tmp_path / "f").read_bytes() == PLAIN
    with open(tmp_path / "g", "wb") as file:
        body().pget_stream_to_file(file, 5, len(PLAIN))
    assert (tmp_path / "g").read_bytes() == bytes(5) + PLAIN


def test_content_encoding_is_undone_where_asked(zipped, tmp_path):
    assert gzip.decompress(zipped().get_raw_stream().read()) == PLAIN
    assert b"".join(zipped()) == PLAIN
    assert gzip.decompress(zipped().read(10**6)) == PLAIN
    zipped().get_stream_to_file(str(tmp_path / "raw"))
    assert gzip.decompress((tmp_path / "raw").read_bytes()) == PLAIN
    zipped().get_stream_to_file(str(tmp_path / "plain"), auto_decompress=True)
    assert (tmp_path / "plain").read_bytes() == PLAIN


@pytest.mark.parametrize("reply", [
    Reply(answer(200, b"half", Content_Length="8", ETag='"e"'), "close"),
    Reply(answer(200, b"wrongcrc", ETag='"e"', x_cos_hash_crc64ecma="5"))])
def test_incomplete_or_damaged_download_leaves_the_old_file(reply, tmp_path):
    target = tmp_path / "target"
    target.write_bytes(b"old")
    with RawServer(reply) as server, pytest.raises(CosClientError):
        raw_client(server).get_object(Bucket="b-1", Key="k")["Body"].get_stream_to_file(str(target))
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]
