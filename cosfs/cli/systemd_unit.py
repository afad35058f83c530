"""``cosfs systemd-unit``: the template by which systemd has mounts by name as services.

The file beside this module is the template; the command prints it with the place where ``cosfs`` is on this machine.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Sequence

HELP = """\
usage: cosfs systemd-unit
Print a template for systemd: cosfs@NAME mounts the section NAME of
/etc/cosfs.conf (see cosfs mount --help), and makes it anew after a crash.

  cosfs systemd-unit | sudo tee /etc/systemd/system/cosfs@.service >/dev/null
  sudo systemctl enable --now cosfs@NAME"""

TEMPLATE = Path(__file__).with_name("cosfs@.service")
COMMAND = "/usr/local/bin/cosfs"
"""Where the template has it."""


def unit(command: str) -> str:
    """The template for a ``cosfs`` at that path."""
    path = command.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")  # systemd.service(5)
    if any(mark.isspace() or mark in "'\"" for mark in path):
        path = f'"{path}"'
    return TEMPLATE.read_text(encoding="utf-8").replace(f"ExecStart={COMMAND} ", f"ExecStart={path} ")


def _own_path() -> str:
    """The command that runs, by the name that it was called by: that one stays when the environment behind it goes."""
    own = shutil.which(sys.argv[0]) if os.path.basename(sys.argv[0]) == "cosfs" else shutil.which("cosfs")
    return os.path.abspath(own) if own else COMMAND


def run(argv: Sequence[str]) -> int:
    """Carry out the command; returns the exit status."""
    if argv:
        asked = argv[0] in ("-h", "--help")
        print(HELP if asked else f"cosfs: cosfs systemd-unit takes no word {argv[0]}; see cosfs systemd-unit --help",
              file=sys.stdout if asked else sys.stderr)
        return int(not asked)
    print(unit(_own_path()), end="")
    return 0
