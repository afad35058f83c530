"""Services that issue keys for some time: the metadata service of a CVM, and STS for a workload's identity in TKE.

Each function asks once and returns ``Issued`` or raises CredentialsError; renewal.py asks again. Times of ending are
moved to this machine's clock by the answer's Date. Answers hold secrets: no error repeats one.

Sources: COS documentation "Using a CVM role" and STS "AssumeRoleWithWebIdentity" (API 2018-08-13, unsigned).
Threading: nothing is shared.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
import urllib.request
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, TypeVar
from urllib.parse import quote, urlsplit

from cosfs.cos.headers import Headers, parse_http_date
from cosfs.cos.key_files import ROLE_DURATION_S, ROLE_SESSION
from cosfs.cos.renewal import Issued
from cosfs.cos.signing import Credentials
from cosfs.cos.transport import Transport, TransportFailure, TransportSettings
from cosfs.errors import CosClientError, CredentialsError

T = TypeVar("T")

ROLE_ENDPOINT = "http://metadata.tencentyun.com/latest/meta-data/cam/security-credentials"
STS_ENDPOINT = "https://sts.tencentcloudapi.com"

METADATA_TIMEOUT_S = 1.0
"""For the connection, and for the answer: the service is on the machine itself, so to speak."""
START_LIMIT_S = 2.0
"""For all that is asked of the metadata service before a mount, looking up its name included: elsewhere than on a CVM
it is not there, and somebody waits."""
_CVM_ONLY = "roles are to be had on a CVM, or from the address that cam_role_endpoint= names"
_STS_TIMEOUT_S = 5.0
CONTENT_TYPE = "application/json"
_ANSWER_BYTES = 256 * 1024


def at_start(work: Callable[[], T]) -> T:
    """The result of ``work``, within START_LIMIT_S. Raises: CredentialsError."""
    results: List[T] = []
    failures: List[CredentialsError] = []

    def run() -> None:
        try:
            results.append(work())
        except CredentialsError as exc:
            failures.append(exc)

    # a thread, because looking a name up has no time-out; it has ended when there is a result, as a fork demands
    thread = threading.Thread(target=run, name="cosfs-role", daemon=True)
    thread.start()
    thread.join(START_LIMIT_S)
    if results and not thread.is_alive():
        return results[0]
    raise failures[0] if failures else CredentialsError(f"no answer within {START_LIMIT_S:g} s; {_CVM_ONLY}")


def list_roles(endpoint: str) -> List[str]:
    """The roles of this machine, by a metadata service. Raises: CredentialsError."""
    status, _, text = _ask("GET", endpoint.rstrip("/") + "/", timeout_s=METADATA_TIMEOUT_S)
    if status == 404:
        return []
    if status != 200:
        raise CredentialsError(f"{endpoint} answers HTTP {status}")
    return [line.strip() for line in text.splitlines() if re.fullmatch(r"[\w.@+=,-]{1,128}", line.strip(), re.ASCII)]


def role_keys(endpoint: str, role: str) -> Issued:
    """The keys of a role, by a metadata service. Raises: CredentialsError."""
    url = f"{endpoint.rstrip('/')}/{quote(role, safe='')}"
    status, headers, text = _ask("GET", url, timeout_s=METADATA_TIMEOUT_S)
    if status == 404:
        raise CredentialsError(f"{url} knows no such role; give the one that this machine has with cam_role=")
    if status != 200:
        raise CredentialsError(f"{url} answers HTTP {status}")
    document = _document(url, text)
    code = document.get("Code", "Success")
    if code != "Success":
        raise CredentialsError(f"{url} answers {_shown(code)}; see that the role is bound to this machine")
    return _issued(url, document, document, headers)


@dataclass(frozen=True)
class WebIdentity:
    """Who a workload in TKE is, as its environment says."""

    provider_id: str
    role_arn: str
    token_file: str
    region: str = ""
    endpoint: str = STS_ENDPOINT


_TKE_NAMES = {"provider_id": "TKE_PROVIDER_ID", "role_arn": "TKE_ROLE_ARN", "token_file": "TKE_WEB_IDENTITY_TOKEN_FILE"}


def web_identity(environ: Mapping[str, str]) -> Optional[WebIdentity]:
    """The identity that TKE has put into the environment; None: there is none. Raises: CredentialsError."""
    found = {field: environ.get(name, "") for field, name in _TKE_NAMES.items()}
    if not any(found.values()):
        return None
    missing = [name for field, name in _TKE_NAMES.items() if not found[field]]
    if missing:
        raise CredentialsError(f"{' and '.join(missing)} must be set in the environment, too, for the role of a TKE "
                               "workload")
    return WebIdentity(**found, region=environ.get("TKE_REGION", ""), endpoint=sts_endpoint(environ))


def sts_endpoint(environ: Mapping[str, str]) -> str:
    """Where STS is. Raises: CredentialsError."""
    endpoint = environ.get("COSFS_STS_ENDPOINT", "")
    if endpoint and not re.match(r"https?://[^/]", endpoint):
        raise CredentialsError(f"COSFS_STS_ENDPOINT {endpoint} is no address such as {STS_ENDPOINT}")
    return endpoint or STS_ENDPOINT


def web_identity_keys(identity: WebIdentity) -> Issued:
    """The keys of a workload's role, by STS; its token is read anew, because it ends too. Raises: CredentialsError."""
    try:
        with open(identity.token_file, encoding="ascii", errors="replace") as file:
            token = file.read().strip()
    except OSError as exc:
        raise CredentialsError(f"the identity token {identity.token_file} cannot be read ({exc.strerror}); see "
                               f"{_TKE_NAMES['token_file']}") from None
    return ask_sts(
        identity.endpoint, "AssumeRoleWithWebIdentity",
        {"ProviderId": identity.provider_id, "WebIdentityToken": token, "RoleArn": identity.role_arn,
         "RoleSessionName": ROLE_SESSION, "DurationSeconds": ROLE_DURATION_S},
        region=identity.region, role_arn=identity.role_arn, authorize=lambda *_: [("Authorization", "SKIP")],
        advice=lambda _: "check the role and its provider")


def ask_sts(endpoint: str, action: str, parameters: Mapping[str, object], *, region: str, role_arn: str,
            authorize: Callable[[str, int, bytes], Sequence[Tuple[str, str]]],
            advice: Callable[[str], str]) -> Issued:
    """The keys of a role, by STS. Blocks for seconds at most. Raises: CredentialsError.

    ``authorize``: the headers that say who asks, for a host, a time and a body. ``advice``: what to do about the code
    of a refusal.
    """
    body = json.dumps(parameters).encode()
    now_s = int(time.time())
    headers = [("Content-Type", CONTENT_TYPE), ("Content-Length", str(len(body))),
               *authorize(urlsplit(endpoint).netloc, now_s, body),
               ("X-TC-Action", action), ("X-TC-Version", "2018-08-13"), ("X-TC-Timestamp", str(now_s)),
               *([("X-TC-Region", region)] if region else [])]
    status, answered, text = _ask("POST", endpoint, headers, body, timeout_s=_STS_TIMEOUT_S,
                                  remedy="see that STS can be reached, or name another address in COSFS_STS_ENDPOINT",
                                  by_proxy=True)
    if status != 200:
        raise CredentialsError(f"{endpoint} answers HTTP {status}")
    response = _mapping(_document(endpoint, text).get("Response"))
    error = _mapping(response.get("Error"))
    if error:
        code = _shown(error.get("Code"))
        raise CredentialsError(f"{endpoint} gives no keys for {role_arn}: {code} (request id "
                               f"{_shown(response.get('RequestId'))}); {advice(code)}")
    return _issued(endpoint, _mapping(response.get("Credentials")), response, answered)


def _ask(method: str, url: str, headers: Sequence[Tuple[str, str]] = (), body: Optional[bytes] = None, *,
         timeout_s: float, remedy: str = _CVM_ONLY, by_proxy: bool = False) -> Tuple[int, Headers, str]:
    """Status, headers and body of one answer. Raises: CredentialsError, with what to do when there is none."""
    parts = urlsplit(url)
    proxies: Dict[str, str] = {}
    if by_proxy and not urllib.request.proxy_bypass(parts.hostname or ""):
        proxies = urllib.request.getproxies()
    transport = Transport(TransportSettings(timeout_s, timeout_s, 1, os.environ.get("CURL_CA_BUNDLE") or True, True,
                                            proxies))
    try:
        with transport.send(method, f"{parts.scheme}://{parts.netloc}", parts.path or "/",
                            [("Host", parts.netloc), *headers], body) as answer:
            return answer.status, answer.headers, answer.read(_ANSWER_BYTES).decode("utf-8", "replace")
    except TransportFailure as failure:
        raise CredentialsError(f"{failure.error}; {remedy}") from None
    except CosClientError as exc:
        raise CredentialsError(f"{url}: {exc}; {remedy}") from None
    finally:
        transport.close()


def _mapping(value: Any) -> Mapping[str, Any]:  # Any: of a JSON document
    return value if isinstance(value, dict) else {}


def _document(url: str, text: str) -> Mapping[str, Any]:
    try:
        return _mapping(json.loads(text))
    except ValueError:
        pass  # it has the text, so no other exception is raised in here
    raise CredentialsError(f"{url} answers with no JSON; check the address")


def _shown(word: Any) -> str:
    """A code or an id of a service, if it looks like one."""
    return word if isinstance(word, str) and re.fullmatch(r"[\w.-]{1,80}", word, re.ASCII) else "an error"


def _issued(url: str, keys: Mapping[str, Any], times: Mapping[str, Any], headers: Headers) -> Issued:
    found = [value for value in (keys.get(name) for name in ("TmpSecretId", "TmpSecretKey", "Token"))
             if isinstance(value, str) and value]
    if len(found) != 3:
        raise CredentialsError(f"{url} answers without TmpSecretId, TmpSecretKey and Token; check the address")
    ends_s = _ending(times)
    if ends_s is None:
        return Issued(Credentials(*found))
    now_s = time.time()
    there_s = parse_http_date(headers.get("Date", ""))
    return Issued(Credentials(*found), ends_s + (now_s - there_s if there_s is not None else 0.0))


def _ending(times: Mapping[str, Any]) -> Optional[float]:
    seconds = times.get("ExpiredTime")
    if isinstance(seconds, (int, float)) and seconds > 0:
        return float(seconds)
    try:
        return datetime.strptime(str(times.get("Expiration")).rstrip("Z"), "%Y-%m-%dT%H:%M:%S").replace(
            tzinfo=timezone.utc).timestamp()
    except ValueError:
        return None
