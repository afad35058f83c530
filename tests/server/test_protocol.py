"""Details of the protocol that the SDKs hide, request by request over a plain connection."""

from __future__ import annotations

import base64
import hashlib
import http.client
import socket
import time
from pathlib import Path
from typing import List, Tuple
from xml.etree import ElementTree

import pytest

from cosfs.cos.crc64 import crc64
from cosfs.cos.signing import v4_authorization
from tests.server.conftest import MakeServer
from tests.support.server import CosServer

BUCKET = CosServer.bucket
HOST = {"Host": f"{BUCKET}.cos.ap-local.myqcloud.com"}


def code_of(body: bytes) -> str:
    """The code of an error document, of which every field must say something."""
    error = ElementTree.fromstring(body)
    assert error.tag == "Error"
    assert [child.tag for child in error if not (child.text or "").strip()] == []
    assert {"Code", "Message", "Resource", "RequestId", "TraceId"} <= {child.tag for child in error}
    return error.findtext("Code") or ""


def raw_request(server: CosServer, head: str, body: bytes = b"") -> bytes:
    """Send bytes as they are and read until the server closes."""
    with socket.create_connection((server.host, server.port), timeout=10) as connection:
        connection.sendall(head.replace("\n", "\r\n").encode("latin-1") + body)
        received = b""
        while True:
            data = connection.recv(65536)
            if not data:
                return received
            received += data


def test_errors_have_all_fields_and_ids_in_headers(server: CosServer) -> None:
    status, headers, body = server.request("GET", "none")
    assert (status, code_of(body)) == (404, "NoSuchKey")
    assert headers["Content-Type"] == "application/xml" and headers["Server"] == "tencent-cos"
    assert headers["x-cos-request-id"].encode() in body and headers["x-cos-trace-id"].encode() in body


def test_errors_of_head_have_no_body_but_ids(server: CosServer) -> None:
    status, headers, body = server.request("HEAD", "none")
    assert (status, body, headers["Content-Length"]) == (404, b"", "0")
    assert headers["x-cos-request-id"] and headers["x-cos-trace-id"]


def test_header_names_have_their_exact_letter_case(server: CosServer, folder: str) -> None:
    server.request("PUT", folder + "a", body=b"x", headers={"Cache-Control": "no-cache"})
    _, headers, _ = server.request("GET", folder + "a")
    assert {"ETag", "Content-Length", "Content-Type", "Last-Modified", "Cache-Control", "Accept-Ranges",
            "x-cos-hash-crc64ecma", "x-cos-request-id", "Date", "Server"} <= set(headers)


def test_metadata_is_stored_as_utf8_and_underscores_are_let_in(server: CosServer, folder: str) -> None:
    value = "ä€".encode().decode("latin-1")
    server.request("PUT", folder + "a", headers={"x-cos-meta-a_b": "1", "x-cos-meta-u": value})
    _, headers, _ = server.request("HEAD", folder + "a")
    assert (headers["x-cos-meta-a_b"], headers["x-cos-meta-u"]) == ("1", value)


def test_metadata_over_2_kib_is_refused(server: CosServer, folder: str) -> None:
    fits = {"x-cos-meta-a": "v" * (2048 - len("x-cos-meta-a"))}
    assert server.request("PUT", folder + "a", headers=fits)[0] == 200
    status, _, body = server.request("PUT", folder + "a", headers={**fits, "x-cos-meta-b": ""})
    assert (status, code_of(body)) == (400, "KeyTooLong")


@pytest.mark.parametrize("key, code", [
    ("k" * 851, "KeyTooLong"), ("ä" * 426, "KeyTooLong"), ("a\nb", "InvalidObjectName"), ("a\rb", "InvalidObjectName"),
    ("a\x18", "InvalidObjectName"), ("a\x1b", "InvalidObjectName"), ("\\a", "InvalidObjectName"),
    ("/a", "InvalidObjectName"),
])
def test_keys_that_the_service_refuses(server: CosServer, key: str, code: str) -> None:
    status, _, body = server.request("PUT", key, body=b"x")
    assert (status, code_of(body)) == (400, code)


def test_a_key_of_850_bytes_is_fine(server: CosServer, folder: str) -> None:
    key = folder + "k" * (850 - len(folder))
    assert server.request("PUT", key, body=b"x")[0] == 200
    assert server.request("GET", key)[2] == b"x"


def test_a_path_that_is_not_utf8_is_refused(make_server: MakeServer) -> None:
    server = make_server(anonymous=True)
    answer = raw_request(server, f"GET /%ff HTTP/1.1\nHost: {HOST['Host']}\nConnection: close\n\n")
    assert code_of(answer.partition(b"\r\n\r\n")[2]) == "InvalidURI"


def test_nonsense_gets_an_error_document(server: CosServer) -> None:
    answer = raw_request(server, "BLA BLA\n\n")
    assert answer.startswith(b"HTTP/1.") and code_of(answer.partition(b"\r\n\r\n")[2]) == "BadRequest"


def test_put_needs_a_length(make_server: MakeServer) -> None:
    server = make_server(anonymous=True)
    answer = raw_request(server, f"PUT /a HTTP/1.1\nHost: {HOST['Host']}\nConnection: close\n\n")
    assert b" 411 " in answer.split(b"\r\n")[0]
    assert code_of(answer.partition(b"\r\n\r\n")[2]) == "MissingContentLength"


@pytest.mark.parametrize("checksum, status", [("DUoRhQ==", 200), ("AAAAAA==", 400)], ids=["right", "wrong"])
def test_aws_chunked_body_with_trailing_checksum(server: CosServer, folder: str, checksum: str, status: int) -> None:
    body = f"5\r\nhello\r\n6\r\n world\r\n0\r\nx-amz-checksum-crc32:{checksum}\r\n\r\n".encode()
    how, date = "STREAMING-UNSIGNED-PAYLOAD-TRAILER", time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    path = f"/{BUCKET}/{folder}a"
    headers = {"Host": f"{server.host}:{server.port}", "x-amz-date": date, "x-amz-content-sha256": how,
               "x-amz-decoded-content-length": "11", "x-amz-trailer": "x-amz-checksum-crc32",
               "Content-Encoding": "aws-chunked", "Content-Length": str(len(body))}
    headers["Authorization"] = v4_authorization(server.credentials, "PUT", path, [], list(headers.items()),
                                                amz_date=date, region="r", payload_hash=how)
    head = f"PUT {path} HTTP/1.1\nConnection: close\n" + "".join(f"{n}: {v}\n" for n, v in headers.items()) + "\n"
    assert int(raw_request(server, head, body).split()[1]) == status
    found, stored, data = server.request("GET", folder + "a")
    if status == 200:
        assert data == b"hello world" and "Content-Encoding" not in stored
    else:
        assert found == 404


def test_a_body_cut_short_stores_nothing(make_server: MakeServer) -> None:
    server = make_server(anonymous=True)
    with socket.create_connection((server.host, server.port), timeout=10) as connection:
        connection.sendall(f"PUT /a HTTP/1.1\r\nHost: {HOST['Host']}\r\nContent-Length: 10\r\n\r\n12345".encode())
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1000)
    assert server.request("GET", "a")[0] == 404
    assert list((server.directory / BUCKET / "blobs").iterdir()) == []


def test_content_md5_is_checked(server: CosServer, folder: str) -> None:
    right = base64.b64encode(hashlib.md5(b"abc").digest()).decode()
    wrong = base64.b64encode(hashlib.md5(b"abd").digest()).decode()
    assert server.request("PUT", folder + "a", body=b"abc", headers={"Content-MD5": right})[0] == 200
    assert code_of(server.request("PUT", folder + "b", body=b"abc", headers={"Content-MD5": wrong})[2]) == "BadDigest"
    assert code_of(server.request("PUT", folder + "b", body=b"abc", headers={"Content-MD5": "?"})[2]) == "InvalidDigest"
    assert server.request("HEAD", folder + "b")[0] == 404


def test_delete_multiple_needs_content_md5(server: CosServer) -> None:
    body = b"<Delete><Object><Key>none</Key></Object></Delete>"
    status, _, answer = server.request("POST", params=[("delete", "")], body=body)
    assert (status, code_of(answer)) == (400, "InvalidRequest")
    assert b"Missing required header for this request: Content-MD5" in answer


@pytest.mark.parametrize("body", [b"", b"<Delete/>", b"<Delete><Object/></Delete>", b"<other/>",
                                  b"<!DOCTYPE a><Delete/>"])
def test_malformed_documents_are_refused(server: CosServer, body: bytes) -> None:
    headers = {"Content-MD5": base64.b64encode(hashlib.md5(body).digest()).decode()}
    status, _, answer = server.request("POST", params=[("delete", "")], body=body, headers=headers)
    assert (status, code_of(answer)) == (400, "MalformedXML")


def listing(server: CosServer, *params: Tuple[str, str]) -> ElementTree.Element:
    return ElementTree.fromstring(server.request("GET", params=params)[2])


def test_listing_pages_name_their_last_entry_as_next_marker(server: CosServer, folder: str) -> None:
    for name in ("a", "b/1", "b/2", "c"):
        server.request("PUT", folder + name)
    page = listing(server, ("prefix", folder), ("delimiter", "/"), ("max-keys", "2"))
    assert (page.findtext("IsTruncated"), page.findtext("NextMarker")) == ("true", folder + "b/")
    assert page.find("EncodingType") is None and page.findtext("Delimiter") == "/"
    rest = listing(server, ("prefix", folder), ("delimiter", "/"), ("marker", folder + "b/"))
    assert [item.text for item in rest.iterfind("Contents/Key")] == [folder + "c"]
    assert rest.find("NextMarker") is None and rest.find("CommonPrefixes") is None
    without = listing(server, ("prefix", folder), ("max-keys", "1"))
    assert without.findtext("NextMarker") == folder + "a", "without delimiter too"


def test_encoding_type_url_encodes_all_keys(server: CosServer, folder: str) -> None:
    for name in ("a b+c%", "ä/x", "\x01"):
        server.request("PUT", folder + name)
    page = listing(server, ("prefix", folder), ("delimiter", "/"), ("encoding-type", "url"), ("max-keys", "2"))
    assert page.findtext("EncodingType") == "url"
    assert [item.text for item in page.iterfind("Contents/Key")] == [folder + "%01", folder + "a%20b%2Bc%25"]
    rest = listing(server, ("prefix", folder), ("delimiter", "/"), ("encoding-type", "url"),
                   ("marker", folder + "a b+c%"))
    assert rest.findtext("CommonPrefixes/Prefix") == folder + "%C3%A4/"
    assert page.findtext("NextMarker") == folder + "a%20b%2Bc%25"


def test_listing_has_the_region_and_caps_max_keys(server: CosServer) -> None:
    status, headers, body = server.request("GET", params=[("max-keys", "5000"), ("encoding-type", "url")])
    assert (status, headers["x-cos-bucket-region"]) == (200, "ap-local")
    assert ElementTree.fromstring(body).findtext("MaxKeys") == "1000"


def test_keys_are_listed_in_utf8_byte_order(server: CosServer, folder: str) -> None:
    names = ["\U0001f600", "\uffe6", "z", "Z", "é"]
    for name in names:
        server.request("PUT", folder + name)
    found = [item.text or "" for item in listing(server, ("prefix", folder)).iterfind("Contents/Key")]
    assert found == sorted((folder + name for name in names), key=str.encode)


def multipart(server: CosServer, key: str, bodies: List[bytes]) -> Tuple[str, bytes]:
    """An upload of parts; its id and the document that completes it."""
    _, _, body = server.request("POST", key, [("uploads", "")])
    upload = ElementTree.fromstring(body).findtext("UploadId") or ""
    parts = b""
    for number, data in enumerate(bodies, 1):
        _, headers, _ = server.request("PUT", key, [("partNumber", str(number)), ("uploadId", upload)], data)
        assert headers["x-cos-hash-crc64ecma"] == str(crc64(data))
        parts += b"<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>" % (number, headers["ETag"].encode())
    return upload, b"<CompleteMultipartUpload>" + parts + b"</CompleteMultipartUpload>"


def test_complete_answers_in_chunks_with_spaces_and_no_declaration(server: CosServer, folder: str) -> None:
    data = [b"a" * 1048576, b"b"]
    upload, document = multipart(server, folder + "a", data)
    status, headers, body = server.request("POST", folder + "a", [("uploadId", upload)], document)
    assert (status, headers["Transfer-Encoding"]) == (200, "chunked")
    assert body.startswith(b" ") and body.lstrip().startswith(b"<CompleteMultipartUploadResult>")
    assert headers["x-cos-hash-crc64ecma"] == str(crc64(b"".join(data)))
    formula = hashlib.md5(b"".join(hashlib.md5(part).digest() for part in data)).hexdigest()
    etag = ElementTree.fromstring(body.strip()).findtext("ETag") or ""
    assert etag.strip('"')[32:] == "-2" and formula not in etag


def test_overwriting_while_reading_keeps_what_is_being_read(make_server: MakeServer) -> None:
    server = make_server(mbps=20)
    server.request("PUT", "a", body=b"1" * 2_000_000)
    connection = http.client.HTTPConnection(server.host, server.port, timeout=10)
    signed = server.signed_headers("GET", "a")
    connection.request("GET", "/a", headers=signed)
    answer = connection.getresponse()
    first = answer.read(1000)
    server.request("PUT", "a", body=b"2")
    assert first + answer.read() == b"1" * 2_000_000
    assert server.request("GET", "a")[2] == b"2"
    connection.close()
    assert len(list((server.directory / BUCKET / "blobs").iterdir())) == 1


def test_deleting_and_overwriting_free_the_space(make_server: MakeServer) -> None:
    server = make_server()
    blobs = server.directory / BUCKET / "blobs"
    server.request("PUT", "a", body=b"1")
    server.request("PUT", "b", headers={"x-cos-copy-source": f"{BUCKET}.cos.x.com/a"})
    server.request("PUT", "a", body=b"2")
    upload, _ = multipart(server, "c", [b"x", b"y"])
    assert len(list(blobs.iterdir())) == 4, "two objects, two parts"
    server.request("DELETE", "c", [("uploadId", upload)])
    assert server.request("GET", "b")[2] == b"1"
    for key in "ab":
        server.request("DELETE", key)
    assert list(blobs.iterdir()) == []


@pytest.mark.parametrize("directive", ["REPLACE", "replaced", "Replaced"])
def test_a_copy_onto_itself_keeps_the_bytes(server: CosServer, folder: str, directive: str) -> None:
    server.request("PUT", folder + "a", body=b"abc", headers={"x-cos-storage-class": "STANDARD_IA"})
    for source in (f"{BUCKET}.cos.x.com/{folder}a", f"/{BUCKET}/{folder}a"):
        status, _, _ = server.request("PUT", folder + "a", headers={
            "x-cos-copy-source": source, "x-cos-metadata-directive": directive, "x-cos-meta-mode": "1"})
        assert status == 200
    _, headers, body = server.request("GET", folder + "a")
    assert (body, headers["x-cos-meta-mode"]) == (b"abc", "1")
    assert "x-cos-storage-class" not in headers


@pytest.mark.parametrize("source", ["", "nokey", "/", "x/%ff"])
def test_bad_copy_sources_are_refused(server: CosServer, folder: str, source: str) -> None:
    status, _, body = server.request("PUT", folder + "a", headers={"x-cos-copy-source": source})
    assert (status, code_of(body)) == (400, "InvalidCopySource")


TRAVERSALS = ["/../../../../tmp/evil", "/..%2f..%2fevil", "//etc/passwd", "/a/../../evil", "/..\\evil", "/....//evil",
              f"/../{BUCKET}/index.db", "/blobs/1", "/%00evil", "/.", "/..", "/%2e%2e/%2e%2e/evil", "/..%2Fevil",
              "/%2Fetc%2Fpasswd", "/%5c..%5cevil"]


def test_no_path_leads_out_of_the_directory(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server(tmp_path / "data", anonymous=True)
    before = _files(tmp_path)
    for host, start in ((HOST["Host"], ""), (server.host, f"/{BUCKET}")):
        for path in TRAVERSALS:
            for method, body in (("PUT", b"evil"), ("GET", b""), ("DELETE", b"")):
                head = f"{method} {start}{path} HTTP/1.1\nHost: {host}\nConnection: close\n"
                answer = raw_request(server, f"{head}Content-Length: {len(body)}\n\n", body)
                assert int(answer.split()[1]) in (200, 204, 400, 404), (head, answer)
                assert answer.endswith(b"evil") or method != "GET" or b" 200 " not in answer.split(b"\r\n")[0]
    assert _files(tmp_path) == before


def _files(tmp_path: Path) -> List[str]:
    """All files around and in the directory, but for those of SQLite."""
    return sorted(str(path) for path in tmp_path.rglob("*") if "index.db-" not in path.name)


def test_bucket_names_cannot_be_paths(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server(tmp_path / "data", anonymous=True)
    for name in ("..", ".", "%2e%2e", "..%2f..", "A-1", "a", "-a-1", "a-", "a%2F..%2Fb-1"):
        head = f"PUT /{name} HTTP/1.1\nHost: {server.host}\nContent-Length: 0\nConnection: close\n\n"
        answer = raw_request(server, head)
        assert code_of(answer.partition(b"\r\n\r\n")[2]) == "InvalidBucketName"
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [".lock", BUCKET]
