"""The signature of Tencent's cloud APIs other than COS: TC3-HMAC-SHA256, which STS wants.

Source: Tencent Cloud API 3.0, "Signature method v3". Pure; the key is in no result.
"""

from __future__ import annotations

import hashlib
import hmac
import time

from cosfs.cos.signing import Credentials

_ALGORITHM = "TC3-HMAC-SHA256"
_SIGNED = "content-type;host;x-tc-action"


def tc3_authorization(credentials: Credentials, service: str, host: str, action: str, content_type: str, body: bytes,
                      time_s: int) -> str:
    """The Authorization header of a POST to ``/``. ``host``, ``action``, ``content_type``: of its headers.

    ``time_s``: seconds since the epoch, as its header X-TC-Timestamp has them. A session token is a header of its own.
    """
    request = "\n".join(("POST", "/", "", f"content-type:{content_type.lower()}", f"host:{host.lower()}",
                         f"x-tc-action:{action.lower()}", "", _SIGNED, hashlib.sha256(body).hexdigest()))
    day = time.strftime("%Y-%m-%d", time.gmtime(time_s))
    scope = f"{day}/{service}/tc3_request"
    text = "\n".join((_ALGORITHM, str(time_s), scope, hashlib.sha256(request.encode()).hexdigest()))
    key = f"TC3{credentials.secret_key}".encode()
    for word in (day, service, "tc3_request"):
        key = _hmac(key, word)
    return (f"{_ALGORITHM} Credential={credentials.secret_id}/{scope}, SignedHeaders={_SIGNED}, "
            f"Signature={_hmac(key, text).hex()}")


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()
