"""Upload plans: legal under every limit, the right bytes, and cheap."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings

from cosfs.errors import FileTooLarge
from cosfs.units import GIB, KIB, MAX_OBJECT_BYTES, MIB
from cosfs.writing.extents import ExtentMap, Remote
from cosfs.writing.plan import (
    CopyRange,
    CopyWhole,
    Limits,
    Multipart,
    PutWhole,
    plan_cost,
    plan_fetches,
    plan_rest,
    plan_upload,
)
from tests.support.plans import any_extents, any_limits, check_legal, edited, everything_sent, moved


@settings(deadline=None)
@given(any_extents(), any_limits())
def test_plans_are_legal_under_every_limit(extents: ExtentMap, limits: Limits) -> None:
    if extents.size_bytes > limits.max_object_bytes:
        with pytest.raises(FileTooLarge):
            plan_upload(extents, limits)
        return
    check_legal(plan_upload(extents, limits), extents, limits)


@settings(deadline=None)
@given(any_extents(), any_limits())
def test_every_unchanged_run_costs_less_than_two_small_parts(extents: ExtentMap, limits: Limits) -> None:
    limits = replace(limits, max_parts=10_000, max_object_bytes=10_000)
    plan = Multipart(plan_rest(extents, 0, 1, limits))
    remote = [run for run in extents.runs() if isinstance(run.source, Remote)]
    changed = extents.size_bytes - sum(run.stop - run.start for run in remote)
    uploaded, _ = moved(plan, extents, limits)
    assert uploaded <= changed + len(remote) * 2 * limits.min_part_bytes


@settings(deadline=None)
@given(any_extents(), any_limits())
def test_no_plan_costs_more_than_sending_everything(extents: ExtentMap, limits: Limits) -> None:
    size = extents.size_bytes
    if not 0 < size <= limits.max_object_bytes:
        return
    cost = plan_cost(plan_upload(extents, limits), extents, limits)
    assert cost <= plan_cost(everything_sent(size, limits), extents, limits)
    if size <= limits.put_bytes:
        assert cost <= plan_cost(PutWhole(size), extents, limits)


@settings(deadline=None)
@given(any_extents(), any_limits())
def test_fetches_hold_every_remote_byte_of_a_range_once(extents: ExtentMap, limits: Limits) -> None:
    start, stop = extents.size_bytes // 3, extents.size_bytes
    fetches = plan_fetches(extents.runs(start, stop), limits)
    fetched = [set(range(run.start, run.stop)) for run in fetches]
    for run in extents.runs(start, stop):
        if isinstance(run.source, Remote):
            (index,) = [index for index, there in enumerate(fetched) if run.start in there]
            assert set(range(run.start, run.stop)) <= fetched[index]
            fetch = fetches[index]
            assert isinstance(fetch.source, Remote)
            assert run.source.offset - fetch.source.offset == run.start - fetch.start
    assert sum(map(len, fetched)) == len(set().union(*fetched))


LIMITS = Limits()
EDGES = [0, 1, 4 * KIB, 500 * KIB, MIB - 1, MIB, MIB + 1, 300 * MIB + 4096, GIB - 2 * MIB, GIB - MIB - 4 * KIB,
         GIB - 500 * KIB, GIB - 8 * KIB, GIB - 4 * KIB]


@pytest.mark.parametrize("offset", [*EDGES, GIB], ids=str)
def test_editing_or_appending_4_kib_of_1_gib_moves_at_most_2_mib_each_way(offset: int) -> None:
    extents = edited(GIB, offset, offset + 4 * KIB)
    plan = plan_upload(extents)
    check_legal(plan, extents, LIMITS)
    uploaded, fetched = moved(plan, extents, LIMITS)
    assert uploaded <= 2 * MIB and fetched <= 2 * MIB
    assert isinstance(plan, Multipart) and len(plan.parts) <= 3


def test_editing_a_large_object_moves_one_small_part() -> None:
    extents = edited(50 * GIB, 20 * GIB, 20 * GIB + 4 * KIB)
    plan = plan_upload(extents)
    check_legal(plan, extents, LIMITS)
    assert moved(plan, extents, LIMITS) == (MIB, MIB - 4 * KIB)


def test_append_sends_only_what_was_appended() -> None:
    extents = edited(GIB, GIB, GIB + 4 * KIB)
    assert moved(plan_upload(extents), extents, LIMITS) == (4 * KIB, 0)


def test_cutting_a_large_object_copies_it() -> None:
    extents = ExtentMap.of_object("k", "e", GIB)
    extents.truncate(GIB // 2)
    assert plan_upload(extents) == Multipart((CopyRange(0, GIB // 2, Remote("k", "e", 0, GIB)),))


def test_unchanged_content_is_one_copy_up_to_the_copy_limit() -> None:
    assert plan_upload(ExtentMap.of_object("k", "e", 5 * GIB)) == CopyWhole(Remote("k", "e", 0, 5 * GIB))
    plan = plan_upload(ExtentMap.of_object("k", "e", 5 * GIB + 1))
    assert isinstance(plan, Multipart) and len(plan.parts) == 2


def test_small_and_empty_files_are_one_put() -> None:
    assert plan_upload(ExtentMap()) == PutWhole(0)
    extents = ExtentMap()
    extents.write(0, 16 * MIB)
    assert plan_upload(extents) == PutWhole(16 * MIB)
    extents.write(16 * MIB, 16 * MIB + 1)
    plan = plan_upload(extents)
    assert isinstance(plan, Multipart) and len(plan.parts) == 3


def test_a_small_edit_of_a_small_file_sends_it_whole_and_of_a_larger_one_copies() -> None:
    assert plan_upload(edited(100 * KIB, 10, 20)) == PutWhole(100 * KIB)
    assert isinstance(plan_upload(edited(15 * MIB, 10, 20)), Multipart)


@pytest.mark.parametrize("size", [80 * GIB, 1000 * GIB, MAX_OBJECT_BYTES - 1, MAX_OBJECT_BYTES], ids=str)
def test_part_size_grows_with_the_file_to_the_limit_of_the_service(size: int) -> None:
    extents = ExtentMap()
    extents.write(0, size)
    check_legal(plan_upload(extents), extents, LIMITS)
    with pytest.raises(FileTooLarge):
        plan_upload(edited(MAX_OBJECT_BYTES, MAX_OBJECT_BYTES, MAX_OBJECT_BYTES + 1))


def test_more_edits_than_parts_send_the_shortest_gaps_too() -> None:
    extents = ExtentMap.of_object("k", "e", 100 * GIB)
    for index in range(8_000):
        extents.write(index * 12 * MIB + (index * 7919 % 1000) * KIB, index * 12 * MIB + MIB)
    plan = plan_upload(extents)
    check_legal(plan, extents, LIMITS)


def test_edits_close_together_are_fetched_at_once() -> None:
    extents = ExtentMap.of_object("k", "e", 8 * MIB)
    for start in range(0, 8 * MIB, 64 * KIB):
        extents.write(start, start + 4 * KIB)
    assert len(plan_fetches(extents.runs(0, 8 * MIB), LIMITS)) == 1


def test_the_cheaper_way_is_taken() -> None:
    for size in (3 * MIB, 6 * MIB, 12 * MIB):
        extents = edited(size, 2 * MIB, 2 * MIB + 10)
        never = Limits(put_threshold_bytes=0)
        costs = [plan_cost(plan, extents, LIMITS) for plan in (PutWhole(size), plan_upload(extents, never))]
        assert plan_cost(plan_upload(extents), extents, LIMITS) == min(costs)
