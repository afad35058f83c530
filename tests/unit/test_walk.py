"""Walks: when one is recognised, and what a page of a flat listing tells."""

from hypothesis import given
from hypothesis import strategies as st

from cosfs.cos.interface import ListedObject
from cosfs.namespace.walk import WalkDetector, marker_before, read_flat_page

COMPONENTS = st.sampled_from(["a", "b", "a-", "a.", "a0", "目"])
KEYS = st.builds(lambda parts, slash: "/".join(parts) + ("/" if slash else ""),
                 st.lists(COMPONENTS, min_size=1, max_size=4), st.booleans())


def rows(keys):
    return [ListedObject(key, 1, "e", 1.0) for key in sorted(keys, key=str.encode)]


def children(keys, prefix):
    """The truth: names directly below a prefix, with whether each is a directory."""
    parts = [key[len(prefix):].partition("/") for key in keys if key.startswith(prefix)]
    files = {name: False for name, slash, _ in parts if name and not slash}
    own = {"\u241b+": False} if prefix in keys else {}
    return {**files, **own, **{("\u241b+" if name in files else "") + name: True for name, slash, _ in parts if slash}}


def prefix_of(path):
    """The inverse of what ``children`` names."""
    return "".join(name.replace("\u241b+", "") + "/" for name in path.split("/") if name)


@given(st.sets(KEYS, max_size=30), st.sampled_from(["a/", "a/b/", "b/", "a-/"]), st.integers(1, 12))
def test_listings_of_a_page_are_complete_and_true(keys, start, size):
    marker = marker_before(start)
    after = [row for row in rows(keys) if row.key > marker]
    page = read_flat_page(after[:size], "", {"": "/"}, marker, truncated=len(after) > size)
    for path, names in page.listings.items():
        prefix = prefix_of(path)
        assert {name: entry.is_directory for name, entry in names.items()} == children(keys, prefix)
        for entry in names.values():
            assert entry.key in keys or (entry.is_directory and entry.marker is False)


@given(st.sets(KEYS, min_size=1, max_size=30))
def test_a_page_that_is_not_truncated_tells_the_directory_it_begins_with(keys):
    folders = sorted({key[:key.index("/") + 1] for key in keys if "/" in key})
    for prefix in folders:
        marker = marker_before(prefix)
        after = [row for row in rows(keys) if row.key > marker]
        paths = {"": "/", prefix: "/" + prefix[:-1]}
        assert "/" + prefix[:-1] in read_flat_page(after, "", paths, marker, truncated=False).listings


def test_a_directory_that_goes_on_after_the_page_is_left_out():
    page = read_flat_page(rows(["t/a/1", "t/b/1"]), "t/", {"t/": "/t"}, "t/", truncated=True)
    assert set(page.listings) == {"/t/a"}


def test_keys_without_a_path_are_told():
    page = read_flat_page(rows(["t/a/\0/x", "t/a/y"]), "t/", {"t/": "/t"}, "t/", truncated=False)
    assert page.hidden == ["t/a/\0/x"]
    assert set(page.listings["/t/a"]) == {"y"}


def test_a_directory_whose_name_depends_on_what_was_before_the_page_is_left_out():
    page = read_flat_page(rows(["t/a/1", "t/b/1"]), "t/", {"t/": "/t"}, "t/a.", truncated=False)
    assert set(page.listings) == {"/t/b"}


def test_a_descent_is_a_walk_at_its_third_directory_and_siblings_belong_to_it():
    detector = WalkDetector()
    assert [detector.listed(path) for path in ("/t", "/t/a", "/t/a/x", "/t/a/y", "/t/b")] == \
        [None, None, "/t", "/t", "/t"]


def test_siblings_after_their_parent_are_a_walk():
    detector = WalkDetector()
    assert [detector.listed(path) for path in ("/", "/a", "/b", "/c")] == [None, None, "/", "/"]


def test_jumping_about_is_no_walk():
    detector = WalkDetector()
    assert [detector.listed(path) for path in ("/a", "/b", "/c", "/a/x", "/d/e/f")] == [None] * 5


def test_a_walk_whose_directories_are_too_large_is_not_answered_by_flat_listings():
    detector = WalkDetector()
    for path in ("/t", "/t/a"):
        detector.listed(path)
    assert detector.listed("/t/a/x") == "/t"
    detector.was_too_large()
    assert detector.listed("/t/a/y") is None
