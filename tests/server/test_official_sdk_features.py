"""The embedded server judged by the official Python SDK: copies, multipart, special objects, buckets, versions."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import pytest
from qcloud_cos import CosS3Client

from cosfs.cos.crc64 import crc64
from cosfs.units import MIB
from tests.server.conftest import MakeServer, body_of, official_client, random_bytes, sdk_refusal, source
from tests.support.server import CosServer

BUCKET = CosServer.bucket


def test_copy_takes_metadata_but_not_the_class(sdk: CosS3Client, folder: str) -> None:
    key = folder + "ä +"
    sdk.put_object(Bucket=BUCKET, Key=key, Body=b"abc", Metadata={"x-cos-meta-m": "1"}, StorageClass="STANDARD_IA",
                   ContentType="text/plain")
    answer = sdk.copy_object(Bucket=BUCKET, Key=folder + "b", CopySource=source(key))
    assert answer["ETag"] == f'"{hashlib.md5(b"abc").hexdigest()}"' and answer["CRC64"] == str(crc64(b"abc"))
    head = sdk.head_object(Bucket=BUCKET, Key=folder + "b")
    assert (head["x-cos-meta-m"], head["Content-Type"]) == ("1", "text/plain")
    assert "x-cos-storage-class" not in head


def test_copy_onto_itself_needs_replaced(sdk: CosS3Client, folder: str) -> None:
    key = folder + "a"
    sdk.put_object(Bucket=BUCKET, Key=key, Body=b"abc", Metadata={"x-cos-meta-m": "1"})
    assert sdk_refusal(sdk.copy_object, Bucket=BUCKET, Key=key, CopySource=source(key)) == (400, "InvalidRequest")
    sdk.copy_object(Bucket=BUCKET, Key=key, CopySource=source(key), CopyStatus="Replaced",
                    Metadata={"x-cos-meta-n": "2"})
    head = sdk.head_object(Bucket=BUCKET, Key=key)
    assert head["x-cos-meta-n"] == "2" and "x-cos-meta-m" not in head
    assert body_of(sdk.get_object(Bucket=BUCKET, Key=key)) == b"abc"


def test_copy_conditions_are_412_and_missing_sources_404(sdk: CosS3Client, folder: str) -> None:
    sdk.put_object(Bucket=BUCKET, Key=folder + "a", Body=b"abc")
    target = {"Bucket": BUCKET, "Key": folder + "b"}
    failed = (412, "PreconditionFailed")
    found = source(folder + "a")
    etag = f'"{hashlib.md5(b"abc").hexdigest()}"'
    assert sdk_refusal(sdk.copy_object, **target, CopySource=found, CopySourceIfMatch='"x"') == failed
    assert sdk_refusal(sdk.copy_object, **target, CopySource=found, CopySourceIfNoneMatch=etag) == failed
    assert sdk_refusal(sdk.copy_object, **target, CopySource=source(folder + "none")) == (404, "NoSuchKey")


def test_copy_between_buckets(make_server: MakeServer) -> None:
    server = make_server(buckets=["other-1250000000"])
    sdk = official_client(server)
    sdk.put_object(Bucket="other-1250000000", Key="a", Body=b"abc")
    sdk.copy_object(Bucket=BUCKET, Key="b", CopySource=source("a", "other-1250000000"))
    sdk.delete_object(Bucket="other-1250000000", Key="a")
    sdk.delete_bucket(Bucket="other-1250000000")
    assert body_of(sdk.get_object(Bucket=BUCKET, Key="b")) == b"abc"


def pending(server, folder):
    """Uploads below the test's own folder; the server is shared."""
    return [(key, upload) for key, upload in server.pending_uploads() if key.startswith(folder)]


def test_multipart_with_part_copy(sdk: CosS3Client, server: CosServer, folder: str) -> None:
    key, old = folder + "big", random_bytes(3 * MIB, seed=1)
    sdk.put_object(Bucket=BUCKET, Key=folder + "old", Body=old)
    upload = sdk.create_multipart_upload(Bucket=BUCKET, Key=key, Metadata={"x-cos-meta-m": "1"})["UploadId"]
    first = random_bytes(MIB, seed=2)
    parts = [sdk.upload_part(Bucket=BUCKET, Key=key, UploadId=upload, PartNumber=1, Body=first, EnableMD5=True)]
    for number, span in ((2, f"bytes={MIB}-{3 * MIB - 1}"), (3, "bytes=0-9")):
        parts.append(sdk.upload_part_copy(Bucket=BUCKET, Key=key, UploadId=upload, PartNumber=number,
                                          CopySource=source(folder + "old"), CopySourceRange=span))
    listed = sdk.list_parts(Bucket=BUCKET, Key=key, UploadId=upload)["Part"]
    assert [(row["PartNumber"], row["Size"], row["ETag"]) for row in listed] == [
        ("1", str(MIB), parts[0]["ETag"]), ("2", str(2 * MIB), parts[1]["ETag"]), ("3", "10", parts[2]["ETag"])]
    assert pending(server, folder) == [(key, upload)]
    done = sdk.complete_multipart_upload(Bucket=BUCKET, Key=key, UploadId=upload, MultipartUpload={"Part": [
        {"PartNumber": number, "ETag": part["ETag"]} for number, part in enumerate(parts, 1)]})
    expected = first + old[MIB:] + old[:10]
    head = sdk.head_object(Bucket=BUCKET, Key=key)
    assert body_of(sdk.get_object(Bucket=BUCKET, Key=key)) == expected
    assert head["ETag"] == done["ETag"] and done["ETag"].endswith('-3"')
    assert (head["x-cos-meta-m"], head["x-cos-hash-crc64ecma"]) == ("1", str(crc64(expected)))
    assert pending(server, folder) == []


def test_abort_leaves_nothing(sdk: CosS3Client, server: CosServer, folder: str) -> None:
    key = folder + "a"
    upload = sdk.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
    sdk.upload_part(Bucket=BUCKET, Key=key, UploadId=upload, PartNumber=1, Body=b"x")
    listed = sdk.list_multipart_uploads(Bucket=BUCKET, Prefix=folder)["Upload"]
    assert [(row["Key"], row["UploadId"]) for row in listed] == [(key, upload)]
    sdk.abort_multipart_upload(Bucket=BUCKET, Key=key, UploadId=upload)
    gone = (404, "NoSuchUpload")
    assert pending(server, folder) == []
    assert sdk_refusal(sdk.upload_part, Bucket=BUCKET, Key=key, UploadId=upload, PartNumber=1, Body=b"x") == gone
    assert sdk_refusal(sdk.list_parts, Bucket=BUCKET, Key=key, UploadId=upload) == gone
    assert sdk_refusal(sdk.abort_multipart_upload, Bucket=BUCKET, Key=key, UploadId=upload) == gone


def test_complete_refuses_wrong_parts(sdk: CosS3Client, folder: str) -> None:
    key = folder + "a"
    upload = sdk.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
    tags = [sdk.upload_part(Bucket=BUCKET, Key=key, UploadId=upload, PartNumber=n, Body=body)["ETag"]
            for n, body in ((1, b"small"), (2, b"y" * MIB), (4, b"z"))]

    def complete(*parts: tuple[int, str]) -> tuple[int, str]:
        listed = [{"PartNumber": number, "ETag": etag} for number, etag in parts]
        return sdk_refusal(sdk.complete_multipart_upload, Bucket=BUCKET, Key=key, UploadId=upload,
                       MultipartUpload={"Part": listed})

    assert complete((1, tags[0]), (2, tags[1])) == (400, "EntityTooSmall")
    assert complete((2, tags[1]), (1, tags[0])) == (400, "InvalidPartOrder")
    assert complete((2, '"wrong"')) == (400, "InvalidPart")
    assert complete((2, tags[1]), (3, tags[2])) == (400, "InvalidPart")
    assert complete((2, tags[1]), (4, tags[2])) == (400, "InvalidPart"), "a gap"
    assert sdk_refusal(sdk.upload_part, Bucket=BUCKET, Key=key, UploadId=upload, PartNumber=10001,
                   Body=b"x") == (400, "InvalidArgument")
    sdk.abort_multipart_upload(Bucket=BUCKET, Key=key, UploadId=upload)


def test_high_level_transfers(sdk: CosS3Client, folder: str, tmp_path: Any) -> None:
    data = random_bytes(5 * MIB + 3, seed=3)
    (tmp_path / "in").write_bytes(data)
    sdk.upload_file(Bucket=BUCKET, Key=folder + "up", LocalFilePath=str(tmp_path / "in"), PartSize=2, MAXThread=2)
    sdk.download_file(Bucket=BUCKET, Key=folder + "up", DestFilePath=str(tmp_path / "out"), PartSize=2, MAXThread=2)
    assert (tmp_path / "out").read_bytes() == data
    sdk.upload_file_from_buffer(Bucket=BUCKET, Key=folder + "buffer", Body=io.BytesIO(data), PartSize=2, MAXThread=2)
    assert body_of(sdk.get_object(Bucket=BUCKET, Key=folder + "buffer")) == data


def test_append(sdk: CosS3Client, folder: str) -> None:
    key = folder + "log"
    first = sdk.append_object(Bucket=BUCKET, Key=key, Position=0, Data=b"one,")
    assert first["x-cos-next-append-position"] == "4"
    sdk.append_object(Bucket=BUCKET, Key=key, Position=4, Data=b"two")
    answer = sdk.get_object(Bucket=BUCKET, Key=key)
    assert answer["x-cos-object-type"] == "appendable" and answer["x-cos-hash-crc64ecma"] == str(crc64(b"one,two"))
    assert body_of(answer) == b"one,two"
    assert sdk_refusal(sdk.append_object, Bucket=BUCKET, Key=key, Position=3, Data=b"x") == (409, "AppendPositionErr")
    sdk.put_object(Bucket=BUCKET, Key=key, Body=b"normal")
    assert sdk_refusal(sdk.append_object, Bucket=BUCKET, Key=key, Position=6, Data=b"x") == (409, "ObjectNotAppendable")


def test_symlink(sdk: CosS3Client, folder: str) -> None:
    sdk.put_object(Bucket=BUCKET, Key=folder + "target", Body=b"abc")
    sdk.put_symlink(Bucket=BUCKET, SymlinkName=folder + "link", SymlinkTarget=folder + "target")
    assert sdk.get_symlink(Bucket=BUCKET, SymlinkName=folder + "link")["x-cos-symlink-target"] == folder + "target"
    assert body_of(sdk.get_object(Bucket=BUCKET, Key=folder + "link")) == b"abc"
    assert sdk_refusal(sdk.get_symlink, Bucket=BUCKET, SymlinkName=folder + "target") == (400, "NotSymlink")
    assert sdk_refusal(sdk.get_symlink, Bucket=BUCKET, SymlinkName=folder + "none") == (404, "NoSuchKey")


def test_tagging(sdk: CosS3Client, folder: str) -> None:
    key = folder + "a"
    sdk.put_object(Bucket=BUCKET, Key=key, Body=b"x", Tagging="k1=v1")
    assert sdk.get_object_tagging(Bucket=BUCKET, Key=key)["TagSet"]["Tag"] == [{"Key": "k1", "Value": "v1"}]
    sdk.put_object_tagging(Bucket=BUCKET, Key=key, Tagging={"TagSet": {"Tag": [{"Key": "a b", "Value": "ä&"}]}})
    assert sdk.get_object_tagging(Bucket=BUCKET, Key=key)["TagSet"]["Tag"] == [{"Key": "a b", "Value": "ä&"}]
    sdk.delete_object_tagging(Bucket=BUCKET, Key=key)
    assert sdk_refusal(sdk.get_object_tagging, Bucket=BUCKET, Key=key) == (404, "NoSuchTagSet")


@pytest.mark.parametrize("storage_class", ["ARCHIVE", "DEEP_ARCHIVE"])
def test_archived_objects_must_be_restored(sdk: CosS3Client, folder: str, storage_class: str) -> None:
    key = folder + "a"
    sdk.put_object(Bucket=BUCKET, Key=key, Body=b"cold", StorageClass=storage_class)
    archived = (403, "InvalidObjectState")
    assert sdk_refusal(sdk.get_object, Bucket=BUCKET, Key=key) == archived
    assert sdk_refusal(sdk.copy_object, Bucket=BUCKET, Key=folder + "b", CopySource=source(key)) == archived
    assert sdk.head_object(Bucket=BUCKET, Key=key)["x-cos-storage-class"] == storage_class
    sdk.restore_object(Bucket=BUCKET, Key=key, RestoreRequest={"Days": 1, "CASJobParameters": {"Tier": "Expedited"}})
    assert body_of(sdk.get_object(Bucket=BUCKET, Key=key)) == b"cold"
    assert 'ongoing-request="false"' in sdk.head_object(Bucket=BUCKET, Key=key)["x-cos-restore"]


def test_restore_takes_its_time_and_is_for_the_archive_only(make_server: MakeServer) -> None:
    sdk = official_client(make_server(args=["--restore-seconds", "1000"]))
    request = {"Days": 1, "CASJobParameters": {"Tier": "Bulk"}}
    sdk.put_object(Bucket=BUCKET, Key="a", Body=b"cold", StorageClass="ARCHIVE")
    sdk.put_object(Bucket=BUCKET, Key="b", Body=b"warm")
    sdk.restore_object(Bucket=BUCKET, Key="a", RestoreRequest=request)
    assert sdk.head_object(Bucket=BUCKET, Key="a")["x-cos-restore"] == 'ongoing-request="true"'
    assert sdk_refusal(sdk.get_object, Bucket=BUCKET, Key="a") == (403, "InvalidObjectState")
    again = sdk_refusal(sdk.restore_object, Bucket=BUCKET, Key="a", RestoreRequest=request)
    assert again == (409, "RestoreAlreadyInProgress")
    warm = sdk_refusal(sdk.restore_object, Bucket=BUCKET, Key="b", RestoreRequest=request)
    assert warm == (405, "RestoreNonArchiveObject")


@pytest.mark.parametrize("storage_class", ["NEARLINE", "REDUCED_REDUNDANCY", "Standard_IA", "MAZ_STANDARD"])
def test_storage_classes_are_kept(sdk: CosS3Client, folder: str, storage_class: str) -> None:
    sdk.put_object(Bucket=BUCKET, Key=folder + "a", Body=b"x", StorageClass=storage_class)
    assert sdk.head_object(Bucket=BUCKET, Key=folder + "a")["x-cos-storage-class"] == storage_class.upper()


def test_unknown_storage_class_is_refused(sdk: CosS3Client, folder: str) -> None:
    assert sdk_refusal(sdk.put_object, Bucket=BUCKET, Key=folder + "a", Body=b"x",
                   StorageClass="TEPID") == (400, "NotSupportedStorageClass")


def test_forbid_overwrite(sdk: CosS3Client, folder: str) -> None:
    once = {"x-cos-forbid-overwrite": "true"}
    key, exists = folder + "a", (409, "FileAlreadyExists")
    sdk.put_object(Bucket=BUCKET, Key=key, Body=b"first", Metadata=once)
    sdk.put_object(Bucket=BUCKET, Key=folder + "b", Body=b"other")
    assert sdk_refusal(sdk.put_object, Bucket=BUCKET, Key=key, Body=b"second", Metadata=once) == exists
    assert sdk_refusal(sdk.create_multipart_upload, Bucket=BUCKET, Key=key, Metadata=once) == exists
    assert sdk_refusal(sdk.copy_object, Bucket=BUCKET, Key=key, CopySource=source(folder + "b"), CopyStatus="Replaced",
                   Metadata=once) == exists
    assert body_of(sdk.get_object(Bucket=BUCKET, Key=key)) == b"first"


def test_customer_keys_are_asked_for(sdk: CosS3Client, folder: str) -> None:
    secret = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "MDEyMzQ1Njc4OUFCQ0RFRjAxMjM0NTY3ODlBQkNERUY=",
              "SSECustomerKeyMD5": "U5L61r7jcwdNvT7frmUG8g=="}
    key = folder + "a"
    put = sdk.put_object(Bucket=BUCKET, Key=key, Body=b"secret", **secret)
    assert put["ETag"] != f'"{hashlib.md5(b"secret").hexdigest()}"'
    assert sdk_refusal(sdk.get_object, Bucket=BUCKET, Key=key) == (400, "SsecDecryptHeaderInvalid")
    assert body_of(sdk.get_object(Bucket=BUCKET, Key=key, **secret)) == b"secret"


def test_buckets_come_and_go(make_server: MakeServer) -> None:
    sdk = official_client(make_server())
    fresh = "fresh-1250000000"
    sdk.create_bucket(Bucket=fresh)
    assert sdk.bucket_exists(Bucket=fresh)
    assert sdk_refusal(sdk.create_bucket, Bucket=fresh) == (409, "BucketAlreadyOwnedByYou")
    assert sdk.head_bucket(Bucket=fresh)["x-cos-bucket-region"] == "ap-local"
    assert sdk.get_bucket_location(Bucket=fresh)["LocationConstraint"] == "ap-local"
    assert [row["Name"] for row in sdk.list_buckets()["Buckets"]["Bucket"]] == [BUCKET, fresh]
    sdk.put_object(Bucket=fresh, Key="a", Body=b"x")
    assert sdk_refusal(sdk.delete_bucket, Bucket=fresh) == (409, "BucketNotEmpty")
    sdk.delete_object(Bucket=fresh, Key="a")
    sdk.delete_bucket(Bucket=fresh)
    assert not sdk.bucket_exists(Bucket=fresh)


def test_versioning(make_server: MakeServer) -> None:
    sdk = official_client(make_server())
    sdk.put_object(Bucket=BUCKET, Key="a", Body=b"zero")
    sdk.put_bucket_versioning(Bucket=BUCKET, Status="Enabled")
    assert sdk.get_bucket_versioning(Bucket=BUCKET)["Status"] == "Enabled"
    one = sdk.put_object(Bucket=BUCKET, Key="a", Body=b"one", Metadata={"x-cos-forbid-overwrite": "true"})
    two = sdk.put_object(Bucket=BUCKET, Key="a", Body=b"two")["x-cos-version-id"]
    assert body_of(sdk.get_object(Bucket=BUCKET, Key="a", VersionId="null")) == b"zero"
    assert body_of(sdk.get_object(Bucket=BUCKET, Key="a", VersionId=one["x-cos-version-id"])) == b"one"
    deleted = sdk.delete_object(Bucket=BUCKET, Key="a")
    assert deleted["x-cos-delete-marker"] == "true"
    assert sdk_refusal(sdk.get_object, Bucket=BUCKET, Key="a") == (404, "NoSuchKey")
    assert sdk_refusal(sdk.get_object, Bucket=BUCKET, Key="a", VersionId="nope") == (404, "NoSuchVersion")
    listed = sdk.list_objects_versions(Bucket=BUCKET)
    assert [(row["VersionId"], row["IsLatest"]) for row in listed["Version"]] == [
        (two, "false"), (one["x-cos-version-id"], "false"), ("null", "false")]
    assert listed["DeleteMarker"][0]["VersionId"] == deleted["x-cos-version-id"]
    sdk.delete_object(Bucket=BUCKET, Key="a", VersionId=deleted["x-cos-version-id"])
    assert body_of(sdk.get_object(Bucket=BUCKET, Key="a")) == b"two"
    sdk.put_bucket_versioning(Bucket=BUCKET, Status="Suspended")
    sdk.put_object(Bucket=BUCKET, Key="a", Body=b"null again")
    assert body_of(sdk.get_object(Bucket=BUCKET, Key="a", VersionId="null")) == b"null again"
    assert len(sdk.list_objects_versions(Bucket=BUCKET)["Version"]) == 3
