"""Answers of a service, as the tests of the client let a raw server give them."""

from __future__ import annotations

from cosfs.cos.interface import ObjectHeaders
from tests.support.raw_server import answer

NO_HEADERS = ObjectHeaders()
MODIFIED = "Tue, 14 Nov 2023 22:13:20 GMT"
BODY = bytes(range(256)) * 4
HTML = b"<html><body>Bad Gateway</body></html>"


def head_answer(size=1024, etag="abc", **headers):
    return answer(200, b"", ETag=f'"{etag}"', **{"Last_Modified": MODIFIED, "Content_Length": str(size), **headers})


def range_answer(start=0, stop=1024, etag="abc", body=None, **headers):
    return answer(206, BODY[start:stop] if body is None else body, ETag=f'"{etag}"', Last_Modified=MODIFIED,
                  **{"Content_Range": f"bytes {start}-{stop - 1}/{len(BODY)}", "Content_Length": str(stop - start),
                     **headers})


def gateway(status=502):
    return answer(status, HTML, Content_Type="text/html", x_cos_request_id=None)
