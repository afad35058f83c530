"""Every exception of the package, and the one table that turns them into errno values.

::

    CosfsError
    ├── CosException                    raised by the client; part of the public API
    │   ├── CosClientError              no usable answer: parameters, network, integrity
    │   │   ├── InvalidParameter        refused before anything was sent
    │   │   ├── NetworkError            name not resolved, connection refused or lost
    │   │   ├── RequestTimeout          no answer, or no bytes, within the time-out
    │   │   ├── TlsError                certificate or handshake refused
    │   │   ├── InvalidAnswer           an answer that is not of this protocol
    │   │   ├── CredentialsError        no usable credentials
    │   │   └── IntegrityError          length or checksum of a body is wrong
    │   └── CosServiceError             the service answered with an error
    │       ├── ObjectNotFound          404 of an object
    │       ├── BucketNotFound          404 NoSuchBucket
    │       ├── UploadNotFound          404 NoSuchUpload
    │       ├── AccessDenied            401, 403
    │       ├── ObjectArchived          InvalidObjectState: restore it first
    │       ├── RestoreInProgress       409 RestoreAlreadyInProgress
    │       ├── ObjectNotArchived       405 RestoreNonArchiveObject
    │       ├── PreconditionFailed      412
    │       ├── ObjectExists            409 FileAlreadyExists (x-cos-forbid-overwrite)
    │       ├── RangeNotSatisfiable     416
    │       └── ServiceUnavailable      429 and 5xx, after all retries
    └── FilesystemError                 a POSIX answer; each class carries its errno

None derives from ``OSError``: fusepy misreads an ``OSError`` whose errno is None and reports success for
a write that failed (ARCHITECTURE.md, "Why the boundary"). Only :func:`to_errno` maps to errno values, and
only ``CosOperations.__call__`` uses it.
"""

from __future__ import annotations

import errno
import re
from typing import ClassVar, Dict, Mapping, Optional, Type, Union
from xml.etree import ElementTree


class CosfsError(Exception):
    """Base of everything the package raises on purpose."""


class CosException(CosfsError):
    """Base of the client's errors; ``str(e)`` is the message."""


class CosClientError(CosException):
    """The request could not be made, or got no usable answer. Callers may retry or give up.

    errno: EIO unless a subclass says otherwise.
    """

    errno: ClassVar[int] = errno.EIO


class InvalidParameter(CosClientError):
    errno = errno.EINVAL


class NetworkError(CosClientError):
    errno = errno.EHOSTUNREACH


class RequestTimeout(CosClientError):
    errno = errno.ETIMEDOUT


class TlsError(CosClientError):
    errno = errno.EIO


class InvalidAnswer(CosClientError):
    errno = errno.EIO


class CredentialsError(CosClientError):
    errno = errno.EACCES


class IntegrityError(CosClientError):
    errno = errno.EIO


_DIGEST_FIELDS = {"Code": "code", "Message": "message", "Resource": "resource",
                  "RequestId": "requestid", "TraceId": "traceid"}
_DIGEST_INVALID = "Response Error Msg Is INVALID"
_UNKNOWN = "Unknown"


class CosServiceError(CosException):
    """The service answered with an error.

    ``message`` is the XML body of the answer as text, or, for answers without a body (HEAD), a mapping with
    the keys ``code``, ``message``, ``resource``, ``requestid``, ``traceid``. Text that is no error document
    leaves the digest unparsed, and the getters say ``"Unknown"``.
    """

    def __init__(self, method: str, message: Union[str, Mapping[str, str]], status_code: int) -> None:
        super().__init__(method, message, status_code)
        self._method = method
        self._status_code = status_code
        if isinstance(message, str):
            self._origin = message
            self._digest: Optional[Dict[str, str]] = parse_error_document(message)
        else:
            self._origin = ""
            self._digest = dict(message)

    @property
    def status(self) -> int:
        return self._status_code

    @property
    def code(self) -> str:
        return self.get_error_code()

    @property
    def request_id(self) -> str:
        return self.get_request_id()

    def get_origin_msg(self) -> str:
        """The XML of the answer as received; empty for answers without a body."""
        return self._origin

    def get_digest_msg(self) -> Union[Dict[str, str], str]:
        """The parsed error: keys ``code, message, resource, requestid, traceid``."""
        return _DIGEST_INVALID if self._digest is None else dict(self._digest)

    def get_status_code(self) -> int:
        return self._status_code

    def get_error_code(self) -> str:
        return self._field("code")

    def get_error_msg(self) -> str:
        return self._field("message")

    def get_resource_location(self) -> str:
        return self._field("resource")

    def get_trace_id(self) -> str:
        return self._field("traceid")

    def get_request_id(self) -> str:
        return self._field("requestid")

    def _field(self, name: str) -> str:
        return (self._digest or {}).get(name) or _UNKNOWN

    def __str__(self) -> str:
        return (f"{self._method} {self.get_resource_location()}: HTTP {self._status_code} {self.code}: "
                f"{self.get_error_msg()} (request id {self.request_id})")


class ObjectNotFound(CosServiceError):
    pass


class BucketNotFound(CosServiceError):
    pass


class UploadNotFound(CosServiceError):
    pass


class AccessDenied(CosServiceError):
    pass


class ObjectArchived(AccessDenied):
    pass


class RestoreInProgress(CosServiceError):
    pass


class ObjectNotArchived(CosServiceError):
    pass


class PreconditionFailed(CosServiceError):
    pass


class ObjectExists(CosServiceError):
    pass


class RangeNotSatisfiable(CosServiceError):
    pass


class ServiceUnavailable(CosServiceError):
    pass


def parse_error_document(text: str) -> Optional[Dict[str, str]]:
    """Parse an ``<Error>`` document; None when the text is none. Unknown elements are ignored."""
    try:
        root = ElementTree.fromstring(text.lstrip())
    except (ElementTree.ParseError, ValueError):
        return None
    if _local_name(root.tag) != "Error":
        return None
    found = {_DIGEST_FIELDS[name]: (child.text or "").strip()
             for child in root for name in (_local_name(child.tag),) if name in _DIGEST_FIELDS}
    return {name: found.get(name, "") for name in _DIGEST_FIELDS.values()}


def _local_name(tag: str) -> str:
    return re.sub(r"^\{.*\}", "", tag)


_CLASS_BY_CODE: Dict[str, Type[CosServiceError]] = {
    "NoSuchKey": ObjectNotFound,
    "NoSuchVersion": ObjectNotFound,
    "NoSuchCopySource": ObjectNotFound,
    "NoSuchResource": ObjectNotFound,
    "NoSuchBucket": BucketNotFound,
    "NoSuchUpload": UploadNotFound,
    "InvalidObjectState": ObjectArchived,
    "RestoreAlreadyInProgress": RestoreInProgress,
    "RestoreNonArchiveObject": ObjectNotArchived,
    "PreconditionFailed": PreconditionFailed,
    "FileAlreadyExists": ObjectExists,
    "InvalidRange": RangeNotSatisfiable,
}
_CLASS_BY_STATUS: Dict[int, Type[CosServiceError]] = {
    401: AccessDenied, 403: AccessDenied, 412: PreconditionFailed, 416: RangeNotSatisfiable,
    429: ServiceUnavailable,
}


def service_error(method: str, message: Union[str, Mapping[str, str]], status_code: int) -> CosServiceError:
    """Build the most specific :class:`CosServiceError` for an answer."""
    plain = CosServiceError(method, message, status_code)
    kind = _CLASS_BY_CODE.get(plain.code) or _CLASS_BY_STATUS.get(status_code)
    if kind is None and status_code >= 500:
        kind = ServiceUnavailable
    return plain if kind is None else kind(method, message, status_code)


class FilesystemError(CosfsError):
    """A POSIX error; the message names what it is about. ``errno`` is fixed per class."""

    errno: ClassVar[int] = errno.EIO


class NoEntry(FilesystemError):
    errno = errno.ENOENT


class EntryExists(FilesystemError):
    errno = errno.EEXIST


class NotADirectory(FilesystemError):
    errno = errno.ENOTDIR


class IsADirectory(FilesystemError):
    errno = errno.EISDIR


class DirectoryNotEmpty(FilesystemError):
    errno = errno.ENOTEMPTY


class PermissionRefused(FilesystemError):
    errno = errno.EPERM


class KeptOut(FilesystemError):
    """The caller's program is not let into folders, whatever their modes say (cosfs/scanner_guard.py)."""

    errno = errno.EACCES


class InvalidArgument(FilesystemError):
    errno = errno.EINVAL


class NameTooLong(FilesystemError):
    errno = errno.ENAMETOOLONG


class ReadOnlyFilesystem(FilesystemError):
    errno = errno.EROFS


class BadHandle(FilesystemError):
    errno = errno.EBADF


class NoAttribute(FilesystemError):
    errno = errno.ENODATA


class NotSupported(FilesystemError):
    errno = errno.EOPNOTSUPP


class StaleHandle(FilesystemError):
    """The object changed, or went away, under an open file."""

    errno = errno.ESTALE


class NotRestored(FilesystemError):
    """The bytes of an archived object are wanted, and there is no restored copy of it."""

    errno = errno.EACCES


class MetadataTooLarge(FilesystemError):
    """An attribute does not fit the service's limit for the metadata of one object."""

    errno = errno.ENOSPC


class ValueTooLarge(FilesystemError):
    errno = errno.E2BIG


class FileTooLarge(FilesystemError):
    errno = errno.EFBIG


class StagingFull(FilesystemError):
    """The local disk (or the staging budget) cannot take more unsent data."""

    errno = errno.ENOSPC


class StagingFailed(FilesystemError):
    """The local staging file could not be read or written."""

    errno = errno.EIO


_ERRNO_BY_CODE: Dict[str, int] = {
    # protocol errors whose errno differs from that of their HTTP status
    "KeyTooLong": errno.ENAMETOOLONG, "InvalidURI": errno.ENAMETOOLONG,
    "EntityTooLarge": errno.EFBIG,
    "EntityTooSmall": errno.EIO, "EntitySizeNotMatch": errno.EIO, "IncompleteBody": errno.EIO,
    "BadDigest": errno.EIO, "InvalidDigest": errno.EIO, "InvalidSHA1Digest": errno.EIO,
    "VerifyAlgorithmNotSupported": errno.EIO,
    "InvalidPart": errno.EIO, "InvalidPartOrder": errno.EIO, "ListPartUploadIdIsEmpty": errno.EIO,
    "InvalidUploadStatus": errno.EIO,
    "RequestTimeout": errno.ETIMEDOUT, "RequestTimeOut": errno.ETIMEDOUT, "UserNetworkTooSlow": errno.ETIMEDOUT,
    "ExpiredToken": errno.EACCES,
    "SSEHeaderNotAllowed": errno.EACCES, "SSEContentNotSupported": errno.EACCES,
    "SsecDecryptHeaderInvalid": errno.EACCES, "KmsKeyDisabled": errno.EACCES, "KmsKeyNotExist": errno.EACCES,
    "KmsException": errno.EACCES,
    "BucketVersionNotOpen": errno.EOPNOTSUPP, "BucketAccelerateNotEnabled": errno.EOPNOTSUPP,
    "ActionAccelerateNotSupported": errno.EOPNOTSUPP,
    "TooManyBuckets": errno.EDQUOT, "AttachmentFull": errno.EDQUOT, "PolicyFull": errno.EDQUOT,
    "NoSuchKey": errno.ENOENT, "NoSuchVersion": errno.ENOENT, "NoSuchCopySource": errno.ENOENT,
    "NoSuchResource": errno.ENOENT,
    "NoSuchBucket": errno.EIO, "NoSuchUpload": errno.EIO, "NoSuchTagSet": errno.ENODATA,
    "MethodNotAllowed": errno.EPERM, "RestoreNonArchiveObject": errno.EOPNOTSUPP,
    "UploadIdNotSupported": errno.EOPNOTSUPP,
    "PathConflict": errno.EBUSY, "UploadConflict": errno.EBUSY, "RestoreAlreadyInProgress": errno.EBUSY,
    "FileAlreadyExists": errno.EEXIST, "BucketAlreadyExists": errno.EEXIST,
    "BucketAlreadyOwnedByYou": errno.EEXIST,
    "AppendPositionErr": errno.ESTALE, "ObjectNotAppendable": errno.EOPNOTSUPP,
    "BucketLocked": errno.EPERM, "ObjectLocked": errno.EPERM, "InvalidLockedTime": errno.EPERM,
    "BucketNotEmpty": errno.ENOTEMPTY,
    "InvalidObjectState": errno.EACCES,
    "SlowDown": errno.EIO,
}
_ERRNO_BY_STATUS: Dict[int, int] = {
    400: errno.EINVAL, 401: errno.EACCES, 402: errno.EDQUOT, 403: errno.EACCES, 404: errno.ENOENT,
    405: errno.EPERM, 408: errno.ETIMEDOUT, 409: errno.EBUSY, 411: errno.EIO, 412: errno.ESTALE,
    413: errno.EFBIG, 416: errno.EINVAL, 429: errno.EAGAIN, 451: errno.EACCES, 501: errno.EOPNOTSUPP,
}


def to_errno(exc: BaseException) -> int:
    """The errno that tells the truth about an exception; EIO for everything unknown.

    A plain ``OSError`` comes from the local disk only; just the two values that mean "full" are passed on,
    because any other one (ENOENT of a staging file, say) would lie about the file that the caller named.
    """
    if isinstance(exc, CosServiceError):
        return _ERRNO_BY_CODE.get(exc.code) or _ERRNO_BY_STATUS.get(exc.status, errno.EIO)
    if isinstance(exc, (FilesystemError, CosClientError)):
        return exc.errno
    if isinstance(exc, OSError) and exc.errno in (errno.ENOSPC, errno.EDQUOT):
        return exc.errno
    if isinstance(exc, MemoryError):
        return errno.ENOMEM
    return errno.EIO
