"""Every scenario on ``CosFilesystem`` without FUSE."""

from __future__ import annotations

import pytest

from tests.support.filesystem_world import FilesystemWorld
from tests.support.scenarios import Scenario, all_scenarios
from tests.support.stores import CosStore


@pytest.mark.parametrize("scenario", all_scenarios(), ids=lambda scenario: scenario.name[5:])
def test_scenario(scenario: Scenario, world: FilesystemWorld, store: CosStore) -> None:
    scenario.function(world, store)
