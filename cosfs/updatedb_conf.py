"""What updatedb, which walks all files of a machine for locate every day, is told to pass over.

Its configuration is lines ``NAME = "WORDS"`` (updatedb.conf(5), of plocate and of mlocate). Read by the guard, for what
it says, and by ``cosfs doctor``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Optional

CONFIGURATION = Path("/etc/updatedb.conf")
MOUNT_TYPE = "fuse.cosfs"
"""Of our mounts, in the kernel's table."""
_LINE = re.compile(r'^[ \t]*(PRUNEFS|PRUNEPATHS|PRUNENAMES)[ \t]*=[ \t]*"([^"]*)"', re.MULTILINE)


def passed_over(mount_point: Optional[str], configuration: Path = CONFIGURATION) -> Optional[str]:
    """What has updatedb pass the mount over, for people; None: nothing does. Raises: OSError.

    ``mount_point``: without symbolic links; None: it is not known, so types alone count.
    """
    lists = {name: words.split() for name, words in _LINE.findall(configuration.read_text("utf-8", "replace"))}
    if MOUNT_TYPE in (word.lower() for word in lists.get("PRUNEFS", ())):
        return f"{MOUNT_TYPE} is in PRUNEFS of {configuration}"
    if mount_point is None:
        return None
    for path in lists.get("PRUNEPATHS", ()):
        if f"{mount_point}/".startswith(f"{path.rstrip('/')}/"):
            return f"{path} is in PRUNEPATHS of {configuration}"
    for name in lists.get("PRUNENAMES", ()):
        if name in mount_point.split("/"):
            return f"{name} is in PRUNENAMES of {configuration}"
    return None
