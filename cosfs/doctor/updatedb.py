"""Whether updatedb is told to pass mounts over; what it is told is in cosfs/updatedb_conf.py."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Optional

from cosfs.doctor.findings import Outcome, ok, skipped, warning
from cosfs.updatedb_conf import CONFIGURATION, MOUNT_TYPE, passed_over


def look_at_updatedb(mount_point: Optional[str], *, let_in: bool, guarded: bool,
                     configuration: Path = CONFIGURATION) -> Outcome:
    """``let_in``: whether root may enter the mount. ``guarded``: whether the mount itself keeps updatedb out."""
    try:
        covered = passed_over(None if mount_point is None else os.path.realpath(mount_point), configuration)
    except FileNotFoundError:
        return ok(f"there is no {configuration}")
    except OSError as exc:
        return skipped(f"{configuration} cannot be read ({exc.strerror})")
    if covered is not None:
        return ok(covered)
    if not let_in:
        return ok("root's is not let in without allow_other")
    text = ("it goes into mounts of cosfs; this one keeps it out by itself (scanner_guard)" if guarded else
            "it goes into mounts of cosfs, and asks for every folder of the bucket each time")
    return warning(text, f"add {MOUNT_TYPE} to PRUNEFS in {configuration}")
