"""Behaviours that hold for the filesystem alone and for a kernel mount, written once.

A scenario is a function of a ``World`` (tests/support/worlds.py) with an empty root, and of the ``Store``
(tests/support/stores.py) that shows what the bucket holds beneath it. ``needs`` names what a store must be able
to do; stores written by others lack some of it. Used by tests/fs and tests/mount.
"""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import Callable, FrozenSet, Iterator, List, NamedTuple

from tests.support.stores import Store
from tests.support.worlds import World

Function = Callable[[World, Store], None]


class Scenario(NamedTuple):
    function: Function
    needs: FrozenSet[str]

    @property
    def name(self) -> str:
        return self.function.__name__


_COLLECTED: List[Scenario] = []


def scenario(*needs: str) -> Callable[[Function], Function]:
    """Collect a function. ``needs``: "directories" (markers are kept), "directory_metadata", "copy" and "part_copy"
    (on the server), "any_name" (every key that the service allows)."""
    def collect(function: Function) -> Function:
        _COLLECTED.append(Scenario(function, frozenset(needs)))
        return function
    return collect


def all_scenarios() -> List[Scenario]:
    from tests.support.scenarios import attributes, directories, durability, files, names, open_files, renames

    assert {directories, files, names, open_files, renames, attributes, durability}
    assert len({one.name for one in _COLLECTED}) == len(_COLLECTED), "two scenarios have one name"
    return list(_COLLECTED)


@contextmanager
def refused(number: int) -> Iterator[None]:
    """The block must raise ``OSError`` with this errno."""
    try:
        yield
    except OSError as exc:
        got = errno.errorcode.get(exc.errno or 0, str(exc.errno))
        assert exc.errno == number, f"{got} instead of {errno.errorcode[number]}: {exc}"
    else:
        raise AssertionError(f"nothing raised instead of {errno.errorcode[number]}")
