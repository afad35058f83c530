"""Dicts of the public API from XML and to XML, in the shape that the official SDK gives them.

An element with children is a dict, one without is its text (None when empty), repeated ones are a list.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Sequence
from urllib.parse import unquote
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from cosfs.cos.xml import parse_root
from cosfs.errors import InvalidParameter


def to_dict(body: bytes, *, lists: Sequence[str] = ()) -> Dict[str, Any]:
    """The children of the root. ``lists``: names that are a list even when there is one of them."""
    root = parse_root(body)
    found = _children(root) if len(root) else {_local(root.tag): root.text, **_attributes(root)}
    return with_lists(found, lists)


def with_lists(found: Dict[str, Any], names: Sequence[str]) -> Dict[str, Any]:
    for name in names:
        if name in found and not isinstance(found[name], list):
            found[name] = [] if found[name] is None else [found[name]]
    return found


def url_decoded(found: Dict[str, Any], names: Sequence[str], rows: Mapping[str, str]) -> Dict[str, Any]:
    """Undo encoding-type=url in simple fields and in one field of each row of the lists named."""
    for name in names:
        if found.get(name):
            found[name] = unquote(found[name], errors="surrogateescape")
    for list_name, field in rows.items():
        for row in found.get(list_name, ()):
            if row.get(field):
                row[field] = unquote(row[field], errors="surrogateescape")
    return found


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _attributes(element: ElementTree.Element) -> Dict[str, Any]:
    return {_local(name): value for name, value in element.items()}


def _children(element: ElementTree.Element) -> Dict[str, Any]:
    collected: Dict[str, List[Any]] = {name: [value] for name, value in _attributes(element).items()}
    for child in element:
        collected.setdefault(_local(child.tag), []).append(_children(child) if len(child) else child.text)
    return {name: values[0] if len(values) == 1 else values for name, values in collected.items()}


def from_dict(root: str, value: Any) -> bytes:
    """A request body. Raises: InvalidParameter for a name or a text that XML cannot hold."""
    text = _element(root, value)
    try:
        ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError):
        raise InvalidParameter(f"the parameter for <{root}> cannot be written as XML") from None
    return text.encode("utf-8")


def _element(name: str, value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "".join(_element(name, item) for item in value)
    if isinstance(value, Mapping):
        inner = "".join(_element(str(key), item) for key, item in value.items())
    elif value is None:
        inner = ""
    elif isinstance(value, bool):
        inner = str(value).lower()
    else:
        inner = escape(str(value), {"\r": "&#13;", "\n": "&#10;", "\t": "&#9;"})
    return f"<{name}>{inner}</{name}>"
