"""The embedded server judged by the official Python SDK, unchanged."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import pytest
import requests
from qcloud_cos import CosS3Client

from cosfs.cos.crc64 import crc64
from tests.server.conftest import MakeServer, body_of, official_client, sdk_refusal
from tests.support.server import CosServer

BUCKET = CosServer.bucket


def test_put_answers_quoted_md5_and_crc64(sdk: CosS3Client, folder: str) -> None:
    answer = sdk.put_object(Bucket=BUCKET, Key=folder + "a", Body=b"123456789", EnableMD5=True)
    assert answer["ETag"] == f'"{hashlib.md5(b"123456789").hexdigest()}"'
    assert answer["x-cos-hash-crc64ecma"] == "11051210869376104954"


@pytest.mark.parametrize("body, stored", [
    (b"", b""), (b"bytes", b"bytes"), ("str ä", "str ä".encode()), (io.BytesIO(b"file"), b"file"),
    (iter([b"chunk", b"ed"]), b"chunked"),
], ids=["empty", "bytes", "str", "file", "chunked"])
def test_every_kind_of_body_is_stored(sdk: CosS3Client, folder: str, body: Any, stored: bytes) -> None:
    sdk.put_object(Bucket=BUCKET, Key=folder + "a", Body=body)
    assert body_of(sdk.get_object(Bucket=BUCKET, Key=folder + "a")) == stored


def test_headers_and_metadata_come_back(sdk: CosS3Client, folder: str) -> None:
    sdk.put_object(Bucket=BUCKET, Key=folder + "a", Body=b"x", ContentType="text/plain", CacheControl="max-age=3",
                   ContentDisposition="attachment", ContentEncoding="gzip", ContentLanguage="de", Expires="never",
                   Metadata={"x-cos-meta-mode": "33188", "x-cos-meta-name": "ä"}, StorageClass="STANDARD_IA")
    head = sdk.head_object(Bucket=BUCKET, Key=folder + "a")
    assert {name: head[name] for name in ("Content-Type", "Cache-Control", "Content-Disposition", "Content-Encoding",
                                          "Content-Language", "Expires", "x-cos-meta-mode", "x-cos-storage-class")} == {
        "Content-Type": "text/plain", "Cache-Control": "max-age=3", "Content-Disposition": "attachment",
        "Content-Encoding": "gzip", "Content-Language": "de", "Expires": "never", "x-cos-meta-mode": "33188",
        "x-cos-storage-class": "STANDARD_IA"}
    assert head["x-cos-meta-name"].encode("latin-1").decode() == "ä"


def test_head_names_size_and_no_class_for_standard(sdk: CosS3Client, folder: str) -> None:
    sdk.put_object(Bucket=BUCKET, Key=folder + "a", Body=b"12345")
    head = sdk.head_object(Bucket=BUCKET, Key=folder + "a")
    assert head["Content-Length"] == "5"
    assert head["x-cos-hash-crc64ecma"] == str(crc64(b"12345"))
    assert head["Last-Modified"].endswith(" GMT")
    assert "x-cos-storage-class" not in head


@pytest.mark.parametrize("asked, status_range, expected", [
    ("bytes=2-4", "bytes 2-4/10", b"234"), ("bytes=7-", "bytes 7-9/10", b"789"), ("bytes=-3", "bytes 7-9/10", b"789"),
    ("bytes=8-99", "bytes 8-9/10", b"89"), ("bytes=0-", "bytes 0-9/10", b"0123456789"),
    ("bytes=-99", "bytes 0-9/10", b"0123456789"),
])
def test_ranges(sdk: CosS3Client, folder: str, asked: str, status_range: str, expected: bytes) -> None:
    sdk.put_object(Bucket=BUCKET, Key=folder + "a", Body=b"0123456789")
    answer = sdk.get_object(Bucket=BUCKET, Key=folder + "a", Range=asked)
    assert (answer["Content-Range"], body_of(answer)) == (status_range, expected)
    assert answer["x-cos-hash-crc64ecma"] == str(crc64(b"0123456789")), "of the whole object"


def test_range_past_the_end_is_416(sdk: CosS3Client, folder: str) -> None:
    sdk.put_object(Bucket=BUCKET, Key=folder + "a", Body=b"0123456789")
    assert sdk_refusal(sdk.get_object, Bucket=BUCKET, Key=folder + "a", Range="bytes=10-") == (416, "InvalidRange")


def test_conditional_gets(sdk: CosS3Client, folder: str) -> None:
    key = folder + "a"
    etag = sdk.put_object(Bucket=BUCKET, Key=key, Body=b"abc")["ETag"]
    past, future = "Thu, 01 Jan 1998 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"
    assert body_of(sdk.get_object(Bucket=BUCKET, Key=key, IfMatch=etag, IfUnmodifiedSince=future)) == b"abc"
    assert body_of(sdk.get_object(Bucket=BUCKET, Key=key, IfModifiedSince=past)) == b"abc"
    assert body_of(sdk.get_object(Bucket=BUCKET, Key=key, IfNoneMatch='"other"')) == b"abc"
    not_modified = sdk.get_object(Bucket=BUCKET, Key=key, IfNoneMatch=etag)
    assert body_of(not_modified) == b"" and not_modified["ETag"] == etag
    assert body_of(sdk.get_object(Bucket=BUCKET, Key=key, IfModifiedSince=future)) == b""
    failed = (412, "PreconditionFailed")
    assert sdk_refusal(sdk.get_object, Bucket=BUCKET, Key=key, IfMatch='"other"') == failed
    assert sdk_refusal(sdk.get_object, Bucket=BUCKET, Key=key, IfUnmodifiedSince=past) == failed


def test_response_headers_can_be_overridden(sdk: CosS3Client, folder: str) -> None:
    sdk.put_object(Bucket=BUCKET, Key=folder + "a", Body=b"x")
    answer = sdk.get_object(Bucket=BUCKET, Key=folder + "a", ResponseContentType="text/x-other")
    assert answer["Content-Type"] == "text/x-other"


def test_missing_object_is_404(sdk: CosS3Client, folder: str) -> None:
    assert sdk_refusal(sdk.get_object, Bucket=BUCKET, Key=folder + "none") == (404, "NoSuchKey")
    assert sdk_refusal(sdk.head_object, Bucket=BUCKET, Key=folder + "none") == (404, "NoSuchResource")
    assert not sdk.object_exists(Bucket=BUCKET, Key=folder + "none")


def test_missing_bucket_is_404(sdk: CosS3Client) -> None:
    nowhere = "nowhere-1250000000"
    assert sdk_refusal(sdk.get_object, Bucket=nowhere, Key="a") == (404, "NoSuchBucket")
    assert sdk_refusal(sdk.list_objects, Bucket=nowhere) == (404, "NoSuchBucket")
    assert sdk_refusal(sdk.put_object, Bucket=nowhere, Key="a", Body=b"x") == (404, "NoSuchBucket")
    assert not sdk.bucket_exists(Bucket=nowhere)


def test_delete_is_done_even_if_there_is_nothing(sdk: CosS3Client, folder: str) -> None:
    sdk.put_object(Bucket=BUCKET, Key=folder + "a", Body=b"x")
    for _ in range(2):
        sdk.delete_object(Bucket=BUCKET, Key=folder + "a")
    assert not sdk.object_exists(Bucket=BUCKET, Key=folder + "a")


def test_delete_multiple_reports_each_key(sdk: CosS3Client, folder: str) -> None:
    for name in ("a", "b<&>"):
        sdk.put_object(Bucket=BUCKET, Key=folder + name, Body=b"x")
    objects = {"Object": [{"Key": folder + "a"}, {"Key": folder + "b<&>"}, {"Key": folder + "none"}]}
    answer = sdk.delete_objects(Bucket=BUCKET, Delete=objects)
    assert [item["Key"] for item in answer["Deleted"]] == [folder + "a", folder + "b<&>", folder + "none"]
    assert not sdk.object_exists(Bucket=BUCKET, Key=folder + "b<&>")


def test_quiet_delete_multiple_reports_nothing(sdk: CosS3Client, folder: str) -> None:
    answer = sdk.delete_objects(Bucket=BUCKET, Delete={"Quiet": "true", "Object": [{"Key": folder + "a"}]})
    assert "Deleted" not in (answer or {})


def test_list_with_delimiter_groups_and_pages(sdk: CosS3Client, folder: str) -> None:
    for name in ("a", "b/1", "b/2", "c+d e/1", "z%"):
        sdk.put_object(Bucket=BUCKET, Key=folder + name, Body=b"x")
    seen, marker, pages = [], "", 0
    while True:
        page = sdk.list_objects(Bucket=BUCKET, Prefix=folder, Delimiter="/", MaxKeys=2, Marker=marker)
        seen += [item["Key"] for item in page.get("Contents", [])]
        seen += [item["Prefix"] for item in page.get("CommonPrefixes", [])]
        pages += 1
        if page["IsTruncated"] == "false":
            break
        marker = page["NextMarker"]
    assert sorted(seen) == [folder + name for name in ("a", "b/", "c+d e/", "z%")]
    assert pages == 2


def test_list_rows_are_complete(sdk: CosS3Client, folder: str) -> None:
    put = sdk.put_object(Bucket=BUCKET, Key=folder + "a", Body=b"xyz", StorageClass="ARCHIVE")
    row, = sdk.list_objects(Bucket=BUCKET, Prefix=folder)["Contents"]
    assert (row["Key"], row["Size"], row["ETag"], row["StorageClass"]) == (folder + "a", "3", put["ETag"], "ARCHIVE")
    assert row["LastModified"].endswith(".000Z")


def test_bad_listing_parameters_are_refused(sdk: CosS3Client) -> None:
    assert sdk_refusal(sdk.list_objects, Bucket=BUCKET, MaxKeys="many") == (400, "InvalidArgument")
    assert sdk_refusal(sdk.list_objects, Bucket=BUCKET, Delimiter="ab") == (400, "InvalidDelimiter")


@pytest.mark.parametrize("name", ["a b", "ä/ö", "a//b", "dir/", "a+b%2F&c=d?e#f", "x/../y", "./z", "~!*'();:@,$"])
def test_keys_arrive_as_they_are(sdk: CosS3Client, folder: str, name: str) -> None:
    sdk.put_object(Bucket=BUCKET, Key=folder + name, Body=name)
    assert body_of(sdk.get_object(Bucket=BUCKET, Key=folder + name)) == name.encode()
    assert [row["Key"] for row in sdk.list_objects(Bucket=BUCKET, Prefix=folder)["Contents"]] == [folder + name]


def test_presigned_urls(server: CosServer, folder: str) -> None:
    sdk = official_client(server, IP=None, Port=None)
    host = {"Host": f"{BUCKET}.cos.ap-local.myqcloud.com"}
    key = folder + "ä b"
    put = sdk.get_presigned_url(Bucket=BUCKET, Key=key, Method="PUT")
    get = sdk.get_presigned_url(Bucket=BUCKET, Key=key, Method="GET", Params={"response-content-type": "a b/c"})
    assert requests.put(_at(put, server), data=b"abc", headers=host, timeout=10).status_code == 200
    answer = requests.get(_at(get, server), headers=host, timeout=10)
    assert (answer.content, answer.headers["Content-Type"]) == (b"abc", "a b/c")
    assert requests.delete(_at(get, server), headers=host, timeout=10).status_code == 403


def _at(url: str, server: CosServer) -> str:
    return server.url + "/" + url.split("://", 1)[1].split("/", 1)[1]


def test_wrong_credentials_are_refused(server: CosServer) -> None:
    wrong_key = official_client(server, SecretKey="wrong")
    wrong_id = official_client(server, SecretId="AKIDunknown")
    nobody = official_client(server, SecretId=None, SecretKey=None, Token=None, Anonymous=True)
    assert sdk_refusal(wrong_key.get_object, Bucket=BUCKET, Key="a") == (403, "SignatureDoesNotMatch")
    assert sdk_refusal(wrong_id.get_object, Bucket=BUCKET, Key="a") == (403, "InvalidAccessKeyId")
    assert sdk_refusal(nobody.get_object, Bucket=BUCKET, Key="a") == (403, "AccessDenied")


def test_public_objects_need_no_signature(server: CosServer, sdk: CosS3Client, folder: str) -> None:
    nobody = official_client(server, SecretId=None, SecretKey=None, Token=None, Anonymous=True)
    sdk.put_object(Bucket=BUCKET, Key=folder + "a", Body=b"for all", ACL="public-read")
    assert body_of(nobody.get_object(Bucket=BUCKET, Key=folder + "a")) == b"for all"
    assert sdk_refusal(nobody.put_object, Bucket=BUCKET, Key=folder + "a", Body=b"x") == (403, "AccessDenied")


def test_session_token_is_required_when_set(make_server: MakeServer) -> None:
    server = make_server(token="session/+=")
    official_client(server).put_object(Bucket=BUCKET, Key="a", Body=b"x")
    without = official_client(server, Token=None)
    assert sdk_refusal(without.get_object, Bucket=BUCKET, Key="a") == (403, "AccessDenied")


def test_domain_mode_serves_the_only_bucket(server: CosServer, folder: str) -> None:
    in_domain = official_client(server, Domain="files.example.com")
    in_domain.put_object(Bucket=BUCKET, Key=folder + "a", Body=b"x")
    assert body_of(official_client(server).get_object(Bucket=BUCKET, Key=folder + "a")) == b"x"


def test_unknown_sub_resources_are_501(sdk: CosS3Client, folder: str) -> None:
    sdk.put_object(Bucket=BUCKET, Key=folder + "a", Body=b"x")
    assert sdk_refusal(sdk.get_object_acl, Bucket=BUCKET, Key=folder + "a") == (501, "NotImplemented")
    assert sdk_refusal(sdk.get_bucket_cors, Bucket=BUCKET) == (501, "NotImplemented")
