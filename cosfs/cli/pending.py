"""Uploads in parts that were neither finished nor aborted: finding, showing and aborting them.

Used by ``cosfs uploads`` (uploads.py) and by the C++ tool's ``cosfs -u`` (mount.py).
"""

from __future__ import annotations

import sys
import time
from typing import List, Optional, Sequence

from cosfs.config import MountConfig
from cosfs.cos.client import BucketClient
from cosfs.cos.interface import PendingUpload
from cosfs.daemon import configure_logging
from cosfs.errors import CosException
from cosfs.executor import WorkerPool
from cosfs.mount import client_config, credentials_of
from cosfs.preflight import MountError, explain, source_of

_ABORTS_AT_ONCE = 16


class Uploads:
    """Those of a bucket, below the prefix of its mount. Context manager."""

    def __init__(self, config: MountConfig) -> None:
        """Raises: MountError."""
        self._connection = config.connection
        self._prefix = config.filesystem.prefix
        self._keys = credentials_of(config.connection)
        self._client = BucketClient(client_config(config.connection, self._keys))

    def __enter__(self) -> Uploads:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def find(self, prefix: str = "", *, older_than_s: float = 0.0) -> List[PendingUpload]:
        """By key, then by age; on any number of pages. Raises: MountError."""
        try:
            found = self._client.list_multipart_uploads(self._prefix + prefix)
        except CosException as exc:
            raise MountError(explain(exc, self._connection, source_of(self._keys))) from exc
        latest_s = time.time() + self._client.learned.clock_offset_s - older_than_s
        return sorted((upload for upload in found if not older_than_s or upload.initiated_s <= latest_s),
                      key=lambda upload: (upload.key, upload.initiated_s))

    def abort(self, uploads: Sequence[PendingUpload]) -> int:
        """Abort all, several at a time; says which could not be, and returns how many."""
        def abort(upload: PendingUpload) -> Optional[str]:
            try:
                self._client.abort_multipart_upload(upload.key, upload.upload_id)
            except CosException as exc:
                reason = " ".join(str(exc).split())
                return f"{printable(upload.key)} ({upload.upload_id}) could not be aborted: {reason}"
            return None
        pool = WorkerPool("cosfs-abort", _ABORTS_AT_ONCE)
        try:
            problems = [problem for problem in pool.map_all(abort, uploads) if problem]
        finally:
            pool.close()
        for problem in problems:
            print(f"cosfs: {problem}", file=sys.stderr)
        return len(problems)


def show(uploads: Sequence[PendingUpload]) -> None:
    """A line each: when it was begun, its id, its key."""
    for upload in uploads:
        begun = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(upload.initiated_s))
        print(f"{begun}  {upload.upload_id}  {printable(upload.key)}")


def printable(key: str) -> str:
    """A key on one line, in any terminal."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode("ascii")
                   for char in key)


def agreed(question: str) -> bool:
    """Ask for a y on standard input; at its end the answer is no."""
    print(question, end=" ", flush=True)
    answer = sys.stdin.readline()
    if not answer:
        print()
    return answer.strip().lower() in ("y", "yes")


def utility(config: MountConfig) -> int:
    """The C++ tool's utility mode: show all, ask, abort all. Returns the exit status. Raises: MountError."""
    configure_logging(config.log_level, config.log_file, foreground=True, as_json=config.log_as_json)
    with Uploads(config) as uploads:
        found = uploads.find()
        if not found:
            print("There is no unfinished multipart upload.")
            return 0
        show(found)
        if not agreed("Would you remove all objects? [Y/N]"):
            print("Nothing was removed.")
            return 0
        failed = uploads.abort(found)
        print(f"{len(found) - failed} removed.")
        return int(failed > 0)
