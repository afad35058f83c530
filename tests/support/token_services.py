"""A stand-in of the services that issue keys: a CVM's metadata service, and STS for workloads in TKE and for those who
assume a role.

It runs in threads of the test's process. What it issues, an embedded server that is given accepts from then on, until
it ends; what it has issued before stays good as long.
"""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Dict, List, Optional, Tuple

from cosfs.cos.signing import Credentials
from tests.support.server import CosServer
from tests.support.tc3 import fault_of


class TokenServices:
    """Use it in a ``with`` block. ``lifetime_s``: how long keys are good; the rest is for a test to change.

    ``requests``: method, path and JSON body of each request; ``headers``: those of the last one. ``issued``: all keys.
    ``failing``: answer 500.
    ``go``: answers wait until it is set. ``fields``: put into the answers of the metadata service in place of its own.
    """

    role = "worker"
    identity: ClassVar = {"TKE_PROVIDER_ID": "cls-example", "TKE_ROLE_ARN": "qcs::cam::uin/100000000001:roleName/pod",
                          "TKE_REGION": "ap-guangzhou"}
    identity_token = "SECRET-identity-token"
    role_arn = "qcs::cam::uin/100000000001:roleName/reader"
    caller = Credentials("AKIDcaller", "SECRET-caller-key")
    """Whose keys may assume ``role_arn``, and ``refusal`` is None; else it is the code that they get."""

    def __init__(self, server: Optional[CosServer] = None, *, lifetime_s: float = 7200.0) -> None:
        self.lifetime_s = lifetime_s
        self.requests: List[Tuple[str, str, Dict[str, Any]]] = []
        self.issued: List[Credentials] = []
        self.headers: Dict[str, str] = {}
        self.refusal: Optional[str] = None
        self.failing = False
        self.fields: Dict[str, Any] = {}
        self.go = threading.Event()
        self.go.set()
        self._server = server
        self._ends: Dict[str, float] = {}
        self._lock = threading.Lock()
        services = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                services._answer(self, b"{}")

            def do_POST(self) -> None:
                services._answer(self, self.rfile.read(int(self.headers["Content-Length"])))

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                """Nothing on standard error."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    @property
    def roles_url(self) -> str:
        return f"{self.url}/latest/roles"

    def __enter__(self) -> TokenServices:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.go.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def revoke(self) -> None:
        """Nothing that was issued until now is accepted any more."""
        self._ends.clear()
        if self._server is not None:
            self._server.set_keys()

    def secrets(self) -> List[str]:
        return [text for key in self.issued for text in (key.secret_key, key.token or "")]

    def _issue(self) -> Tuple[Credentials, int]:
        with self._lock:
            number = len(self.issued) + 1
            key = Credentials(f"AKIDissued{number}", f"SECRET-key-{number}", f"SECRET-token-{number}")
            ends_s = time.time() + self.lifetime_s
            self.issued.append(key)
            self._ends[key.secret_id] = ends_s
            if self._server is not None:
                self._server.set_keys(*(key for key in self.issued if key.secret_id in self._ends),
                                      expires_s=self._ends)
        return key, ends_s  # type: ignore[return-value]  # fractions too: keys of tests are good for seconds

    def _answer(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        with self._lock:
            self.requests.append((request.command, request.path, json.loads(body)))
            self.headers = dict(request.headers)
        self.go.wait(20)
        status, text = (500, "SECRET-page") if self.failing else self._document(request, body)
        data = text.encode()
        try:
            request.send_response(status)
            request.send_header("Content-Length", str(len(data)))
            request.end_headers()
            request.wfile.write(data)
        except OSError:
            pass  # whoever asked has gone

    def _document(self, request: BaseHTTPRequestHandler, body: bytes) -> Tuple[int, str]:
        if request.command == "POST":
            assume = self._assumed if request.headers["X-TC-Action"] == "AssumeRole" else self._identified
            return 200, json.dumps({"Response": {"RequestId": "r-1", **assume(request, body)}})
        if request.path == "/latest/roles/":
            return 200, f"{self.role}\n"
        if request.path != f"/latest/roles/{self.role}":
            return 404, "SECRET-page"
        key, ends_s = self._issue()
        document = {"TmpSecretId": key.secret_id, "TmpSecretKey": key.secret_key, "ExpiredTime": ends_s,
                    "Expiration": "2021-03-12T23:00:47Z", "Token": key.token, "Code": "Success", **self.fields}
        return 200, json.dumps({name: value for name, value in document.items() if value is not None}, indent=1)

    def _assumed(self, request: BaseHTTPRequestHandler, body: bytes) -> Dict[str, Any]:
        code = fault_of(dict(request.headers), body, "sts", self.caller) or self.refusal
        if code is None and json.loads(body)["RoleArn"] != self.role_arn:
            code = "InternalError.GetRoleError"
        return self._issued() if code is None else {"Error": {"Code": code, "Message": f"no: {self.caller.secret_key}"}}

    def _identified(self, request: BaseHTTPRequestHandler, body: bytes) -> Dict[str, Any]:
        expected = {"ProviderId": self.identity["TKE_PROVIDER_ID"], "RoleArn": self.identity["TKE_ROLE_ARN"],
                    "WebIdentityToken": self.identity_token}
        headers = {"X-TC-Action": "AssumeRoleWithWebIdentity", "X-TC-Version": "2018-08-13",
                   "X-TC-Region": self.identity["TKE_REGION"], "Authorization": "SKIP"}
        if not headers.items() <= dict(request.headers).items() or not expected.items() <= json.loads(body).items():
            return {"Error": {"Code": "AuthFailure.TokenFailure", "Message": f"no: {self.identity_token}"}}
        return self._issued()

    def _issued(self) -> Dict[str, Any]:
        key, ends_s = self._issue()
        return {"Credentials": {"Token": key.token, "TmpSecretId": key.secret_id, "TmpSecretKey": key.secret_key},
                "ExpiredTime": ends_s}
