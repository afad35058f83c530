"""Paths and keys: ordinary names are the same in both, all others come back as they were."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosfs.errors import NameTooLong
from cosfs.namespace.paths import KeySpace, component_to_name, is_inside, join, name_to_component, split

NAMES = st.binary(min_size=1, max_size=60).filter(
    lambda raw: b"/" not in raw and b"\0" not in raw and raw not in (b".", b"..")
).map(lambda raw: raw.decode("utf-8", "surrogateescape"))


@given(NAMES)
def test_every_name_comes_back(name):
    component = name_to_component(name)
    component.encode("utf-8")  # a key is text
    assert component_to_name(component) == name


@given(NAMES, NAMES)
def test_two_names_have_two_keys(one, other):
    assert (name_to_component(one) == name_to_component(other)) == (one == other)


@given(st.text(alphabet="ab\u241b0ADC58\\\n", min_size=1, max_size=8))
def test_a_key_is_shown_under_a_name_that_leads_back_to_it_or_not_at_all(component):
    name = component_to_name(component)
    if name is not None:
        assert KeySpace("p/").file_key("/" + name) == "p/" + component or component.startswith("\u241b5C")


@pytest.mark.parametrize("name", ["a", "with space", "a+b", "100%", "a#b?c&d", "quote'\"", "目录", "tab\t", "a\x7f"])
def test_ordinary_names_are_stored_as_they_are(name):
    assert name_to_component(name) == name


@pytest.mark.parametrize(("name", "component"), [
    ("a\nb", "a\u241b0Ab"), ("a\rb", "a\u241b0Db"), ("\x18\x1b", "\u241b18\u241b1B"), ("\udcff", "\u241bFF"),
    ("\u241b", "\u241b\u241b"), ("\u241b0A", "\u241b\u241b0A")])
def test_what_the_service_refuses_is_escaped(name, component):
    assert name_to_component(name) == component


@pytest.mark.parametrize("component", ["", ".", "..", "a\0b", "x" * 256, "\u241bZZ", "\u241b20"])
def test_keys_without_a_name(component):
    assert component_to_name(component) is None


def test_prefix_and_directories():
    keys = KeySpace("base/")
    assert (keys.file_key("/a/b"), keys.directory_key("/a"), keys.directory_key("/")) == \
        ("base/a/b", "base/a/", "base/")
    assert KeySpace().directory_key("/") == ""


def test_a_key_never_begins_with_a_backslash():
    assert KeySpace().file_key("/\\a") == "\u241b5Ca"
    assert component_to_name("\u241b5Ca") == "\\a"
    assert KeySpace("p/").file_key("/\\a") == "p/\\a"


def test_names_and_keys_that_are_too_long_are_refused():
    with pytest.raises(NameTooLong):
        name_to_component("é" * 128)
    assert name_to_component("x" * 255) == "x" * 255
    long = "/" + "/".join(["y" * 200] * 4)
    assert len(KeySpace().file_key(long + "/" + "z" * 46)) == 850
    with pytest.raises(NameTooLong):
        KeySpace().file_key(long + "/" + "z" * 47)
    with pytest.raises(NameTooLong):
        KeySpace().directory_key(long + "/" + "z" * 46)


def test_split_join_and_inside():
    assert (split("/a"), split("/a/b"), split("/")) == (("/", "a"), ("/a", "b"), ("/", ""))
    assert (join("/", "a"), join("/a", "b")) == ("/a", "/a/b")
    assert is_inside("/a/b", "/a") and is_inside("/a", "/")
    assert not is_inside("/ab", "/a") and not is_inside("/a", "/a")
