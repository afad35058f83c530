"""The scenarios on mounts in AWS V4 mode, over S3 servers that nobody here wrote.

SeaweedFS checks every signature; moto keeps everything that S3 keeps; ``rclone serve s3`` keeps no directory markers
and copies no parts. ``boto3`` reads what is in the bucket.
"""

from __future__ import annotations

import itertools
import stat
from pathlib import Path
from typing import Iterator, List, Type

import pytest

from tests.conftest import require_fuse
from tests.support.foreign_servers import ForeignServer, MotoServer, RcloneServer, SeaweedServer
from tests.support.mount import Mount
from tests.support.scenarios import Scenario, all_scenarios
from tests.support.stores import EVERYTHING, BotoStore

pytestmark = [pytest.mark.mount, pytest.mark.timeout(60)]

FEATURES = {
    # measured: HEAD of a marker shows none of the metadata that it was stored with
    SeaweedServer: EVERYTHING - {"directory_metadata", "any_name"},
    MotoServer: EVERYTHING - {"any_name"},
    # measured: PUT dir/ makes a file, UploadPartCopy answers nonsense, If-Match of a GET is not heeded
    RcloneServer: frozenset({"copy"}),
}
RCLONE_SCENARIOS = {
    "test_appended_bytes_go_to_the_end", "test_attributes_of_a_file_not_yet_uploaded_show_and_are_uploaded",
    "test_chmod_of_a_closed_file", "test_create_then_read_only_reaches_the_bucket",
    "test_extended_attributes_are_kept", "test_large_file_by_multipart_keeps_its_bytes",
    "test_listing_shows_every_file_once", "test_names_that_every_store_keeps", "test_open_file_follows_its_rename",
    "test_rename_of_a_file_moves_content_and_attributes", "test_rename_over_a_file_replaces_it",
    "test_symbolic_links", "test_times_keep_their_nanoseconds", "test_truncate_by_path_shows_at_once_and_in_the_bucket",
    "test_unlinked_open_file_stays_readable", "test_write_into_the_middle_keeps_the_rest",
    "test_write_past_the_end_leaves_a_hole_of_zeros",
}
"""One mount each, because rclone has no folders to keep scenarios apart."""
SLOW = {"test_many_names_cross_a_listing_page"}
"""A thousand requests of boto3 teach nothing that the embedded server has not."""

_numbers = itertools.count(1)


def suited(kind: Type[ForeignServer]) -> List[Scenario]:
    found = [one for one in all_scenarios() if one.needs <= FEATURES[kind] and one.name not in SLOW]
    return found if kind is not RcloneServer else [one for one in found if one.name in RCLONE_SCENARIOS]


def mount_of(server: ForeignServer, folder: Path, prefix: str = "") -> Mount:
    bucket = server.bucket + (f":/{prefix}" if prefix else "")
    return Mount(server.url, bucket, folder, key=(server.access_key, server.secret_key),
                 options=["sigv4", f"endpoint={server.region}"])


class Bench:
    """A server and one mount of its whole bucket; each scenario gets a folder of its own."""

    def __init__(self, kind: Type[ForeignServer], base: Path) -> None:
        require_fuse()
        self.server = kind(base / "server")
        self.features = FEATURES[kind]
        self._mount = mount_of(self.server, base / "mount")

    def __enter__(self) -> Bench:
        self.server.__enter__()
        client = self.server.client()
        for scenario in suited(type(self.server)):
            client.put_object(Bucket=self.server.bucket, Key=self._prefix(scenario), Body=b"",
                              Metadata={"mode": str(stat.S_IFDIR | 0o755)})
        client.close()
        try:
            self._mount.url = self.server.url
            self._mount.__enter__()
        except BaseException:
            self.server.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self._mount.__exit__(None, None, None)
        finally:
            self.server.__exit__(None, None, None)

    @staticmethod
    def _prefix(scenario: Scenario) -> str:
        """Each scenario's folder is made before the mount, which need not see at once what is made elsewhere."""
        return f"{scenario.name}/"

    def run(self, scenario: Scenario) -> None:
        prefix = self._prefix(scenario)
        client = self.server.client()
        before = self._mount.log_size()
        store = BotoStore(client, self.server.bucket, prefix, self.features)
        world = self._mount.world("/" + prefix.rstrip("/"))
        store.settle = lambda: world.fsyncdir("/")
        scenario.function(world, store)
        client.close()
        assert self._mount.alarms(before) == []


@pytest.fixture(scope="module")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with Bench(SeaweedServer, tmp_path_factory.mktemp("seaweed")) as bench:
        yield bench


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with Bench(MotoServer, tmp_path_factory.mktemp("moto")) as bench:
        yield bench


@pytest.fixture(scope="module")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RcloneServer]:
    require_fuse()
    with RcloneServer(tmp_path_factory.mktemp("rclone")) as server:
        yield server


@pytest.mark.parametrize("scenario", suited(SeaweedServer), ids=lambda scenario: scenario.name[5:])
def test_seaweedfs(scenario: Scenario, seaweed: Bench) -> None:
    seaweed.run(scenario)


@pytest.mark.parametrize("scenario", suited(MotoServer), ids=lambda scenario: scenario.name[5:])
def test_moto(scenario: Scenario, moto: Bench) -> None:
    moto.run(scenario)


def test_all_old_versions_that_moto_keeps_are_shown(tmp_path: Path) -> None:
    require_fuse()
    with MotoServer(tmp_path / "server") as server:
        client = server.client()
        client.put_bucket_versioning(Bucket=server.bucket, VersioningConfiguration={"Status": "Enabled"})
        for key, bodies in (("first", "abc"), ("second", "de")):
            for body in bodies:
                client.put_object(Bucket=server.bucket, Key=key, Body=body.encode())
        client.delete_object(Bucket=server.bucket, Key="second")
        client.close()
        with mount_of(server, tmp_path / "mount") as mount:
            versions = mount.point / ".versions"
            found = sorted(path.read_text() for path in versions.glob("*/*"))
    assert found == ["a", "b", "d", "e"]  # what is there now is no old version


@pytest.mark.parametrize("scenario", suited(RcloneServer), ids=lambda scenario: scenario.name[5:])
def test_rclone_without_directory_markers(scenario: Scenario, rclone: RcloneServer, tmp_path: Path) -> None:
    prefix = f"t{next(_numbers)}/"
    client = rclone.client()
    with mount_of(rclone, tmp_path, prefix.rstrip("/")) as mount:
        world, store = mount.world(), BotoStore(client, rclone.bucket, prefix, FEATURES[RcloneServer])
        store.settle = lambda: world.fsyncdir("/")
        scenario.function(world, store)
    client.close()
