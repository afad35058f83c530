"""An ``ObjectClient`` in memory, strict like the service, with counted calls and faults on order.

::

    client = MemoryClient()
    client.fail("upload_part", ServiceUnavailable(...), nth=2)        # the second call from now on, counted per name
    gate = client.block("get_object", after_bytes=1024)               # the next one stops when 1,024 bytes arrived
    gate.wait_entered(); ...; gate.open()

Threading: calls may come from any thread; blocked calls hold no lock.
"""

from __future__ import annotations

import hashlib
import itertools
import threading
from dataclasses import dataclass, field, replace
from typing import Any, Callable, Counter, Dict, List, Optional, Sequence, Tuple
from urllib.parse import parse_qsl

from cosfs.cos.crc64 import crc64
from cosfs.cos.interface import (
    BucketInfo,
    CopySource,
    DeleteFailure,
    ListedObject,
    ListPage,
    ObjectClient,
    ObjectHeaders,
    ObjectInfo,
    PendingUpload,
    ProgressCallback,
    StoredObject,
    Tags,
    UploadBody,
    UploadedPart,
)
from cosfs.errors import CosServiceError, InvalidParameter, service_error

WAIT_S = 10.0
"""Hard limit of every wait: a test that hangs fails."""


@dataclass(frozen=True)
class Call:
    """One call: the operation, the key it is about, and what else is worth asserting."""

    operation: str
    key: str
    detail: Dict[str, Any] = field(default_factory=dict)


@dataclass
class Gate:
    """Holds one call until :meth:`open`."""

    after_bytes: int = 0
    _entered: threading.Event = field(default_factory=threading.Event)
    _opened: threading.Event = field(default_factory=threading.Event)

    def wait_entered(self) -> None:
        assert self._entered.wait(WAIT_S), "the blocked call never came"

    def open(self) -> None:
        self._opened.set()

    def pass_through(self) -> None:
        self._entered.set()
        assert self._opened.wait(WAIT_S), "nobody opened the gate"


@dataclass(frozen=True)
class Stored:
    body: bytes
    info: ObjectInfo


@dataclass
class _Upload:
    key: str
    headers: ObjectHeaders
    initiated_s: float
    parts: Dict[int, Tuple[bytes, UploadedPart]] = field(default_factory=dict)


def error(status: int, code: str, key: str = "") -> CosServiceError:
    """The exception that an answer of the service with this status and code becomes."""
    return service_error("TEST", {"code": code, "message": code, "resource": key, "requestid": "memory",
                                  "traceid": ""}, status)


def _as_get_shows(info: ObjectInfo) -> ObjectInfo:
    """Without a Content-Disposition, which the service may have made up on a GET."""
    standard = {name: value for name, value in info.headers.standard.items() if name != "Content-Disposition"}
    complete = len(standard) == len(info.headers.standard)
    return replace(info, headers=replace(info.headers, standard=standard), complete=complete)


def _bytes_of(body: UploadBody) -> bytes:
    return bytes(body) if isinstance(body, (bytes, bytearray, memoryview)) else b"".join(map(bytes, body.chunks()))


class MemoryClient(ObjectClient):
    """``clock``: source of Last-Modified. ``min_part_bytes``: smallest part, except the last. ``chunk_bytes``: step of
    ``on_progress``.
    """

    def __init__(self, *, clock: Callable[[], float] = lambda: 1_700_000_000.0, min_part_bytes: int = 1024 * 1024,
                 max_parts: int = 10_000, chunk_bytes: int = 64 * 1024) -> None:
        self.objects: Dict[str, Stored] = {}
        self.calls: List[Call] = []
        self._clock = clock
        self._min_part_bytes = min_part_bytes
        self._max_parts = max_parts
        self._chunk_bytes = chunk_bytes
        self._uploads: Dict[str, _Upload] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.RLock()
        self._counts: Counter[str] = Counter()
        self._faults: Dict[Tuple[str, int], BaseException] = {}
        self._gates: Dict[Tuple[str, int], Gate] = {}
        self._undeletable: Dict[str, str] = {}
        self._tags: Dict[str, Tags] = {}

    # What tests use.

    def add(self, key: str, body: bytes, headers: ObjectHeaders = ObjectHeaders()) -> ObjectInfo:  # noqa: B008
        """Put an object there as another host would: uncounted."""
        with self._lock:
            self._store(key, bytes(body), headers, hashlib.md5(body).hexdigest())
            return self.objects[key].info

    def body(self, key: str) -> bytes:
        return self.objects[key].body

    def count(self, operation: str) -> int:
        with self._lock:
            return self._counts[operation]

    def calls_of(self, operation: str) -> List[Call]:
        with self._lock:
            return [call for call in self.calls if call.operation == operation]

    def fail(self, operation: str, exc: BaseException, *, nth: int = 1) -> None:
        """Let the n-th call of ``operation`` from now on fail before it has done anything."""
        with self._lock:
            self._faults[operation, self.count(operation) + nth] = exc

    def forget_faults(self) -> None:
        """Faults that were ordered and have not happened do not happen."""
        with self._lock:
            self._faults.clear()

    def refuse_delete(self, key: str, code: str) -> None:
        """Make Delete Multiple name the key as not deleted."""
        self._undeletable[key] = code

    def block(self, operation: str, *, nth: int = 1, after_bytes: int = 0) -> Gate:
        """Hold the n-th call of ``operation`` from now on; ``get_object`` after that many bytes arrived."""
        gate = Gate(after_bytes)
        with self._lock:
            self._gates[operation, self.count(operation) + nth] = gate
        return gate

    def pending_uploads(self) -> List[str]:
        """The keys of uploads that were neither completed nor aborted."""
        with self._lock:
            return [upload.key for upload in self._uploads.values()]

    # The Protocol.

    def head_object(self, key: str) -> ObjectInfo:
        self._enter("head_object", key)
        with self._lock:
            return replace(self._find(key).info, served_s=self._clock())

    def get_object(self, key: str, buffer: memoryview, *, start: int = 0, if_match: Optional[str] = None,
                   on_progress: Optional[ProgressCallback] = None) -> ObjectInfo:
        gate = self._enter("get_object", key, start=start, stop=start + len(buffer))
        with self._lock:
            found = self._find(key, if_match)
        if not len(buffer) or start + len(buffer) > len(found.body):
            raise error(416, "InvalidRange", key)
        done = 0
        while done < len(buffer):
            if gate is not None and done >= gate.after_bytes:
                gate.pass_through()
                gate = None
            stop = min(done + self._chunk_bytes, len(buffer))
            if gate is not None:
                stop = min(stop, gate.after_bytes)
            buffer[done:stop] = found.body[start + done:start + stop]
            done = stop
            if on_progress is not None:
                on_progress(done)
        return replace(_as_get_shows(found.info), served_s=self._clock())

    def put_object(self, key: str, body: UploadBody, *, headers: ObjectHeaders,
                   forbid_overwrite: bool = False) -> StoredObject:
        data = _bytes_of(body)
        self._enter("put_object", key, size=len(data), headers=headers)
        with self._lock:
            self._refuse_overwrite(key, forbid_overwrite)
            return self._store(key, data, headers, hashlib.md5(data).hexdigest())

    def get_object_tagging(self, key: str) -> Tags:
        self._enter("get_object_tagging", key)
        with self._lock:
            self._find(key)
            return self._tags.get(key, ())

    def delete_object(self, key: str) -> None:
        self._enter("delete_object", key)
        with self._lock:
            self.objects.pop(key, None)

    def delete_objects(self, keys: Sequence[str]) -> Tuple[DeleteFailure, ...]:
        self._enter("delete_objects", "", keys=tuple(keys))
        if not 0 < len(keys) <= 1000:
            raise error(400, "MalformedXML")
        with self._lock:
            for key in keys:
                if key not in self._undeletable:
                    self.objects.pop(key, None)
        return tuple(DeleteFailure(key, self._undeletable[key], "") for key in keys if key in self._undeletable)

    def copy_object(self, source_key: str, key: str, *, headers: Optional[ObjectHeaders] = None,
                    storage_class: Optional[str] = None, if_match: Optional[str] = None,
                    forbid_overwrite: bool = False) -> StoredObject:
        self._enter("copy_object", key, source=source_key, headers=headers, storage_class=storage_class)
        with self._lock:
            source = self._find(source_key, if_match)
            self._refuse_overwrite(key, forbid_overwrite)
            if headers is None:
                if source_key == key:
                    raise error(400, "InvalidRequest", key)
                headers = replace(source.info.headers, storage_class=storage_class, extra={})
            tags = self._tags.get(source_key, ())
            return self._store(key, source.body, headers, hashlib.md5(source.body).hexdigest(), tags=tags)

    def list_objects(self, prefix: str, *, delimiter: str = "", marker: str = "",
                     max_keys: int = 1000, on_next: Optional[Callable[[str], None]] = None) -> ListPage:
        self._enter("list_objects", prefix, marker=marker)
        page = self._page(prefix, delimiter, marker, max_keys)
        if on_next is not None and page.next_marker is not None:
            on_next(page.next_marker)
        return page

    def _page(self, prefix: str, delimiter: str, marker: str, max_keys: int) -> ListPage:
        rows: List[ListedObject] = []
        prefixes: List[str] = []
        last = ""
        with self._lock:
            for key in sorted(self.objects, key=lambda key: key.encode()):
                cut = key.find(delimiter, len(prefix)) if delimiter else -1
                name = key if cut < 0 else key[:cut + len(delimiter)]
                if not key.startswith(prefix) or name.encode() <= marker.encode() or name in prefixes[-1:]:
                    continue
                if len(rows) + len(prefixes) == max_keys:
                    return ListPage(tuple(rows), tuple(prefixes), last)
                last = name
                if cut < 0:
                    info = self.objects[key].info
                    rows.append(ListedObject(key, info.size_bytes, info.etag, info.last_modified_s,
                                             info.storage_class))
                else:
                    prefixes.append(name)
        return ListPage(tuple(rows), tuple(prefixes))

    def create_multipart_upload(self, key: str, *, headers: ObjectHeaders,
                                forbid_overwrite: bool = False) -> str:
        self._enter("create_multipart_upload", key, headers=headers)
        with self._lock:
            self._refuse_overwrite(key, forbid_overwrite)
            upload_id = f"upload-{next(self._numbers)}"
            self._uploads[upload_id] = _Upload(key, headers, self._clock())
            return upload_id

    def upload_part(self, key: str, upload_id: str, number: int, body: UploadBody) -> UploadedPart:
        data = _bytes_of(body)
        self._enter("upload_part", key, number=number, size=len(data))
        return self._add_part(key, upload_id, number, data, crc64(data))

    def upload_part_copy(self, key: str, upload_id: str, number: int, source: CopySource) -> UploadedPart:
        self._enter("upload_part_copy", key, number=number, source=source)
        with self._lock:
            body = self._find(source.key, source.if_match).body
        if not 0 <= source.start < source.stop <= len(body):
            raise error(416, "InvalidRange", source.key)
        return self._add_part(key, upload_id, number, body[source.start:source.stop], None)

    def complete_multipart_upload(self, key: str, upload_id: str, parts: Sequence[UploadedPart], *,
                                  forbid_overwrite: bool = False) -> StoredObject:
        self._enter("complete_multipart_upload", key, parts=tuple(parts))
        with self._lock:
            upload = self._upload(key, upload_id)
            numbers = [part.number for part in parts]
            if not parts or numbers != sorted(set(numbers)):
                raise error(400, "InvalidPartOrder", key)
            bodies = []
            for part in parts:
                data, known = upload.parts.get(part.number, (b"", None))
                if known is None or known.etag != part.etag:
                    raise error(400, "InvalidPart", key)
                bodies.append(data)
            if any(len(data) < self._min_part_bytes for data in bodies[:-1]):
                raise error(400, "EntityTooSmall", key)
            self._refuse_overwrite(key, forbid_overwrite)
            del self._uploads[upload_id]
            body = b"".join(bodies)
            # Not the formula of S3: the service's multipart ETags cannot be computed from the parts.
            etag = f"{hashlib.md5(b'cos' + body).hexdigest()}-{len(parts)}"
            return self._store(key, body, upload.headers, etag)

    def abort_multipart_upload(self, key: str, upload_id: str) -> None:
        self._enter("abort_multipart_upload", key)
        with self._lock:
            self._uploads.pop(upload_id, None)

    def list_multipart_uploads(self, prefix: str = "") -> Tuple[PendingUpload, ...]:
        self._enter("list_multipart_uploads", prefix)
        with self._lock:
            return tuple(PendingUpload(upload.key, upload_id, upload.initiated_s)
                         for upload_id, upload in self._uploads.items() if upload.key.startswith(prefix))

    def head_bucket(self) -> BucketInfo:
        self._enter("head_bucket", "")
        return BucketInfo("memory")

    def close(self) -> None:
        pass

    def _enter(self, operation: str, key: str, **detail: Any) -> Optional[Gate]:
        """Count a call, fail it or hold it; returns a gate that stands further inside."""
        with self._lock:
            self.calls.append(Call(operation, key, detail))
            self._counts[operation] += 1
            turn = operation, self._counts[operation]
            fault = self._faults.pop(turn, None)
            gate = self._gates.pop(turn, None)
        if gate is not None and not gate.after_bytes:
            gate.pass_through()
            gate = None
        if fault is not None:
            raise fault
        return gate

    def _find(self, key: str, if_match: Optional[str] = None) -> Stored:
        if key not in self.objects:
            raise error(404, "NoSuchKey", key)
        found = self.objects[key]
        if if_match is not None and found.info.etag != if_match:
            raise error(412, "PreconditionFailed", key)
        return found

    def _refuse_overwrite(self, key: str, forbidden: bool) -> None:
        if forbidden and key in self.objects:
            raise error(409, "FileAlreadyExists", key)

    def _store(self, key: str, body: bytes, headers: ObjectHeaders, etag: str, *, tags: Tags = ()) -> StoredObject:
        extra = dict(headers.extra)
        self._tags[key] = tags = tags or tuple(parse_qsl(extra.pop("x-cos-tagging", "")))
        headers = replace(headers, extra=extra)
        info = ObjectInfo(key, len(body), etag, float(int(self._clock())), headers,
                          headers.storage_class or "STANDARD", crc64(body), tag_count=len(tags))
        self.objects[key] = Stored(body, info)
        return StoredObject(etag, info.crc64, None, info.last_modified_s)

    def _upload(self, key: str, upload_id: str) -> _Upload:
        upload = self._uploads.get(upload_id)
        if upload is None or upload.key != key:
            raise error(404, "NoSuchUpload", key)
        return upload

    def _add_part(self, key: str, upload_id: str, number: int, data: bytes, crc: Optional[int]) -> UploadedPart:
        if not 1 <= number <= self._max_parts:
            raise InvalidParameter(f"part number {number}")
        part = UploadedPart(number, hashlib.md5(data).hexdigest(), len(data), crc)
        with self._lock:
            self._upload(key, upload_id).parts[number] = (data, part)
        return part
