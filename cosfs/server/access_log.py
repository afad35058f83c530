"""The access log: one JSON object a line, written before the client can see the end of the answer."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Dict, Optional

from cosfs.server.call import Answer, Call

_SECRET_PARAMS = ("q-", "x-amz-", "sign", "awsaccesskeyid", "signature", "x-cos-security-token")


class AccessLog:
    """Appends to a file; without a path it does nothing."""

    def __init__(self, path: Optional[Path]) -> None:
        """Raises: OSError."""
        self._file = None if path is None else os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def write(self, call: Call, answer: Answer, bytes_out: int, error: str = "") -> None:
        if self._file is None:
            return
        line: Dict[str, object] = {
            "time": round(time.time(), 6),
            "method": call.wire.method,
            "op": call.op,
            "bucket": call.address.bucket or "",
            "key": call.key,
            "query": {name: value for name, value in call.wire.params if not name.lower().startswith(_SECRET_PARAMS)},
            "status": answer.status,
            "bytes_in": call.bytes_in,
            "bytes_out": bytes_out,
            "ms": round((time.monotonic() - call.started_s) * 1000, 3),
            "error": error or answer.error_code,
            "request_id": call.request_id,
            "dialect": call.dialect,
        }
        for name, header in (("range", "range"), ("copy_source", "x-cos-copy-source"),
                             ("copy_source_range", "x-cos-copy-source-range"), ("if_match", "if-match"),
                             ("content_md5", "content-md5"), ("user_agent", "user-agent"), ("acl", "x-cos-acl"),
                             ("storage_class", "x-cos-storage-class"), ("encryption", "x-cos-server-side-encryption"),
                             ("customer_key_md5", "x-cos-server-side-encryption-customer-key-md5"),
                             ("client_pid", "x-delete-client-pid"), ("client_cgroup", "x-delete-client-cgroup")):
            if call.header(header):
                line[name] = call.header(header)
        if call.faults:
            line["faults"] = [fault.kind for fault in call.faults]
        os.write(self._file, json.dumps(line).encode() + b"\n")

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
