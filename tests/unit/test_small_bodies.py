"""Contents of small objects in memory: how much, for whom, how long."""

import pytest

from cosfs.errors import CosServiceError
from cosfs.executor import ByteBudget
from cosfs.namespace.bodies import SmallBodies
from cosfs.units import KIB, MIB
from tests.support.memory_client import error


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def budget():
    return ByteBudget(8 * MIB)


@pytest.fixture
def bodies(budget, clock):
    return SmallBodies(budget, clock)


def test_a_content_is_that_of_a_version(bodies):
    bodies.put("k", "1", b"one")
    assert (bodies.get("k", "1"), bodies.get("k", "2"), bodies.get("j", "1")) == (b"one", None, None)


def test_a_content_grows_older_for_who_asks_how_old_it_is(bodies, clock):
    bodies.put("k", "1", b"one")
    clock.now += 1
    assert bodies.get("k", "1") == bodies.get("k", "1", max_age_s=1.0) == b"one"
    assert bodies.get("k", "1", max_age_s=0.5) is bodies.get("k", "1", max_age_s=0.5, ahead=True) is None


def test_what_was_fetched_ahead_is_good_for_its_time_for_readers_only(bodies, clock):
    bodies.fetch("k", "1", 3, lambda buffer: buffer.__setitem__(slice(None), b"one"), ahead_s=2.0)
    clock.now += 1.9
    assert bodies.get("k", "1", max_age_s=0.1, ahead=True) == b"one"
    assert bodies.get("k", "1", max_age_s=0.1) is None
    clock.now += 0.2
    assert bodies.get("k", "1", max_age_s=0.1, ahead=True) is None


def test_a_copy_has_the_content_of_its_source(bodies):
    bodies.put("k", "1", b"one")
    bodies.copied(("k", "1"), ("j", "2"))
    bodies.copied(("nothing", "1"), ("i", "2"))
    assert (bodies.get("j", "2"), bodies.get("i", "2")) == (b"one", None)


def test_contents_take_a_share_of_the_budget_and_the_longest_unused_go(bodies, budget):
    for number in range(100):
        bodies.put(str(number), "1", bytes(32 * KIB))
        assert budget.used_bytes <= bodies.limit_bytes == MIB
        bodies.get("0", "1")
    assert bodies.get("0", "1") and bodies.get("99", "1") and not bodies.get("1", "1")


def test_very_many_tiny_contents_are_not_free_of_charge(bodies, budget):
    for number in range(10_000):
        bodies.put(str(number), "1", b"x")
    assert sum(bodies.get(str(number), "1") is not None for number in range(10_000)) < MIB // 500


def test_memory_goes_to_whoever_would_have_to_wait(bodies, budget):
    for number in range(10):
        bodies.put(str(number), "1", bytes(32 * KIB))
    with budget.reserve(8 * MIB - 100 * KIB):
        assert sum(bodies.get(str(number), "1") is not None for number in range(10)) <= 3


def test_without_memory_nothing_is_kept_and_nothing_fetched(bodies, budget):
    with budget.reserve(8 * MIB):
        bodies.put("k", "1", b"one")
        assert bodies.fetch("k", "1", 3, lambda _: pytest.fail("fetched")) is None
    assert bodies.get("k", "1") is None


def test_a_fetch_that_fails_gives_its_memory_back(bodies, budget):
    def fail(buffer):
        raise error(503, "SlowDown")

    with pytest.raises(CosServiceError):
        bodies.fetch("k", "1", 1000, fail)
    assert budget.used_bytes == 0
