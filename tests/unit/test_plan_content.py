"""What plans store is the content, at the limits of the service: followed by who wrote which byte."""

from __future__ import annotations

from typing import List, Tuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosfs.errors import FileTooLarge
from cosfs.units import MIB
from cosfs.writing.plan import Limits, plan_cost, plan_upload
from tests.support.plans import Content, TrackedFile, check_legal, everything_sent, offsets, real_limits

lengths = st.one_of(st.integers(1, 64 * 1024), st.integers(1, 20 * MIB), offsets().map(lambda offset: offset + 1))
steps = st.lists(st.tuples(st.sampled_from(["write", "write", "write", "truncate", "commit"]), offsets(), lengths),
                 max_size=10)


@settings(deadline=None, max_examples=80)
@given(offsets(), steps, real_limits())
def test_the_plan_stores_what_was_written_up_to_the_limit_of_the_service(
        size: int, changes: List[Tuple[str, int, int]], limits: Limits) -> None:
    file = TrackedFile(size)
    for action, offset, length in changes:
        if action == "write":
            file.write(offset, length)
        elif action == "truncate":
            file.truncate(offset)
        else:
            file.commit()
        assert file.described(0, file.extents.size_bytes) == file.expected
    if file.extents.size_bytes > limits.max_object_bytes:
        with pytest.raises(FileTooLarge):
            plan_upload(file.extents, limits)
        return
    plan = plan_upload(file.extents, limits)
    check_legal(plan, file.extents, limits)
    assert file.stored(plan) == file.expected
    everything = everything_sent(file.extents.size_bytes, limits)
    assert plan_cost(plan, file.extents, limits) <= plan_cost(everything, file.extents, limits)


def test_pieces_know_where_they_come_from() -> None:
    content = Content(((10, 1, 0),)).written(4, 2, 2)
    assert content == Content(((4, 1, 0), (2, 2, 0), (4, 1, 6)))
    assert content.part(5, 12) == Content(((1, 2, 1), (4, 1, 6), (2, 0, 0)))
    assert content != Content(((4, 1, 0), (2, 2, 0), (4, 1, 7)))
