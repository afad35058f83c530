"""Attributes in headers: ours, the C++ tool's, and those of other tools."""

import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosfs.cos.interface import ObjectHeaders, ObjectInfo
from cosfs.errors import MetadataTooLarge
from cosfs.namespace.attributes import (
    NS,
    Attributes,
    Defaults,
    decode,
    decode_xattrs,
    encode,
    encode_xattrs,
    is_directory_object,
)
from cosfs.namespace.content_type import guess_content_type
from cosfs.units import MAX_METADATA_BYTES

DEFAULTS = Defaults(mode=0o777, uid=1000, gid=1001)
TIMES = st.integers(-(2**40), 2**40).map(lambda seconds: seconds * NS) | st.integers(-(2**62), 2**62)


def info(metadata=None, *, key="k", content_type=None, modified=1_600_000_000.0):
    standard = {} if content_type is None else {"Content-Type": content_type}
    return ObjectInfo(key, 0, "etag", modified, ObjectHeaders(metadata or {}, standard))


@given(st.integers(0, 0o7777), st.integers(0, 2**32 - 2), TIMES, TIMES, TIMES)
def test_what_is_written_is_read(mode, uid, mtime, atime, ctime):
    attributes = Attributes(stat.S_IFREG | mode, uid, uid // 2, mtime, atime, ctime, rdev=uid % 7,
                            xattrs={"user.a": b"1", "user.empty": b""})
    assert decode(info(encode(attributes, {})), DEFAULTS) == attributes


def test_headers_are_those_of_the_cpp_tool():
    written = encode(Attributes(0o100644, 1, 2, 1_700_000_000 * NS + 5, 0, 0), {})
    assert (written["mode"], written["uid"], written["gid"], written["mtime"]) == ("33188", "1", "2", "1700000000")
    assert written["mtime-ns"] == "1700000000.000000005"


@pytest.mark.parametrize(("key", "content_type", "mode", "shown"), [
    ("f", None, "33188", 0o100644), ("d/", None, "493", 0o040755), ("d", "application/x-directory", "493", 0o040755),
    ("f", None, "420", 0o100644), ("l", None, "41471", 0o120777), ("d", None, "16877", 0o040755),
    ("f", None, None, 0o100777), ("d/", None, None, 0o040777), ("f", None, "0x1ff", 0o100777)])
def test_types_as_the_cpp_tool_decides_them(key, content_type, mode, shown):
    given_info = info({} if mode is None else {"mode": mode}, key=key, content_type=content_type)
    assert decode(given_info, DEFAULTS).mode == shown
    assert is_directory_object(given_info) == stat.S_ISDIR(shown)


def test_nanoseconds_are_believed_only_with_their_seconds():
    metadata = {"mtime": "1700000000", "mtime-ns": "1699999999.5", "atime": "5.0", "ctime": "6.0"}
    stale = decode(info(metadata), DEFAULTS)
    assert (stale.mtime_ns, stale.atime_ns, stale.ctime_ns) == (1_700_000_000 * NS,) * 3


@pytest.mark.parametrize(("mtime", "nanoseconds"), [
    ("1700000000.25", 1_700_000_000 * NS + NS // 4), ("1700000000.123456789", 1_700_000_000_123_456_789),
    ("soon", 1_600_000_000 * NS), ("", 1_600_000_000 * NS)])
def test_times_of_other_tools(mtime, nanoseconds):
    assert decode(info({"mtime": mtime}), DEFAULTS).mtime_ns == nanoseconds


def test_objects_without_attributes_show_defaults_and_last_modified():
    bare = decode(info(), DEFAULTS)
    assert (bare.uid, bare.gid, bare.mtime_ns, bare.ctime_ns) == (1000, 1001) + (1_600_000_000 * NS,) * 2


def test_names_of_s3sync_are_read():
    other = decode(info({"permissions": "33152", "owner": "7", "group": "8"}), DEFAULTS)
    assert (other.mode, other.uid, other.gid) == (0o100600, 7, 8)


def test_foreign_metadata_is_kept_and_old_spellings_replaced():
    written = encode(Attributes(0o100644, 1, 2, 0, 0, 0), {"mode": "1", "owner": "9", "author": "someone"})
    assert (written["mode"], written["author"], "owner" in written) == ("33188", "someone", False)


def full(free_bytes):
    """Foreign metadata that leaves this much of the service's limit to us."""
    return {"note": "n" * (MAX_METADATA_BYTES - len("x-cos-meta-note") - free_bytes)}


def test_exact_times_give_way_in_order_where_metadata_is_short():
    attributes = Attributes(0o100644, 1000, 1001, 1_700_000_000 * NS + 5, 7 * NS, 1_700_000_001 * NS)
    needed = sum(len("x-cos-meta-" + name + value) for name, value in encode(attributes, {}).items())
    optional = []
    for free in range(needed, 0, -1):
        try:
            written = encode(attributes, full(free))
        except MetadataTooLarge:
            break
        names = [name for name in ("mtime-ns", "atime", "ctime") if name in written]
        if optional[-1:] != [names]:
            optional.append(names)
        assert sum(len("x-cos-meta-" + name + value) for name, value in written.items()) <= MAX_METADATA_BYTES
        shown = decode(info(written), DEFAULTS)
        assert (shown.mode, shown.uid, shown.gid, shown.mtime_ns // NS) == (0o100644, 1000, 1001, 1_700_000_000)
    assert optional == [["mtime-ns", "atime", "ctime"], ["mtime-ns", "atime"], ["mtime-ns"], []]
    assert free < len("x-cos-meta-mode33188x-cos-meta-uid1000x-cos-meta-gid1001x-cos-meta-mtime1700000000")


def test_metadata_over_the_limit_is_refused():
    with pytest.raises(MetadataTooLarge):
        encode(Attributes(0o100644, 1, 2, 0, 0, 0, xattrs={"user.x": bytes(1500)}), {})


def test_xattr_header_is_the_cpp_tool_s_byte_by_byte():
    assert encode_xattrs({"user.k": b"v\x00?", "user.z": b"2"}) == \
        "%7B%22user.k%22%3A%22dgA/%22%2C%22user.z%22%3A%22Mg%3D%3D%22%7D"


@given(st.dictionaries(st.text(min_size=1, max_size=20).map("user.".__add__), st.binary(max_size=40), max_size=4))
def test_xattrs_come_back(xattrs):
    assert decode_xattrs(encode_xattrs(xattrs)) == xattrs


@pytest.mark.parametrize(("header", "xattrs"), [
    ("", {}), ("nonsense", {}), ("%7B%7D", {}), ('{"user.a":"MQ==","broken":"*"}', {"user.a": b"1"}),
    ('{ "user.a" : "MQ==" }', {"user.a": b"1"})])
def test_xattr_headers_that_make_little_sense(header, xattrs):
    assert decode_xattrs(header) == xattrs


@pytest.mark.parametrize(("path", "mode", "kind"), [
    ("/a/b.html", stat.S_IFREG, "text/html"), ("/page.html.bak7", stat.S_IFREG, "text/html"),
    ("/B.PNG", stat.S_IFREG, "image/png"), ("/noextension", stat.S_IFREG, "application/octet-stream"),
    ("/x.html", stat.S_IFLNK, "application/octet-stream"), ("/d", stat.S_IFDIR, "application/x-directory")])
def test_content_type_by_extension(path, mode, kind):
    assert guess_content_type(path, mode) == kind
