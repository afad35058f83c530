"""``cosfs doctor`` as its tests call it."""

from __future__ import annotations

import json
import subprocess
from typing import Any, Dict, List, Sequence

from tests.support.desk import Desk
from tests.support.server import CosServer

READING = {"HEAD", "GET"}
NETWORK = ["endpoint", "dns", "tcp", "tls", "answer", "clock"]
PERMISSIONS = ["list", "put", "head", "get", "copy", "multipart", "delete"]
Findings = Dict[str, Dict[str, str]]


class Doctor(Desk):
    """A desk from which ``cosfs doctor`` is called."""

    def __init__(self, server: CosServer, prefix: str) -> None:
        super().__init__(server)
        self.prefix = prefix
        self.bucket = f"{server.bucket}:/{prefix}"

    def call(self, *options: str, switches: Sequence[str] = (), wrapper: Sequence[str] = (),
             **words: Any) -> subprocess.CompletedProcess[str]:
        result = self.command(["doctor", *self.words(*options, **{"bucket": self.bucket, **words}), *switches], wrapper)
        assert self.server.secret_key not in result.stdout + result.stderr
        assert result.stderr == "", result.stderr
        return result

    def findings(self, *options: str, switches: Sequence[str] = (), status: int = 0, **words: Any) -> Findings:
        result = self.call(*options, switches=["--json", *switches], **words)
        found = json.loads(result.stdout)
        assert result.returncode == status, found
        assert status == any(finding["state"] == "failure" for finding in found)
        return {finding["check"]: finding for finding in found}


def states(found: Findings, names: Sequence[str]) -> List[str]:
    return [found[name]["state"] for name in names]
