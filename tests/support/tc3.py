"""The other side of TC3-HMAC-SHA256: whether a request to a cloud API is signed as its documentation says.

Written from "Signature method v3" of Tencent Cloud API 3.0, and from what a request carries: it shares nothing with the
code that signs.
"""

from __future__ import annotations

import re
import time
from datetime import datetime, timezone
from hashlib import sha256
from hmac import HMAC
from typing import Mapping, Optional

from cosfs.cos.signing import Credentials

SKEW_S = 300
_HEADER = re.compile(r"TC3-HMAC-SHA256 Credential=([^/]+)/(\d{4}-\d\d-\d\d)/(\w+)/tc3_request, "
                     r"SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})")


def fault_of(headers: Mapping[str, str], body: bytes, service: str, caller: Credentials,
             now_s: Optional[float] = None) -> Optional[str]:
    """The code that the service would refuse a POST to / with; None: it is in order."""
    lowered = {name.lower(): value for name, value in headers.items()}
    match = _HEADER.fullmatch(lowered.get("authorization", ""))
    stamp = int(lowered["x-tc-timestamp"])
    if match is None or match[3] != service or not {"content-type", "host"} <= set(match[4].split(";")):
        return "AuthFailure.InvalidAuthorization"
    if abs(stamp - (time.time() if now_s is None else now_s)) > SKEW_S:
        return "AuthFailure.SignatureExpire"
    if match[1] != caller.secret_id:
        return "AuthFailure.SecretIdNotFound"
    if lowered.get("x-tc-token") != caller.token:
        return "AuthFailure.TokenFailure"
    if datetime.fromtimestamp(stamp, timezone.utc).strftime("%Y-%m-%d") != match[2]:
        return "AuthFailure.SignatureFailure"
    canonical = "POST\n/\n\n"
    for name in match[4].split(";"):
        canonical += f"{name}:{lowered[name].strip().lower()}\n"
    canonical += f"\n{match[4]}\n{sha256(body).hexdigest()}"
    scope = f"{match[2]}/{match[3]}/tc3_request"
    text = f"TC3-HMAC-SHA256\n{stamp}\n{scope}\n{sha256(canonical.encode()).hexdigest()}"
    key = b"TC3" + caller.secret_key.encode()
    for part in scope.split("/"):
        key = HMAC(key, part.encode(), sha256).digest()
    good = HMAC(key, text.encode(), sha256).hexdigest() == match[5]
    return None if good else "AuthFailure.SignatureFailure"
