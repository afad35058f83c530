"""The state machine on a kernel mount of the embedded server, with fewer examples: a step costs some milliseconds."""

from __future__ import annotations

import itertools
from typing import Iterator

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from cosfs.cos.interface import ObjectClient
from tests.model.machine import FilesystemMachine
from tests.support.mount import Mount
from tests.support.stores import CosStore
from tests.support.worlds import World

pytestmark = [pytest.mark.mount, pytest.mark.timeout(110)]

_numbers = itertools.count(1)


class FilesystemOverMount(FilesystemMachine):
    """Each example in a folder of its own of one mount."""

    mount: Mount
    client: ObjectClient

    def make_world(self) -> World:
        self.prefix = f"model-{next(_numbers)}/"
        (self.mount.point / self.prefix).mkdir()
        return self.mount.world("/" + self.prefix.rstrip("/"))

    def check_store(self) -> None:
        assert CosStore(self.client, self.prefix).pending_uploads() == []


@pytest.fixture
def bound(shared_mount: Mount, client: ObjectClient) -> Iterator[None]:
    FilesystemOverMount.mount, FilesystemOverMount.client = shared_mount, client
    yield
    del FilesystemOverMount.mount, FilesystemOverMount.client


@pytest.mark.usefixtures("bound")
def test_mount_model() -> None:
    profile = settings.get_profile(settings.get_current_profile_name())
    run_state_machine_as_test(FilesystemOverMount, settings=settings(
        profile, max_examples=max(20, profile.max_examples // 4)))
