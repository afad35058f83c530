"""The embedded server judged by rclone, in its profile for Tencent COS (AWS Signature V4)."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
from pathlib import Path

from tests.support.foreign_servers import executable
from tests.support.server import CosServer


def test_a_tree_goes_up_and_comes_back(server: CosServer, folder: str, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "d" / "e").mkdir(parents=True)
    for name, size in (("a", 5), ("empty", 0), ("d/ä b+c%", 100_000), ("d/e/parts", 11_000_000)):
        (tree / name).write_bytes(random.Random(size).randbytes(size))
    settings = {"type": "s3", "provider": "TencentCOS", "access_key_id": server.secret_id,
                "secret_access_key": server.secret_key, "endpoint": server.url, "force_path_style": "true",
                "upload_cutoff": "5M", "chunk_size": "5M"}
    environment = {**os.environ, "RCLONE_CONFIG": str(tmp_path / "none"),
                   **{f"RCLONE_CONFIG_COS_{name.upper()}": value for name, value in settings.items()}}
    remote = f"cos:{server.bucket}/{folder}tree"

    def rclone(*args: str) -> str:
        done = subprocess.run([executable("rclone"), *args, "--retries", "1"], env=environment, check=True, text=True,
                              timeout=60, stdout=subprocess.PIPE)
        return done.stdout

    rclone("copy", str(tree), remote)
    rclone("check", str(tree), remote, "--download")
    server.clear_requests()
    rclone("sync", str(tree), remote)
    assert server.requests(method="PUT", op="put_object") == [], "times came back with the objects"
    rclone("moveto", f"{remote}/a", f"{remote}/moved")
    assert rclone("md5sum", f"{remote}/moved").split()[0] == hashlib.md5((tree / "a").read_bytes()).hexdigest()
    rclone("purge", remote)
    assert rclone("lsf", f"cos:{server.bucket}/{folder}") == ""
