"""Calls of the public API on multipart uploads. Signatures and results are the official SDK's."""
# ruff: noqa: N803 - the names of the keywords are the SDK's

from __future__ import annotations

from typing import Any, Dict, Mapping

from cosfs.cos import sdk_xml
from cosfs.cos.sdk_base import listing_params
from cosfs.cos.sdk_objects import ObjectApi
from cosfs.errors import InvalidParameter


class MultipartApi(ObjectApi):
    """The single steps; ``upload_file`` and ``copy`` of sdk.py put them together."""

    def create_multipart_upload(self, Bucket: str, Key: str, **kwargs: Any) -> Dict[str, Any]:
        return self._xml_of(self._request("POST", "Initiate Multipart Upload", Bucket, Key, params=[("uploads", "")],
                                          keywords=kwargs, idempotent=False))

    def upload_part(self, Bucket: str, Key: str, Body: Any, PartNumber: int, UploadId: str, EnableMD5: bool = False,
                    **kwargs: Any) -> Dict[str, Any]:
        return self._send_body("PUT", "Upload Part", Bucket, Key, Body, md5=EnableMD5, keywords=kwargs,
                               params=[("partNumber", str(PartNumber)), ("uploadId", UploadId)])

    def upload_part_copy(self, Bucket: str, Key: str, PartNumber: int, UploadId: str, CopySource: Mapping[str, str],
                         CopySourceRange: str = "", **kwargs: Any) -> Dict[str, Any]:
        """``CopySourceRange``: ``bytes=first-last``; empty for the whole object."""
        headers = {"x-cos-copy-source": self._source_header(CopySource)}
        if CopySourceRange:
            headers["x-cos-copy-source-range"] = CopySourceRange
        return self._headers_and_xml_of(self._request(
            "PUT", "Upload Part - Copy", Bucket, Key, keywords=kwargs, headers=headers,
            params=[("partNumber", str(PartNumber)), ("uploadId", UploadId)]))

    def complete_multipart_upload(self, Bucket: str, Key: str, UploadId: str, MultipartUpload: Mapping[str, Any],
                                  **kwargs: Any) -> Dict[str, Any]:
        """``MultipartUpload``: ``{"Part": [{"PartNumber": n, "ETag": …}, …]}``. Sent once, whatever happens."""
        parts = MultipartUpload.get("Part")
        if not parts:
            raise InvalidParameter("Invalid Parameter, Part Is Required!")
        for part in parts:
            for name in ("PartNumber", "ETag"):
                if name not in part:
                    raise InvalidParameter(f"Invalid Parameter, {name} Is Required!")
        body = sdk_xml.from_dict("CompleteMultipartUpload", {"Part": [
            {"PartNumber": part["PartNumber"], "ETag": part["ETag"]} for part in parts]})
        return self._headers_and_xml_of(self._request(
            "POST", "Complete Multipart Upload", Bucket, Key, params=[("uploadId", UploadId)], keywords=kwargs,
            body=body, headers={"Content-Type": "application/xml"}, idempotent=False))

    def abort_multipart_upload(self, Bucket: str, Key: str, UploadId: str, **kwargs: Any) -> None:
        self._done(self._request("DELETE", "Abort Multipart Upload", Bucket, Key, params=[("uploadId", UploadId)],
                                 keywords=kwargs))

    def list_parts(self, Bucket: str, Key: str, UploadId: str, EncodingType: str = "", MaxParts: int = 1000,
                   PartNumberMarker: int = 0, **kwargs: Any) -> Dict[str, Any]:
        """One page."""
        encoding, decode = listing_params(EncodingType)
        found = self._xml_of(self._request("GET", "List Parts", Bucket, Key, keywords=kwargs, params=[
            ("uploadId", UploadId), ("part-number-marker", str(PartNumberMarker)), ("max-parts", str(MaxParts)),
            *encoding]), lists=("Part",))
        return sdk_xml.url_decoded(found, ("Key",), {}) if decode else found

    def list_multipart_uploads(self, Bucket: str, Prefix: str = "", Delimiter: str = "", KeyMarker: str = "",
                               UploadIdMarker: str = "", MaxUploads: int = 1000, EncodingType: str = "",
                               **kwargs: Any) -> Dict[str, Any]:
        """One page."""
        encoding, decode = listing_params(EncodingType)
        found = self._xml_of(self._request("GET", "List Multipart Uploads", Bucket, keywords=kwargs, params=[
            ("uploads", ""), ("prefix", Prefix), ("delimiter", Delimiter), ("key-marker", KeyMarker),
            ("upload-id-marker", UploadIdMarker), ("max-uploads", str(MaxUploads)), *encoding,
        ]), lists=("Upload", "CommonPrefixes"))
        if decode:
            sdk_xml.url_decoded(found, ("Prefix", "KeyMarker", "NextKeyMarker", "UploadIdMarker", "NextUploadIdMarker"),
                                {"Upload": "Key", "CommonPrefixes": "Prefix"})
        return found
