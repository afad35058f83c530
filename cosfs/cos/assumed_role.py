"""The keys of a role that other keys may assume: STS AssumeRole, asked with a TC3 signature.

A file (key_files.py) or the environment says which role, and with which keys; renewal.py asks again before those of the
role end.

Source: STS "AssumeRole" (API 2018-08-13), its error codes, and the questions about roles in the documentation of DTS.
Threading: nothing is shared.
"""

from __future__ import annotations

from typing import Dict, List, Tuple

from cosfs.cos.key_files import RoleToAssume
from cosfs.cos.renewal import Issued
from cosfs.cos.roles import CONTENT_TYPE, ask_sts
from cosfs.cos.signing import Credentials
from cosfs.cos.tc3 import tc3_authorization

_REGION = "ap-guangzhou"
"""STS wants one named, and any does; this is what Tencent's SDKs name."""
_ACTION = "AssumeRole"
_DENIED = "allow the keys in {origin} name/sts:AssumeRole on it, and have the role trust their account"
_UNKNOWN = "correct the role in {origin}: its account's number and its name"
_ADVICE = (
    ("AuthFailure.SignatureExpire", "set the clock of this machine, for example with: timedatectl set-ntp true"),
    ("AuthFailure.UnauthorizedOperation", _DENIED), ("UnauthorizedOperation", _DENIED),
    ("AuthFailure", "check the SecretId and the SecretKey in {origin}"),
    ("InternalError.GetRoleError", _UNKNOWN), ("InternalError.IllegalRole", _UNKNOWN), ("ResourceNotFound", _UNKNOWN),
    ("InvalidParameter.OverTimeError", "the role allows less: lower duration_seconds in {origin}"),
    ("", "check the role and the keys in {origin}"))
"""What to do about codes that begin so; the first one counts."""


def assumed_role_keys(role: RoleToAssume, keys: Credentials, endpoint: str) -> Issued:
    """Ask STS at ``endpoint`` once. Blocks for seconds at most. Raises: CredentialsError."""
    parameters: Dict[str, object] = {"RoleArn": role.arn, "RoleSessionName": role.session_name,
                                     "DurationSeconds": role.duration_s}
    if role.external_id:
        parameters["ExternalId"] = role.external_id

    def signed(host: str, time_s: int, body: bytes) -> List[Tuple[str, str]]:
        signature = tc3_authorization(keys, "sts", host, _ACTION, CONTENT_TYPE, body, time_s)
        return [("Authorization", signature), *([("X-TC-Token", keys.token)] if keys.token else [])]

    return ask_sts(endpoint, _ACTION, parameters, region=role.region or _REGION, role_arn=role.arn, authorize=signed,
                   advice=lambda code: _advice(code, role.origin))


def _advice(code: str, origin: str) -> str:
    return next(text for begin, text in _ADVICE if code.startswith(begin)).format(origin=origin)
