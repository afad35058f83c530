"""Which multipart uploads this process has open, on local disk: the next mount aborts what a killed one has left.

One file per process in the bucket's state folder, made with the first upload and locked (flock) as long as its process
lives; a line of JSON for each upload that begins (``{"id": …, "key": …}``) or ends (``{"ended": id}``), empty when none
is open. It is not synced: what a crash of the machine loses is an upload that stays in the bucket until its lifecycle
rule or ``cosfs uploads abort`` takes it away, never data.

Threading: everything may be used from any thread.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import tempfile
import threading
import time
from dataclasses import dataclass
from typing import Callable, Dict, List, Optional, Tuple

from cosfs.cos.interface import ObjectClient
from cosfs.errors import CosException

log = logging.getLogger(__name__)

_PREFIX, _SUFFIX = "uploads-", ".open"


@dataclass(frozen=True)
class OpenUpload:
    """An upload of this process. ``since_s``: of the monotonic clock. ``sent_bytes``: what has arrived of it."""

    key: str
    since_s: float
    sent_bytes: Callable[[], int]


class PendingUploads:
    """``folder`` None: nothing is kept."""

    def __init__(self, folder: Optional[str]) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._open: Dict[str, OpenUpload] = {}
        self._descriptor = -1
        self._path = ""

    def add(self, key: str, upload_id: str, sent_bytes: Callable[[], int]) -> None:
        with self._lock:
            self._open[upload_id] = OpenUpload(key, time.monotonic(), sent_bytes)
            self._note({"id": upload_id, "key": key})

    def remove(self, upload_id: str) -> None:
        with self._lock:
            self._open.pop(upload_id, None)
            self._note({"ended": upload_id})

    def told(self) -> List[OpenUpload]:
        """The uploads that are open now, the oldest first."""
        with self._lock:
            return list(self._open.values())

    def close(self) -> None:
        """Leave the file to the next mount if uploads are still open."""
        with self._lock:
            if self._descriptor >= 0:
                if not self._open:
                    os.unlink(self._path)
                os.close(self._descriptor)
                self._descriptor = -1
            self._folder = None

    def _note(self, line: Dict[str, str]) -> None:
        if self._folder is None:
            return
        try:
            if self._descriptor < 0:
                self._descriptor, self._path = tempfile.mkstemp(_SUFFIX, _PREFIX, self._folder)
                fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            if self._open:
                os.write(self._descriptor, json.dumps(line).encode() + b"\n")
            else:
                os.ftruncate(self._descriptor, 0)
                os.lseek(self._descriptor, 0, os.SEEK_SET)
        except OSError as exc:
            log.warning("uploads that a crash would leave behind cannot be noted in %s: %s", self._folder, exc.strerror)
            self._folder = None

    def abort_leftovers(self, client: ObjectClient) -> int:
        """Abort what processes that are gone have left; returns how many uploads. What fails is tried next time."""
        aborted = 0
        for path in self._files():
            try:
                descriptor = os.open(path, os.O_RDWR)
            except OSError as exc:
                if exc.errno != errno.ENOENT:
                    log.warning("cannot read %s: %s", path, exc.strerror)
                continue
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                left = [upload for upload in _read(descriptor) if not _abort(client, *upload)]
                aborted += len(_read(descriptor)) - len(left)
                if not left:
                    os.unlink(path)
            except OSError as exc:
                if exc.errno not in (errno.EWOULDBLOCK, errno.ENOENT):  # its process lives; or another one was faster
                    log.warning("cannot deal with %s: %s", path, exc.strerror)
            finally:
                os.close(descriptor)
        return aborted

    def _files(self) -> List[str]:
        if self._folder is None:
            return []
        try:
            names = os.listdir(self._folder)
        except OSError as exc:
            if exc.errno != errno.ENOENT:
                log.warning("cannot list %s: %s", self._folder, exc.strerror)
            return []
        return [os.path.join(self._folder, name) for name in names
                if name.startswith(_PREFIX) and name.endswith(_SUFFIX)]


def _read(descriptor: int) -> List[Tuple[str, str]]:
    """Keys and ids of the uploads that did not end; a line that was cut off tells nothing."""
    found: Dict[str, str] = {}
    for line in os.pread(descriptor, os.fstat(descriptor).st_size, 0).splitlines():
        try:
            entry = json.loads(line)
            if "ended" in entry:
                found.pop(entry["ended"], None)
            else:
                found[entry["id"]] = entry["key"]
        except (ValueError, KeyError, TypeError) as exc:
            log.debug("a damaged line of a list of uploads: %s", exc)
    return [(key, upload_id) for upload_id, key in found.items()]


def _abort(client: ObjectClient, key: str, upload_id: str) -> bool:
    try:
        client.abort_multipart_upload(key, upload_id)
    except CosException as exc:
        log.warning("upload %s of %s, which a mount that was killed has left, cannot be aborted: %s",
                    upload_id, key, exc)
        return False
    log.info("aborted upload %s of %s, which a mount that was killed has left", upload_id, key)
    return True
