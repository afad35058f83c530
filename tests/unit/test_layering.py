"""The layers of the package, and that their checker finds what is planted."""

from __future__ import annotations

from pathlib import Path
from typing import Dict

import pytest

import cosfs
from tests.support.architecture import MAX_FILE_LINES, MAX_FUNCTION_LINES, read_package, violations

FOLDER = Path(cosfs.__file__).parent


def test_the_package_keeps_the_rules() -> None:
    assert violations(read_package(FOLDER)) == []


def test_all_modules_are_read() -> None:
    assert {"cosfs.units", "cosfs.cos.interface", "cosfs.cli", "cosfs.cli.mount"} <= set(read_package(FOLDER))


CLEAN = {"cosfs": "", "cosfs.cos": "", "cosfs.cos.interface": "", "cosfs.cos.client": "from cosfs.cos import interface",
         "cosfs.filesystem": "", "cosfs.units": "", "cosfs.namespace": "", "cosfs.namespace.tree": "",
         "cosfs.reading": "", "cosfs.server": "", "cosfs.mount": ""}


def test_clean_modules_pass() -> None:
    assert violations(CLEAN) == []


@pytest.mark.parametrize(("planted", "complaint"), [
    ({"cosfs.units": "from cosfs.filesystem import CosFilesystem"}, "level 0 imports cosfs.filesystem of level 3"),
    ({"cosfs.units": "from . import mount"}, "level 0 imports cosfs.mount of level 5"),
    ({"cosfs.namespace.tree": "from ..filesystem import table"}, "level 2 imports cosfs.filesystem of level 3"),
    ({"cosfs.namespace": "from ..mount import mount"}, "level 2 imports cosfs.mount of level 5"),
    ({"cosfs.units": "async def late():\n    def inner():\n        import cosfs.mount"}, "units:3: level 0 imports"),
    ({"cosfs.reading": "from cosfs.namespace import tree"}, "reading imports cosfs.namespace.tree of the same level"),
    ({"cosfs.filesystem": "from cosfs.cos.client import BucketClient"}, "may know the client's interface only"),
    ({"cosfs.filesystem": "from cosfs.cos import client"}, "may know the client's interface only"),
    ({"cosfs.server": "from cosfs.cos import client"}, "server imports cosfs.cos.client"),
    ({"cosfs.mount": "from cosfs import CosConfig"}, "imports the package itself"),
    ({"cosfs": "from cosfs.mount import mount"}, "the package itself imports cosfs.mount"),
    ({"cosfs.filesystem": "def late():\n    import fuse"}, "filesystem:2: imports fuse"),
    ({"cosfs.cos.client": "from requests.adapters import HTTPAdapter"}, "imports requests"),
    ({"cosfs.mount": "import cachetools"}, "imports cachetools"),
    ({"cosfs.mount": "print('here')"}, "mount:1: prints"),
    ({"cosfs.mount": "x = 1\n" * (MAX_FILE_LINES + 1)}, "has 401 lines"),
    ({"cosfs.mount": "def long():\n" + "    x = 1\n" * MAX_FUNCTION_LINES}, "long has 51 lines"),
    ({"cosfs.namespace.tree": "import cosfs.namespace.cut", "cosfs.namespace.cut": "from . import tree"},
     "cycle: cosfs.namespace.cut -> cosfs.namespace.tree -> cosfs.namespace.cut"),
])
def test_a_planted_violation_is_found(planted: Dict[str, str], complaint: str) -> None:
    found = violations({**CLEAN, **planted})

    assert len(found) == 1
    assert complaint in found[0]


def test_a_module_without_a_level_is_an_error() -> None:
    with pytest.raises(AssertionError, match=r"cosfs\.stray has no level"):
        violations({**CLEAN, "cosfs.stray": "import cosfs.units"})
