"""The errors that the server answers with: status and default message of each code, here and only here.

Source: COS documentation "Error codes" (product/436/7730) and the pages of the single operations.
"""

from __future__ import annotations

from typing import Dict, Mapping, Optional, Tuple

_ERRORS: Dict[str, Tuple[int, str]] = {
    "AccessDenied": (403, "Access Denied."),
    "AccessForbidden": (403, "CORSResponse: This CORS request is not allowed."),
    "AppendPositionErr": (409, "The position is not equal to the length of the object."),
    "AuthorizationQueryParametersError": (400, "The authorization parameters of the query are not valid."),
    "BadDigest": (400, "The Content-MD5 or checksum you specified did not match what we received."),
    "BadRequest": (400, "The request is not valid HTTP."),
    "BucketAlreadyExists": (409, "The requested bucket name already exists."),
    "BucketAlreadyOwnedByYou": (409, "The bucket you tried to create already exists, and you own it."),
    "BucketNotEmpty": (409, "The bucket you tried to delete is not empty."),
    "EntityTooLarge": (400, "Your proposed upload exceeds the maximum allowed object size."),
    "EntityTooSmall": (400, "Your proposed upload is smaller than the minimum allowed object size."),
    "ExpiredToken": (403, "The provided token has expired."),
    "FileAlreadyExists": (409, "The object already exists."),
    "IllegalVersioningConfigurationException": (400, "The versioning configuration is not valid."),
    "IncompleteBody": (400, "The body is shorter than Content-Length says."),
    "InternalError": (500, "We encountered an internal error. Please try again."),
    "InvalidAccessKeyId": (403, "The Access Key Id you provided does not exist in our records."),
    "InvalidArgument": (400, "Invalid Argument."),
    "InvalidBucketName": (400, "The specified bucket is not valid."),
    "InvalidCopySource": (400, "The copy source is not valid."),
    "InvalidDelimiter": (400, "The delimiter must be one character."),
    "InvalidDigest": (400, "The Content-MD5 you specified is not valid."),
    "InvalidObjectName": (400, "The key holds characters that are not allowed."),
    "InvalidObjectState": (403, "The operation is not valid for the object storage class."),
    "InvalidPart": (400, "One or more of the specified parts could not be found."),
    "InvalidPartOrder": (400, "The list of parts was not in ascending order."),
    "InvalidRange": (416, "The requested range is not satisfiable."),
    "InvalidRequest": (400, "The request is not valid."),
    "InvalidTag": (400, "The tag set is not valid."),
    "InvalidURI": (400, "Couldn't parse the specified URI."),
    "KeyTooLong": (400, "Your key or metadata is too long."),
    "MalformedXML": (400, "The XML you provided was not well-formed or did not validate."),
    "MethodNotAllowed": (405, "The specified method is not allowed against this resource."),
    "MissingContentLength": (411, "You must provide the Content-Length HTTP header."),
    "NoSuchBucket": (404, "The specified bucket does not exist."),
    "NoSuchKey": (404, "The specified key does not exist."),
    "NoSuchTagSet": (404, "The TagSet does not exist."),
    "NoSuchUpload": (404, "The specified multipart upload does not exist."),
    "NoSuchVersion": (404, "The specified version does not exist."),
    "NotImplemented": (501, "This server does not implement the operation."),
    "NotSupportedStorageClass": (400, "The storage class is not supported."),
    "NotSymlink": (400, "The object is not a symbolic link."),
    "ObjectNotAppendable": (409, "The object is not appendable."),
    "PathConflict": (409, "The object is being changed by another request."),
    "PreconditionFailed": (412, "Precondition not match."),
    "RequestTimeTooSkewed": (403, "The difference between the request time and the server's time is too large."),
    "RestoreAlreadyInProgress": (409, "Object restore is already in progress."),
    "RestoreNonArchiveObject": (405, "Only archived objects can be restored."),
    "SSEHeaderNotAllowed": (400, "The object was not encrypted with a key of yours."),
    "ServiceUnavailable": (503, "Please try again later."),
    "SignatureDoesNotMatch": (403, "The Signature you specified is invalid."),
    "SlowDown": (503, "Reduce your request rate"),
    "SsecDecryptHeaderInvalid": (400, "The encryption key is missing or is not that of the object."),
    "XAmzContentSHA256Mismatch": (400, "The x-amz-content-sha256 does not match what was computed."),
}


class ApiError(Exception):
    """An error answer. ``fields`` are further elements of the document, ``headers`` of the answer."""

    def __init__(self, code: str, message: Optional[str] = None, *, status: Optional[int] = None,
                 headers: Optional[Mapping[str, str]] = None, fields: Optional[Mapping[str, str]] = None) -> None:
        usual_status, usual_message = _ERRORS.get(code, (400, code))
        super().__init__(code)
        self.code = code
        self.status = status or usual_status
        self.message = message or usual_message
        self.headers = dict(headers or {})
        self.fields = dict(fields or {})


class Disconnected(Exception):
    """The connection ended, by the client or by a fault, before the exchange was complete."""
