"""Paths and keys: ordinary names are the same in both, all others come back as they were."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosfs.errors import InvalidArgument, NameTooLong
from cosfs.namespace.paths import (
    KeySpace,
    component_to_name,
    has_path,
    is_beside,
    is_directory_name,
    is_inside,
    join,
    name_beside,
    name_to_component,
    split,
    unknown_begin,
)

RESERVED = ("\u241b-", "\u241b+", "\u241b~")
NAMES = st.binary(min_size=1, max_size=60).filter(
    lambda raw: b"/" not in raw and b"\0" not in raw and raw not in (b".", b"..")
).map(lambda raw: raw.decode("utf-8", "surrogateescape")).filter(lambda name: not name.startswith(RESERVED))
ODD = st.text(alphabet="a.\u241b-+~0ADCE58\\\n\x1b\x01\ufffeé", max_size=8)
COMPONENTS = st.one_of(ODD, st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), max_size=300),
                       st.builds("{0}{1}".format, ODD, st.sampled_from(["x" * 250, "é" * 126, "\n" * 251, "x" * 800])))


def as_the_kernel_sends(name):
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")


@given(NAMES)
def test_every_name_comes_back(name):
    component = name_to_component(name)
    component.encode("utf-8")  # a key is text
    assert component_to_name(component) == name


@given(NAMES, NAMES)
def test_two_names_have_two_keys(one, other):
    assert (name_to_component(one) == name_to_component(other)) == (one == other)


@given(COMPONENTS, st.booleans())
def test_every_component_has_a_name_that_leads_back_to_it(component, first):
    name = component_to_name(component, first=first)
    raw = name.encode("utf-8", "surrogateescape")
    assert 0 < len(raw) <= 255 and not set(raw) & set(b"/\0") and name not in (".", "..")
    assert name_to_component(as_the_kernel_sends(name), first=first) == component


@given(COMPONENTS, st.booleans())
def test_a_directory_beside_an_object_has_a_name_of_its_own(component, first):
    beside = name_beside(component)
    assert beside != component_to_name(component, first=first)
    assert name_to_component(as_the_kernel_sends(beside), first=first) == component
    assert is_beside(beside) == is_directory_name(beside) == bool(component)


@given(st.text(alphabet="a.\u241b-+~0A\\\n", min_size=1, max_size=8).map(lambda end: "\u241b" + end), st.booleans())
def test_a_name_stands_for_one_component_or_for_nothing(name, first):
    try:
        component = name_to_component(name, first=first)
    except InvalidArgument:
        assert name.startswith(RESERVED)
    else:
        assert name in (component_to_name(component, first=first), name_beside(component))


@pytest.mark.parametrize("name", ["a", "with space", "a+b", "100%", "a#b?c&d", "quote'\"", "目录", "tab\t", "a\x7f",
                                  "\ufffe", "a\x01", ".a", "...", "\u200b"])
def test_ordinary_names_are_stored_as_they_are(name):
    assert name_to_component(name) == name
    assert component_to_name(name) == name


@pytest.mark.parametrize(("name", "component"), [
    ("a\nb", "a\u241b0Ab"), ("a\rb", "a\u241b0Db"), ("\x18\x1b", "\u241b18\u241b1B"), ("\udcff", "\u241bFF"),
    ("\u241b", "\u241b\u241b"), ("\u241b0A", "\u241b\u241b0A"), ("a\u241b-", "a\u241b\u241b-")])
def test_what_the_service_refuses_is_escaped(name, component):
    assert name_to_component(name) == component
    assert component_to_name(component) == name


@pytest.mark.parametrize(("component", "name"), [
    ("", "\u241b-"), (".", "\u241b-."), ("..", "\u241b-.."), ("\u241bZZ", "\u241b-\u241bZZ"),
    ("\u241b20", "\u241b-\u241b20"), ("a\nb", "\u241b-a\nb"), ("a\u241b5Cb", "\u241b-a\u241b5Cb"),
    ("\u241b-x", "\u241b-\u241b-x"), ("\u241b\u241b-x", "\u241b-\u241b\u241b-x"),
    ("\u241bC3\u241bA9", "\u241b-\u241bC3\u241bA9")])  # bytes that together are UTF-8 would come back as é
def test_what_no_name_is_stored_as_is_shown_under_a_reserved_name(component, name):
    assert component_to_name(component) == name
    assert name_to_component(name) == component


@pytest.mark.parametrize("component", ["a\0b", "\udcff"])
def test_components_without_a_name(component):
    assert component_to_name(component) is None
    assert name_beside(component) is None


@pytest.mark.parametrize("name", ["\u241b-a", "\u241b-a\u241b0Ab", "\u241b~x", "\u241b~-x~" + "0" * 32, "\u241b-\udcff",
                                  "\u241b+\udcff"])
def test_reserved_names_that_stand_for_nothing_are_refused(name):
    with pytest.raises(InvalidArgument):
        name_to_component(name)


def test_a_long_component_is_shortened_and_its_beginning_helps_to_find_it_again():
    name = component_to_name("é" * 300)
    assert name.startswith("\u241b~-" + "é" * 100 + "~") and len(name.encode()) <= 255
    assert unknown_begin(name) is None
    stranger = name[:-1] + ("0" if name[-1] != "0" else "1")
    assert unknown_begin(stranger) == "é" * 100


def test_two_long_components_with_one_beginning_have_two_names():
    assert component_to_name("x" * 300) != component_to_name("x" * 301)
    assert component_to_name("x" * 300) != name_beside("x" * 300)


def test_the_oldest_of_very_many_shortened_names_is_forgotten_only():
    first = component_to_name("first" + "x" * 300)
    for number in range(10_000):
        last = component_to_name(f"{number}" + "x" * 300)
    assert unknown_begin(first) is not None
    assert name_to_component(last) == "9999" + "x" * 300
    assert component_to_name("first" + "x" * 300) == first
    assert name_to_component(first) == "first" + "x" * 300


@pytest.mark.parametrize("key", ["", ".", "..", "/", "//", "./", "a/..", "a/../", "a/b/../..", "x" * 851, "é" * 426])
def test_keys_that_no_request_is_sent_for(key):
    assert not has_path(key)


@pytest.mark.parametrize("key", ["a", "a/", "/a", "a//", "a/.", "./a", "../a", "a/../b", "x" * 850, "é" * 425, "..."])
def test_keys_that_requests_are_sent_for(key):
    assert has_path(key)


def test_prefix_and_directories():
    keys = KeySpace("base/")
    assert (keys.file_key("/a/b"), keys.directory_key("/a"), keys.directory_key("/")) == \
        ("base/a/b", "base/a/", "base/")
    assert KeySpace().directory_key("/") == ""


def test_reserved_names_in_paths():
    keys = KeySpace()
    assert keys.object_key("/a/\u241b-/b") == "a//b"
    assert keys.directory_key("/a/\u241b-") == "a//"
    assert keys.object_key("/\u241b-/b") == "/b"
    assert keys.object_key("/\u241b+a/b") == "a/b"
    assert keys.directory_key("/\u241b+a") == "a/"
    assert keys.object_key("/a/\u241b+") == "a/"
    assert keys.object_key("/\u241b-./\u241b-..") == "./.."
    for path in ("/a/\u241b+/b", "/a/\u241b-b/c"):
        with pytest.raises(InvalidArgument):
            keys.object_key(path)


@pytest.mark.parametrize("path", ["/a/\u241b+", "/a/\u241b-", "/\u241b+", "/\u241b+a", "/\u241b-/a", "/\u241b-a\nb",
                                  "/a/\u241b-..", "/\u241b-.", "/\u241b-\\a", "/\u241b-b\x1a/c", "/\u241b-x"])
def test_files_that_cannot_be_made(path):
    with pytest.raises(InvalidArgument):
        KeySpace().file_key(path)


@pytest.mark.parametrize("path", ["/a/\u241b+", "/\u241b-", "/\u241b-a\nb", "/a/\u241b-..", "/\u241b-."])
def test_directories_that_cannot_be_made(path):
    with pytest.raises(InvalidArgument):
        KeySpace().marker_key(path)


def test_odd_keys_that_can_be_made():
    assert KeySpace().file_key("/a/\u241b-/b") == "a//b"
    assert KeySpace().file_key("/a/\u241b-.") == "a/."
    assert KeySpace("p/").file_key("/\u241b-/b") == "p//b"
    assert KeySpace().marker_key("/a/\u241b-") == "a//"


def test_a_key_never_begins_with_a_backslash():
    assert KeySpace().file_key("/\\a") == "\u241b5Ca"
    assert component_to_name("\u241b5Ca", first=True) == "\\a"
    assert KeySpace("p/").file_key("/\\a") == "p/\\a"
    assert KeySpace("p/").file_key("/\u241b-\u241b5Ca") == "p/\u241b5Ca"


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
