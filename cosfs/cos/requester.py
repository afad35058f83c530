"""One API call: address, sign, send, judge the answer, repair, repeat.

Defined here and only here: what counts as an answer of the service, which failures are repaired once
(wrong clock, replaced keys), and which requests may be sent again. Used by client.py and the sdk modules.

A request is repeated when it is idempotent and its body is at hand, or when the service cannot have carried
it out (no connection, throttled). Each sending is signed anew. A repair takes no attempt from the policy.

Threading: any thread may call. The correction of the clock is shared by all calls.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from functools import partial
from typing import Callable, Dict, FrozenSet, Iterable, List, Mapping, Optional, TypeVar, Union

from cosfs.cos.dialect import CosDialect, Dialect, S3Dialect
from cosfs.cos.endpoint import ClientConfig, Endpoint, Target
from cosfs.cos.headers import HeaderList, Headers, parse_http_date
from cosfs.cos.interface import Body, FileBytes
from cosfs.cos.retry import Retrying, is_throttled
from cosfs.cos.signing import Credentials, Pairs
from cosfs.cos.trace import TracedTransport
from cosfs.cos.transport import Answer, Transport, TransportFailure, TransportSettings
from cosfs.cos.wire import Payload
from cosfs.cos.xml import is_error
from cosfs.errors import CosException, CosServiceError, InvalidAnswer, parse_error_document, service_error
from cosfs.metrics import RequestMeter, Ticks
from cosfs.version import __version__

log = logging.getLogger(__name__)

T = TypeVar("T")

_ERROR_BYTES = 256 * 1024  # more is no error document
_CLOCK_OFF_S = 30.0  # less than this does not make a signature invalid (the Node.js SDK's figure)
_READING = ("GET", "HEAD")
_CLOCK_CODES = frozenset(("RequestTimeTooSkewed",))
_KEY_CODES = frozenset(("ExpiredToken", "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken"))
_DENIED = "AccessDenied"  # also of temporary keys whose session was revoked


@dataclass(frozen=True)
class StreamedBody:
    """A body that is not in memory. ``length`` None: sent chunked. ``rewind`` None: it can be sent once.

    ``steady``: each call of ``chunks`` begins anew, so the body can be hashed before it is sent. ``pieces``: the same
    bytes, to be sent.
    """

    chunks: Callable[[], Iterable[Body]]
    length: Optional[int] = None
    rewind: Optional[Callable[[], None]] = None
    steady: bool = False
    pieces: Optional[Callable[[], Iterable[Union[Body, FileBytes]]]] = None


@dataclass(frozen=True)
class Request:
    """What is asked, in COS terms, before it is addressed and signed.

    ``operation``: name for logs and errors. ``key`` None: the bucket. ``accepted``: statuses besides 2xx
    that are answers and not errors. ``source_key``: of the object that is copied. ``target``: instead of bucket
    and key. ``unsigned_params``: the query takes no part in a COS signature.
    """

    operation: str
    method: str
    key: Optional[str] = None
    params: Pairs = ()
    headers: HeaderList = ()  # type: ignore[assignment]  # an empty tuple will do as default
    body: Union[Body, StreamedBody, None] = None
    idempotent: bool = True
    accepted: FrozenSet[int] = frozenset()
    bucket: Optional[str] = None
    source_key: Optional[str] = None
    target: Optional[Target] = None
    unsigned_params: bool = False

    @property
    def repeatable(self) -> bool:
        return not isinstance(self.body, StreamedBody) or self.body.steady or self.body.rewind is not None

    def accepts(self, status: int) -> bool:
        """Whether an answer with that status is no error."""
        return 200 <= status < 300 or status in self.accepted


@dataclass
class Learned:
    """What answers have shown of a service; its clients may share it.

    ``clock_offset_s``: by how much its clock is ahead. ``gives_ids``: its answers have a request id, as those of COS.
    ``conditional_gets``: it answers If-Match by the ETag that it names itself; None: not seen yet.
    """

    clock_offset_s: float = 0.0
    gives_ids: bool = True
    conditional_gets: Optional[bool] = None


class Requester:
    """Carries out requests by one configuration."""

    def __init__(self, config: ClientConfig, *, endpoint: Optional[Endpoint] = None,
                 dialect: Optional[Dialect] = None, learned: Optional[Learned] = None,
                 meter: Optional[RequestMeter] = None, clock: Callable[[], float] = time.time) -> None:
        """``endpoint``, ``dialect``: instead of the configuration's. ``meter``: counts each sending. ``clock``: seconds
        since the epoch."""
        self.config = config
        self.endpoint = endpoint or config.address()
        self.dialect = dialect or (
            CosDialect() if config.signature == "cos"
            else S3Dialect(config.v4_region, sign_payload=self.endpoint.scheme == "http"))
        self._clock = clock
        self.learned = learned or Learned()
        self._meter = meter or RequestMeter()
        self.changes = Ticks()
        """Requests that may have changed something."""
        suffix = f" {config.user_agent_suffix}" if config.user_agent_suffix else ""
        self._user_agent = f"cosfs/{__version__}{suffix}"
        self._transport = (TracedTransport if config.trace else Transport)(TransportSettings(
            config.connect_timeout_s, config.read_timeout_s, config.pool_size, config.verify,
            config.verify_hostname, config.proxies))

    def target(self, request: Request) -> Target:
        if request.target is not None:
            return request.target
        return self.endpoint.locate(request.bucket or self.config.bucket, request.key,
                                    safe_dots=self.dialect.safe_dots)

    def now_s(self) -> float:
        """The service's time, as far as it is known."""
        return self._clock() + self.learned.clock_offset_s

    def correct_clock(self, now_s: float) -> None:
        """Sign by the service's time from now on."""
        self.learned.clock_offset_s = now_s - self._clock()
        log.warning("the clock of this machine is %+.0f s off; signing by the service's", -self.learned.clock_offset_s)

    def call(self, request: Union[Request, Callable[[], Request]], decode: Callable[[Answer], T],
             retrying: Optional[Retrying] = None) -> T:
        """Send until ``decode`` has made a result of an answer; what it raises counts as a failed sending.

        A callable as ``request`` is asked for each sending. The answer is closed here.
        """
        def consume(answer: Answer) -> T:
            with answer:
                return decode(answer)
        return self._repeat(request, consume, retrying or self.config.retry.start())

    def open(self, request: Request) -> Answer:
        """Send until there is an answer; the caller reads its body and closes it."""
        return self._repeat(request, lambda answer: answer, self.config.retry.start())

    def close(self) -> None:
        self._transport.close()

    def _repeat(self, source: Union[Request, Callable[[], Request]], consume: Callable[[Answer], T],
                retrying: Retrying) -> T:
        repairs = _Repairs(self)
        sendings = 0
        while True:
            request = source() if callable(source) else source
            credentials = self.config.credentials.get() if self.config.credentials else None
            outcome = self._send_once(request, credentials, consume, repeated=sendings > 0)
            if not isinstance(outcome, _Failed):
                return outcome
            sendings += 1
            if request.repeatable and (
                    repairs.repaired(outcome, credentials)
                    or ((request.idempotent or outcome.not_carried_out)
                        and retrying.pause(outcome.error, f"{request.operation} {request.key or ''}".rstrip(),
                                           retry_after_s=outcome.retry_after_s))):
                if isinstance(request.body, StreamedBody) and request.body.rewind:
                    request.body.rewind()
                continue
            raise outcome.error

    def _send_once(self, request: Request, credentials: Optional[Credentials], consume: Callable[[Answer], T], *,
                   repeated: bool) -> Union[T, _Failed]:
        target = self.target(request)
        headers, payload = _body_of(request)
        headers = [("User-Agent", self._user_agent), *headers]
        hashed = _hashable(request.body)
        wire = self.dialect.signed_headers(
            credentials, request.method, target, () if request.unsigned_params else request.params, headers,
            hashed, now_s=self.now_s(), repeated=repeated)
        query = self.dialect.query(request.params)
        answer = self._send_counted(request, target.connect_url,
                                    f"{target.raw_path}?{query}" if query else target.raw_path, wire, payload,
                                    repeated=repeated)
        if isinstance(answer, _Failed):
            return answer
        answer.headers = self.dialect.answer_headers(answer.headers)
        if 200 <= answer.status < 300 and "x-cos-request-id" not in answer.headers:
            self.learned.gives_ids = False
        accepted = request.accepts(answer.status)
        try:
            if accepted:
                return consume(answer)
            with answer:
                error = self._error_of(request, target, answer, _secrets(credentials, wire))
        except CosException as exc:
            if accepted:
                self._meter.spoiled(request.operation)
            return _Failed(_without_context(exc))
        return _Failed(error, answer, not_carried_out=is_throttled(error))

    def _send_counted(self, request: Request, connect_url: str, path: str, wire: HeaderList, payload: Payload, *,
                      repeated: bool) -> Union[Answer, _Failed]:
        meter, kind, method = self._meter, request.operation, request.method
        begun_ns = time.perf_counter_ns()
        try:
            answer = self._transport.send(method, connect_url, path, wire, payload)
        except TransportFailure as failure:
            meter.failed(kind, method, sent=failure.sent, repeated=repeated)
            return _Failed(failure.error, not_carried_out=not failure.sent)
        finally:
            if method not in _READING:
                self.changes.add()
        meter.answered(kind, method, answer.status, time.perf_counter_ns() - begun_ns, _body_bytes(request.body),
                       repeated=repeated, accepted=request.accepts(answer.status))
        answer.on_received = partial(meter.received, kind)
        return answer

    def _error_of(self, request: Request, target: Target, answer: Answer, secrets: List[str]) -> CosException:
        """The error that an answer is. Bodies are relieved of what was secret in the request."""
        text = answer.read(_ERROR_BYTES).decode("utf-8", "replace")
        for secret in secrets:
            text = text.replace(secret, "***")
        if 300 <= answer.status < 400:
            return _redirect_error(request, target, answer)
        if parse_error_document(text) is not None:
            return service_error(request.method, text, answer.status)
        # COS gives each answer an id. There are servers that give none even with success: with them only a page for a
        # browser is not of the service (but for HEAD: measured, moto).
        cos = self.config.signature == "cos"
        page = (cos or request.method != "HEAD") and "html" in answer.headers.get("Content-Type", "").lower()
        # A 412 answers a condition of ours, whoever it comes from; ``get_object`` looks into it.
        untagged = "x-cos-request-id" not in answer.headers and answer.status != 412
        if untagged and (page or (cos and self.learned.gives_ids)):
            return InvalidAnswer(f"{request.operation}: HTTP {answer.status} from something between here and the "
                                 f"service at {target.host} (no request id)")
        return service_error(request.method, _digest_of_headers(request, target, answer), answer.status)


@dataclass
class _Failed:
    """A sending that gave no result. ``not_carried_out``: certain to have had no effect."""

    error: CosException
    answer: Optional[Answer] = None
    not_carried_out: bool = False

    @property
    def retry_after_s(self) -> Optional[float]:
        value = self.answer.headers.get("Retry-After", "").strip() if self.answer else ""
        if value.isascii() and value.isdigit():
            return float(value)
        at = parse_http_date(value) if value else None
        now = parse_http_date(self.answer.headers.get("Date", "")) if self.answer else None
        return max(0.0, at - (now or time.time())) if at is not None else None


class _Repairs:
    """The repairs of one call, each made at most once: the clock, the keys."""

    def __init__(self, requester: Requester) -> None:
        self._requester = requester
        self._clock_done = False
        self._keys_done = False

    def repaired(self, failed: _Failed, used: Optional[Credentials]) -> bool:
        """Whether the same request may now succeed."""
        error = failed.error
        if used is None or failed.answer is None or not isinstance(error, CosServiceError):
            return False
        bodiless = error.status in (400, 403) and not error.get_origin_msg()
        return (self._clock_repaired(error, failed.answer.headers, bodiless=bodiless)
                or self._keys_repaired(error, used, bodiless=bodiless))

    def _clock_repaired(self, error: CosServiceError, headers: Headers, *, bodiless: bool) -> bool:
        expired = error.code == "AccessDenied" and "request has expired" in error.get_error_msg().lower()
        if self._clock_done or not (error.code in _CLOCK_CODES or expired or bodiless):
            return False
        there_s = parse_http_date(headers.get("Date", ""))
        requester = self._requester
        if there_s is None or abs(there_s - requester.now_s()) < _CLOCK_OFF_S:
            return False
        self._clock_done = True
        requester.correct_clock(there_s)
        return True

    def _keys_repaired(self, error: CosServiceError, used: Credentials, *, bodiless: bool) -> bool:
        provider = self._requester.config.credentials
        certain = error.code in _KEY_CODES or bodiless
        if self._keys_done or provider is None or not (certain or error.code == _DENIED):
            return False
        self._keys_done = True
        if provider.refresh(used, certain=certain) == used:
            return False
        log.info("the service refused the keys (HTTP %d); trying again with others", error.status)
        return True


def _hashable(body: Union[Body, StreamedBody, None]) -> Optional[Iterable[Body]]:
    """The pieces of a body, for signatures that cover it; None if it can be read only once."""
    if isinstance(body, StreamedBody):
        return body.chunks() if body.steady else None
    return () if body is None else (body,)


def _body_bytes(body: Union[Body, StreamedBody, None]) -> int:
    """The length of a body; 0 for one that nobody knew before it was sent."""
    if isinstance(body, StreamedBody):
        return body.length or 0
    return 0 if body is None else memoryview(body).nbytes


def _body_of(request: Request) -> tuple[HeaderList, Payload]:
    """The headers with those that describe the body, and the body as the transport takes it."""
    headers, body = list(request.headers), request.body
    if isinstance(body, StreamedBody):
        headers.append(("Transfer-Encoding", "chunked") if body.length is None
                       else ("Content-Length", str(body.length)))
        return headers, (body.pieces or body.chunks)()
    if body is None:
        if request.method in ("PUT", "POST", "DELETE"):
            headers.append(("Content-Length", "0"))
        return headers, None
    headers.append(("Content-Length", str(memoryview(body).nbytes)))
    return headers, body


def _secrets(credentials: Optional[Credentials], wire: HeaderList) -> List[str]:
    """What an error document must not repeat, longest first."""
    found = {value for name, value in wire if name.lower().endswith(("authorization", "-customer-key"))}
    for value in list(found):
        found.add(value.rpartition("ignature=")[2])  # the last field in both schemes
    if credentials is not None:
        found.update((credentials.secret_key, credentials.token or ""))
    return sorted((secret for secret in found if secret), key=len, reverse=True)


def _redirect_error(request: Request, target: Target, answer: Answer) -> CosServiceError:
    location = answer.headers.get("Location", "").partition("?")[0] or "an address that it does not name"
    return service_error(request.method, {
        "code": "Redirect", "message": f"the service refers to {location}; check the region of the endpoint",
        "resource": target.url, "requestid": answer.headers.get("x-cos-request-id", ""),
        "traceid": answer.headers.get("x-cos-trace-id", "")}, answer.status)


def _digest_of_headers(request: Request, target: Target, answer: Answer) -> Mapping[str, str]:
    """The digest of an error without a document, as the official SDK words it for HEAD."""
    digest: Dict[str, str] = {
        "code": "", "message": "", "resource": target.url,
        "requestid": answer.headers.get("x-cos-request-id", ""), "traceid": answer.headers.get("x-cos-trace-id", "")}
    if answer.status == 404 and request.key is None:
        digest.update(code="NoSuchBucket", message="The specified bucket does not exist.")
    elif answer.status == 404:
        digest.update(code="NoSuchResource", message="The Resource You Head Not Exist")
    return digest


def _without_context(error: CosException) -> CosException:
    error.__context__ = error.__cause__ = None
    return error


def error_inside(answer: Answer, body: bytes, method: str) -> None:
    """Raise the error that a 200 answer carries (copy, complete). Raises: CosServiceError."""
    if is_error(body):
        raise service_error(method, body.decode("utf-8", "replace").strip(), answer.status)



