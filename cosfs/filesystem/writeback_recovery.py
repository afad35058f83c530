"""What mounts in writeback mode that ended before everything was stored have left: stored by the next mount.

Run when a filesystem starts, before any name is served, and by ``cosfs recover``, which can also bring the files out to
the local disk. The rules for conflicts (``conflict=``) are those of an upload by the mount itself. What cannot be
stored stays in its journal, and is reported.

Threading: one thread, at the start; it uses the pool for names.
"""

from __future__ import annotations

import glob
import logging
import os
from dataclasses import dataclass
from typing import Dict, List, Optional, Sequence, Tuple

from cosfs.errors import CosfsError, StagingFailed, StagingFull
from cosfs.filesystem.context import Context
from cosfs.filesystem.openfile import OpenFile
from cosfs.filesystem.rename_recovery import Recovered
from cosfs.filesystem.writeback_journal import PREFIX, Journal, JournalDamaged, Waiting, files_wait, in_use, peek
from cosfs.namespace.paths import join
from cosfs.units import MIB
from cosfs.writing.staging import sync_folder

log = logging.getLogger(__name__)

_LOGGED_FILES = 20
_PIECE_BYTES = 4 * MIB
_NEXT_STEP = "cosfs recover --list shows it, --export DIR brings it out"


@dataclass(frozen=True)
class Listed:
    """A file that waits. ``path`` from the root of the bucket. ``in_use``: a mount that lives is about to store it."""

    folder: str
    path: str
    size_bytes: int
    since_s: float
    failure: str
    in_use: bool


def waiting_files(state_folder: str) -> List[Listed]:
    """All files that wait in the journals of a bucket; changes nothing. Raises: JournalDamaged, StagingFailed."""
    return [file for folder in _folders(state_folder) for file in files_in_journal(folder)]


def files_in_journal(folder: str) -> List[Listed]:
    """The files that wait in one journal; none when it is gone. Raises: JournalDamaged, StagingFailed."""
    used = in_use(folder)
    prefix, rows = peek(folder)
    return [Listed(folder, _path(prefix, "", row), row.record.size_bytes, row.since_s, row.failure, used)
            for row in rows]


def recover_waiting(context: Context) -> List[Recovered]:
    """Store what waits in the journals that no living process has. What goes wrong is logged, and kept."""
    found = [_recover_one(context, folder) for folder in _folders(context.config.state_folder)]
    return [recovered for recovered in found if recovered is not None]


def _recover_one(context: Context, folder: str) -> Optional[Recovered]:
    try:
        journal = Journal.take_over(folder)
        if journal is None:
            return None
        try:
            return _store_all(context, journal)
        finally:
            journal.close()
    except (JournalDamaged, StagingFailed, StagingFull) as exc:
        log.error("%s cannot be used, and what waits there is not stored: %s", folder, exc)
        return Recovered(folder, f"cannot be used: {exc}", remains=True)


def _store_all(context: Context, journal: Journal) -> Optional[Recovered]:
    rows = journal.waiting()
    ours = [row for row in rows if row.record.key.startswith(context.config.prefix)]
    if not rows:
        return None
    if context.config.read_only or not ours:
        reason = "for a mount that may write" if context.config.read_only else "for a mount of their part of the bucket"
        outcome = f"{files_wait(len(rows))} {reason}"
        log.log(logging.WARNING if context.config.read_only else logging.INFO, "%s: %s", journal.folder, outcome)
        return Recovered(journal.folder, outcome, remains=True)
    log.info("%s: %s, and will be stored now", journal.folder, files_wait(len(ours)))
    by_key: Dict[str, List[Waiting]] = {}
    for row in ours:
        by_key.setdefault(row.record.key, []).append(row)
    left = [line for lines in context.names_pool.map_all(
        lambda rows: [_store(context, journal, row) for row in rows], by_key.values()) for line in lines if line]
    outcome = f"of {len(ours)} files that an ended mount had left {len(ours) - len(left)} are stored"
    if left:
        outcome += f", {len(left)} stay in the journal"
    log.warning("%s: %s", journal.folder, outcome)
    for line in left[:_LOGGED_FILES]:
        log.error("%s", line)
    return Recovered(journal.folder, outcome, left, len(rows) > len(ours) - len(left))


def _store(context: Context, journal: Journal, row: Waiting) -> str:
    """Returns why a file could not be stored."""
    file = _file(context, journal, row)
    try:
        file.take_up(journal, row)
        file.commit_taken_up(row.since_s)
        return ""
    except CosfsError as exc:
        try:
            file.note_failure(str(exc))
        except (StagingFull, StagingFailed) as inner:
            log.debug("the reason is not kept: %s", inner)
        return f"{file.path} ({file.size_bytes} bytes) waits in {journal.folder}: {exc}; {_NEXT_STEP}"
    finally:
        file.close()


def _file(context: Context, journal: Journal, row: Waiting) -> OpenFile:
    record = row.record
    return OpenFile(context, _path(journal.prefix, context.config.prefix, row), record.key, record.attributes,
                    record.base, exclusive=record.exclusive)


def export_waiting(context: Context, target: str, *, discard: bool) -> List[Tuple[str, str]]:
    """Write what waits to local files below ``target``; returns paths, and what went wrong with each ("").

    ``discard``: forget each file that was written whole. No file is overwritten.
    """
    outcome: List[Tuple[str, str]] = []
    for folder in _folders(context.config.state_folder):
        journal = Journal.take_over(folder)
        if journal is None:
            continue
        try:
            outcome += [_export(context, journal, row, target, discard=discard) for row in journal.waiting()
                        if row.record.key.startswith(context.config.prefix)]
        finally:
            journal.close()
    return outcome


def _export(context: Context, journal: Journal, row: Waiting, target: str, *, discard: bool) -> Tuple[str, str]:
    file = _file(context, journal, row)
    path = os.path.join(target, *_components(file.path))
    try:
        file.take_up(journal, row)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "xb") as local:
            missing = 0
            for start in range(0, file.size_bytes, _PIECE_BYTES):
                local.seek(start)
                try:
                    local.write(file.read(start, _PIECE_BYTES))
                except CosfsError as exc:
                    log.warning("%s: bytes from %d on cannot be had: %s", path, start, exc)
                    missing += min(_PIECE_BYTES, file.size_bytes - start)
            local.truncate(file.size_bytes)
            local.flush()
            os.fsync(local.fileno())
        sync_folder(os.path.dirname(path))
        if missing:
            return path, f"{missing} of its {file.size_bytes} bytes cannot be had, and are zeros"
        if discard:
            file.withdraw()
        return path, ""
    except (CosfsError, OSError) as exc:
        return path, str(exc)
    finally:
        file.close()


def _folders(state_folder: Optional[str]) -> Sequence[str]:
    return [] if state_folder is None else sorted(glob.glob(f"{glob.escape(state_folder)}/{PREFIX}*"))


def _path(theirs: str, ours: str, row: Waiting) -> str:
    """The path of a row of a mount with prefix ``theirs`` in one with prefix ``ours``, which is a part of that."""
    parts = _components(theirs[len(ours):]) if theirs.startswith(ours) else []
    path = "/"
    for name in (*parts, *_components(row.record.path)):
        path = join(path, name)
    return path


def _components(path: str) -> List[str]:
    return [name for name in path.split("/") if name not in ("", ".", "..")]
