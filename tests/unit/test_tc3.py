"""TC3 signatures: those that the documentation has published, by who signs and by the tests' own check."""

from __future__ import annotations

from typing import Dict

import pytest

from cosfs.cos.signing import Credentials
from cosfs.cos.tc3 import tc3_authorization
from tests.support.tc3 import fault_of

# the worked example of "Signature method v3"; its SecretKey is published as 32 asterisks, and was made with those
KEYS = Credentials("AKID" + "*" * 32, "*" * 32)
TIME_S = 1551113065
CONTENT_TYPE = "application/json; charset=utf-8"
BODY = rb'{"Limit": 1, "Filters": [{"Values": ["\u672a\u547d\u540d"], "Name": "instance-name"}]}'
PUBLISHED = ("TC3-HMAC-SHA256 Credential=AKID********************************/2019-02-25/cvm/tc3_request, "
             "SignedHeaders=content-type;host;x-tc-action, "
             "Signature=10b1a37a7301a02ca19a647ad722d5e43b4b3cff309d421d85b46093f6ab6c4f")
HEADERS = {"Content-Type": CONTENT_TYPE, "Host": "cvm.tencentcloudapi.com", "X-TC-Action": "DescribeInstances",
           "X-TC-Timestamp": str(TIME_S), "Authorization": PUBLISHED}
EARLIER = Credentials("AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE", "Gu5t9xGARNpq86cd98joQYCN3EXAMPLE")
EARLIER_PUBLISHED = ("TC3-HMAC-SHA256 Credential=AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE/2019-02-25/cvm/tc3_request, "
                     "SignedHeaders=content-type;host, "
                     "Signature=72e494ea809ad7a8c8f7a4507b9bddcbaa8e581f516e8da2f66e2c5a96525168")
"""Of an earlier edition, which signs two headers."""


def test_the_published_request_gets_the_published_signature() -> None:
    assert tc3_authorization(KEYS, "cvm", "cvm.tencentcloudapi.com", "DescribeInstances", CONTENT_TYPE, BODY,
                             TIME_S) == PUBLISHED


def test_the_check_of_the_tests_accepts_the_published_requests() -> None:
    assert fault_of(HEADERS, BODY, "cvm", KEYS, TIME_S + 10) is None
    assert fault_of({**HEADERS, "Authorization": EARLIER_PUBLISHED}, BODY, "cvm", EARLIER, TIME_S) is None


@pytest.mark.parametrize(("changed", "body", "code"), [
    ({}, BODY + b" ", "AuthFailure.SignatureFailure"),
    ({"Host": "sts.tencentcloudapi.com"}, BODY, "AuthFailure.SignatureFailure"),
    ({"X-TC-Action": "RunInstances"}, BODY, "AuthFailure.SignatureFailure"),
    ({"X-TC-Timestamp": str(TIME_S + 1)}, BODY, "AuthFailure.SignatureFailure"),
    ({"X-TC-Timestamp": str(TIME_S - 301)}, BODY, "AuthFailure.SignatureExpire"),
    ({"X-TC-Token": "t"}, BODY, "AuthFailure.TokenFailure"),
    ({"Authorization": PUBLISHED.replace("AKID*", "AKID+")}, BODY, "AuthFailure.SecretIdNotFound"),
    ({"Authorization": PUBLISHED.replace("/cvm/", "/sts/")}, BODY, "AuthFailure.InvalidAuthorization"),
    ({"Authorization": PUBLISHED.replace("4f", "40")}, BODY, "AuthFailure.SignatureFailure")])
def test_the_check_of_the_tests_refuses_what_is_changed(changed: Dict[str, str], body: bytes, code: str) -> None:
    assert fault_of({**HEADERS, **changed}, body, "cvm", KEYS, TIME_S) == code
