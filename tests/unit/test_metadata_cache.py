"""The metadata cache under a clock that the test turns."""

from cosfs.cos.interface import ObjectHeaders, ObjectInfo
from cosfs.namespace.caches import OVERLAY_S, MetadataCache
from cosfs.namespace.entries import ABSENT, Entry


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def make(clock, **changes):
    settings = {"stat_ttl_s": 60, "negative_ttl_s": 10, "listing_ttl_s": 10, "max_entries": 100, **changes}
    return MetadataCache(clock=clock, **settings)


def entry(key, etag="e", modified=1.0):
    return Entry(key, is_directory=False, size_bytes=1, etag=etag, last_modified_s=modified)


def with_info(plain):
    info = ObjectInfo(plain.key, plain.size_bytes, plain.etag, plain.last_modified_s, ObjectHeaders())
    return Entry(plain.key, False, plain.size_bytes, plain.etag, plain.last_modified_s, info)


def test_entries_are_believed_for_their_ttl():
    clock = Clock()
    cache = make(clock)
    cache.insert("/a", entry("a"), asked_at=clock())
    clock.now += 59
    assert cache.lookup("/a") == entry("a")
    clock.now += 2
    assert cache.lookup("/a") is None


def test_absence_is_believed_for_its_own_ttl():
    clock = Clock()
    cache = make(clock)
    cache.insert("/a", ABSENT, asked_at=clock())
    clock.now += 9
    assert cache.lookup("/a") is ABSENT
    clock.now += 2
    assert cache.lookup("/a") is None


def test_a_listing_answers_for_every_name_in_it_and_proves_absence():
    clock = Clock()
    cache = make(clock)
    cache.insert_listing("/d", {"a": entry("d/a")})
    assert cache.lookup("/d/a") == entry("d/a")
    assert cache.lookup("/d/b") is ABSENT
    clock.now += 11
    assert cache.lookup("/d/b") is None


def test_a_newer_listing_replaces_what_lookups_said():
    clock = Clock()
    cache = make(clock)
    cache.insert("/d/a", with_info(entry("d/a", "old")), asked_at=clock())
    cache.insert("/d/gone", entry("d/gone"), asked_at=clock())
    cache.insert_listing("/d", {"a": entry("d/a", "new")})
    assert cache.lookup("/d/a") == entry("d/a", "new")
    assert cache.lookup("/d/gone") is ABSENT


def test_headers_stay_known_over_a_listing_of_the_same_version():
    clock = Clock()
    cache = make(clock)
    known = with_info(entry("d/a"))
    cache.insert("/d/a", known, asked_at=clock())
    cache.insert_listing("/d", {"a": entry("d/a")})
    assert cache.lookup("/d/a") == known
    cache.insert_listing("/d", {"a": entry("d/a", modified=2.0)})
    assert cache.lookup("/d/a").info is None


def test_a_lookup_updates_a_cached_listing():
    clock = Clock()
    cache = make(clock)
    cache.insert_listing("/d", {"a": entry("d/a", "old")})
    cache.insert("/d/a", entry("d/a", "new"), asked_at=clock())
    assert cache.lookup("/d/a").etag == "new"


def test_own_changes_win_over_a_lagging_listing_and_then_no_more():
    clock = Clock()
    cache = make(clock)
    cache.changed("/d/new", entry("d/new"))
    cache.changed("/d/old", ABSENT)
    assert set(cache.insert_listing("/d", {"old": entry("d/old")})) == {"new"}
    clock.now += OVERLAY_S + 1
    assert set(cache.insert_listing("/d", {"old": entry("d/old")})) == {"old"}


def test_an_answer_that_was_asked_for_before_an_own_change_is_not_believed():
    clock = Clock()
    cache = make(clock)
    asked_at = clock()
    clock.now += 1
    cache.changed("/a", ABSENT)
    assert cache.insert("/a", entry("a"), asked_at=asked_at) is ABSENT
    assert cache.lookup("/a") is ABSENT
    assert cache.insert("/a", entry("a"), asked_at=clock() + 1) == entry("a")


def test_a_forgotten_file_of_our_own_keeps_its_name_until_the_bucket_says_that_it_is_gone():
    clock = Clock()
    cache = make(clock)
    cache.changed("/d/own", with_info(entry("d/own")))
    cache.forget("/d/own")
    assert cache.lookup("/d/own") is None
    listed = cache.insert_listing("/d", {})
    assert (listed["own"].key, listed["own"].headers_known, listed["own"].etag) == ("d/own", False, "")
    cache.insert("/d/own", with_info(entry("d/own", "theirs")), asked_at=clock())
    assert cache.insert_listing("/d", {})["own"].etag == "theirs"
    cache.insert("/d/own", ABSENT, asked_at=clock() + 1)
    assert cache.insert_listing("/d", {}) == {}


def test_a_forgotten_removal_hides_its_name_no_more():
    cache = make(Clock())
    cache.changed("/d/removed", ABSENT)
    cache.forget("/d/removed")
    assert set(cache.insert_listing("/d", {"removed": entry("d/removed")})) == {"removed"}


def test_forgetting_a_tree_forgets_what_is_below_it_and_nothing_else():
    clock = Clock()
    cache = make(clock)
    for path in ("/d", "/d/a", "/d/e/f", "/da"):
        cache.insert(path, entry(path[1:]), asked_at=clock())
    cache.forget_tree("/d")
    assert [cache.lookup(path) for path in ("/d", "/d/a", "/d/e/f")] == [None] * 3
    assert cache.lookup("/da") == entry("da")


def test_the_number_of_entries_is_bounded():
    clock = Clock()
    cache = make(clock, max_entries=10)
    for number in range(100):
        cache.insert(f"/f{number}", entry(f"f{number}"), asked_at=clock())
    assert sum(cache.lookup(f"/f{number}") is not None for number in range(100)) == 10


def test_a_listing_too_large_for_the_cache_is_answered_and_not_kept():
    clock = Clock()
    cache = make(clock, max_entries=10)
    names = {f"n{number}": entry(f"d/n{number}") for number in range(200)}
    assert len(cache.insert_listing("/d", names)) == 200
    assert cache.listing("/d") is None


def test_kernel_pages_are_kept_for_the_version_they_are_from():
    cache = make(Clock())
    assert not cache.kernel_pages_are("/a", "v1")
    assert cache.kernel_pages_are("/a", "v1")
    cache.kernel_pages_moved("/a", "v1", "v2")
    assert cache.kernel_pages_are("/a", "v2")
    cache.kernel_pages_moved("/a", "other", "v3")
    assert not cache.kernel_pages_are("/a", "v3")
