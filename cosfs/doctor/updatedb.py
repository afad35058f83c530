"""Whether updatedb, which walks all files of a machine for locate every day, is told to pass mounts over.

Its configuration is lines ``NAME = "WORDS"`` (updatedb.conf(5), of plocate and of mlocate).
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Dict, List, Optional

from cosfs.doctor.findings import Outcome, ok, skipped, warning
from cosfs.mount_table import KIND

CONFIGURATION = Path("/etc/updatedb.conf")
_LINE = re.compile(r'^[ \t]*(PRUNEFS|PRUNEPATHS|PRUNENAMES)[ \t]*=[ \t]*"([^"]*)"', re.MULTILINE)


def look_at_updatedb(mount_point: Optional[str], *, let_in: bool, guarded: bool,
                     configuration: Path = CONFIGURATION) -> Outcome:
    """``let_in``: whether root may enter the mount. ``guarded``: whether the mount itself keeps updatedb out."""
    try:
        text = configuration.read_text("utf-8", "replace")
    except FileNotFoundError:
        return ok(f"there is no {configuration}")
    except OSError as exc:
        return skipped(f"{configuration} cannot be read ({exc.strerror})")
    lists = {name: words.split() for name, words in _LINE.findall(text)}
    covered = _covered(lists, None if mount_point is None else os.path.realpath(mount_point))
    if covered is not None:
        return ok(f"{covered} of {configuration}")
    if not let_in:
        return ok("root's is not let in without allow_other")
    text = ("it goes into mounts of cosfs; this one keeps it out by itself (scanner_guard)" if guarded else
            "it goes into mounts of cosfs, and asks for every folder of the bucket each time")
    return warning(text, f"add {KIND} to PRUNEFS in {configuration}")


def _covered(lists: Dict[str, List[str]], mount_point: Optional[str]) -> Optional[str]:
    """What has updatedb pass the mount over; None: nothing does."""
    if KIND in (word.lower() for word in lists.get("PRUNEFS", ())):
        return f"{KIND} is in PRUNEFS"
    if mount_point is None:
        return None
    for path in lists.get("PRUNEPATHS", ()):
        if f"{mount_point}/".startswith(f"{path.rstrip('/')}/"):
            return f"{path} is in PRUNEPATHS"
    for name in lists.get("PRUNENAMES", ()):
        if name in mount_point.split("/"):
            return f"{name} is in PRUNENAMES"
    return None
