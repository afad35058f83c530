"""The keys, the bucket, its region, and each permission that a mount needs.

What reads is tried on what is there. What writes is tried only if that is asked for, on one object and its uploads, of
a name that nobody else has, below the prefix; all is removed again, also when the examination is broken off.
"""

from __future__ import annotations

import logging
import re
import time
import uuid
from dataclasses import replace
from typing import Callable, List, Optional, Set, TypeVar
from urllib.parse import urlsplit

from cosfs.config import MountConfig
from cosfs.cos.client import BucketClient
from cosfs.cos.credentials import FoundCredentials
from cosfs.cos.interface import CopySource, ObjectHeaders, StoredObject
from cosfs.cos.renewal import RenewedCredentials
from cosfs.cos.retry import RetryPolicy
from cosfs.cos.token_end import SOON_S, span
from cosfs.doctor.findings import Check, Outcome, ok, skipped, warning
from cosfs.doctor.network import Hello
from cosfs.errors import AccessDenied, CosException, CosServiceError, ObjectArchived, ObjectNotFound
from cosfs.mount import client_config, credentials_of
from cosfs.preflight import CONNECT_TIMEOUT_S, MountError, explain, find_bucket, source_of

log = logging.getLogger(__name__)

KEYS = "Keys and bucket"
PERMISSIONS = "Permissions"
RETRY = RetryPolicy(attempts=2, deadline_s=CONNECT_TIMEOUT_S)
"""One more sending, for a connection that was cut by chance."""
SAMPLE_KEYS = 100
"""Rows looked at for an object to read; folders' markers have no content."""
TEST_NAME = ".cosfs-doctor-"
TEST_BODY = b"written by cosfs doctor, which removes it again\n"
_NO_OBJECT = "not tried: no object could be put"

_T = TypeVar("_T")
_REGION = re.compile(r"cos(?:-internal)?\.([a-z0-9-]+)\.(?:myqcloud\.com|tencentcos\.cn)")
_GLOBAL = frozenset(("accelerate", "accelerate-overseas"))
"""Stand where a region does in the endpoints of global acceleration."""


class Bucket:
    """The checks. ``hello``: gives the answer to the first request, which may name the region."""

    def __init__(self, config: MountConfig, hello: Callable[[], Optional[Hello]], *, write_test: bool) -> None:
        self._config = config
        self._connection = config.connection
        self._prefix = config.filesystem.prefix
        self._source = ""
        self._hello = hello
        self._write_test = write_test
        self._client: Optional[BucketClient] = None
        self._region_seen: Optional[str] = None
        self._answered = False
        self._sample: Optional[str] = None
        self._test_key = f"{self._prefix}{TEST_NAME}{uuid.uuid4().hex}"
        self._left_object = False
        self._left_upload: Optional[str] = None
        self._versioned = False
        self._told: Set[str] = set()
        """What findings have said of what is left."""

    def checks(self) -> List[Check]:
        return [
            Check(KEYS, "keys", self._keys),
            Check(KEYS, "bucket", self._bucket, ("keys", "answer")),
            Check(KEYS, "region", self._region, ("answer",)),
            Check(KEYS, "versioning", self._versioning, ("bucket",)),
            Check(PERMISSIONS, "list", self._list, ("bucket",)),
            Check(PERMISSIONS, "put", self._put, ("bucket",)),
            Check(PERMISSIONS, "head", self._head, ("bucket",)),
            Check(PERMISSIONS, "get", self._get, ("bucket",)),
            Check(PERMISSIONS, "copy", self._copy, ("bucket",)),
            Check(PERMISSIONS, "multipart", self._multipart, ("bucket",)),
            Check(PERMISSIONS, "delete", self._delete, ("bucket",)),
        ]

    def close(self) -> None:
        """Remove what the checks have not removed themselves. Blocks for a request or two, if there is anything."""
        client, key, upload_id = self._client, self._test_key, self._left_upload
        if client is None:
            return
        if upload_id is not None:
            self._remove(_upload(key, upload_id), lambda: client.abort_multipart_upload(key, upload_id))
        if self._left_object:
            self._remove(key, lambda: client.delete_object(key))
        client.close()

    def _remove(self, what: str, call: Callable[[], None]) -> None:
        try:
            call()
        except CosException as exc:
            if what not in self._told:
                log.error("%s could not be removed (%s); remove it by hand", what, exc)

    def _keys(self) -> Outcome:
        provider = credentials_of(self._connection)
        self._source = source_of(provider)
        settings = client_config(self._connection, provider)
        self._client = BucketClient(replace(
            settings, retry=RETRY, connect_timeout_s=min(settings.connect_timeout_s, CONNECT_TIMEOUT_S),
            read_timeout_s=min(settings.read_timeout_s, CONNECT_TIMEOUT_S)))
        if provider is None:
            return ok("none: requests are not signed, as public_bucket says")
        return _described(provider)

    def _bucket(self) -> Outcome:
        try:
            info, _ = find_bucket(self._usable(), self._prefix)
        except CosException as exc:
            raise MountError(explain(exc, self._connection, self._source)) from None
        self._answered = True
        if info is None:
            return ok(f"{self._connection.bucket} answers, to a listing only, as for keys limited to a prefix")
        self._region_seen = info.region
        return ok(f"{self._connection.bucket} answers" + (", in several zones" if info.multi_az else ""))

    def _region(self) -> Outcome:
        hello = self._hello()
        seen = [self._region_seen]
        if hello is not None:
            seen += [hello.headers.get(name) for name in ("x-cos-bucket-region", "x-amz-bucket-region")]
        there = next(filter(None, seen), None)
        match = _REGION.fullmatch(urlsplit(self._connection.url).hostname or "")
        named = match[1] if match and match[1] not in _GLOBAL else None
        if there is None:
            return skipped("not known: the answers name none")
        if named is None:
            return ok(f"{there}; url= names none to compare it with")
        if named == there:
            return ok(f"{there}, as in url=")
        text = f"url= names the region {named}, the bucket is in {there}"
        advice = f"write url={self._connection.url.replace(named, there)}"
        if self._answered:
            return warning(f"{text}, and answers all the same", advice)
        raise MountError(f"{text}; {advice}")

    def _versioning(self) -> Outcome:
        try:
            status = self._usable().get_bucket_versioning()
        except CosException as exc:
            reason = exc.code if isinstance(exc, CosServiceError) else str(exc)
            return skipped(f"not known ({reason}): there are no .versions, and no snapshot=",
                           "if you want them, grant the keys GetBucketVersioning and GetBucketObjectVersions")
        if not status:
            return ok("never enabled: there are no old versions, hence no .versions, and no snapshot=")
        return ok(f"{status.lower()}: old versions are in .versions of each folder")

    def _list(self) -> Outcome:
        page = self._permitted("listing", "GetBucket",
                               lambda: self._usable().list_objects(self._prefix, max_keys=SAMPLE_KEYS))
        readable = [row for row in page.objects if row.size_bytes and "ARCHIVE" not in row.storage_class]
        self._sample = readable[0].key if readable else None
        return ok(f"{len(page.objects)}{'' if page.next_marker is None else ' and more'} objects below "
                  f"/{self._prefix}")

    def _put(self) -> Outcome:
        if not self._writes():
            return self._not_tried()
        self._left_object = True  # also when the answer is lost
        try:
            self._permitted("putting objects", "PutObject", lambda: self._note(self._usable().put_object(
                self._test_key, TEST_BODY, headers=ObjectHeaders())))
        except MountError as exc:
            self._left_object = not isinstance(exc.__cause__, AccessDenied)
            raise
        self._sample = self._test_key
        return ok(f"put {self._test_key}, {len(TEST_BODY)} bytes")

    def _note(self, stored: StoredObject) -> None:
        self._versioned |= stored.version_id not in (None, "null")

    def _head(self) -> Outcome:
        return self._tried_on_sample("asking for objects", "HeadObject",
                                     lambda key: self._usable().head_object(key))

    def _get(self) -> Outcome:
        return self._tried_on_sample("reading objects", "GetObject",
                                     lambda key: self._usable().get_object(key, memoryview(bytearray(1))))

    def _tried_on_sample(self, what: str, action: str, call: Callable[[str], object]) -> Outcome:
        key = self._sample
        if key is None:
            return skipped(f"not tried: no object with content was seen below /{self._prefix}",
                           "" if self._writes() else "add --write-test, which makes one")
        try:
            self._permitted(what, action, lambda: call(key))
        except MountError as exc:
            if isinstance(exc.__cause__, (ObjectArchived, ObjectNotFound)):
                return skipped(f"not known: {key} cannot be read now ({exc.__cause__.code})", "try again")
            raise
        return ok(f"tried on {key}")

    def _copy(self) -> Outcome:
        if not self._writes():
            return self._not_tried()
        if not self._copies():
            return skipped("not needed by a mount with nocopyapi")
        if not self._left_object:
            return skipped(_NO_OBJECT)
        self._or_without_copies("copying objects", "PutObjectCopy", lambda: self._note(
            self._usable().copy_object(self._test_key, self._test_key, headers=ObjectHeaders())))
        return ok("copied the object onto itself, as a change of its mode does")

    def _copies(self) -> bool:
        return self._config.filesystem.server_copies

    def _or_without_copies(self, what: str, action: str, call: Callable[[], object]) -> None:
        try:
            self._permitted(what, action, call)
        except MountError as exc:
            if isinstance(exc.__cause__, AccessDenied):
                raise MountError(f"{exc}, or mount with nocopyapi") from exc.__cause__
            raise

    def _multipart(self) -> Outcome:
        if not self._writes():
            return self._not_tried()
        if not self._config.filesystem.multipart:
            return skipped("not needed by a mount with nomultipart")
        client, key = self._usable(), self._test_key
        upload_id = self._begun()
        part = self._permitted("sending parts", "UploadPart", lambda: client.upload_part(key, upload_id, 1, TEST_BODY))
        self._left_object = True  # also when the answer is lost
        self._permitted("completing multipart uploads", "CompleteMultipartUpload",
                        lambda: self._note(client.complete_multipart_upload(key, upload_id, [part])))
        self._left_upload = None
        upload_id = self._begun()
        if self._copies():
            self._or_without_copies("copying parts of objects", "UploadPartCopy", lambda: client.upload_part_copy(
                key, upload_id, 1, CopySource(key, 0, len(TEST_BODY))))
        try:
            self._permitted("aborting multipart uploads", "AbortMultipartUpload",
                            lambda: client.abort_multipart_upload(key, upload_id))
        except MountError as exc:
            self._told.add(_upload(key, upload_id))
            raise MountError(f"{exc}, and abort {_upload(key, upload_id)}") from exc
        self._left_upload = None
        return ok("stored the object in parts, started another upload and aborted it")

    def _begun(self) -> str:
        """The id of an upload, which ``close`` aborts if nothing else does."""
        self._left_upload = self._permitted(
            "starting multipart uploads", "InitiateMultipartUpload",
            lambda: self._usable().create_multipart_upload(self._test_key, headers=ObjectHeaders()))
        return self._left_upload

    def _delete(self) -> Outcome:
        if not self._writes():
            return self._not_tried()
        if not self._left_object:
            return skipped(_NO_OBJECT)
        try:
            self._permitted("deleting objects", "DeleteObject", lambda: self._usable().delete_object(self._test_key))
        except MountError as exc:
            self._told.add(self._test_key)
            raise MountError(f"{exc}, and delete {self._test_key}") from exc
        self._left_object = False
        notes = ["deleted it again"]
        advice = []
        try:
            self._permitted("deleting several objects at once", "DeleteMultipleObjects",
                            lambda: self._usable().delete_objects([self._test_key]))
        except MountError as exc:
            if not isinstance(exc.__cause__, AccessDenied):
                raise
            reason, _, grant = str(exc).partition("; ")
            notes.append(f"{reason}, so removed files leave one by one")
            advice.append(grant)
        if self._versioned:
            notes.append(f"the bucket keeps versions, and so those of {self._test_key} stay")
            advice.append("remove them in the console, or by a lifecycle rule")
        text = "; ".join(notes)
        return warning(text, "; ".join(advice)) if advice else ok(text)

    def _writes(self) -> bool:
        return self._write_test and not self._config.filesystem.read_only

    def _not_tried(self) -> Outcome:
        if self._config.filesystem.read_only:
            return skipped("not needed by a mount with ro")
        return skipped("not tried", "add --write-test, which writes and removes one object")

    def _usable(self) -> BucketClient:
        assert self._client is not None
        return self._client

    def _permitted(self, what: str, action: str, call: Callable[[], _T]) -> _T:
        """Raises: MountError, caused by the service's answer."""
        try:
            return call()
        except AccessDenied as exc:
            if isinstance(exc, ObjectArchived):
                raise MountError(str(exc)) from exc
            reason = f"HTTP {exc.status}" if exc.code == "Unknown" else exc.code
            resource = f"{self._connection.bucket}/{self._prefix}*"
            grant = f"{resource} to these keys" if self._connection.aws_v4 else f"name/cos:{action} on {resource}"
            raise MountError(f"{what} is denied ({reason}); grant {grant}") from exc
        except CosException as exc:
            raise MountError(explain(exc, self._connection, self._source)) from exc


def _upload(key: str, upload_id: str) -> str:
    return f"upload {upload_id} of {key}"


def _described(provider: FoundCredentials) -> Outcome:
    """Where the keys come from, and how long they last; never what they are."""
    credentials = provider.get()
    text = f"from {provider.source}"
    # of those that are asked for anew before they end, or whose token says when it does
    expires_s: Optional[float] = getattr(provider, "expires_s", None)
    if expires_s is not None:
        left_s = expires_s - time.time()
        if left_s <= 0:
            raise MountError(f"{text}: temporary, and ended; fetch new ones")
        text = f"{text}: temporary, for {span(left_s)} from now"
        if left_s < SOON_S and not isinstance(provider, RenewedCredentials):
            return warning(text, "fetch new ones; a mount takes them from a file when it changes")
        return ok(text)
    if credentials.token is not None:
        return ok(f"{text}: temporary (with a session token); when they end is not said")
    return ok(text)
