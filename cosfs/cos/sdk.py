"""``CosS3Client``: the client of the official Python SDK, with the transfers that take several calls.

Results are dicts of response headers, of the answer's XML, or of both, as the SDK gives them. It differs in
these points, all on the safe side: transfers end with an exception when a byte is missing or wrong, a
redirect is an error, presigned URLs carry the session token, an error inside a 200 answer is raised for
part copies too, and non-repeatable calls are never sent twice.
"""
# ruff: noqa: N803 - the names of the keywords are the SDK's

from __future__ import annotations

import hashlib
import logging
import threading
import uuid
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Callable, Dict, Iterable, List, Mapping, NamedTuple, Optional, Tuple

from cosfs.cos.crc64 import combine, crc64
from cosfs.cos.sdk_base import SSE_C_KEYWORDS
from cosfs.cos.sdk_buckets import BucketApi
from cosfs.cos.sdk_multipart import MultipartApi
from cosfs.errors import CosException, IntegrityError, InvalidParameter
from cosfs.executor import wait_all
from cosfs.units import MAX_PARTS, MIB

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Called with the bytes done and the bytes in all."""

_PART_KEYWORDS = ("TrafficLimit", *SSE_C_KEYWORDS)
_SOURCE_KEYWORDS = tuple(f"CopySource{name}" for name in SSE_C_KEYWORDS)


class _Piece(NamedTuple):
    """Part ``number`` (from 1), bytes ``[start, stop)``."""

    number: int
    start: int
    stop: int


def _pieces(size_bytes: int, part_size_mb: int, max_parts: int = MAX_PARTS) -> List[_Piece]:
    """At most ``max_parts`` pieces, larger than asked for where that is needed."""
    step = max(part_size_mb * MIB, -(-size_bytes // max_parts), 1)
    return [_Piece(number, start, min(start + step, size_bytes))
            for number, start in enumerate(range(0, size_bytes, step), start=1)]


class _Meter:
    """Adds up what parallel parts report."""

    def __init__(self, total: int, callback: Optional[Progress]) -> None:
        self._total, self._callback, self._done = total, callback, 0
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        if self._callback is not None:
            with self._lock:
                self._done += count
                self._callback(self._done, self._total)


def _in_parallel(threads: int, task: Callable[[_Piece], Any], pieces: Iterable[_Piece]) -> List[Any]:
    """Results in order. After a failure the pieces not begun are left out, and the first error is raised."""
    with ThreadPoolExecutor(threads, thread_name_prefix="cos-transfer") as pool:
        futures: List[Future[Any]] = []
        failed = threading.Event()

        def run(piece: _Piece) -> Any:
            if failed.is_set():
                return None
            try:
                return task(piece)
            except BaseException:
                failed.set()
                raise
        futures += [pool.submit(run, piece) for piece in pieces]
        return wait_all(futures)


def _only(keywords: Mapping[str, Any], names: Iterable[str]) -> Dict[str, Any]:
    return {name: keywords[name] for name in names if name in keywords}


class CosS3Client(MultipartApi, BucketApi):
    """The public client; see CosConfig for its configuration."""

    def upload_file(self, Bucket: str, Key: str, LocalFilePath: str, PartSize: int = 1, MAXThread: int = 5,
                    EnableMD5: bool = False, progress_callback: Optional[Progress] = None,
                    **kwargs: Any) -> Dict[str, Any]:
        """Upload a file, in parts of ``PartSize`` MB when it is larger than one.

        When it fails the upload stays; the next call for the same key goes on with it, after checking the
        size and MD5 of each part that is there.
        """
        size_bytes = Path(LocalFilePath).stat().st_size
        if size_bytes <= PartSize * MIB:
            return self.put_object_from_local_file(Bucket, LocalFilePath, Key, EnableMD5, **kwargs)
        pieces = _pieces(size_bytes, PartSize)
        upload_id, present = self._resumable_upload(Bucket, Key, LocalFilePath, pieces)
        if upload_id is None:
            upload_id = self.create_multipart_upload(Bucket, Key, **kwargs)["UploadId"]
        meter, part_keywords = _Meter(size_bytes, progress_callback), _only(kwargs, _PART_KEYWORDS)

        def send(piece: _Piece) -> Dict[str, Any]:
            etag = present.get(piece.number)
            if etag is None:
                body = _read_piece(LocalFilePath, piece)
                etag = self.upload_part(Bucket, Key, body, piece.number, upload_id, EnableMD5, **part_keywords)["ETag"]
            meter.add(piece.stop - piece.start)
            return {"PartNumber": piece.number, "ETag": etag}
        parts = _in_parallel(MAXThread, send, pieces)
        return self.complete_multipart_upload(Bucket, Key, upload_id, {"Part": parts},
                                              **_only(kwargs, ("Callback", "CallbackVar")))

    def _resumable_upload(self, bucket: str, key: str, path: str,
                          pieces: List[_Piece]) -> Tuple[Optional[str], Dict[int, str]]:
        """The latest unfinished upload of the key, if all its parts are pieces of the file; ETags by number."""
        name = key.lstrip("/")
        uploads = [row for row in self.list_multipart_uploads(bucket, Prefix=name).get("Upload", ())
                   if row["Key"] == name]
        if not uploads:
            return None, {}
        upload_id = uploads[-1]["UploadId"]
        present: Dict[int, str] = {}
        marker = 0
        while True:
            page = self.list_parts(bucket, key, upload_id, PartNumberMarker=marker)
            for row in page.get("Part", ()):
                number = int(row["PartNumber"])
                if number > len(pieces) or not _is_piece(row, path, pieces[number - 1]):
                    return None, {}
                present[number] = row["ETag"]
            if page.get("IsTruncated") != "true":
                return upload_id, present
            marker = int(page["NextPartNumberMarker"])

    def upload_file_from_buffer(self, Bucket: str, Key: str, Body: Any, MaxBufferSize: int = 100, PartSize: int = 10,
                                MAXThread: int = 5, **kwargs: Any) -> Dict[str, Any]:
        """Upload what ``Body.read`` gives; at most ``max(MaxBufferSize, PartSize)`` MB are held at once."""
        if not hasattr(Body, "read"):
            raise InvalidParameter("Body must have attr read")
        size = PartSize * MIB
        data = _read_full(Body, size)
        if len(data) < size:
            return self.put_object(Bucket, data, Key, **kwargs)
        upload_id = self.create_multipart_upload(Bucket, Key, **kwargs)["UploadId"]
        try:
            slots = threading.BoundedSemaphore(max(1, MaxBufferSize // PartSize))
            with ThreadPoolExecutor(MAXThread, thread_name_prefix="cos-transfer") as pool:
                futures: List[Future[Dict[str, Any]]] = []
                while data:
                    slots.acquire()
                    future = pool.submit(self.upload_part, Bucket, Key, data, len(futures) + 1, upload_id)
                    future.add_done_callback(lambda _: slots.release())
                    futures.append(future)
                    data = _read_full(Body, size)
                etags = [answer["ETag"] for answer in wait_all(futures)]
            parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, start=1)]
            return self.complete_multipart_upload(Bucket, Key, upload_id, {"Part": parts})
        except BaseException:
            self._abort_quietly(Bucket, Key, upload_id)
            raise

    def download_file(self, Bucket: str, Key: str, DestFilePath: str, PartSize: int = 20, MAXThread: int = 5,
                      EnableCRC: bool = False, progress_callback: Optional[Progress] = None,
                      DisableTempDestFilePath: bool = False, **kwargs: Any) -> None:
        """Save an object, in parallel ranges when it is larger than ``PartSize`` MB; all of one version.

        ``EnableCRC``: compare the CRC-64 of the ranges, put together, with the service's.
        """
        info = self.head_object(Bucket, Key, **_only(kwargs, ("VersionId", *SSE_C_KEYWORDS)))
        size_bytes = int(info["Content-Length"])
        if size_bytes <= PartSize * MIB:
            body = self.get_object(Bucket, Key, **kwargs)["Body"]
            body.get_stream_to_file(DestFilePath, DisableTempDestFilePath)
            return
        target = Path(DestFilePath)
        path = target if DisableTempDestFilePath else target.with_name(f"{target.name}_{uuid.uuid4().hex}")
        meter = _Meter(size_bytes, progress_callback)

        def fetch(piece: _Piece) -> Tuple[int, int]:
            answer = self.get_object(Bucket, Key, **{
                **kwargs, "Range": f"bytes={piece.start}-{piece.stop - 1}", "IfMatch": info["ETag"]})
            with path.open("r+b") as file:
                crc = _save_range(answer, file, piece, enable_crc=EnableCRC)
            meter.add(piece.stop - piece.start)
            return crc, piece.stop - piece.start
        try:
            with path.open("wb") as file:
                file.truncate(size_bytes)
            crc = combine(_in_parallel(MAXThread, fetch, _pieces(size_bytes, PartSize)))
            if EnableCRC and str(crc) != info.get("x-cos-hash-crc64ecma", str(crc)):
                raise IntegrityError(f"the CRC-64 of what arrived is not that of the object {Key!r}")
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        if not DisableTempDestFilePath:
            path.replace(target)

    def copy(self, Bucket: str, Key: str, CopySource: Mapping[str, str], CopyStatus: str = "Copy", PartSize: int = 10,
             MAXThread: int = 5, **kwargs: Any) -> Dict[str, Any]:
        """Copy an object of any size on the service: from 5 GB on in parts, all of one version."""
        info = self._head_source(CopySource, kwargs)
        size_bytes = int(info["Content-Length"])
        if size_bytes < self._conf.copy_part_threshold_bytes:
            return self.copy_object(Bucket, Key, CopySource, CopyStatus, **kwargs)
        own = {name: value for name, value in kwargs.items() if not name.startswith("CopySource")}
        upload_id = self.create_multipart_upload(Bucket, Key, **own)["UploadId"]
        keywords = {**_only(kwargs, (*SSE_C_KEYWORDS, *_SOURCE_KEYWORDS)), "CopySourceIfMatch": info["ETag"]}

        def copy_part(piece: _Piece) -> Dict[str, Any]:
            answer = self.upload_part_copy(Bucket, Key, piece.number, upload_id, CopySource,
                                           f"bytes={piece.start}-{piece.stop - 1}", **keywords)
            return {"PartNumber": piece.number, "ETag": answer["ETag"]}
        try:
            parts = _in_parallel(MAXThread, copy_part, _pieces(size_bytes, PartSize))
            return self.complete_multipart_upload(Bucket, Key, upload_id, {"Part": parts})
        except BaseException:
            self._abort_quietly(Bucket, Key, upload_id)
            raise

    def _head_source(self, source: Mapping[str, str], keywords: Mapping[str, Any]) -> Dict[str, Any]:
        head_keywords = {name[len("CopySource"):]: value for name, value in _only(keywords, _SOURCE_KEYWORDS).items()}
        if source.get("VersionId"):
            head_keywords["VersionId"] = source["VersionId"]
        bucket, key = self._source_name(source)
        request = self._request("HEAD", "Head Object", bucket, key, keywords=head_keywords)
        target = self._conf.copy_source_endpoint(source).locate(bucket, key)
        return self._requester.call(replace(request, target=target), lambda answer: dict(answer.headers))

    def _abort_quietly(self, bucket: str, key: str, upload_id: str) -> None:
        """Clean up after a failure, which is what the caller is to see."""
        try:
            self.abort_multipart_upload(bucket, key, upload_id)
        except CosException:
            log.warning("an unfinished upload of %s stays: it could not be aborted", key)

    def change_object_storage_class(self, Bucket: str, Key: str, StorageClass: str) -> Dict[str, Any]:
        """Copy an object onto itself. As in the SDK, its other headers are lost."""
        return self.update_object_meta(Bucket, Key, StorageClass=StorageClass)

    def update_object_meta(self, Bucket: str, Key: str, **kwargs: Any) -> Dict[str, Any]:
        """Copy an object onto itself with these headers and no others."""
        source = {"Bucket": Bucket, "Key": Key, "Endpoint": self._conf.endpoint.host}
        return self.copy_object(Bucket, Key, source, "Replaced", **kwargs)


def _read_piece(path: str, piece: _Piece) -> bytes:
    with open(path, "rb") as file:
        file.seek(piece.start)
        return file.read(piece.stop - piece.start)


def _is_piece(row: Mapping[str, Any], path: str, piece: _Piece) -> bool:
    if int(row["Size"]) != piece.stop - piece.start:
        return False
    digest = hashlib.md5(_read_piece(path, piece), usedforsecurity=False).hexdigest()
    return bool(row["ETag"].strip('"') == digest)


def _read_full(source: Any, size: int) -> bytes:
    """Up to ``size`` bytes; fewer at the end only."""
    parts = bytearray()
    while len(parts) < size:
        chunk = source.read(size - len(parts))
        if not chunk:
            break
        parts += chunk
    return bytes(parts)


def _save_range(answer: Mapping[str, Any], file: BinaryIO, piece: _Piece, *, enable_crc: bool) -> int:
    """Write one range of a download; returns its CRC-64, or 0 when that is not asked for."""
    expected = f"bytes {piece.start}-{piece.stop - 1}/"
    if not answer.get("Content-Range", "").startswith(expected):
        raise IntegrityError(f"asked for {expected[:-1]}, got {answer.get('Content-Range', 'everything')}")
    file.seek(piece.start)
    crc = received = 0
    for chunk in iter(lambda: answer["Body"].read(MIB), b""):
        file.write(chunk)
        received += len(chunk)
        if enable_crc:
            crc = crc64(chunk, crc)
    if received != piece.stop - piece.start:
        raise IntegrityError(f"{received} bytes of {expected[:-1]}")
    return crc
