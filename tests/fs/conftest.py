from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Callable, Iterator

import pytest


@pytest.fixture
def background() -> Iterator[Callable[..., Future[Any]]]:
    """``background(function, *arguments)``: a call in a thread of its own."""
    with ThreadPoolExecutor(8) as pool:
        yield pool.submit
