"""CosS3Client: transfers of several calls, and URLs and headers for use by others."""

from __future__ import annotations

import random
import time
from urllib.parse import urlsplit

import pytest
import qcloud_cos
import requests

from cosfs import CosConfig, CosS3Client, CosServiceError
from cosfs.units import MIB
from tests.client.conftest import keywords, read_back, upload
from tests.support.raw_server import RawServer, answer


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
