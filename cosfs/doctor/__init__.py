"""``cosfs doctor``'s examination: all that a mount depends on, looked at piece by piece.

What a mount checks as well is checked by the same functions (cosfs/preflight.py). ``findings.py``: outcomes, and how
checks are run; ``network.py``, ``bucket.py``, ``machine.py``, ``updatedb.py``: the checks.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Generator

from cosfs.config import MountConfig
from cosfs.doctor.bucket import Bucket
from cosfs.doctor.findings import Finding, Outcome, State, run_checks
from cosfs.doctor.machine import Machine
from cosfs.doctor.network import Network
from cosfs.mount import client_config

__all__ = ["Finding", "Outcome", "State", "examine"]


def examine(config: MountConfig, *, with_mount_point: bool, write_test: bool) -> Generator[Finding, None, None]:
    """Look at everything; each finding comes as soon as it is known.

    ``with_mount_point``: ``config`` has one that was given. ``write_test``: try what writes, too. Close the iterator
    if it is not exhausted: that removes what was written. Raises nothing of its own.
    """
    # without what is read from files: what is wrong with these is a finding of its own
    bare = replace(config.connection, encryption=None, key_file=None, header_file=None)
    network = Network(config.connection, client_config(bare, None))
    bucket = Bucket(config, lambda: network.hello, write_test=write_test)
    machine = Machine(config, with_mount_point=with_mount_point)
    try:
        yield from run_checks([*network.checks(), *bucket.checks(), *machine.checks()])
    finally:
        bucket.close()
        network.close()
