"""What a mount shows: the bucket, its old versions beside it, or the bucket as it was at one time."""

from __future__ import annotations

import time
from typing import Optional, Tuple

from cosfs.config import MountConfig
from cosfs.cos.interface import ObjectClient, VersionedClient
from cosfs.errors import CosException, CosServiceError
from cosfs.preflight import MountError, explain
from cosfs.versions.snapshot import SnapshotClient


def clients_of(client: VersionedClient, config: MountConfig) -> Tuple[ObjectClient, Optional[VersionedClient]]:
    """The client of the filesystem, and the one of its old versions, if they are to be seen.

    Raises: MountError, for a snapshot of a bucket that has no versions. ``client`` is closed then.
    """
    if config.snapshot_s is None:
        return client, client if config.versions else None
    try:
        _check_versioning(client, config)
    except BaseException:
        client.close()
        raise
    return SnapshotClient(client, config.snapshot_s, workers=config.filesystem.parallel_heads), None


def _check_versioning(client: VersionedClient, config: MountConfig) -> None:
    """One request. Raises: MountError."""
    bucket = config.connection.bucket
    try:
        versioning = client.get_bucket_versioning()
    except CosServiceError as exc:
        raise MountError(f"snapshot= needs to know of the versioning of bucket {bucket}, and the service does not tell "
                         f"({exc.code}); grant the keys GetBucketVersioning and GetBucketObjectVersions, or leave out "
                         "snapshot=") from exc
    except CosException as exc:
        raise MountError(explain(exc, config.connection)) from exc
    if not versioning:
        assert config.snapshot_s is not None
        then = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(config.snapshot_s))
        raise MountError(f"bucket {bucket} never had versioning, so what it held at {then} is not known; leave out "
                         "snapshot=, and enable versioning for snapshots from now on")
