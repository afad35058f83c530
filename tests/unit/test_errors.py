"""The one errno table: every exception class of the package, every error code of the protocol."""

import errno
import inspect

import pytest

from cosfs import errors
from cosfs.errors import CosException, CosfsError, CosServiceError, FilesystemError, service_error, to_errno

XML = ("<?xml version='1.0' encoding='utf-8' ?><Error><Code>{code}</Code><Message>m</Message>"
       "<Resource>host/key</Resource><RequestId>r1</RequestId><TraceId>t1</TraceId></Error>")

CLIENT_ERRORS = {
    "CosClientError": errno.EIO, "InvalidParameter": errno.EINVAL, "NetworkError": errno.EHOSTUNREACH,
    "RequestTimeout": errno.ETIMEDOUT, "TlsError": errno.EIO, "InvalidAnswer": errno.EIO,
    "CredentialsError": errno.EACCES, "IntegrityError": errno.EIO,
}
FILESYSTEM_ERRORS = {
    "FilesystemError": errno.EIO, "NoEntry": errno.ENOENT, "EntryExists": errno.EEXIST,
    "NotADirectory": errno.ENOTDIR, "IsADirectory": errno.EISDIR, "DirectoryNotEmpty": errno.ENOTEMPTY,
    "PermissionRefused": errno.EPERM, "KeptOut": errno.EACCES, "InvalidArgument": errno.EINVAL,
    "NameTooLong": errno.ENAMETOOLONG, "ReadOnlyFilesystem": errno.EROFS, "BadHandle": errno.EBADF,
    "NoAttribute": errno.ENODATA, "NotSupported": errno.EOPNOTSUPP, "StaleHandle": errno.ESTALE,
    "NotRestored": errno.EACCES, "MetadataTooLarge": errno.ENOSPC,
    "ValueTooLarge": errno.E2BIG, "FileTooLarge": errno.EFBIG, "StagingFull": errno.ENOSPC,
    "StagingFailed": errno.EIO,
}
SERVICE_ERRORS = {  # class: (status, code, errno)
    "ObjectNotFound": (404, "NoSuchKey", errno.ENOENT), "BucketNotFound": (404, "NoSuchBucket", errno.EIO),
    "UploadNotFound": (404, "NoSuchUpload", errno.EIO), "AccessDenied": (403, "AccessDenied", errno.EACCES),
    "ObjectArchived": (403, "InvalidObjectState", errno.EACCES),
    "RestoreInProgress": (409, "RestoreAlreadyInProgress", errno.EBUSY),
    "ObjectNotArchived": (405, "RestoreNonArchiveObject", errno.EOPNOTSUPP),
    "PreconditionFailed": (412, "PreconditionFailed", errno.ESTALE),
    "ObjectExists": (409, "FileAlreadyExists", errno.EEXIST),
    "RangeNotSatisfiable": (416, "InvalidRange", errno.EINVAL),
    "ServiceUnavailable": (503, "ServiceUnavailable", errno.EIO),
    "CosServiceError": (418, "Teapot", errno.EIO),
}
BASES = {"CosfsError", "CosException"}
CODES = [  # cos-protocol: HTTP status, code, errno
    (400, "BadDigest", errno.EIO), (400, "InvalidArgument", errno.EINVAL), (400, "MalformedXML", errno.EINVAL),
    (400, "KeyTooLong", errno.ENAMETOOLONG), (400, "InvalidURI", errno.ENAMETOOLONG),
    (400, "InvalidObjectName", errno.EINVAL), (400, "EntityTooLarge", errno.EFBIG), (400, "EntityTooSmall", errno.EIO),
    (400, "IncompleteBody", errno.EIO), (400, "InvalidPart", errno.EIO), (400, "InvalidCopySource", errno.EINVAL),
    (400, "NotSupportedStorageClass", errno.EINVAL), (400, "RequestTimeout", errno.ETIMEDOUT),
    (400, "ExpiredToken", errno.EACCES), (403, "ExpiredToken", errno.EACCES), (400, "KmsKeyDisabled", errno.EACCES),
    (400, "BucketVersionNotOpen", errno.EOPNOTSUPP), (400, "TooManyBuckets", errno.EDQUOT),
    (402, "PaymentRequired", errno.EDQUOT), (403, "SignatureDoesNotMatch", errno.EACCES),
    (403, "RequestTimeTooSkewed", errno.EACCES), (409, "InvalidObjectState", errno.EACCES),
    (404, "NoSuchVersion", errno.ENOENT), (404, "NoSuchTagSet", errno.ENODATA), (405, "MethodNotAllowed", errno.EPERM),
    (409, "PathConflict", errno.EBUSY), (409, "AppendPositionErr", errno.ESTALE),
    (409, "ObjectNotAppendable", errno.EOPNOTSUPP), (409, "ObjectLocked", errno.EPERM),
    (409, "BucketNotEmpty", errno.ENOTEMPTY), (409, "RestoreAlreadyInProgress", errno.EBUSY),
    (411, "MissingContentLength", errno.EIO), (413, "Gateway", errno.EFBIG), (429, "TooManyRequests", errno.EAGAIN),
    (451, "DomainAuditFailed", errno.EACCES), (500, "InternalError", errno.EIO),
    (501, "NotImplemented", errno.EOPNOTSUPP),
    (502, "Gateway", errno.EIO), (503, "SlowDown", errno.EIO), (504, "Gateway", errno.EIO),
]


def all_classes():
    return {name: kind for name, kind in vars(errors).items()
            if inspect.isclass(kind) and issubclass(kind, BaseException)}


def test_every_exception_class_stands_in_exactly_one_table():
    tables = [set(CLIENT_ERRORS), set(FILESYSTEM_ERRORS), set(SERVICE_ERRORS), BASES]
    assert set().union(*tables) == set(all_classes())
    assert sum(map(len, tables)) == len(all_classes())


def test_no_exception_class_is_an_oserror():
    assert [kind for kind in all_classes().values() if issubclass(kind, OSError)] == []


@pytest.mark.parametrize(("name", "number"), [*CLIENT_ERRORS.items(), *FILESYSTEM_ERRORS.items()])
def test_errno_of_client_and_filesystem_errors(name, number):
    assert to_errno(all_classes()[name]("text")) == number


@pytest.mark.parametrize(("name", "row"), SERVICE_ERRORS.items())
def test_answer_becomes_its_class_and_errno(name, row):
    status, code, number = row
    error = service_error("GET", XML.format(code=code), status)
    assert type(error).__name__ == name
    assert to_errno(error) == number


@pytest.mark.parametrize(("status", "code", "number"), CODES)
def test_errno_of_each_code(status, code, number):
    assert to_errno(service_error("PUT", XML.format(code=code), status)) == number


@pytest.mark.parametrize(("status", "number"), [(400, errno.EINVAL), (403, errno.EACCES), (404, errno.ENOENT),
                                                (405, errno.EPERM), (412, errno.ESTALE), (500, errno.EIO)])
def test_errno_of_answers_without_a_body_is_that_of_the_status(status, number):
    assert to_errno(service_error("HEAD", {"code": ""}, status)) == number


@pytest.mark.parametrize(("exc", "number"), [
    (OSError(errno.ENOSPC, "full"), errno.ENOSPC), (OSError(errno.EDQUOT, "quota"), errno.EDQUOT),
    (FileNotFoundError(errno.ENOENT, "of the staging folder"), errno.EIO), (OSError(), errno.EIO),
    (OSError(-5, "negative"), errno.EIO), (MemoryError(), errno.ENOMEM), (ValueError("x"), errno.EIO),
    (KeyboardInterrupt(), errno.EIO), (SystemExit(1), errno.EIO), (CosfsError("x"), errno.EIO),
    (CosException("x"), errno.EIO)])
def test_errno_of_foreign_exceptions(exc, number):
    assert to_errno(exc) == number


def test_getters_of_a_service_error():
    error = CosServiceError("GET", XML.format(code="NoSuchKey"), 404)
    assert error.get_origin_msg() == XML.format(code="NoSuchKey")
    assert error.get_digest_msg() == {"code": "NoSuchKey", "message": "m", "resource": "host/key",
                                      "requestid": "r1", "traceid": "t1"}
    assert (error.get_status_code(), error.get_error_code(), error.get_error_msg()) == (404, "NoSuchKey", "m")
    assert (error.get_trace_id(), error.get_request_id()) == ("t1", "r1")
    assert error.get_resource_location() == "host/key"


@pytest.mark.parametrize("text", ["<html>bad gateway</html>", "", "<Error><Code>", "no xml"])
def test_getters_of_an_answer_that_is_no_error_document_say_unknown(text):
    error = CosServiceError("GET", text, 502)
    assert (error.get_error_code(), error.get_request_id()) == ("Unknown", "Unknown")
    assert error.get_digest_msg() == "Response Error Msg Is INVALID"
    assert error.get_origin_msg() == text


def test_message_of_a_service_error_names_status_code_and_request():
    text = str(CosServiceError("GET", XML.format(code="NoSuchKey"), 404))
    assert all(part in text for part in ("GET", "host/key", "404", "NoSuchKey", "r1"))


def test_filesystem_errors_are_told_apart_from_the_service_s():
    assert not issubclass(FilesystemError, CosException)
