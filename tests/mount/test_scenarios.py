"""Every scenario through the kernel, on a mount of the embedded server."""

from __future__ import annotations

import pytest

from tests.support.scenarios import Scenario, all_scenarios
from tests.support.stores import CosStore
from tests.support.worlds import OsWorld

pytestmark = [pytest.mark.mount, pytest.mark.timeout(60)]


@pytest.mark.parametrize("scenario", all_scenarios(), ids=lambda scenario: scenario.name[5:])
def test_scenario(scenario: Scenario, mounted: OsWorld, store: CosStore) -> None:
    scenario.function(mounted, store)
