"""CosS3Client side by side with the official SDK, and where it is meant to differ."""
# ruff: noqa: ARG005 - the calls of a table share one signature

from __future__ import annotations

import gzip
import io
import random
import time
from urllib.parse import urlsplit

import pytest
import qcloud_cos
import requests

from cosfs import CosClientError, CosConfig, CosS3Client, CosServiceError
from cosfs.cos.crc64 import crc64
from cosfs.errors import IntegrityError, InvalidParameter, NetworkError
from cosfs.units import MIB
from tests.support.raw_server import RawServer, Reply, answer

VOLATILE = {"Date", "x-cos-request-id", "Connection", "Keep-Alive", "Transfer-Encoding", "Content-Length"}


def keywords(server):
    return {"Region": "ap-local", "Scheme": "http", "IP": server.host, "Port": server.port,
            "SecretId": server.secret_id, "SecretKey": server.secret_key}


@pytest.fixture
def ours(server):
    client = CosS3Client(CosConfig(**keywords(server)))
    yield client
    client.close()


@pytest.fixture
def theirs(server):
    return qcloud_cos.CosS3Client(qcloud_cos.CosConfig(**keywords(server)))


@pytest.fixture
def bucket(server):
    return server.bucket


@pytest.fixture
def source(server, theirs, bucket):
    theirs.put_object(Bucket=bucket, Body=b"0123456789" * 200_000, Key="source +ü", StorageClass="STANDARD_IA",
                      Metadata={"x-cos-meta-a": "b"})
    return {"Bucket": bucket, "Key": "source +ü", "Region": "ap-local"}


def keys_of(result):
    """The shape of a result: its keys, those of the dicts inside, and of the first row of each list."""
    if isinstance(result, dict):
        return {name: keys_of(value) for name, value in result.items() if name not in VOLATILE}
    if isinstance(result, list):
        return [keys_of(result[0])] if result else []
    return None if result is None else type(result).__name__ if isinstance(result, (str, bool)) else "object"


def upload(client, bucket, key):
    return client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]


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


def read_back(client, bucket, key):
    return b"".join(client.get_object(Bucket=bucket, Key=key)["Body"])


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


# Transfers of several calls

@pytest.fixture
def big(tmp_path):
    path = tmp_path / "big"
    path.write_bytes(random.Random(3).randbytes(3 * MIB + 17))
    return path


def test_upload_file_and_download_file(ours, bucket, server, big, tmp_path):
    seen = []
    result = ours.upload_file(Bucket=bucket, Key="big", LocalFilePath=str(big), PartSize=1, MAXThread=3,
                              progress_callback=lambda done, total: seen.append((done, total)))
    assert result["ETag"].endswith('-4"')
    assert seen[-1] == (big.stat().st_size,) * 2
    assert server.pending_uploads() == []

    ours.download_file(Bucket=bucket, Key="big", DestFilePath=str(tmp_path / "out"), PartSize=1, EnableCRC=True)
    assert (tmp_path / "out").read_bytes() == big.read_bytes()
    ours.download_file(Bucket=bucket, Key="big", DestFilePath=str(tmp_path / "small"), PartSize=20)
    assert (tmp_path / "small").read_bytes() == big.read_bytes()


def test_upload_file_goes_on_where_it_was_broken_off(ours, bucket, server, big):
    upload_id = upload(ours, bucket, "resumed")
    ours.upload_part(Bucket=bucket, Key="resumed", Body=big.read_bytes()[:MIB], PartNumber=1, UploadId=upload_id)
    server.clear_requests()
    ours.upload_file(Bucket=bucket, Key="resumed", LocalFilePath=str(big), PartSize=1)
    sent = [line for line in server.requests(method="PUT") if "partNumber" in str(line["query"])]
    assert len(sent) == 3
    assert read_back(ours, bucket, "resumed") == big.read_bytes()


def test_upload_file_does_not_continue_the_upload_of_other_content(ours, bucket, big):
    upload_id = upload(ours, bucket, "other")
    ours.upload_part(Bucket=bucket, Key="other", Body=bytes(MIB), PartNumber=1, UploadId=upload_id)
    ours.upload_file(Bucket=bucket, Key="other", LocalFilePath=str(big), PartSize=1)
    assert read_back(ours, bucket, "other") == big.read_bytes()
    ours.abort_multipart_upload(Bucket=bucket, Key="other", UploadId=upload_id)


def test_copy_in_parts(ours, bucket, big, server):
    ours.upload_file(Bucket=bucket, Key="big", LocalFilePath=str(big))
    ours.get_conf().set_copy_part_threshold_size(MIB)
    ours.copy(Bucket=bucket, Key="big copy", CopySource={"Bucket": bucket, "Key": "big", "Region": "ap-local"},
              PartSize=1)
    assert read_back(ours, bucket, "big copy") == big.read_bytes()
    assert server.pending_uploads() == []


def test_failed_copy_in_parts_leaves_no_upload(ours, bucket, big, server):
    ours.upload_file(Bucket=bucket, Key="big", LocalFilePath=str(big))
    ours.get_conf().set_copy_part_threshold_size(MIB)
    with pytest.raises(CosServiceError):
        ours.copy(Bucket=bucket, Key="x", CopySource={"Bucket": bucket, "Key": "big", "Region": "ap-local"}, PartSize=1,
                  CopySourceIfNoneMatch="*", CopySourceSSECustomerAlgorithm="AES256", CopySourceSSECustomerKey="bad",
                  CopySourceSSECustomerKeyMD5="bad")
    assert server.pending_uploads() == []


def test_listing_pages(ours, bucket):
    for number in range(5):
        ours.put_object(Bucket=bucket, Body=b"", Key=f"page/{number} +")
    names, marker = [], ""
    while True:
        page = ours.list_objects(Bucket=bucket, Prefix="page/", Marker=marker, MaxKeys=2)
        names += [row["Key"] for row in page["Contents"]]
        if page["IsTruncated"] != "true":
            break
        marker = page["NextMarker"]
    assert names == [f"page/{number} +" for number in range(5)]


def test_buckets_come_and_go(ours):
    ours.create_bucket(Bucket="fresh-1250000000")
    assert ours.bucket_exists(Bucket="fresh-1250000000")
    assert ours.get_bucket_versioning(Bucket="fresh-1250000000") == {"VersioningConfiguration": None}
    ours.put_bucket_versioning(Bucket="fresh-1250000000", Status="Enabled")
    assert ours.get_bucket_versioning(Bucket="fresh-1250000000") == {"Status": "Enabled"}
    ours.delete_bucket(Bucket="fresh-1250000000")
    assert not ours.bucket_exists(Bucket="fresh-1250000000")


def test_list_buckets(server, bucket):
    for service_fields in ({"Endpoint": server.url}, {**keywords(server)}):
        config = CosConfig(**{"SecretId": server.secret_id, "SecretKey": server.secret_key, **service_fields})
        found = CosS3Client(config).list_buckets()
        assert bucket in [row["Name"] for row in found["Buckets"]["Bucket"]]


# URLs and headers for use by others

def local(server, **fields):
    return CosS3Client(CosConfig(Endpoint=server.url, SecretId=server.secret_id, SecretKey=server.secret_key, **fields))


def test_presigned_urls_work(server, bucket):
    client = local(server)
    url = client.get_presigned_url(bucket, "pre signed/ü", "PUT", Headers={"Content-Type": "a/b"})
    assert requests.put(url, data=b"content", headers={"Content-Type": "a/b"}, timeout=10).status_code == 200
    url = client.get_presigned_download_url(bucket, "pre signed/ü", Params={"response-content-type": "x/y z"})
    found = requests.get(url, timeout=10)
    assert (found.content, found.headers["Content-Type"]) == (b"content", "x/y z")
    assert requests.get(url.replace("GET", "").replace("x%2Fy", "q%2Fy"), timeout=10).status_code == 403


def test_get_auth_works(server, bucket):
    client = local(server)
    client.put_object(Bucket=bucket, Body=b"x", Key="auth")
    authorization = client.get_auth("GET", bucket, "auth")
    url = client.get_object_url(bucket, "auth")
    assert requests.get(url, headers={"Authorization": authorization}, timeout=10).content == b"x"


def test_presigned_url_is_that_of_the_official_sdk(monkeypatch):
    fields = {"Region": "ap-beijing", "SecretId": "id", "SecretKey": "key"}
    monkeypatch.setattr(time, "time", lambda: 1_700_000_060.0)
    for arguments in ({}, {"Expired": 60}, {"Params": {"versionId": "a b"}}, {"Headers": {"Content-Type": "a/b"}},
                      {"SignHost": False}):
        url = CosS3Client(CosConfig(**fields)).get_presigned_url("b-1", "a b/ü", "GET", **arguments)
        theirs = qcloud_cos.CosS3Client(qcloud_cos.CosConfig(**fields)).get_presigned_url("b-1", "a b/ü", "GET",
                                                                                          **arguments)
        assert url == theirs


def test_presigned_url_carries_the_session_token():
    client = CosS3Client(CosConfig(Region="ap-x", SecretId="id", SecretKey="key", Token="tok=="))
    query = urlsplit(client.get_presigned_url("b-1", "k", "GET")).query
    assert "x-cos-security-token=tok%3D%3D" in query and "q-url-param-list=x-cos-security-token" in query


def test_anonymous_requests_are_unsigned():
    with RawServer(answer(200, b"x", ETag='"e"')) as server:
        config = CosConfig(Endpoint=server.url, Anonymous=True, UA="my-agent", KeepAlive=False)
        CosS3Client(config).get_object(Bucket="b-1", Key="k")
        head = server.requests[0].headers
        assert "authorization" not in head
        assert head["user-agent"] == "my-agent" and head["connection"] == "close"
