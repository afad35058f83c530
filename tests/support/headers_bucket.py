"""A bucket in memory that counts what headers cost, with mounts whose clock the test turns."""

import threading
from dataclasses import replace

from cosfs.config import FilesystemConfig
from cosfs.cos.interface import ObjectHeaders
from cosfs.filesystem import CosFilesystem
from tests.support.memory_client import MemoryClient, Stored, error

EPOCH_S = 1_700_000_000.0


class HeadersBucket(MemoryClient):
    """A bucket whose clock the test turns, and mounts of it that share a state folder."""

    def __init__(self, state_folder):
        super().__init__(clock=lambda: self.now)
        self.now = EPOCH_S
        self._state_folder = state_folder
        self._mounts = []
        self.failing = set()
        self.ahead = 0
        self._before = {}

    def head_object(self, key):
        """Fails once for keys in ``failing``; ``ahead``: those that no program waits for when they begin."""
        self.ahead += threading.current_thread().name.startswith("cosfs-ahead")
        found = super().head_object(key)
        if key in self.failing:
            self.failing.remove(key)
            raise error(503, "SlowDown")
        return found

    def add_files(self, prefix, count, size_bytes=100_000):
        body = bytes(size_bytes)
        for number in range(count):
            self.add(f"{prefix}f{number:05d}", body)

    def change_headers(self, key, metadata):
        """As another host's copy of an object onto itself: the ETag stays."""
        old = self.objects[key]
        headers = ObjectHeaders(metadata=metadata)
        self.objects[key] = Stored(old.body, replace(old.info, headers=headers, last_modified_s=float(int(self.now))))

    def mount(self, **settings):
        settings = {"state_folder": self._state_folder, **settings}
        self._mounts.append(CosFilesystem(self, FilesystemConfig(**settings), monotonic=lambda: self.now))
        return self._mounts[-1]

    def unmount(self):
        while self._mounts:
            self._mounts.pop().stop()

    def spent(self):
        """Requests since the last call, by name."""
        now = {name: self.count(name) for name in ("head_object", "list_objects", "get_object")}
        spent = {name: count - self._before.get(name, 0) for name, count in now.items()}
        self._before = now
        return {name: count for name, count in spent.items() if count}

    def asked_for(self):
        """The keys whose headers were asked for, one by one or with their content."""
        return [call.key for call in self.calls if call.operation in ("head_object", "get_object")]


def ls_l(filesystem, path):
    filesystem.getattr(path)
    return {entry.name: filesystem.getattr(f"{path.rstrip('/')}/{entry.name}")
            for entry in filesystem.readdir(path)}
