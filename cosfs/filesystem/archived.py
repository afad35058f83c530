"""Archived objects: who wants their bytes is refused at once, and told how to have them restored.

Every way to the bytes of a stored object comes by here before a request for them is made: opening and truncating
(files.py), changing attributes (attribute_changes.py), copying on the service, as renames do (``Context.copy``). Where
the service alone knows better, because a restored copy has expired or another host has archived the object, its refusal
comes here as well (``refused``).

The log has one line for each object and state, which names the command that restores it. With ``restore=`` opening
starts the restore, once. Looking ahead starts none.

Threading: any thread; no lock is held over a request.
"""

from __future__ import annotations

import logging
import shlex
import threading
import time
from collections import OrderedDict
from typing import Callable, Optional

from cosfs.archive import RestoreOrder, Tier, is_archived, usual_duration
from cosfs.cos.interface import ObjectClient, ObjectInfo
from cosfs.errors import CosException, InvalidArgument, NotRestored, ObjectNotFound, RestoreInProgress
from cosfs.namespace.restores import Restored, RestoreStates, Version

log = logging.getLogger(__name__)

MOST_RESTORES_PER_S = 100.0
"""What the service takes ("Specifications and limits"); more would be refused."""

_MOST_REMEMBERED = 10_000
"""Objects that a line was logged for, or whose restore was tried."""

_AGAIN_S = 60.0
"""A restore that was tried, and maybe refused, is not tried by opening the file again before that."""

_LINES, _LINES_S = 100, 60.0
"""Lines of the log within so many seconds: a program that reads a whole archive must not fill the disk."""


class Turns:
    """At most ``per_s`` turns begin in a second; each waits for its own."""

    def __init__(self, per_s: float, clock: Callable[[], float], pause: Callable[[float], None]) -> None:
        self._interval_s = 1 / per_s
        self._clock = clock
        self._pause = pause
        self._lock = threading.Lock()
        self._next_s = 0.0

    def wait(self) -> None:
        with self._lock:
            now_s = self._clock()
            turn_s = max(self._next_s, now_s)
            self._next_s = turn_s + self._interval_s
        if turn_s > now_s:
            self._pause(turn_s - now_s)


class ArchiveGate:
    """``order``: what opening starts; None: nothing. ``prefix``: of the mount's keys. ``clock``: monotonic seconds.

    ``mount_point`` is for the command that the log names.
    """

    def __init__(self, client: ObjectClient, states: RestoreStates, *, order: Optional[RestoreOrder], prefix: str,
                 clock: Callable[[], float], pause: Callable[[float], None] = time.sleep) -> None:
        self.mount_point = ""
        self._client = client
        self._states = states
        self._order = order
        self._prefix = prefix
        self._clock = clock
        self._turns = Turns(MOST_RESTORES_PER_S, clock, pause)
        self._lock = threading.Lock()
        self._logged: OrderedDict[Version, Restored] = OrderedDict()
        self._tried: OrderedDict[Version, float] = OrderedDict()
        self._lines = 0
        self._lines_since_s = 0.0
        self._unlogged = 0

    def check(self, info: ObjectInfo, path: Optional[str] = None, *, opens: bool = False) -> None:
        """See that the bytes of a version can be had; at most one request, and for those that are not archived none.

        ``path``: None for that of its key. ``opens``: a program opens it, which starts the restore with ``restore=``.
        Raises: NotRestored.
        """
        version = (info.key, info.etag)
        state = self._state(info) if info.size_bytes else Restored.YES
        if state is Restored.YES:
            if self._logged:
                with self._lock:
                    self._logged.pop(version, None)  # when the restored copy is gone, that is worth a line again
            return
        path = self._path(info) if path is None else path
        if opens and state is Restored.NO and self._order is not None and self._claim(version):
            raise self._restoring(info, path, self._order)
        raise self._told(info, path, state)

    def refused(self, info: Optional[ObjectInfo], exc: CosException, path: Optional[str] = None, *,
                opens: bool = False) -> NotRestored:
        """What to raise when the service has refused to give, or to copy, bytes of an object for being archived.

        ``info``: None when it is not known which. ``opens``: as for ``check``.
        """
        if info is None:
            return NotRestored(str(exc))
        if is_archived(info.storage_class):
            self._states.forget((info.key, info.etag))  # HEAD tells
        else:
            self._states.note((info.key, info.etag), Restored.NO)
        path = self._path(info) if path is None else path
        if opens and self._order is not None and self._claim((info.key, info.etag)):
            return self._restoring(info, path, self._order)
        return self._told(info, path, Restored.NO)

    def restore(self, info: ObjectInfo, path: str, order: RestoreOrder) -> None:
        """Have an object restored, or its restored copy kept longer; waits for its turn. No error when that goes on.

        Raises: InvalidArgument (a tier that the class does not know), ObjectNotArchived, ObjectNotFound.
        """
        if usual_duration(info.storage_class, order.tier) is None:
            raise InvalidArgument(f"{path} is in {info.storage_class}, which knows no tier {order.tier.value}")
        version = (info.key, info.etag)
        self._turns.wait()
        try:
            begun = self._client.restore_object(info.key, order)
        except RestoreInProgress:
            begun = True
        if begun:
            self._states.note(version, Restored.ONGOING)
        else:
            self._states.forget(version)

    def _state(self, info: ObjectInfo) -> Restored:
        version = (info.key, info.etag)
        known = self._states.known(version)
        if known is not None:
            return known
        if not is_archived(info.storage_class):
            return Restored.YES
        try:
            found = self._client.head_object(info.key)
        except ObjectNotFound:
            return Restored.YES  # whoever goes on is told of that
        state = self._states.told(found)
        return state if found.etag == info.etag else Restored.YES  # likewise

    def _claim(self, version: Version) -> bool:
        """Whether the restore of a version is for the caller to start, and to log."""
        now_s = self._clock()
        with self._lock:
            tried_s = self._tried.get(version)
            if tried_s is not None and now_s - tried_s < _AGAIN_S:
                return False
            self._tried[version] = now_s
            self._tried.move_to_end(version)
            if len(self._tried) > _MOST_REMEMBERED:
                self._tried.popitem(last=False)
            self._remember_locked(version, Restored.NO)
            return True

    def _restoring(self, info: ObjectInfo, path: str, order: RestoreOrder) -> NotRestored:
        duration = usual_duration(info.storage_class, order.tier)
        if duration is None:  # a bucket may have both kinds
            order = RestoreOrder(order.days, Tier.STANDARD)
            duration = usual_duration(info.storage_class, order.tier)
        try:
            self.restore(info, path, order)
        except CosException as exc:
            self._log(f"{_named(info, path)}, and its restore cannot be started: {exc}")
        else:
            with self._lock:
                self._remember_locked((info.key, info.etag), Restored.ONGOING)
            self._log(f"{_named(info, path)}; its restore was started, for {order.days} "
                      f"day{'' if order.days == 1 else 's'}, and by {order.tier.value} usually takes {duration}")
        return NotRestored(f"{path} is not restored yet")

    def _told(self, info: ObjectInfo, path: str, state: Restored) -> NotRestored:
        version = (info.key, info.etag)
        with self._lock:
            told = self._logged.get(version) is state
            self._remember_locked(version, state)
        if not told:
            command = f"cosfs restore {shlex.quote(self.mount_point + path)}"
            self._log(f"{_named(info, path)} and "
                      + (f"being restored; wait for it with: {command} --wait" if state is Restored.ONGOING else
                         f"cannot be read or copied until it is restored: {command}"))
        return NotRestored(f"{path} is {state.value}")

    def _remember_locked(self, version: Version, state: Restored) -> None:
        self._logged[version] = state
        self._logged.move_to_end(version)
        if len(self._logged) > _MOST_REMEMBERED:
            self._logged.popitem(last=False)

    def _log(self, line: str) -> None:
        """Log a line, if there were not too many a moment ago; the next one then tells how many were left out."""
        with self._lock:
            now_s = self._clock()
            if now_s - self._lines_since_s >= _LINES_S:
                self._lines, self._lines_since_s = 0, now_s
            self._lines += 1
            if self._lines > _LINES:
                self._unlogged += 1
                return
            left_out, self._unlogged = self._unlogged, 0
        shown = "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in line)  # whatever is in names
        log.warning("%s", shown + (f" ({left_out} like this were not logged)" if left_out else ""))

    def _path(self, info: ObjectInfo) -> str:
        return "/" + info.key[len(self._prefix):]


def _named(info: ObjectInfo, path: str) -> str:
    """The begin of a line of the log. The class is left out where a lifecycle rule has archived the object since."""
    key = "" if info.key == path[1:] else f" (key {info.key})"
    known = is_archived(info.storage_class) or "TIERING" in info.storage_class
    return f"{path}{key} is archived" + (f" ({info.storage_class})" if known else "")
