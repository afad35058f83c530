"""Which operation a request asks for: by scope, method and sub-resource."""

from __future__ import annotations

from typing import Awaitable, Callable, Dict, Mapping, Tuple

from cosfs.server import bucket_handlers as buckets
from cosfs.server import copy_handlers as copies
from cosfs.server import multipart_handlers as multipart
from cosfs.server import object_handlers as objects
from cosfs.server import special_handlers as special
from cosfs.server.call import Answer, Call
from cosfs.server.errors import ApiError
from cosfs.server.wire import Address

Handler = Callable[[Call], Awaitable[Answer]]

SERVICE, BUCKET, OBJECT = "service", "bucket", "object"

_ROUTES: Dict[Tuple[str, str, str], Handler] = {
    (SERVICE, "GET", ""): buckets.list_buckets,
    (BUCKET, "GET", ""): buckets.list_objects,
    (BUCKET, "GET", "list-type"): buckets.list_objects_v2,
    (BUCKET, "GET", "versions"): buckets.list_object_versions,
    (BUCKET, "GET", "location"): buckets.get_bucket_location,
    (BUCKET, "GET", "versioning"): buckets.get_bucket_versioning,
    (BUCKET, "PUT", "versioning"): buckets.put_bucket_versioning,
    (BUCKET, "GET", "uploads"): multipart.list_multipart_uploads,
    (BUCKET, "HEAD", ""): buckets.head_bucket,
    (BUCKET, "PUT", ""): buckets.create_bucket,
    (BUCKET, "DELETE", ""): buckets.delete_bucket,
    (BUCKET, "POST", "delete"): objects.delete_objects,
    (OBJECT, "GET", ""): objects.get_object,
    (OBJECT, "HEAD", ""): objects.head_object,
    (OBJECT, "PUT", ""): objects.put_object,
    (OBJECT, "DELETE", ""): objects.delete_object,
    (OBJECT, "POST", "uploads"): multipart.create_multipart_upload,
    (OBJECT, "PUT", "uploadId"): multipart.upload_part,
    (OBJECT, "POST", "uploadId"): multipart.complete_multipart_upload,
    (OBJECT, "DELETE", "uploadId"): multipart.abort_multipart_upload,
    (OBJECT, "GET", "uploadId"): multipart.list_parts,
    (OBJECT, "POST", "append"): special.append_object,
    (OBJECT, "PUT", "symlink"): special.put_symlink,
    (OBJECT, "GET", "symlink"): special.get_symlink,
    (OBJECT, "PUT", "tagging"): special.put_object_tagging,
    (OBJECT, "GET", "tagging"): special.get_object_tagging,
    (OBJECT, "DELETE", "tagging"): special.delete_object_tagging,
    (OBJECT, "POST", "restore"): special.restore_object,
}

_COPIES: Dict[str, Handler] = {"": copies.copy_object, "uploadId": copies.upload_part_copy}
"""What a PUT of an object means when it names a source."""

_CREATES = (objects.put_object, copies.copy_object, multipart.create_multipart_upload, special.append_object,
            special.put_symlink)
"""Operations after which there may be a key that was not there before."""

_SUB_RESOURCES = frozenset((
    "acl", "uploads", "policy", "cors", "delete", "versions", "location", "referer", "lifecycle", "versioning",
    "notification", "replication", "website", "logging", "tagging", "accelerate", "domain", "inventory", "origin",
    "object-lock", "live", "encryption", "intelligenttiering", "intelligent-tiering", "symlink", "restore", "append",
    "rename", "select", "uploadId", "list-type", "retention", "legal-hold", "torrent", "attributes", "preflight",
    "analytics", "metrics", "ownershipControls", "publicAccessBlock", "requestPayment", "policyStatus", "fetch",
    "session"))


def find_route(method: str, address: Address, query: Mapping[str, str], headers: Mapping[str, str]) -> Handler:
    """The handler; its name is the operation's, as the official SDK names its method.

    Raises: ApiError NotImplemented (a sub-resource or method unknown here), MethodNotAllowed, AccessForbidden (there
    are no CORS rules).
    """
    scope = SERVICE if address.bucket is None else OBJECT if address.key else BUCKET
    sub_resource = next((name for name in query if name in _SUB_RESOURCES), "")
    handler = _ROUTES.get((scope, method, sub_resource))
    if scope == OBJECT and method == "PUT" and "x-cos-copy-source" in headers:
        handler = _COPIES.get(sub_resource, handler)
    if handler is not None:
        return handler
    if method == "OPTIONS":
        raise ApiError("AccessForbidden")
    raise ApiError("MethodNotAllowed" if scope == SERVICE and not sub_resource else "NotImplemented")


def creates_object(handler: Handler) -> bool:
    return handler in _CREATES
