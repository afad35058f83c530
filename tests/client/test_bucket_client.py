"""Every call of BucketClient against the embedded server, in both signatures."""

from __future__ import annotations

import os
import random

import pytest

from cosfs.cos.crc64 import crc64
from cosfs.cos.interface import CopySource, ObjectHeaders, UploadedPart
from cosfs.errors import (
    AccessDenied,
    BucketNotFound,
    InvalidParameter,
    ObjectExists,
    ObjectNotFound,
    PreconditionFailed,
    RangeNotSatisfiable,
    UploadNotFound,
)
from cosfs.units import MIB
from tests.client.conftest import client_of

NO_HEADERS = ObjectHeaders()


def fetch(client, key, size, **arguments):
    buffer = bytearray(size)
    info = client.get_object(key, memoryview(buffer), **arguments)
    return bytes(buffer), info


def test_put_then_head_and_get_give_everything_back(client):
    headers = ObjectHeaders(
        metadata={"mode": "33188", "mtime": "1700000000", "name": "中文 and ü"},
        standard={"Content-Type": "text/plain", "Cache-Control": "no-cache", "Content-Language": "de",
                  "Content-Disposition": "attachment; filename=a", "Content-Encoding": "identity",
                  "Expires": "Thu, 01 Dec 2033 16:00:00 GMT"},
        storage_class="STANDARD_IA")
    body = random.Random(1).randbytes(3 * MIB)

    stored = client.put_object("dir/object", memoryview(body), headers=headers)
    head = client.head_object("dir/object")
    data, info = fetch(client, "dir/object", len(body))

    assert data == body
    assert head.headers == headers
    assert (head.size_bytes, head.etag, head.crc64) == (len(body), stored.etag, crc64(body))
    assert head.storage_class == "STANDARD_IA"
    assert info.size_bytes == len(body) and info.etag == stored.etag
    assert "Content-Disposition" not in info.headers.standard  # may be forced, so GET is not believed
    assert info.last_modified_s == head.last_modified_s


@pytest.mark.parametrize("key", [
    "plain", "with space", "plus+plus", "a//b", "a/../b", "dir./f", "trailing.", "dir/", "per%cent%2F", "ü/键",
    "q?x=1&y#f",
    "quote\"'<>", "tab\tin it", "tilde~!*'()", "a\\b", ";,:@$=", "..a/.b"])
def test_key_arrives_as_it_is(client, key):
    body = key.encode()
    client.put_object(key, body, headers=NO_HEADERS)
    assert fetch(client, key, len(body))[0] == body
    assert key in [entry.key for entry in client.list_objects("").objects]
    assert client.delete_objects([key]) == ()
    with pytest.raises(ObjectNotFound):
        client.head_object(key)


def test_ranges(client):
    client.put_object("r", b"0123456789", headers=NO_HEADERS)
    assert fetch(client, "r", 4, start=3)[0] == b"3456"
    assert fetch(client, "r", 1, start=9)[0] == b"9"
    assert fetch(client, "r", 10)[1].size_bytes == 10
    with pytest.raises(RangeNotSatisfiable):
        fetch(client, "r", 1, start=10)


def test_progress_never_falls_and_ends_with_all(client):
    body = bytes(2 * MIB + 5)
    client.put_object("p", body, headers=NO_HEADERS)
    seen = []
    fetch(client, "p", len(body), on_progress=seen.append)
    assert seen == sorted(seen) and seen[-1] == len(body)
    assert len(seen) > 4


def test_if_match_holds_a_read_to_its_version(client):
    first = client.put_object("v", b"one", headers=NO_HEADERS)
    assert fetch(client, "v", 3, if_match=first.etag)[0] == b"one"
    client.put_object("v", b"two", headers=NO_HEADERS)
    with pytest.raises(PreconditionFailed):
        fetch(client, "v", 3, if_match=first.etag)


def test_forbid_overwrite_refuses_an_existing_key(server):
    client = client_of(server)
    client.delete_object("once")
    client.put_object("once", b"a", headers=NO_HEADERS, forbid_overwrite=True)
    with pytest.raises(ObjectExists):
        client.put_object("once", b"b", headers=NO_HEADERS, forbid_overwrite=True)
    assert fetch(client, "once", 1)[0] == b"a"


def test_listing_pages_and_prefixes(client):
    for name in ("l/a", "l/b/1", "l/b/2", "l/c d", "l/e+f", "l/ü"):
        client.put_object(name, name.encode(), headers=NO_HEADERS)
    page = client.list_objects("l/", delimiter="/")
    assert [entry.key for entry in page.objects] == ["l/a", "l/c d", "l/e+f", "l/ü"]
    assert page.prefixes == ("l/b/",)
    assert page.next_marker is None
    first = page.objects[0]
    assert first.size_bytes == 3 and first.etag and first.last_modified_s > 1_700_000_000

    names, marker = [], ""
    while marker is not None:
        told = []
        page = client.list_objects("l/", delimiter="/", marker=marker, max_keys=2, on_next=told.append)
        assert told == [page.next_marker][:page.next_marker is not None]
        names += [entry.key for entry in page.objects] + list(page.prefixes)
        marker = page.next_marker
    assert sorted(names) == sorted(["l/a", "l/b/", "l/c d", "l/e+f", "l/ü"])


def test_delete_is_silent_about_what_is_not_there(client):
    client.delete_object("nothing")
    assert client.delete_objects(["nothing", "either"]) == ()


def test_delete_objects_takes_a_thousand(client):
    with pytest.raises(InvalidParameter):
        client.delete_objects(["k"] * 1001)


def test_copy_keeps_headers_or_replaces_them(client):
    client.put_object("src", b"content", headers=ObjectHeaders(metadata={"a": "1"}, storage_class="STANDARD_IA"))
    copied = client.copy_object("src", "dst +ü")
    assert copied.etag == client.head_object("src").etag
    head = client.head_object("dst +ü")
    assert head.headers.metadata == {"a": "1"}

    new = ObjectHeaders(metadata={"b": "2"}, standard={"Content-Type": "x/y"}, storage_class="STANDARD_IA")
    client.copy_object("src", "src", headers=new)
    assert client.head_object("src").headers == new


def test_copy_conditions(client):
    client.put_object("src", b"content", headers=NO_HEADERS)
    with pytest.raises(PreconditionFailed):
        client.copy_object("src", "dst", if_match="0" * 32)
    with pytest.raises(ObjectNotFound):
        client.copy_object("missing", "dst")
    with pytest.raises(InvalidParameter):
        client.copy_object("src", "src")


def test_multipart_with_part_copy(client):
    rng = random.Random(2)
    old, new = rng.randbytes(2 * MIB), rng.randbytes(MIB)
    source = client.put_object("m/old", old, headers=NO_HEADERS)
    headers = ObjectHeaders(metadata={"mode": "33188"}, standard={"Content-Type": "a/b"})

    upload_id = client.create_multipart_upload("m/new", headers=headers)
    assert [(upload.key, upload.upload_id) for upload in client.list_multipart_uploads("m/")] == [("m/new", upload_id)]
    parts = [
        client.upload_part("m/new", upload_id, 1, memoryview(new)),
        client.upload_part_copy("m/new", upload_id, 2, CopySource("m/old", 512, 512 + MIB, source.etag)),
        client.upload_part("m/new", upload_id, 3, b"the end")]
    stored = client.complete_multipart_upload("m/new", upload_id, parts)

    expected = new + old[512:512 + MIB] + b"the end"
    assert fetch(client, "m/new", len(expected), if_match=stored.etag)[0] == expected
    assert client.head_object("m/new").headers == headers
    assert client.list_multipart_uploads("m/") == ()


def test_part_copy_of_another_version_is_refused(client):
    client.put_object("m/src", bytes(MIB), headers=NO_HEADERS)
    upload_id = client.create_multipart_upload("m/x", headers=NO_HEADERS)
    with pytest.raises(PreconditionFailed):
        client.upload_part_copy("m/x", upload_id, 1, CopySource("m/src", 0, MIB, "0" * 32))
    client.abort_multipart_upload("m/x", upload_id)


def test_abort_of_an_upload_that_is_gone_is_no_error(client):
    upload_id = client.create_multipart_upload("m/gone", headers=NO_HEADERS)
    client.abort_multipart_upload("m/gone", upload_id)
    client.abort_multipart_upload("m/gone", upload_id)
    with pytest.raises(UploadNotFound):
        client.upload_part("m/gone", upload_id, 1, b"x")
    with pytest.raises(UploadNotFound):
        client.complete_multipart_upload("m/gone", upload_id, [UploadedPart(1, "0" * 32, 1)])


def test_missing_objects_and_buckets_are_told_apart(server):
    with pytest.raises(ObjectNotFound) as raised:
        client_of(server).head_object("missing")
    assert raised.value.code == "NoSuchResource"
    assert raised.value.request_id != "Unknown"
    elsewhere = client_of(server, bucket="another-1250000000")
    with pytest.raises(BucketNotFound):
        elsewhere.head_bucket()
    with pytest.raises(BucketNotFound):
        elsewhere.list_objects("")


def test_unsigned_request_is_refused(server):
    with pytest.raises(AccessDenied):
        client_of(server, credentials=None).list_objects("")


def test_head_bucket_names_the_region(server):
    assert client_of(server).head_bucket().region


@pytest.mark.parametrize("key", ["", "/", ".", "a/..", "./", "x" * 851])
def test_key_that_cannot_be_is_refused_before_sending(server, key):
    with pytest.raises(InvalidParameter):
        client_of(server).head_object(key)
    assert server.requests() == []


def test_connections_of_the_parent_are_not_used_after_a_fork(server):
    client = client_of(server)
    client.put_object("fork", b"parent", headers=NO_HEADERS)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, fetch(client, "fork", 6)[0])
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        assert stream.read() == b"parent"
    os.waitpid(child, 0)
    assert fetch(client, "fork", 6)[0] == b"parent"
