"""The server itself: from a request to its answer, and the listening socket.

``Application`` is what ``cosfs serve`` starts (cosfs/cli/serve.py).
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import Any, Awaitable, Callable, Dict, Mapping, Optional, Sequence, Tuple

from aiohttp import web

from cosfs.server import ids
from cosfs.server.access_log import AccessLog
from cosfs.server.answer import Sender, error_answer, hang_up, html_answer
from cosfs.server.auth import Authenticator, Key
from cosfs.server.call import Answer, Call, Settings
from cosfs.server.documents import error_document
from cosfs.server.errors import ApiError, Disconnected
from cosfs.server.faults import FaultPlan
from cosfs.server.object_rules import check_key
from cosfs.server.routes import creates_object, find_route
from cosfs.server.store import Store
from cosfs.server.wire import address_of, dialect_of, neutral_headers, read_wire_request
from cosfs.units import KIB

log = logging.getLogger(__name__)

_CONTROL_PATH = "/-/faults"
_KEYS_PATH = "/-/keys"
_MAX_LINE_BYTES = 64 * KIB
"""Of the request line and of each header: far more than a key or a metadata limit allows, so that what is
too long gets the service's error and not a bare 400."""

_SHUTDOWN_S = 2.0

_READ_BUFFER_BYTES = 256 * KIB
"""Fewer wake-ups for large uploads than aiohttp's own 64 KiB."""

_IN_200 = ("copy_object", "upload_part_copy", "complete_multipart_upload")


class Application:
    """Answers requests for the buckets of a store."""

    def __init__(self, store: Store, settings: Settings, keys: Mapping[str, str], token: Optional[str],
                 access_log: AccessLog, faults: FaultPlan) -> None:
        self._store = store
        self._settings = settings
        self._authenticator = Authenticator(keys, token)
        self._sender = Sender(access_log)
        self._faults = faults
        self._server: Optional[web.Server] = None
        store.keep_history(faults.history_s())

    async def listen(self, host: str, port: int) -> Tuple[asyncio.AbstractServer, int]:
        """Begin to answer; returns the listener and its port. Raises: OSError."""
        self._server = _HttpServer(
            self.handle, access_log=None, auto_decompress=False, max_line_size=_MAX_LINE_BYTES,
            max_field_size=_MAX_LINE_BYTES, read_bufsize=_READ_BUFFER_BYTES)
        listener = await asyncio.get_running_loop().create_server(self._server, host, port, backlog=1024)
        return listener, int(listener.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Let the answers under way finish, for a short while, and end all connections."""
        if self._server is not None:
            self._server.pre_shutdown()
            await self._server.shutdown(_SHUTDOWN_S)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        wire = read_wire_request(request)
        if self._settings.control and wire.path == _CONTROL_PATH:
            return await self._control(request)
        if self._settings.control and wire.path == _KEYS_PATH and request.method == "PUT":
            return await self._replace_keys(request)
        call = Call(request, wire, self._settings, self._store, dialect_of(wire), neutral_headers(wire),
                    _first_values(wire.params), ids.request_id(time.time()), ids.trace_id(),
                    awaits_continue=wire.header("expect").lower() == "100-continue")
        try:
            answer = await self._answer(call)
        except ApiError as exc:
            answer = error_answer(call, exc)
        except Disconnected:
            self._sender.log(call, "disconnected")
            return hang_up(call, reset=True)
        except Exception:
            log.exception("%s %s failed (request id %s)", call.op, call.key, call.request_id)
            answer = error_answer(call, ApiError("InternalError"))
        response = await self._sender.send(call, answer)
        if call.awaits_continue:
            # whether the body still comes is up to the client, so nothing after it could be understood
            response.force_close()
        return response

    async def _answer(self, call: Call) -> Answer:
        """Find out what is asked and by whom, and let the handler do it."""
        buckets = self._store.buckets()
        call.address = address_of(call.wire, buckets[0].name if len(buckets) == 1 else None)
        handler = find_route(call.wire.method, call.address, call.query, call.headers)
        call.op = handler.__name__
        call.faults = self._faults.take(call.op, call.address.bucket or "", call.key)
        refusal = _refusal(call)
        if refusal is not None:
            return refusal
        if not self._settings.anonymous:
            call.grant = self._authenticator.check(call.wire, call.now_s)
            if call.grant.secret_id is None and not _is_public(call):
                raise ApiError("AccessDenied")
        check_key(call.key, new=creates_object(handler))
        return await handler(call)

    async def _control(self, request: web.BaseRequest) -> web.Response:
        """``GET /-/faults`` and ``PUT /-/faults``: a JSON list of fault specifications."""
        if request.method == "PUT":
            try:
                specs = json.loads(await request.read())
                self._faults.replace([str(spec) for spec in specs])
            except (ValueError, TypeError) as exc:
                return web.json_response({"error": str(exc)}, status=400)
            self._store.keep_history(self._faults.history_s())
        return web.json_response(list(self._faults.specs))


    async def _replace_keys(self, request: web.BaseRequest) -> web.Response:
        """``PUT /-/keys``: a JSON object of the keys to accept, ``{ID: {"secret_key", "token", "expires_s"}}``."""
        try:
            keys = {str(secret_id): Key(**fields) for secret_id, fields in json.loads(await request.read()).items()}
        except (AttributeError, ValueError, TypeError) as exc:
            return web.json_response({"error": type(exc).__name__}, status=400)
        self._authenticator.replace(keys)
        return web.json_response(sorted(keys))


def _first_values(params: Sequence[Tuple[str, str]]) -> Dict[str, str]:
    found: Dict[str, str] = {}
    for name, value in params:
        found.setdefault(name, value)
    return found


def _is_public(call: Call) -> bool:
    """Whether anybody may do this: read an object whose ACL says public-read."""
    if call.op not in ("get_object", "head_object") or not call.address.bucket:
        return False
    version = call.bucket.objects.find(call.key, call.query.get("versionId"))
    return version is not None and version.detail.acl.startswith("public-read")


def _refusal(call: Call) -> Optional[Answer]:
    """The answer that a fault gives in place of the operation's own."""
    if call.fault("html-502"):
        return html_answer()
    if call.fault("expired-token"):
        raise ApiError("ExpiredToken")
    status = call.fault("status")
    if status is not None:
        raise ApiError(status.code, status=status.status)
    hidden = call.fault("error-in-200")
    if hidden is not None and call.op in _IN_200:
        answer = error_answer(call, ApiError(hidden.code))
        answer.status = 200
        return answer
    return None


class _Connection(web.RequestHandler):
    """Answers what is not even HTTP with an error of the service instead of aiohttp's plain text."""

    def handle_error(self, request: web.BaseRequest, status: int = 500, exc: Optional[BaseException] = None,
                     message: Optional[str] = None) -> web.StreamResponse:
        if request.writer.output_size:
            raise ConnectionError("the answer is under way already") from exc
        if status >= 500:
            log.error("answering %s %s failed", request.method, request.raw_path.partition("?")[0], exc_info=exc)
        error = ApiError("InternalError") if status >= 500 else ApiError("BadRequest", message, status=status)
        trace_id, request_id = ids.trace_id(), ids.request_id(time.time())
        body = error_document(error, resource="/", request_id=request_id, trace_id=trace_id)
        response = web.Response(status=status, body=body, headers={
            "Content-Type": "application/xml", "Server": "tencent-cos", "x-cos-request-id": request_id,
            "x-cos-trace-id": trace_id})
        response.force_close()
        return response


class _HttpServer(web.Server):
    """aiohttp's low-level server, without routes, so that paths arrive untouched."""

    def __init__(self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], **options: Any) -> None:
        super().__init__(handler, **options)
        self._options = options

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=asyncio.get_running_loop(), **self._options)
