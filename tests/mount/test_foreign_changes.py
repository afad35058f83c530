"""Objects that others change, seen through a kernel mount."""

import os
import random
import time

import pytest

from tests.support.stores import CosStore
from tests.support.worlds import OsWorld


@pytest.mark.parametrize("change", [0, 5000, -7, 3_000_000])
@pytest.mark.parametrize("size", [10, 40_000, 2_000_000])
def test_a_file_that_changed_elsewhere_since_its_stat_is_read_as_it_is_now(
        mounted: OsWorld, store: CosStore, size: int, change: int) -> None:
    source = random.Random(size)
    store.put("f", source.randbytes(size))
    assert mounted.stat("/f").size == size
    time.sleep(0.11)  # the content of a small file that came with the lookup is used for 0.1 s
    body = source.randbytes(size + change)
    store.put("f", body)
    assert mounted.read_file("/f") == body


def test_a_file_that_went_away_elsewhere_cannot_be_opened(mounted: OsWorld, store: CosStore) -> None:
    store.put("f", bytes(100_000))
    assert mounted.stat("/f").size == 100_000
    store.delete("f")
    with pytest.raises(FileNotFoundError):
        mounted.open("/f", os.O_RDONLY)
