"""Budget and pools."""

import threading

import pytest

from cosfs.executor import ByteBudget, WorkerPool, wait_all

LIMIT_S = 10


def test_budget_makes_who_asks_for_too_much_wait_until_others_give_back():
    budget = ByteBudget(100)
    budget.acquire(80)
    got = threading.Event()
    waiter = threading.Thread(target=lambda: (budget.acquire(30), got.set()))
    waiter.start()
    assert not budget.try_acquire(30)
    assert not got.is_set()
    budget.release(80)
    assert got.wait(LIMIT_S)
    waiter.join(LIMIT_S)
    assert budget.used_bytes == 30


def test_budget_grants_more_than_its_limit_when_nothing_else_is_held():
    budget = ByteBudget(100)
    with budget.reserve(500):
        assert budget.used_bytes == 500
        assert not budget.try_acquire(1)
    assert budget.used_bytes == 0


def test_budget_asks_caches_to_give_back_before_it_waits():
    budget = ByteBudget(100)
    budget.acquire(100)
    asked = []

    def reclaim(count):
        asked.append(count)
        budget.release(60)
        return 60
    budget.add_reclaimer(reclaim)
    budget.acquire(50)
    assert (asked, budget.used_bytes) == ([50], 90)


def test_budget_refuses_to_take_back_more_than_it_gave():
    with pytest.raises(AssertionError):
        ByteBudget(10).release(1)


def test_full_pool_makes_submitters_wait():
    pool = WorkerPool("test", 1, queue=1)
    gate, third_in = threading.Event(), threading.Event()
    first, second = pool.submit(gate.wait, LIMIT_S), pool.submit(gate.wait, LIMIT_S)
    submitter = threading.Thread(target=lambda: (pool.submit(int), third_in.set()))
    submitter.start()
    assert not third_in.is_set()
    gate.set()
    assert third_in.wait(LIMIT_S)
    submitter.join(LIMIT_S)
    assert wait_all([first, second]) == [True, True]
    pool.close()


def test_first_error_is_raised_after_every_task_has_ended():
    pool = WorkerPool("test", 2, queue=4)
    done = []

    def task(number):
        if number % 2:
            raise ValueError(number)
        done.append(number)
        return number
    with pytest.raises(ValueError, match="1"):
        pool.map_all(task, range(5))
    assert sorted(done) == [0, 2, 4]
    pool.close()
