"""The embedded server judged by boto3 with its defaults: AWS Signature V4, the ``x-amz-*`` dialect."""

from __future__ import annotations

import hashlib
import io
import random
from typing import Any, Callable

import pytest
import requests
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from cosfs.units import MIB
from tests.server.conftest import MakeServer, boto_client
from tests.support.server import CosServer

BUCKET = CosServer.bucket


def refusal(call: Callable[..., Any], **arguments: Any) -> tuple[int, str]:
    """Status and code of the error that a call ends in; boto3 puts the status where HEAD gives no code."""
    with pytest.raises(ClientError) as caught:
        call(Bucket=BUCKET, **arguments)
    answer = caught.value.response
    assert answer["ResponseMetadata"]["RequestId"]
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"]


def body_of(answer: Any) -> bytes:
    data: bytes = answer["Body"].read()
    return data


def test_put_get_head_delete(s3: Any, folder: str) -> None:
    key = folder + "ä b+c"
    put = s3.put_object(Bucket=BUCKET, Key=key, Body=b"abc", Metadata={"mode": "33188"}, ContentType="text/plain",
                        CacheControl="no-store", StorageClass="STANDARD_IA")
    assert put["ETag"] == f'"{hashlib.md5(b"abc").hexdigest()}"'
    got = s3.get_object(Bucket=BUCKET, Key=key)
    assert (body_of(got), got["Metadata"], got["ContentType"]) == (b"abc", {"mode": "33188"}, "text/plain")
    head = s3.head_object(Bucket=BUCKET, Key=key)
    assert (head["ContentLength"], head["CacheControl"], head["StorageClass"]) == (3, "no-store", "STANDARD_IA")
    assert not any(name.startswith("x-cos-") and name != "x-cos-hash-crc64ecma"
                   for name in head["ResponseMetadata"]["HTTPHeaders"])
    s3.delete_object(Bucket=BUCKET, Key=key)
    assert refusal(s3.get_object, Key=key) == (404, "NoSuchKey")
    assert refusal(s3.head_object, Key=key) == (404, "404")


def test_ranges_and_conditions(s3: Any, folder: str) -> None:
    key = folder + "a"
    etag = s3.put_object(Bucket=BUCKET, Key=key, Body=b"0123456789")["ETag"]
    part = s3.get_object(Bucket=BUCKET, Key=key, Range="bytes=2-4", IfMatch=etag)
    assert (body_of(part), part["ContentRange"]) == (b"234", "bytes 2-4/10")
    assert refusal(s3.get_object, Key=key, Range="bytes=10-") == (416, "InvalidRange")
    assert refusal(s3.get_object, Key=key, IfMatch='"other"') == (412, "PreconditionFailed")
    assert refusal(s3.get_object, Key=key, IfNoneMatch=etag) == (304, "304")
    assert refusal(s3.head_object, Key=key, IfMatch='"other"') == (412, "412")


def test_writes_ignore_if_none_match(s3: Any, folder: str) -> None:
    """COS does not have conditional writes by ETag; only x-cos-forbid-overwrite."""
    s3.put_object(Bucket=BUCKET, Key=folder + "a", Body=b"one")
    s3.put_object(Bucket=BUCKET, Key=folder + "a", Body=b"two", IfNoneMatch="*")
    assert body_of(s3.get_object(Bucket=BUCKET, Key=folder + "a")) == b"two"


@pytest.mark.parametrize("algorithm", ["CRC32", "SHA1", "SHA256"])
def test_checksums_are_verified(s3: Any, folder: str, algorithm: str) -> None:
    s3.put_object(Bucket=BUCKET, Key=folder + "a", Body=io.BytesIO(b"abc"), ChecksumAlgorithm=algorithm)
    wrong = {f"Checksum{algorithm}": "AAAAAA=="}
    assert refusal(s3.put_object, Key=folder + "a", Body=b"abc", **wrong) == (400, "BadDigest")


def test_wrong_md5_is_refused(s3: Any, folder: str) -> None:
    other = "1B2M2Y8AsgTpgAmY7PhCfg=="
    assert refusal(s3.put_object, Key=folder + "a", Body=b"abc", ContentMD5=other) == (400, "BadDigest")
    assert refusal(s3.put_object, Key=folder + "a", Body=b"abc", ContentMD5="short") == (400, "InvalidDigest")
    assert refusal(s3.get_object, Key=folder + "a") == (404, "NoSuchKey")


@pytest.mark.parametrize("version", ["list_objects", "list_objects_v2"])
def test_listing_with_delimiter_pages(s3: Any, folder: str, version: str) -> None:
    names = ["a", "b/1", "b/2", "c+ %/1", "dä"]
    for name in names:
        s3.put_object(Bucket=BUCKET, Key=folder + name, Body=b"x")
    seen = []
    for page in s3.get_paginator(version).paginate(Bucket=BUCKET, Prefix=folder, Delimiter="/",
                                                   PaginationConfig={"PageSize": 1}):
        entries = [row["Key"] for row in page.get("Contents", [])] + [
            row["Prefix"] for row in page.get("CommonPrefixes", [])]
        assert len(entries) == 1
        seen += entries
    assert seen == [folder + name for name in ("a", "b/", "c+ %/", "dä")]


def test_list_v2_starts_after_and_counts(s3: Any, folder: str) -> None:
    for name in "abc":
        s3.put_object(Bucket=BUCKET, Key=folder + name, Body=b"x")
    page = s3.list_objects_v2(Bucket=BUCKET, Prefix=folder, StartAfter=folder + "a", FetchOwner=True)
    assert [row["Key"] for row in page["Contents"]] == [folder + "b", folder + "c"]
    assert page["KeyCount"] == 2 and page["Contents"][0]["Owner"]["ID"] == "1250000000"


def test_copy(s3: Any, folder: str) -> None:
    s3.put_object(Bucket=BUCKET, Key=folder + "ä+", Body=b"abc", Metadata={"m": "1"})
    source = {"Bucket": BUCKET, "Key": folder + "ä+"}
    s3.copy_object(Bucket=BUCKET, Key=folder + "b", CopySource=source)
    assert s3.head_object(Bucket=BUCKET, Key=folder + "b")["Metadata"] == {"m": "1"}
    s3.copy_object(Bucket=BUCKET, Key=folder + "b", CopySource=source, MetadataDirective="REPLACE",
                   Metadata={"n": "2"})
    assert s3.head_object(Bucket=BUCKET, Key=folder + "b")["Metadata"] == {"n": "2"}
    assert refusal(s3.copy_object, Key=folder + "c", CopySource=f"{BUCKET}/{folder}none") == (404, "NoSuchKey")
    assert refusal(s3.copy_object, Key=folder + "c", CopySource=source,
                   CopySourceIfMatch='"other"') == (412, "PreconditionFailed")
    own = {"Bucket": BUCKET, "Key": folder + "b"}
    assert refusal(s3.copy_object, Key=folder + "b", CopySource=own) == (400, "InvalidRequest")


def test_multipart_with_part_copy(s3: Any, folder: str) -> None:
    key = folder + "big"
    s3.put_object(Bucket=BUCKET, Key=folder + "old", Body=b"o" * MIB)
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
    target = {"Bucket": BUCKET, "Key": key, "UploadId": upload}
    copied = s3.upload_part_copy(**target, PartNumber=1, CopySource={"Bucket": BUCKET, "Key": folder + "old"})
    sent = s3.upload_part(**target, PartNumber=2, Body=b"tail")
    assert [part["Size"] for part in s3.list_parts(**target)["Parts"]] == [MIB, 4]
    assert [row["Key"] for row in s3.list_multipart_uploads(Bucket=BUCKET, Prefix=folder)["Uploads"]] == [key]
    parts = [{"PartNumber": 1, "ETag": copied["CopyPartResult"]["ETag"]}, {"PartNumber": 2, "ETag": sent["ETag"]}]
    assert refusal(s3.complete_multipart_upload, Key=key, UploadId=upload,
                   MultipartUpload={"Parts": parts[::-1]}) == (400, "InvalidPartOrder")
    done = s3.complete_multipart_upload(**target, MultipartUpload={"Parts": parts})
    s3_formula = hashlib.md5(b"".join(bytes.fromhex(part["ETag"].strip('"')) for part in parts)).hexdigest()
    assert done["ETag"].endswith('-2"') and s3_formula not in done["ETag"]
    assert body_of(s3.get_object(Bucket=BUCKET, Key=key)) == b"o" * MIB + b"tail"
    assert refusal(s3.abort_multipart_upload, Key=key, UploadId=upload) == (404, "NoSuchUpload")


def test_managed_transfers(s3: Any, folder: str) -> None:
    data = random.Random(4).randbytes(12 * MIB + 1)
    config = TransferConfig(multipart_threshold=MIB, multipart_chunksize=5 * MIB, max_concurrency=3)
    s3.upload_fileobj(io.BytesIO(data), BUCKET, folder + "big", Config=config)
    received = io.BytesIO()
    s3.download_fileobj(BUCKET, folder + "big", received, Config=config)
    assert received.getvalue() == data


def test_delete_objects(s3: Any, folder: str) -> None:
    for name in "ab":
        s3.put_object(Bucket=BUCKET, Key=folder + name, Body=b"x")
    answer = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": folder + n} for n in "abc"]})
    assert [row["Key"] for row in answer["Deleted"]] == [folder + n for n in "abc"]
    assert "Contents" not in s3.list_objects_v2(Bucket=BUCKET, Prefix=folder)


def test_presigned_urls(s3: Any, folder: str) -> None:
    def url(method: str, **more: Any) -> str:
        signed: str = s3.generate_presigned_url(method, Params={"Bucket": BUCKET, "Key": folder + "ä b", **more})
        return signed

    assert requests.put(url("put_object"), data=b"abc", timeout=10).status_code == 200
    answer = requests.get(url("get_object", ResponseContentType="a b/c"), timeout=10)
    assert (answer.content, answer.headers["Content-Type"]) == (b"abc", "a b/c")
    assert requests.get(url("get_object") + "0", timeout=10).status_code == 403
    assert requests.get(url("put_object"), timeout=10).status_code == 403


def test_buckets(make_server: MakeServer) -> None:
    s3 = boto_client(make_server())
    s3.create_bucket(Bucket="new-1")
    assert [row["Name"] for row in s3.list_buckets()["Buckets"]] == [BUCKET, "new-1"]
    assert s3.head_bucket(Bucket="new-1")["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert s3.get_bucket_location(Bucket="new-1")["LocationConstraint"] == "ap-local"
    s3.delete_bucket(Bucket="new-1")
    with pytest.raises(ClientError, match="InvalidBucketName"):
        s3.create_bucket(Bucket="without-appid")
    s3.close()


def test_versioning(make_server: MakeServer) -> None:
    s3 = boto_client(make_server())
    assert "Status" not in s3.get_bucket_versioning(Bucket=BUCKET)
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    ids = [s3.put_object(Bucket=BUCKET, Key="a", Body=body)["VersionId"] for body in (b"1", b"2", b"3")]
    marker = s3.delete_object(Bucket=BUCKET, Key="a")
    assert marker["DeleteMarker"]
    seen = [row["VersionId"] for page in s3.get_paginator("list_object_versions").paginate(
        Bucket=BUCKET, PaginationConfig={"PageSize": 1}) for row in page.get("Versions", [])]
    assert seen == ids[::-1]
    s3.delete_object(Bucket=BUCKET, Key="a", VersionId=marker["VersionId"])
    s3.delete_object(Bucket=BUCKET, Key="a", VersionId=ids[2])
    assert body_of(s3.get_object(Bucket=BUCKET, Key="a")) == b"2"
    assert s3.head_object(Bucket=BUCKET, Key="a", VersionId=ids[0])["VersionId"] == ids[0]
    s3.close()


def test_tagging(s3: Any, folder: str) -> None:
    s3.put_object(Bucket=BUCKET, Key=folder + "a", Body=b"x")
    tags = [{"Key": "k", "Value": "v w"}]
    s3.put_object_tagging(Bucket=BUCKET, Key=folder + "a", Tagging={"TagSet": tags})
    assert s3.get_object_tagging(Bucket=BUCKET, Key=folder + "a")["TagSet"] == tags
    s3.delete_object_tagging(Bucket=BUCKET, Key=folder + "a")
    assert s3.get_object_tagging(Bucket=BUCKET, Key=folder + "a")["TagSet"] == []
    many = [{"Key": str(n), "Value": ""} for n in range(11)]
    assert refusal(s3.put_object_tagging, Key=folder + "a", Tagging={"TagSet": many}) == (400, "InvalidTag")


def test_refused_signatures(server: CosServer, s3: Any) -> None:
    for changes, expected in (({"aws_secret_access_key": "wrong"}, "SignatureDoesNotMatch"),
                              ({"aws_access_key_id": "unknown"}, "InvalidAccessKeyId")):
        other = boto_client(server, **changes)
        assert refusal(other.list_objects_v2) == (403, expected)
        other.close()


def test_session_token_is_required_when_set(make_server: MakeServer) -> None:
    server = make_server(token="session/+=")
    with_token, without = boto_client(server), boto_client(server, aws_session_token=None)
    with_token.put_object(Bucket=BUCKET, Key="a", Body=b"x")
    assert refusal(without.get_object, Key="a") == (403, "AccessDenied")
    for client in (with_token, without):
        client.close()


def test_anonymous_server_takes_any_signature(make_server: MakeServer) -> None:
    s3 = boto_client(make_server(anonymous=True), aws_secret_access_key="wrong")
    s3.put_object(Bucket=BUCKET, Key="a", Body=io.BytesIO(b"x"))
    assert body_of(s3.get_object(Bucket=BUCKET, Key="a")) == b"x"
    s3.close()
