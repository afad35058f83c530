"""File names: every byte that Linux allows, and the limits."""

from __future__ import annotations

import errno
import os

from tests.support.scenarios import refused, scenario
from tests.support.stores import Store
from tests.support.worlds import World

EVERYWHERE = (
    "with space", " leading", "trailing ", "plus+plus", "per%cent", "per%20cent", "hash#", "question?", "amp&er",
    "apos'trophe", 'quo"te', "equals=", "semi;colon", "at@sign", "tilde~", "comma,", "dollar$", "star*",
    "paren(theses)", "[brackets]", "{braces}", "<angle>", "pipe|", "caret^", "back`tick", "exclamation!", "colon:",
    "dot.", ".hidden", "..two", "...", "-dash", "new\nline", "ümläut", "u\u0308combining", "日本語", "emoji😀",
    "\u241bescape symbol", "\u241b0Alike an escape", "\u200bzero width", "x_$folder$y", "&amp;", "%00",
    b"\xff\xfe invalid utf-8".decode("utf-8", "surrogateescape"),
    b"latin1 \xe9".decode("utf-8", "surrogateescape"), "CON", "a" * 255, "ü" * 127,
)
AWKWARD = (*EVERYWHERE, "carriage\rreturn", "tab\tstop", "bell\x07", "escape\x1b[0m", "delete\x7f",
           "control\x18\x19\x1a", "back\\slash", "\\leading backslash", "\ufffe")
"""The latter are more than some servers keep; measured: a backslash in SeaweedFS, control characters in moto."""


@scenario()
def test_names_that_every_store_keeps(w: World, store: Store) -> None:
    for number, name in enumerate(EVERYWHERE):
        w.write_file("/" + name, b"%d" % number)
    for number, name in enumerate(EVERYWHERE):
        assert w.read_file("/" + name) == b"%d" % number
    assert sorted(w.readdir("/")) == sorted(EVERYWHERE)
    for name in EVERYWHERE:
        w.unlink("/" + name)
    assert w.readdir("/") == {}
    assert store.keys() == []


@scenario("any_name")
def test_awkward_names_of_files(w: World, store: Store) -> None:
    for number, name in enumerate(AWKWARD):
        w.write_file("/" + name, b"%d" % number)
    for number, name in enumerate(AWKWARD):
        assert w.read_file("/" + name) == b"%d" % number
    assert sorted(w.readdir("/")) == sorted(AWKWARD)
    assert len(store.keys()) == len(AWKWARD)
    for name in AWKWARD:
        w.unlink("/" + name)
    assert w.readdir("/") == {}
    assert store.keys() == []


@scenario("directories", "any_name")
def test_awkward_names_of_directories(w: World, store: Store) -> None:
    names = [name for name in AWKWARD if len(os.fsencode(name)) < 200]
    for name in names:
        w.mkdir("/" + name)
        w.write_file(f"/{name}/{name}", b"inside")
    for name in names:
        assert list(w.readdir("/" + name)) == [name]
        assert w.read_file(f"/{name}/{name}") == b"inside"
    assert sorted(w.readdir("/")) == sorted(names)


@scenario("copy", "any_name")
def test_awkward_names_are_renamed(w: World, store: Store) -> None:
    w.write_file("/first", b"content")
    last = "first"
    for name in AWKWARD:
        w.rename("/" + last, "/" + name)
        assert list(w.readdir("/")) == [name]
        last = name
    assert w.read_file("/" + last) == b"content"


@scenario()
def test_ordinary_names_are_the_same_in_the_bucket(w: World, store: Store) -> None:
    for name in ("with space", "plus+plus", "per%20cent", "hash#", "question?", "amp&er", "apos'trophe", 'quo"te',
                 "日本語"):
        w.write_file("/" + name, name.encode())
        assert store.body(name) == name.encode()


@scenario("directories")
def test_names_longer_than_255_bytes_are_refused(w: World, store: Store) -> None:
    for name in ("a" * 256, "ü" * 128):
        with refused(errno.ENAMETOOLONG):
            w.open("/" + name, os.O_WRONLY | os.O_CREAT)
        with refused(errno.ENAMETOOLONG):
            w.mkdir("/" + name)
        with refused(errno.ENAMETOOLONG):
            w.stat("/" + name)
        with refused(errno.ENAMETOOLONG):
            w.symlink("/" + name, "x")
    w.write_file("/f", b"")
    with refused(errno.ENAMETOOLONG):
        w.rename("/f", "/" + "b" * 256)
    assert store.keys() == ["f"]


@scenario("directories")
def test_keys_longer_than_850_bytes_are_refused(w: World, store: Store) -> None:
    folder = ""
    for letter in "abc":
        folder += "/" + letter * 230
        w.mkdir(folder)
    with refused(errno.ENAMETOOLONG):
        w.write_file(folder + "/" + "d" * 200, b"")
    w.write_file(folder + "/ok", b"fits")
    assert w.read_file(folder + "/ok") == b"fits"


@scenario("directories")
def test_names_that_differ_in_one_prefix(w: World, store: Store) -> None:
    w.mkdir("/a")
    w.write_file("/a/x", b"1")
    w.write_file("/a.b", b"2")
    w.write_file("/a-b", b"3")
    w.mkdir("/a0")
    w.write_file("/ab", b"4")
    w.rename("/a", "/z")
    assert set(w.tree()) == {"/z", "/z/x", "/a.b", "/a-b", "/a0", "/ab"}
    w.unlink("/z/x")
    w.rmdir("/z")
    assert set(w.tree()) == {"/a.b", "/a-b", "/a0", "/ab"}
