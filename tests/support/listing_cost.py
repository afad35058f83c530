"""What listing a directory of many objects takes: ``python -m tests.support.listing_cost [NUMBER]``.

The pages come out of memory, so the time is what the filesystem itself needs for them.
"""

from __future__ import annotations

import resource
import sys
import time
from typing import Callable, Optional

from cosfs.config import FilesystemConfig
from cosfs.cos.interface import ListedObject, ListPage
from cosfs.errors import NoEntry
from cosfs.filesystem import CosFilesystem
from tests.support.memory_client import MemoryClient

_FORMAT = "many/file{:08d}"


class ManyObjects(MemoryClient):
    """``many/file00000000`` and so on, made for each page anew."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.lists = 0
        self._number = number

    def list_objects(self, prefix: str, *, delimiter: str = "", marker: str = "", max_keys: int = 1000,  # noqa: ARG002
                     on_next: Optional[Callable[[str], None]] = None) -> ListPage:
        self.lists += 1
        if prefix != "many/":
            return ListPage((), () if prefix else ("many/",))
        start = int(marker[-8:]) + 1 if marker else 0
        stop = min(self._number, start + max_keys)
        following = _FORMAT.format(stop - 1) if stop < self._number else None
        if following is not None and on_next is not None:
            on_next(following)
        return ListPage(tuple(ListedObject(_FORMAT.format(number), 64, f"{number:032x}", 1_700_000_000.0)
                              for number in range(start, stop)), (), following)


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    client = ManyObjects(number)
    filesystem = CosFilesystem(client, FilesystemConfig())
    before, began = _peak_bytes(), time.process_time()
    found = len(filesystem.readdir("/many"))
    print(f"{found} names: {time.process_time() - began:.1f} s of CPU, {client.lists} LISTs, "
          f"at most {(_peak_bytes() - before) / found:.0f} bytes a name")
    client.lists = 0
    try:
        filesystem.getattr("/many/nothing")
    except NoEntry:
        print(f"a lookup there: {client.lists} LISTs")
    filesystem.stop()


if __name__ == "__main__":
    main()
