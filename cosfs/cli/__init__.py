"""The ``cosfs`` command: the first word chooses what is run, and anything that is no command mounts a bucket.

Each command is a module of this package with ``run(argv) -> int``, imported when it is asked for: a command
must not need the packages of another (the server's, FUSE).
"""

from __future__ import annotations

import importlib
import io
import os
import signal
import sys
from typing import Optional, Sequence

COMMANDS = ("bench", "completion", "doctor", "man", "mount", "recover", "restore", "serve", "stats", "systemd-unit",
            "top", "umount", "uploads")
MODULES = {"mount": "mount_named", "systemd-unit": "systemd_unit"}
"""Of commands whose module has another name: ``mount`` is the one of command lines that begin with a bucket."""


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line (by default the process's own) and return the exit status."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":  # names may have what it cannot show
        sys.stdout.reconfigure(errors="backslashreplace")
    words = list(sys.argv[1:] if argv is None else argv)
    name = "mount"
    if words and words[0] in COMMANDS:
        name = words.pop(0)
        name = MODULES.get(name, name)
    try:
        command = importlib.import_module(f"cosfs.cli.{name}")
    except ModuleNotFoundError as exc:
        package = str(exc.name).partition(".")[0]  # those that commands import are distributed by the same name
        advice = f"install it with: {sys.executable} -m pip install {package}"
        advice = "install cosfs again" if package == "cosfs" else advice
        print(f"cosfs: the Python module {exc.name} is missing; {advice}", file=sys.stderr)
        return 1
    try:
        status = int(command.run(words))
        print(end="", flush=True)
    except BrokenPipeError:  # whoever reads the output has seen enough, as head(1) does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    return status
