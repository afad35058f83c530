"""The ``cosfs`` command: the first word chooses what is run, and anything that is no command mounts a bucket.

Each command is a module of this package with ``run(argv) -> int``, imported when it is asked for: a command
must not need the packages of another (the server's, FUSE).
"""

from __future__ import annotations

import importlib
import sys
from typing import Optional, Sequence

COMMANDS = ("bench", "doctor", "man", "mount", "recover", "serve", "stats", "top", "umount", "uploads")
_MODULES = {"mount": "mount_named"}
"""Of commands whose module has another name: ``mount`` is the one of command lines that begin with a bucket."""


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line (by default the process's own) and return the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    name = "mount"
    if words and words[0] in COMMANDS:
        name = words.pop(0)
        name = _MODULES.get(name, name)
    try:
        command = importlib.import_module(f"cosfs.cli.{name}")
    except ModuleNotFoundError as exc:
        package = str(exc.name).partition(".")[0]  # those that commands import are distributed by the same name
        advice = f"install it with: {sys.executable} -m pip install {package}"
        advice = "install cosfs again" if package == "cosfs" else advice
        print(f"cosfs: the Python module {exc.name} is missing; {advice}", file=sys.stderr)
        return 1
    return int(command.run(words))
