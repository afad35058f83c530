"""``AddingRequester``: sends what a client's ``Additions`` say along with its requests.

An object that is encrypted with a key of the customer's can be asked for with that key only, and one that is not
must be asked for without ("Server-side encryption", product/436/18145). Listings do not tell which. So what was right
last is tried first, for the object or else for any, and when the service refuses it (400) the others are.

Threading: any thread may call. Memory: an entry for each of the last ``_REMEMBERED`` objects, with customer keys only.
"""

from __future__ import annotations

import os
import re
import threading
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Callable, Generic, List, Optional, Tuple, TypeVar, Union

from cosfs.cos.additions import CustomerKey
from cosfs.cos.endpoint import ClientConfig
from cosfs.cos.headers import HeaderList
from cosfs.cos.requester import Learned, Request, Requester
from cosfs.cos.retry import Retrying
from cosfs.cos.transport import Answer
from cosfs.errors import CosServiceError
from cosfs.metrics import RequestMeter

T = TypeVar("T")
V = TypeVar("V")

_REMEMBERED = 100_000
_STORING = frozenset(("Put Object", "Put Object - Copy", "Initiate Multipart Upload"))
_READING = frozenset(("Head Object", "Get Object"))
_PARTS = frozenset(("Upload Part", "Upload Part - Copy"))
_DELETING = frozenset(("Delete Object", "Delete Multiple Objects"))
_UNSENDABLE = re.compile(r"[^!-~]+")


class _Recent(Generic[V]):
    """A mapping that forgets what was not set or got for longest."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: OrderedDict[str, V] = OrderedDict()

    def get(self, name: str, default: V) -> V:
        with self._lock:
            if name in self._values:
                self._values.move_to_end(name)
            return self._values.get(name, default)

    def set(self, name: str, value: V) -> None:
        with self._lock:
            self._values[name] = value
            self._values.move_to_end(name)
            if len(self._values) > _REMEMBERED:
                self._values.popitem(last=False)

    def forget(self, name: str) -> None:
        with self._lock:
            self._values.pop(name, None)


@dataclass
class _Call:
    """One call under way. ``choices``: customer keys of the object that is read or copied, still to be tried."""

    choices: Optional[List[Optional[CustomerKey]]] = None
    request: Optional[Request] = None
    stored_key: Optional[CustomerKey] = None
    refusals: List[CosServiceError] = field(default_factory=list)

    @property
    def choice(self) -> Optional[CustomerKey]:
        return self.choices[0] if self.choices else None


class AddingRequester(Requester):
    """A ``Requester`` with additions."""

    def __init__(self, config: ClientConfig, *, learned: Optional[Learned] = None,
                 meter: Optional[RequestMeter] = None) -> None:
        super().__init__(config, learned=learned, meter=meter)
        self._additions = config.additions
        self._objects: _Recent[Optional[CustomerKey]] = _Recent()
        self._uploads: _Recent[Optional[CustomerKey]] = _Recent()
        self._latest = config.additions.customer_keys[0] if config.additions.encrypts else None

    def call(self, request: Union[Request, Callable[[], Request]], decode: Callable[[Answer], T],
             retrying: Optional[Retrying] = None) -> T:
        call = _Call()

        def added() -> Request:
            call.request = request() if callable(request) else request
            return self._with_additions(call.request, call)
        while True:
            try:
                result = super().call(added, decode, retrying)
            except CosServiceError as exc:
                call.refusals.append(exc)
                if exc.status != 400 or not call.choices:
                    raise
                if len(call.choices) == 1:
                    raise call.refusals[0] from None
                del call.choices[0]
            else:
                self._remember(call, result)
                return result

    def _with_additions(self, request: Request, call: _Call) -> Request:
        headers: HeaderList = list(request.headers)
        key, kind = request.key or "", request.operation
        source = request.source_key if request.source_key is not None else key if kind in _READING else None
        if source is not None and self._additions.customer_keys:
            if call.choices is None:
                call.choices = self._choices(source)
            if call.choice is not None:
                headers += call.choice.headers(of_source=request.source_key is not None)
        if kind in _STORING:
            keeps_headers = ("x-cos-metadata-directive", "Copy") in headers
            headers, call.stored_key = self._additions.stored(key, headers, call.choice, keeps_headers=keeps_headers)
        elif kind in _PARTS:
            call.stored_key = self._uploads.get(_upload_id(request), None)
        elif kind in _DELETING and self._additions.client_info:
            headers += _client_info()
        if call.stored_key is not None:
            headers += call.stored_key.headers()
        return replace(request, headers=headers)

    def _choices(self, key: str) -> List[Optional[CustomerKey]]:
        likely = self._objects.get(key, self._latest)
        return [likely, *(other for other in (None, *self._additions.customer_keys) if other != likely)]

    def _remember(self, call: _Call, result: object) -> None:
        request = call.request
        if request is None or not self._additions.customer_keys:
            return
        kind, key = request.operation, request.key or ""
        if request.source_key is not None:
            self._objects.set(request.source_key, call.choice)
        if kind == "Initiate Multipart Upload":
            self._uploads.set(str(result), call.stored_key)
        elif kind in _STORING:
            self._objects.set(key, call.stored_key)
        elif kind in _READING:
            self._objects.set(key, call.choice)
            self._latest = call.choice
        elif kind == "Complete Multipart Upload":
            self._objects.set(key, self._uploads.get(_upload_id(request), None))
            self._uploads.forget(_upload_id(request))
        elif kind == "Abort Multipart Upload":
            self._uploads.forget(_upload_id(request))


def _upload_id(request: Request) -> str:
    return next((value for name, value in request.params if name == "uploadId"), "")


def _client_info() -> List[Tuple[str, str]]:
    """Which process deletes, and in which control group (cgroups(7)) it is: to be found in the service's logs."""
    try:
        group = Path("/proc/self/cgroup").read_text().splitlines()[-1].rpartition(":")[2]
    except (OSError, IndexError, UnicodeDecodeError):
        group = ""
    return [("x-delete-client-pid", str(os.getpid())), ("x-delete-client-cgroup", _UNSENDABLE.sub("_", group) or "/")]
