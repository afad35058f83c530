"""copy_file_range(2): bytes of one open file become bytes of another without passing through here.

What is in the bucket is only noted in the target's extent map; when the target is stored the service copies it
(writing/plan.py). What is not stored yet is copied from the local disk.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Callable

from cosfs.errors import BadHandle
from cosfs.filesystem.context import Context
from cosfs.filesystem.openfile import OpenFile
from cosfs.filesystem.table import Handle, OpenFileTable
from cosfs.units import GIB, MIB
from cosfs.writing.extents import Remote, Run, Staged, Zero

_MOST_BYTES = 2 * GIB
"""What one call copies: the kernel's answer has 32 bits."""
_PIECE_BYTES = 4 * MIB


class CopyOperations:
    def __init__(self, context: Context, table: OpenFileTable) -> None:
        self._context = context
        self._table = table

    def copy_range(self, fh_in: int, offset_in: int, fh_out: int, offset_out: int, length: int) -> int:
        """Returns how many bytes were copied: fewer than asked for at the end of the source, or if they are many."""
        return self.copy_from(self._table.handle(fh_in), offset_in, fh_out, offset_out, length, lambda key: key)

    def copy_from(self, source: Handle, offset_in: int, fh_out: int, offset_out: int, length: int,
                  key_of: Callable[[str], str]) -> int:
        """Like ``copy_range``, from a file of another table. ``key_of``: what the objects that it is made of are called
        here."""
        target = self._table.handle(fh_out)
        if not target.writable or source.flags & os.O_ACCMODE == os.O_WRONLY:
            raise BadHandle(f"{source.file.path} to {target.file.path}: not open for that")
        stop = min(offset_in + min(length, _MOST_BYTES), source.file.size_bytes)
        for run in source.file.runs(offset_in, stop):
            at = offset_out + run.start - offset_in
            if isinstance(run.source, Staged):
                _copy_staged(source.file, target.file, run, at)
                continue
            assert isinstance(run.source, (Remote, Zero))
            copied = run.source
            if isinstance(copied, Remote):
                copied = replace(copied, key=key_of(copied.key))
                self._context.borrowed.add(copied.key, target.file)
            target.file.refer(at, at + run.stop - run.start, copied)
        return max(0, stop - offset_in)


def _copy_staged(source: OpenFile, target: OpenFile, run: Run, at: int) -> None:
    for start in range(run.start, run.stop, _PIECE_BYTES):
        target.write(at + start - run.start, source.read(start, min(_PIECE_BYTES, run.stop - start)))
