"""The order detector as pure arithmetic, and work under way that is done once."""

import threading
from itertools import count

import pytest

from cosfs.executor import WorkerPool
from cosfs.namespace.lookahead import Flights, OrderDetector

WAIT_S = 10.0


def following(end):
    return lambda item: iter(range(item + 1, end))


def ask(detector, items, fetched=None):
    """Ask for items; one is missed unless it was handed out before. Returns what was handed out, in order."""
    fetched = set() if fetched is None else fetched
    ahead = []
    for item in items:
        new = detector.asked(item, missed=item not in fetched) or []
        ahead += new
        fetched |= {item, *new}
    return ahead


def test_the_third_item_in_order_begins_the_look_ahead():
    detector = OrderDetector(following(1000))
    assert detector.asked(0, missed=True) is None
    assert detector.asked(1, missed=True) is None
    assert detector.asked(2, missed=True) == list(range(3, 19))


def test_everything_is_handed_out_once_and_in_order():
    detector = OrderDetector(following(10_000))
    assert ask(detector, range(10_000)) == list(range(3, 10_000))


def test_the_window_grows_to_a_limit():
    detector = OrderDetector(following(100_000))
    fetched, outstanding, most = set(), 0, 0
    for item in range(20_000):
        new = detector.asked(item, missed=item not in fetched) or []
        outstanding += len(new) - (item in fetched)
        fetched |= {item, *new}
        most = max(most, outstanding)
    assert most == 256


def test_items_that_are_known_already_do_not_break_the_order():
    detector = OrderDetector(following(1000))
    known = {number for number in range(1000) if number % 3}
    assert {number for number in range(3, 1000) if number not in known} <= set(ask(detector, range(1000), known))


def test_passing_over_a_few_items_is_still_in_order():
    detector = OrderDetector(following(10_000))
    assert ask(detector, range(0, 1000, 4))


def test_asking_at_random_hands_nothing_out():
    detector = OrderDetector(following(10_000))
    assert ask(detector, [5000, 17, 900, 4000, 3, 8000, 100, 2000, 6000, 50, 7000, 1500]) == []


def test_opening_what_was_looked_at_is_no_order():
    detector = OrderDetector(following(1000))
    for item in range(100):
        assert detector.asked(item, missed=True) is None
        detector.interrupted(item)


def test_two_programs_are_followed_at_once():
    detector = OrderDetector(following(10_000))
    fetched = set()
    mixed = [item for step in range(100) for item in (step, 5000 + step)]
    ahead = ask(detector, mixed, fetched)
    assert {3, 99, 5003, 5099} <= set(ahead)
    assert len(ahead) == len(set(ahead))


def test_two_threads_through_one_directory_are_one_order():
    detector = OrderDetector(following(10_000))
    swapped = [item ^ 1 for item in range(2000)]
    ahead = ask(detector, swapped)
    assert len(ahead) == len(set(ahead))
    assert set(range(100, 2000)) <= set(ahead)


def test_threads_that_share_a_directory_get_what_others_went_past():
    detector = OrderDetector(following(10_000), (8, 64), 64)
    fetched = {0}
    missed = 0
    for start in range(0, 8000, 8):
        for item in (start + 7, start + 3, start, start + 1, start + 6, start + 2, start + 5, start + 4):
            missed += item not in fetched
            fetched |= {item, *(detector.asked(item, missed=item not in fetched) or [])}
    assert missed < 30


@pytest.mark.parametrize("step", [2, 3, 4])
def test_a_program_that_picks_makes_little_in_vain(step):
    detector = OrderDetector(following(100_000), (8, 64), 64)
    asked = range(0, 40_000, step)
    in_vain = set(ask(detector, asked)) - set(asked)
    assert len(in_vain) <= 64 + 64 + len(asked) // 2


def test_a_program_that_comes_too_late_is_followed_closely():
    detector = OrderDetector(following(1000), (8, 64), 64)
    ask(detector, range(200))
    ahead = []
    for item in range(200, 600):
        detector.too_early(item)
        ahead.append(len(detector.asked(item, missed=True) or []))
    assert sum(ahead[:70]) <= 32
    assert max(ahead[70:]) == 1


def test_the_end_of_the_order_is_the_end_of_the_trail():
    detector = OrderDetector(following(10))
    ask(detector, range(10))
    assert not any(detector.expects(item) for item in range(10))


def test_what_is_expected_is_bounded_whatever_is_asked():
    detector = OrderDetector(lambda item: count(item + 1))
    for start in range(0, 10**8, 10**6):
        ask(detector, range(start, start + 5))
    assert sum(detector.expects(item) for start in range(0, 10**8, 10**6) for item in range(start, start + 300)) \
        <= 8 * (256 + 4)


@pytest.fixture
def pool():
    pool = WorkerPool("test-flights", 4, queue=4)
    yield pool
    pool.close()


def test_an_item_under_way_is_not_begun_again_and_is_waited_for(pool):
    done, entered, opened = [], threading.Event(), threading.Event()

    def work(item):
        entered.set()
        assert opened.wait(WAIT_S)
        done.append(item)

    flights = Flights(pool, 2, work)
    flights.begin(["a"])
    assert entered.wait(WAIT_S)
    flights.begin(["a"])
    waiter = threading.Thread(target=lambda: done.append(("entered", flights.enter("a"))))
    waiter.start()
    opened.set()
    waiter.join(WAIT_S)
    assert done == ["a", ("entered", False)]


def test_many_items_are_all_done_by_a_few_threads(pool):
    done, threads = [], set()

    def work(item):
        threads.add(threading.get_ident())
        done.append(item)

    flights = Flights(pool, 3, work)
    flights.begin(range(500))
    flights.begin(range(500, 600))
    for item in range(600):
        if flights.enter(item):
            flights.leave(item)
    assert sorted(done) == list(range(600))
    assert len(threads) <= 4


def test_what_was_not_begun_is_dropped_at_the_end(pool):
    entered, opened, done = threading.Event(), threading.Event(), []

    def work(item):
        entered.set()
        assert opened.wait(WAIT_S)
        done.append(item)

    flights = Flights(pool, 1, work)
    flights.begin(range(100))
    assert entered.wait(WAIT_S)
    flights.cancel()
    opened.set()
    assert flights.enter(50)
    pool.close()
    assert done == [0]


def test_a_defect_in_the_work_leaves_nobody_waiting(pool, expected_logs):
    expected_logs("ahead")
    flights = Flights(pool, 1, lambda item: 1 // item)
    flights.begin([0, 1, 0, 2])
    for item in (0, 1, 2):
        if flights.enter(item):
            flights.leave(item)
