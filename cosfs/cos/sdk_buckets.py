"""Calls of the public API on buckets. Signatures and results are the official SDK's."""
# ruff: noqa: N803 - the names of the keywords are the SDK's

from __future__ import annotations

from typing import Any, Dict, Optional

from cosfs.cos import sdk_xml
from cosfs.cos.endpoint import Addressing, Endpoint
from cosfs.cos.requester import Request
from cosfs.cos.sdk_base import SdkBase, listing_params, split_keywords
from cosfs.errors import CosServiceError, InvalidParameter


class BucketApi(SdkBase):
    """Listings, creation and removal, location, versioning, and the list of buckets."""

    def list_objects(self, Bucket: str, Prefix: str = "", Delimiter: str = "", Marker: str = "", MaxKeys: int = 1000,
                     EncodingType: str = "", **kwargs: Any) -> Dict[str, Any]:
        """One page. Names are decoded unless EncodingType="url" asks for them as sent."""
        encoding, decode = listing_params(EncodingType)
        found = self._xml_of(self._request("GET", "List Objects", Bucket, keywords=kwargs, params=[
            ("prefix", Prefix), ("delimiter", Delimiter), ("marker", Marker), ("max-keys", str(MaxKeys)), *encoding,
        ]), lists=("Contents", "CommonPrefixes"))
        if decode:
            sdk_xml.url_decoded(found, ("Prefix", "Marker", "NextMarker"),
                                {"Contents": "Key", "CommonPrefixes": "Prefix"})
        return found

    def list_objects_versions(self, Bucket: str, Prefix: str = "", Delimiter: str = "", KeyMarker: str = "",
                              VersionIdMarker: str = "", MaxKeys: int = 1000, EncodingType: str = "",
                              **kwargs: Any) -> Dict[str, Any]:
        """One page of versions and delete markers."""
        encoding, decode = listing_params(EncodingType)
        found = self._xml_of(self._request("GET", "List Object Versions", Bucket, keywords=kwargs, params=[
            ("versions", ""), ("prefix", Prefix), ("delimiter", Delimiter), ("key-marker", KeyMarker),
            ("version-id-marker", VersionIdMarker), ("max-keys", str(MaxKeys)), *encoding,
        ]), lists=("Version", "DeleteMarker", "CommonPrefixes"))
        if decode:
            sdk_xml.url_decoded(
                found, ("Prefix", "KeyMarker", "NextKeyMarker", "VersionIdMarker", "NextVersionIdMarker"),
                {"Version": "Key", "DeleteMarker": "Key", "CommonPrefixes": "Prefix"})
        return found

    def head_bucket(self, Bucket: str, **kwargs: Any) -> Dict[str, Any]:
        return self._headers_of(self._request("HEAD", "Head Bucket", Bucket, keywords=kwargs))

    def bucket_exists(self, Bucket: str) -> bool:
        try:
            self.head_bucket(Bucket)
        except CosServiceError as exc:
            if exc.get_status_code() == 404:
                return False
            raise
        return True

    def create_bucket(self, Bucket: str, BucketAZConfig: Optional[str] = None, **kwargs: Any) -> None:
        """``BucketAZConfig="MAZ"`` makes it one of several zones."""
        body = (sdk_xml.from_dict("CreateBucketConfiguration", {"BucketAZConfig": BucketAZConfig})
                if BucketAZConfig else None)
        self._done(self._request("PUT", "Put Bucket", Bucket, keywords=kwargs, body=body, idempotent=False,
                                 headers={"Content-Type": "application/xml"} if body else {}))

    def delete_bucket(self, Bucket: str, **kwargs: Any) -> None:
        self._done(self._request("DELETE", "Delete Bucket", Bucket, keywords=kwargs, idempotent=False))

    def get_bucket_location(self, Bucket: str, **kwargs: Any) -> Dict[str, Any]:
        return self._xml_of(self._request("GET", "Get Bucket Location", Bucket, params=[("location", "")],
                                          keywords=kwargs))

    def put_bucket_versioning(self, Bucket: str, Status: str, **kwargs: Any) -> None:
        """``Status``: Enabled or Suspended."""
        if Status not in ("Enabled", "Suspended"):
            raise InvalidParameter("versioning status must be set to Enabled or Suspended!")
        body = sdk_xml.from_dict("VersioningConfiguration", {"Status": Status})
        self._done(self._request("PUT", "Put Bucket Versioning", Bucket, params=[("versioning", "")],
                                 keywords=kwargs, body=body))

    def get_bucket_versioning(self, Bucket: str, **kwargs: Any) -> Dict[str, Any]:
        return self._xml_of(self._request("GET", "Get Bucket Versioning", Bucket, params=[("versioning", "")],
                                          keywords=kwargs))

    def list_buckets(self, TagKey: Optional[str] = None, TagValue: Optional[str] = None, Region: Optional[str] = None,
                     CreateTime: Optional[str] = None, Range: Optional[str] = None, Marker: str = "",
                     MaxKeys: int = 2000, **kwargs: Any) -> Dict[str, Any]:
        """Get Service. Its query takes no part in the signature."""
        headers, params = split_keywords(kwargs)
        params.update({"marker": Marker, "max-keys": str(MaxKeys)})
        if TagKey and TagValue:
            params.update({"tagkey": TagKey, "tagvalue": TagValue})
        if Region:
            params["region"] = Region
        if CreateTime and Range:
            params.update({"create-time": CreateTime, "range": Range})
        found = self._xml_of(Request("Get Service", "GET", params=list(params.items()), headers=list(headers.items()),
                                     target=self._service().service(), unsigned_params=True))
        if isinstance(found.get("Buckets"), dict):
            sdk_xml.with_lists(found["Buckets"], ("Bucket",))
        return found

    def _service(self) -> Endpoint:
        """The service's own host, or the endpoint itself where that is not of the public cloud."""
        conf, own = self._conf, self._conf.endpoint
        if conf.service_domain is not None:
            return Endpoint(own.scheme, conf.service_domain)
        if own.addressing is Addressing.PATH or not own.host.endswith((".myqcloud.com", ".tencentcos.cn")):
            return own
        return Endpoint(own.scheme, f"service.cos.{'myqcloud.com' if conf.old_domain else 'tencentcos.cn'}",
                        connect_to=own.connect_to)
