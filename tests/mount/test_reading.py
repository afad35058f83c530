"""Reading large files through a kernel mount: checked bytes, bounded memory."""

import errno
import os
import random
import threading
from pathlib import Path
from typing import List

import pytest

from cosfs.units import MIB
from tests.conftest import MountFactory
from tests.support.mount import Mount
from tests.support.server import CosServer
from tests.support.stores import CosStore

LARGE = random.Random(21).randbytes(40 * MIB)
BODY = random.Random(22).randbytes(6 * MIB + 1)


def read_file(path: str) -> bytes:
    """With one reader and no cache of Python's own."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return b"".join(iter(lambda: os.read(descriptor, MIB), b""))
    finally:
        os.close(descriptor)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("options", [(), ("use_cache",)], ids=["memory", "disk"])
def test_a_flipped_bit_in_a_large_file_is_eio_and_logged_and_the_next_reader_gets_the_right_bytes(
        make_mount: MountFactory, store: CosStore, server: CosServer, tmp_path: Path, options: List[str]) -> None:
    store.put("big", LARGE)
    mount: Mount = make_mount(*[f"{option}={tmp_path / 'cache'}" for option in options])
    mount.expect_log("CRC-64")
    path = f"{mount.root}/big"
    assert os.stat(path).st_size == len(LARGE)
    server.set_faults("kind=corrupt,op=get_object,key=*big,at=1000000,after=3,times=1")
    with pytest.raises(OSError, match="Input/output error") as raised:
        read_file(path)
    assert raised.value.errno == errno.EIO
    server.clear_faults()
    lines = [line for line in mount.text().splitlines() if "ERROR" in line and "CRC-64" in line]
    assert len(lines) == 1
    assert "big" in lines[0]
    for _ in range(2):
        assert read_file(path) == LARGE


@pytest.mark.timeout(120)
def test_memory_of_a_mount_stays_within_its_limit_under_many_readers_and_writers(
        make_mount: MountFactory, store: CosStore) -> None:
    limit = 64 * MIB
    names = [f"f{index:02}" for index in range(50)]
    for name in names:
        store.put(name, BODY)
    mount = make_mount(f"memory_limit={limit // MIB}")
    failures: List[str] = []

    def read(name: str) -> None:
        if read_file(f"{mount.root}/{name}") != BODY:
            failures.append(name)

    def write(name: str) -> None:
        with open(f"{mount.root}/new-{name}", "wb") as file:
            file.write(BODY)

    threads = [threading.Thread(target=work, args=(name,))
               for name in names for work in ((read, write) if name < "f20" else (read,))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
        assert not thread.is_alive(), "a program hangs"
    assert not failures
    assert mount.resident_bytes("VmHWM") <= limit + 150 * MIB
    assert all(store.body(f"new-{name}") == BODY for name in names[:20])
