"""Calls of the public API on single objects. Signatures and results are the official SDK's."""
# ruff: noqa: N803 - the names of the keywords are the SDK's

from __future__ import annotations

import base64
import hashlib
import time
from typing import Any, Dict, List, Mapping, Optional, Tuple
from urllib.parse import quote, urlencode

from cosfs.cos import sdk_xml
from cosfs.cos.dialect import SIGNATURE_BACKDATED_S
from cosfs.cos.endpoint import Target
from cosfs.cos.sdk_base import SdkBase
from cosfs.cos.sdk_body import StreamBody
from cosfs.cos.sdk_config import key_name
from cosfs.cos.signing import cos_auth_fields
from cosfs.errors import CosServiceError, InvalidParameter

_NOT_MODIFIED = frozenset((304,))


class ObjectApi(SdkBase):
    """Put, get, head, delete, copy, and what else one key can be asked."""

    def put_object(self, Bucket: str, Body: Any, Key: str, EnableMD5: bool = False, **kwargs: Any) -> Dict[str, Any]:
        """Upload str, bytes, a file or an iterable of up to 5 GB; returns the answer's headers."""
        return self._send_body("PUT", "Put Object", Bucket, Key, Body, md5=EnableMD5, keywords=kwargs)

    def put_object_from_local_file(self, Bucket: str, LocalFilePath: str, Key: str, EnableMD5: bool = False,
                                   **kwargs: Any) -> Dict[str, Any]:
        with open(LocalFilePath, "rb") as file:
            return self.put_object(Bucket, file, Key, EnableMD5, **kwargs)

    def get_object(self, Bucket: str, Key: str, KeySimplifyCheck: bool = True, **kwargs: Any) -> Dict[str, Any]:
        """The answer's headers and, as ``Body``, a StreamBody. "Not modified" is an answer with an empty one."""
        request = self._request("GET", "Get Object", Bucket, Key, keywords=kwargs, accepted=_NOT_MODIFIED,
                                any_key=not KeySimplifyCheck)
        answer = self._requester.open(request)
        return {**answer.headers, "Body": StreamBody(answer)}

    def head_object(self, Bucket: str, Key: str, **kwargs: Any) -> Dict[str, Any]:
        return self._headers_of(self._request("HEAD", "Head Object", Bucket, Key, keywords=kwargs,
                                              accepted=_NOT_MODIFIED))

    def object_exists(self, Bucket: str, Key: str) -> bool:
        try:
            self.head_object(Bucket, Key)
        except CosServiceError as exc:
            if exc.get_status_code() == 404:
                return False
            raise
        return True

    def delete_object(self, Bucket: str, Key: str, **kwargs: Any) -> Dict[str, Any]:
        return self._headers_of(self._request("DELETE", "Delete Object", Bucket, Key, keywords=kwargs))

    def delete_objects(self, Bucket: str, Delete: Mapping[str, Any], **kwargs: Any) -> Dict[str, Any]:
        """``Delete``: ``{"Object": [{"Key": …}, …], "Quiet": "true"|"false"}``."""
        body = sdk_xml.from_dict("Delete", Delete)
        digest = hashlib.md5(body, usedforsecurity=False).digest()
        return self._xml_of(self._request(
            "POST", "Delete Multiple Objects", Bucket, params=[("delete", "")], keywords=kwargs, body=body,
            headers={"Content-MD5": base64.b64encode(digest).decode("ascii"), "Content-Type": "application/xml"},
        ), lists=("Deleted", "Error"))

    def _source_header(self, source: Mapping[str, str]) -> str:
        """A CopySource as a header: Bucket, Key and Region or Endpoint, perhaps Appid and VersionId."""
        bucket, key = self._source_name(source)
        target = self._conf.copy_source_endpoint(source).locate(bucket, key)
        return self._requester.dialect.copy_source(target, bucket, key, source.get("VersionId"))

    def _source_name(self, source: Mapping[str, str]) -> Tuple[str, str]:
        """Bucket and key of a CopySource. Raises: InvalidParameter."""
        if "Bucket" not in source or "Key" not in source:
            raise InvalidParameter("CopySource needs Bucket and Key")
        bucket, suffix = source["Bucket"], f"-{source['Appid']}" if source.get("Appid") else ""
        return (self._conf.bucket_name(bucket if bucket.endswith(suffix) else bucket + suffix),
                key_name(source["Key"]))

    def copy_object(self, Bucket: str, Key: str, CopySource: Mapping[str, str], CopyStatus: str = "Copy",
                    **kwargs: Any) -> Dict[str, Any]:
        """Copy on the service, up to 5 GB. An error inside a 200 answer is raised."""
        if CopyStatus not in ("Copy", "Replaced"):
            raise InvalidParameter("CopyStatus must be Copy or Replaced")
        return self._headers_and_xml_of(self._request(
            "PUT", "Put Object - Copy", Bucket, Key, keywords=kwargs,
            headers={"x-cos-copy-source": self._source_header(CopySource), "x-cos-metadata-directive": CopyStatus}))

    def append_object(self, Bucket: str, Key: str, Position: int, Data: Any, **kwargs: Any) -> Dict[str, Any]:
        """Append; never sent twice. The service's checksum is of the whole object and is not compared."""
        return self._send_body("POST", "Append Object", Bucket, Key, Data, keywords=kwargs, check_crc=False,
                               params=[("append", ""), ("position", str(Position))], idempotent=False)

    def put_symlink(self, Bucket: str, SymlinkName: str, SymlinkTarget: str, **kwargs: Any) -> Dict[str, Any]:
        return self._headers_of(self._request(
            "PUT", "Put Symlink", Bucket, SymlinkName, params=[("symlink", "")], keywords=kwargs,
            headers={"x-cos-symlink-target": SymlinkTarget}))

    def get_symlink(self, Bucket: str, SymlinkName: str, **kwargs: Any) -> Dict[str, Any]:
        return self._headers_of(self._request("GET", "Get Symlink", Bucket, SymlinkName, params=[("symlink", "")],
                                              keywords=kwargs))

    def put_object_tagging(self, Bucket: str, Key: str, Tagging: Mapping[str, Any], **kwargs: Any) -> None:
        """``Tagging``: ``{"TagSet": {"Tag": [{"Key": …, "Value": …}, …]}}``."""
        body = sdk_xml.from_dict("Tagging", Tagging)
        digest = hashlib.md5(body, usedforsecurity=False).digest()
        self._done(self._request("PUT", "Put Object Tagging", Bucket, Key, params=[("tagging", "")], keywords=kwargs,
                                 body=body, headers={"Content-MD5": base64.b64encode(digest).decode("ascii")}))

    def get_object_tagging(self, Bucket: str, Key: str, **kwargs: Any) -> Dict[str, Any]:
        found = self._xml_of(self._request("GET", "Get Object Tagging", Bucket, Key, params=[("tagging", "")],
                                           keywords=kwargs))
        if isinstance(found.get("TagSet"), dict):
            sdk_xml.with_lists(found["TagSet"], ("Tag",))
        return found

    def delete_object_tagging(self, Bucket: str, Key: str, **kwargs: Any) -> None:
        self._done(self._request("DELETE", "Delete Object Tagging", Bucket, Key, params=[("tagging", "")],
                                 keywords=kwargs))

    def restore_object(self, Bucket: str, Key: str, RestoreRequest: Mapping[str, Any], **kwargs: Any) -> None:
        """``RestoreRequest``: ``{"Days": n, "CASJobParameters": {"Tier": "Standard"}}``."""
        self._done(self._request("POST", "Post Object Restore", Bucket, Key, params=[("restore", "")],
                                 keywords=kwargs, body=sdk_xml.from_dict("RestoreRequest", RestoreRequest),
                                 idempotent=False))

    def get_object_url(self, Bucket: str, Key: str) -> str:
        return self._conf.uri(Bucket, Key)

    def get_auth(self, Method: str, Bucket: str, Key: str, Expired: int = 300,
                 Headers: Optional[Mapping[str, str]] = None, Params: Optional[Mapping[str, str]] = None,
                 SignHost: Optional[bool] = None) -> str:
        """The Authorization header of a request that is sent by other means."""
        fields = self._auth_fields(Method, self._target(Bucket, Key), Expired, Headers, Params, SignHost)
        return "&".join(f"{name}={value}" for name, value in fields)

    def get_presigned_url(self, Bucket: str, Key: str, Method: str, Expired: int = 300,
                          Params: Optional[Mapping[str, str]] = None, Headers: Optional[Mapping[str, str]] = None,
                          SignHost: Optional[bool] = None) -> str:
        """A URL that needs no further signature for ``Expired`` seconds; a session token is part of it.

        Whoever has it can use it: it is a secret as long as it is valid.
        """
        params = dict(Params or {})
        token = None if self._conf.anonymous else self._conf.get().token
        if token and "x-cos-security-token" not in params:
            params["x-cos-security-token"] = token
        target = self._target(Bucket, Key)
        fields = self._auth_fields(Method, target, Expired, Headers, params, SignHost)
        query = "&".join(f"{name}={quote(value, safe='')}" for name, value in fields)
        return f"{target.url}?{query}" + (f"&{urlencode(params)}" if params else "")

    def get_presigned_download_url(self, Bucket: str, Key: str, Expired: int = 300,
                                   Params: Optional[Mapping[str, str]] = None,
                                   Headers: Optional[Mapping[str, str]] = None,
                                   SignHost: Optional[bool] = None) -> str:
        return self.get_presigned_url(Bucket, Key, "GET", Expired, Params, Headers, SignHost)

    def _target(self, bucket: str, key: str) -> Target:
        return self._conf.endpoint.locate(self._conf.bucket_name(bucket), key_name(key))

    def _auth_fields(self, method: str, target: Target, expired_s: int, headers: Optional[Mapping[str, str]],
                     params: Optional[Mapping[str, str]], sign_host: Optional[bool]) -> List[Tuple[str, str]]:
        if self._conf.anonymous:
            raise InvalidParameter("an anonymous configuration has no keys to sign with")
        signed = list((headers or {}).items())
        wanted = self._conf.sign_host if sign_host is None else sign_host
        if wanted and not any(name.lower() == "host" for name, _ in signed):
            signed.append(("Host", target.host_name))
        start_s = int(time.time()) - SIGNATURE_BACKDATED_S
        return cos_auth_fields(
            self._conf.get(), method, target.path, list((params or {}).items()) if self._conf.sign_params else [],
            signed, start_s=start_s, end_s=start_s + SIGNATURE_BACKDATED_S + expired_s)
