"""docs/Dockerfile and .dockerignore as far as tests can go without Docker: instructions, and the build's context."""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
from pathlib import Path
from typing import List, NamedTuple

from tests.support.mount import REPOSITORY

FILE = REPOSITORY / "docs" / "Dockerfile"
IGNORED = REPOSITORY / ".dockerignore"


class Instruction(NamedTuple):
    name: str
    text: str


def instructions() -> List[Instruction]:
    """In order; lines that a backslash continues are joined."""
    text = re.sub(r"(?m)^#.*\n", "", FILE.read_text("utf-8")).replace("\\\n", " ")
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    return [Instruction(*line.split(" ", 1)) for line in lines]


def texts(name: str) -> List[str]:
    return [instruction.text for instruction in instructions() if instruction.name == name]


def ignored(path: str) -> bool:
    """Whether .dockerignore leaves a path of the repository out: the last pattern that fits it, or a folder above it,
    counts. Of the patterns only ``*``, whole names, and ``**/`` in front of a name are known."""
    parts = path.split("/")
    out = False
    for line in IGNORED.read_text("utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = line.lstrip("!")
        names = parts if pattern.startswith("**/") else parts[:1]
        if any(fnmatch.fnmatchcase(name, pattern.replace("**/", "", 1)) for name in names):
            out = not line.startswith("!")
    return out


def make_context(target: Path) -> None:
    """What Docker would get of the repository."""
    for folder, folders, files in os.walk(REPOSITORY):
        inside = os.path.relpath(folder, REPOSITORY)
        below = "" if inside == "." else f"{inside}/"
        folders[:] = [name for name in folders if not ignored(below + name)]
        for name in files:
            if not ignored(below + name):
                (target / below).mkdir(parents=True, exist_ok=True)
                shutil.copy2(f"{folder}/{name}", target / below / name)
