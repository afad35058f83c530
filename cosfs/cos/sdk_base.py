"""What all calls of the public API share: keywords into headers and parameters, answers into dicts."""

from __future__ import annotations

from typing import Any, Dict, FrozenSet, List, Mapping, Optional, Sequence, Tuple, Union

from cosfs.cos import sdk_xml
from cosfs.cos.dialect import CosDialect
from cosfs.cos.endpoint import ClientConfig, check_key
from cosfs.cos.interface import Body
from cosfs.cos.requester import Request, Requester, StreamedBody, error_inside
from cosfs.cos.retry import RetryPolicy
from cosfs.cos.sdk_body import Upload
from cosfs.cos.sdk_config import CosConfig, key_name
from cosfs.cos.transport import Answer
from cosfs.errors import IntegrityError, InvalidAnswer, InvalidParameter

NamedPairs = Dict[str, str]

_PARAMETERS = {
    "VersionId": "versionId",
    "ResponseContentType": "response-content-type",
    "ResponseContentLanguage": "response-content-language",
    "ResponseExpires": "response-expires",
    "ResponseCacheControl": "response-cache-control",
    "ResponseContentDisposition": "response-content-disposition",
    "ResponseContentEncoding": "response-content-encoding",
}
_SSE_C = "x-cos-server-side-encryption-customer-"
_SOURCE_SSE_C = "x-cos-copy-source-server-side-encryption-customer-"
_HEADERS = {
    "Accept": "Accept",
    "AcceptEncoding": "Accept-Encoding",
    "ACL": "x-cos-acl",
    "CacheControl": "Cache-Control",
    "Callback": "x-cos-callback",
    "CallbackVar": "x-cos-callback-var",
    "ContentDisposition": "Content-Disposition",
    "ContentEncoding": "Content-Encoding",
    "ContentLanguage": "Content-Language",
    "ContentLength": "Content-Length",
    "ContentMD5": "Content-MD5",
    "ContentType": "Content-Type",
    "CopySourceIfMatch": "x-cos-copy-source-If-Match",
    "CopySourceIfModifiedSince": "x-cos-copy-source-If-Modified-Since",
    "CopySourceIfNoneMatch": "x-cos-copy-source-If-None-Match",
    "CopySourceIfUnmodifiedSince": "x-cos-copy-source-If-Unmodified-Since",
    "CopySourceSSECustomerAlgorithm": _SOURCE_SSE_C + "algorithm",
    "CopySourceSSECustomerKey": _SOURCE_SSE_C + "key",
    "CopySourceSSECustomerKeyMD5": _SOURCE_SSE_C + "key-MD5",
    "Expires": "Expires",
    "ForbidOverwrite": "x-cos-forbid-overwrite",
    "GrantFullControl": "x-cos-grant-full-control",
    "GrantRead": "x-cos-grant-read",
    "GrantWrite": "x-cos-grant-write",
    "IfMatch": "If-Match",
    "IfModifiedSince": "If-Modified-Since",
    "IfNoneMatch": "If-None-Match",
    "IfUnmodifiedSince": "If-Unmodified-Since",
    "PicOperations": "Pic-Operations",
    "Range": "Range",
    "Referer": "Referer",
    "ServerSideEncryption": "x-cos-server-side-encryption",
    "SSECustomerAlgorithm": _SSE_C + "algorithm",
    "SSECustomerKey": _SSE_C + "key",
    "SSECustomerKeyMD5": _SSE_C + "key-MD5",
    "SSEKMSContext": "x-cos-server-side-encryption-context",
    "SSEKMSKeyId": "x-cos-server-side-encryption-cos-kms-key-id",
    "StorageClass": "x-cos-storage-class",
    "Tagging": "x-cos-tagging",
    "TrafficLimit": "x-cos-traffic-limit",
}
THE_BUCKET = object()
"""In place of a key: the bucket itself. Not None, which a caller may pass as a key by mistake."""

SSE_C_KEYWORDS = ("SSECustomerAlgorithm", "SSECustomerKey", "SSECustomerKeyMD5")


def split_keywords(keywords: Mapping[str, Any]) -> Tuple[NamedPairs, NamedPairs]:
    """Headers and query parameters of keywords. Raises: InvalidParameter for one that is unknown."""
    headers: NamedPairs = {}
    params: NamedPairs = {}
    for keyword, value in keywords.items():
        if keyword == "Metadata":
            headers.update({name: _text(item) for name, item in value.items()})
        elif keyword in _PARAMETERS:
            params[_PARAMETERS[keyword]] = _text(value)
        elif keyword in _HEADERS:
            headers[_HEADERS[keyword]] = _text(value)
        else:
            raise InvalidParameter(f"No Parameter Named {keyword} Please Check It")
    return headers, params


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    return str(value).lower() if isinstance(value, bool) else str(value)


class SdkBase:
    """Holds the configuration and the requester; the calls are added by the classes derived from it.

    Threading: any thread may call.
    """

    def __init__(self, conf: CosConfig, retry: int = 3, session: None = None) -> None:
        """``retry``: repetitions of a failed request. ``session`` is there for the SDK's signature only."""
        if session is not None:
            raise InvalidParameter("cosfs has its own connections: a session of requests cannot be given")
        self._conf = conf
        timeout = 30.0 if conf.timeout_s is None else conf.timeout_s
        connect_s, read_s = timeout if isinstance(timeout, tuple) else (timeout, timeout)
        endpoint = conf.endpoint
        config = ClientConfig(
            bucket="", endpoint=f"{endpoint.scheme}://{endpoint.host}",
            credentials=None if conf.anonymous else conf, verify=conf.verify, connect_timeout_s=connect_s,
            read_timeout_s=read_s, retry=RetryPolicy(attempts=retry + 1), pool_size=conf.pool_size,
            proxies=conf.proxies)
        dialect = CosDialect(sign_host=conf.sign_host, sign_params=conf.sign_params)
        self._requester = Requester(config, endpoint=endpoint, dialect=dialect)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._conf!r})"

    def get_conf(self) -> CosConfig:
        return self._conf

    def close(self) -> None:
        """Release the connections; the client opens new ones when it is used again."""
        self._requester.close()

    def _request(self, method: str, operation: str, bucket: str, key: Any = THE_BUCKET, *,
                 params: Sequence[Tuple[str, str]] = (), keywords: Mapping[str, Any],
                 headers: Optional[Mapping[str, str]] = None, body: Union[Body, StreamedBody, None] = None,
                 idempotent: bool = True, accepted: FrozenSet[int] = frozenset(), any_key: bool = False) -> Request:
        """``any_key``: do not refuse keys that a server may take for the bucket."""
        own_headers, own_params = split_keywords(keywords)
        own_headers.update(headers or {})
        if self._conf.ua is not None:
            own_headers["User-Agent"] = self._conf.ua
        if not self._conf.keep_alive:
            own_headers["Connection"] = "close"
        own_headers.pop("Content-Length", None)  # the body's own is sent
        name = None if key is THE_BUCKET else key_name(key)
        if name is not None and not any_key:
            check_key(name)
        return Request(operation, method, name, params=[*params, *own_params.items()],
                       headers=list(own_headers.items()), body=body, idempotent=idempotent, accepted=accepted,
                       bucket=self._conf.bucket_name(bucket))

    def _headers_of(self, request: Request) -> Dict[str, Any]:
        return self._requester.call(request, lambda answer: dict(answer.headers))

    def _xml_of(self, request: Request, lists: Sequence[str] = ()) -> Dict[str, Any]:
        return self._requester.call(request, lambda answer: sdk_xml.to_dict(answer.read(), lists=lists))

    def _headers_and_xml_of(self, request: Request) -> Dict[str, Any]:
        """Of calls whose 200 may turn out to be an error."""
        def decode(answer: Answer) -> Dict[str, Any]:
            body = answer.read()
            error_inside(answer, body, request.method)
            found = sdk_xml.to_dict(body)
            if "ETag" not in found:
                raise InvalidAnswer(f"{request.operation}: the answer has no ETag")
            return {**answer.headers, **found}
        return self._requester.call(request, decode)

    def _done(self, request: Request) -> None:
        self._requester.call(request, lambda _: None)

    def _send_body(self, method: str, operation: str, bucket: str, key: str, source: Any, *,
                   params: Sequence[Tuple[str, str]] = (), md5: bool = False, check_crc: bool = True,
                   idempotent: bool = True, keywords: Mapping[str, Any]) -> Dict[str, Any]:
        """Upload a Body; where the service names the CRC-64 of what it stored, that is checked."""
        upload = Upload(source, keywords.get("ContentLength"))
        request = self._request(method, operation, bucket, key, params=params, keywords=keywords, body=upload.body,
                                headers={"Content-MD5": upload.content_md5()} if md5 else {}, idempotent=idempotent)

        def decode(answer: Answer) -> Dict[str, Any]:
            crc = answer.headers.integer("x-cos-hash-crc64ecma")
            if check_crc and crc is not None and crc != upload.crc:
                raise IntegrityError(f"the service stored other bytes than were sent: {key!r}")
            return dict(answer.headers)
        return self._requester.call(request, decode)


def listing_params(encoding_type: str) -> Tuple[List[Tuple[str, str]], bool]:
    """The encoding parameter, which is always sent, and whether the answer is to be decoded."""
    if encoding_type not in ("", "url"):
        raise InvalidParameter("EncodingType must be url")
    return [("encoding-type", "url")], not encoding_type
