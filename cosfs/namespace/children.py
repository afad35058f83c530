"""What the rows and common prefixes of a listing are in the directory that they lie in: its children, by name.

Used for listings with a delimiter (tree.py) and without (walk.py), which meet the same keys in different order. An
object and a directory of one component are two children; paths.py has their names.
"""

from __future__ import annotations

from typing import Dict, List, Mapping, Optional, Union

from cosfs.cos.interface import ListedObject, ListPage, ObjectClient
from cosfs.errors import CosServiceError
from cosfs.executor import WorkerPool
from cosfs.namespace.attributes import OLD_FOLDER_SUFFIX, is_old_directory
from cosfs.namespace.entries import Entry, Known, entry_of_info, entry_of_row
from cosfs.namespace.paths import OWN_CONTENT, component_to_name, has_path, is_beside, name_beside


def add_page(names: Dict[str, Entry], prefix: str, page: ListPage, hidden: List[str]) -> None:
    """Note the children of a directory that a page of its listing tells, and in ``hidden`` the keys without a path."""
    for common in page.prefixes:
        if add_directory(names, common, common[len(prefix):-1], marker=None) is None:
            hidden.append(common)  # noqa: PERF401
    for row in page.objects:
        add_object(names, row, row.key[len(prefix):], hidden)


def add_directory(names: Dict[str, Entry], key: str, component: str, *,
                  marker: Union[ListedObject, bool, None]) -> Optional[str]:
    """Note a directory; returns its name, None when no path can hold it.

    ``marker``: the row of its marker, False when there is none, None when that is not known.
    """
    name = component_to_name(component, first=len(component) + 1 == len(key))
    known = None if name is None else names.get(name)
    if known is not None and not known.is_directory:
        name = name_beside(component)
    if name is not None and name not in names:
        names[name] = directory_entry(key, marker)
    return name


def directory_entry(key: str, marker: Union[ListedObject, bool, None]) -> Entry:
    if isinstance(marker, ListedObject) and has_path(key):
        return entry_of_row(marker, is_directory=True)
    return Entry(key, is_directory=True, marker=None if marker is None and has_path(key) else False)


def add_object(names: Dict[str, Entry], row: ListedObject, component: str, hidden: List[str]) -> None:
    """Note an object as the child that the last component of its key names, or in ``hidden`` when it has no path.

    A directory of the same component makes room. An old folder's object wins over a bare prefix: whoever removes
    the directory must remove that object.
    """
    if not component and not row.size_bytes:
        return  # the directory's own marker
    first = len(component) == len(row.key)
    old_folder = component.endswith(OLD_FOLDER_SUFFIX) and row.size_bytes == 0
    if old_folder:
        component = component[:-len(OLD_FOLDER_SUFFIX)]
    name: Optional[str] = None if old_folder else OWN_CONTENT
    if component:
        name = component_to_name(component, first=first)
    known = None if name is None else names.get(name)
    if name is None or not has_path(row.key) or (old_folder and known is not None and not known.is_directory):
        hidden.append(row.key)
        return
    if known is not None and known.is_directory and not old_folder:
        beside = name_beside(component)
        if beside is None:
            hidden.append(known.key)
        else:
            names[beside] = known
    names[name] = entry_of_row(row, is_directory=old_folder)


def possible_names(row: ListedObject, prefix: str) -> List[Optional[str]]:
    """The names under which the child that a row belongs to may be shown; empty for the directory's marker."""
    component, slash, _ = row.key[len(prefix):].partition("/")
    if row.key == prefix:
        return [OWN_CONTENT] if row.size_bytes else []
    plain = component_to_name(component, first=not prefix)
    return [plain, name_beside(component)] if slash else [plain]


def settle_twins(names: Dict[str, Entry], prefix: str, own: Mapping[str, Known], client: ObjectClient,
                 pool: WorkerPool) -> List[str]:
    """Give directories their plain names where what has it is no other thing; returns the names that go.

    That is an empty object which is the directory by its headers, and listings do not tell (one HEAD each); or, for
    a moment, an object that somebody has put beside a directory of our own.
    """
    twins = {name: component_to_name(names[name].key[len(prefix):-1], first=not prefix)
             for name in names if is_beside(name)}
    asked = {name: pool.submit(_old_directory, client, names[plain].key)
             for name, plain in twins.items() if plain and not names[plain].size_bytes}
    gone = []
    for name, plain in twins.items():
        entry = asked[name].result() if name in asked else None
        known = own.get(plain) if plain else None
        if isinstance(known, Entry) and known.is_directory:
            entry = known
        if plain and entry is not None:
            names[plain] = entry
            del names[name]
            gone.append(name)
    return gone


def _old_directory(client: ObjectClient, key: str) -> Optional[Entry]:
    """The directory that an empty object stands for, if its headers say so."""
    try:
        info = client.head_object(key)
    except CosServiceError:
        return None  # whoever looks at it is told
    return entry_of_info(info, is_directory=True) if is_old_directory(info) else None
