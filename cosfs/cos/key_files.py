"""Files with keys: their formats, the roles that they name, and who else may read them.

Each ``parse_…`` takes a file's text and its name, for messages, and gives the keys in it. It raises ``NoKeys`` for a
file that has none, which is no mistake where it is another tool's configuration, and CredentialsError for one that is
not understood. No message repeats what is in the file, but for names and line numbers. Threading: nothing is shared.
"""

from __future__ import annotations

import configparser
import json
import logging
import re
import stat
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Dict, Mapping, Optional, Sequence, Tuple

from cosfs.cos.signing import Credentials
from cosfs.errors import CredentialsError

log = logging.getLogger(__name__)

SYSTEM_PASSWD_FILE = Path("/etc/passwd-cosfs")
_QUOTES = ("'", '"')
ROLE_SESSION = "cosfs"
ROLE_DURATION_S = 7200  # what Tencent's SDKs ask for


@dataclass(frozen=True)
class RoleToAssume:
    """``origin``: what names it, for messages. ``external_id``, ``region``: "" when none is named."""

    arn: str
    origin: str
    session_name: str = ROLE_SESSION
    duration_s: int = ROLE_DURATION_S
    external_id: str = field(default="", repr=False)
    region: str = ""


class NoKeys(CredentialsError):
    """The file can be read and holds no keys at all."""


def unreadable(path: Path, exc: Exception) -> CredentialsError:
    if isinstance(exc, FileNotFoundError):
        return CredentialsError(f"passwd file {path} does not exist; write SecretId:SecretKey into it and set its mode "
                                "to 600")
    reason = exc.strerror if isinstance(exc, OSError) else "not UTF-8"
    return CredentialsError(f"passwd file {path} cannot be read ({reason}); it must be a text file of the user who "
                            "mounts")


def check_regular(path: Path) -> None:
    """Refuse what is no file. Raises: CredentialsError."""
    if not stat.S_ISREG(_mode(path)):
        raise CredentialsError(f"{path} is not a regular file; name the file that holds the keys")


def check_permissions(path: Path) -> None:
    """Refuse a file with keys that others can read. Raises: CredentialsError."""
    mode = _mode(path)
    allowed, command = (0o640, "chmod 640") if path == SYSTEM_PASSWD_FILE else (0o600, "chmod 600")
    if stat.S_IMODE(mode) & 0o177 & ~allowed:
        raise CredentialsError(f"{path}: its mode {stat.S_IMODE(mode):04o} lets others at the keys; set it with: "
                               f"{command} {path}")


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except OSError as exc:
        raise unreadable(path, exc) from None


def parse_passwd(text: str, bucket: str, name: str) -> Credentials:
    """The keys for a bucket from either format of passwd file. Raises: CredentialsError.

    Lines are ``[BUCKET:]SecretId:SecretKey``, where BUCKET is the name with or without the APPID; or
    ``COSAccessKeyId=`` and the like, one set for all buckets.
    """
    lines = [(number, line.strip("\r")) for number, line in enumerate(text.split("\n"), start=1)]
    lines = [(number, line) for number, line in lines if line.strip() and not line.startswith("#")]
    values = dict(line.strip().split("=", 1) for _, line in lines if line.strip().startswith("COS") and "=" in line)
    if "COSAccessKeyId" in values or "COSSecretKey" in values:
        return _credentials_of_values(values, name)
    return _credentials_of_lines(lines, bucket, name)


def _credentials_of_values(values: Mapping[str, str], name: str) -> Credentials:
    secret_id, secret_key = values.get("COSAccessKeyId", ""), values.get("COSSecretKey", "")
    if not secret_id or not secret_key:
        raise CredentialsError(f"{name} has one of COSAccessKeyId= and COSSecretKey=; write both into it")
    return Credentials(secret_id, secret_key, values.get("COSAccessToken") or None)


def _credentials_of_lines(lines: Sequence[Tuple[int, str]], bucket: str, name: str) -> Credentials:
    found: Dict[str, Credentials] = {}
    for number, line in lines:
        fields = line.split(":")
        if any(blank in line for blank in " \t") or any(text[:1] in _QUOTES or text[-1:] in _QUOTES for text in fields):
            raise CredentialsError(f"{name}, line {number}: a blank or a quotation mark; take it out, and write "
                                   "[BUCKET:]SecretId:SecretKey alone")
        if len(fields) not in (2, 3) or not all(fields):
            raise CredentialsError(f"{name}, line {number}: not of the form [BUCKET:]SecretId:SecretKey; correct it, "
                                   "or put # in front")
        owner = fields[0] if len(fields) == 3 else ""
        if not owner and owner in found:
            raise CredentialsError(f"{name}, line {number}: a second line without a bucket; put BUCKET-APPID: in front "
                                   "of one of them")
        found.setdefault(owner, Credentials(fields[-2], fields[-1]))
    for owner in (bucket, bucket.rpartition("-")[0], ""):
        if owner in found:
            return found[owner]
    raise CredentialsError(f"{name}: no line for bucket {bucket}; write SecretId:SecretKey or "
                           f"{bucket}:SecretId:SecretKey into it")


def parse_coscmd(text: str, name: str) -> Credentials:
    """``~/.cos.conf``. Raises: CredentialsError, NoKeys."""
    values = _ini_section(text, name, "common")
    if values.get("anonymous", "").lower() == "true":
        raise NoKeys(f"{name}: it says anonymous")
    return _complete(name, ("secret_id", "secret_key"), values.get("secret_id") or values.get("access_id"),
                     values.get("secret_key"), values.get("token"))


def parse_tencentcloud(text: str, name: str) -> Tuple[Credentials, Optional[RoleToAssume]]:
    """``~/.tencentcloud/credentials``, of Tencent's API tools: keys, and the role that they are to assume.

    Raises: CredentialsError, NoKeys.
    """
    values = _ini_section(text, name, "default")
    role = _role_of(values, name)
    source = values.get("source_profile", "")
    if role is not None and source:
        values = _ini_section(text, name, source)
        if values.get("role_arn"):
            raise CredentialsError(f"{name}: source_profile names a section with a role of its own; name one with keys")
    try:
        keys = _complete(name, ("secret_id", "secret_key"), values.get("secret_id"), values.get("secret_key"),
                         values.get("token"))
    except NoKeys:
        if role is None:
            raise
        raise CredentialsError(f"{name}: a role is assumed with keys, and there are none; write secret_id and "
                               "secret_key beside role_arn, or name their section with source_profile") from None
    return keys, role


def _role_of(values: Mapping[str, str], name: str) -> Optional[RoleToAssume]:
    """Raises: CredentialsError."""
    if not values.get("role_arn"):
        return None
    duration = values.get("duration_seconds", str(ROLE_DURATION_S))
    if not re.fullmatch(r"[1-9]\d{0,5}", duration, re.ASCII):
        raise CredentialsError(f"{name}: duration_seconds is no number of seconds such as {ROLE_DURATION_S}")
    return RoleToAssume(checked_arn(values["role_arn"], f"{name}: role_arn"), name,
                        values.get("role_session_name") or ROLE_SESSION, int(duration), values.get("external_id", ""),
                        values.get("region", ""))


def checked_arn(arn: str, where: str) -> str:
    """The name of a role, if it is one. Raises: CredentialsError."""
    if not re.fullmatch(r"qcs::cam::uin/\d+:role(Name)?/[\w.@+=,/-]{1,200}", arn, re.ASCII):
        raise CredentialsError(f"{where} is not the name of a role; give it as the console shows it, such as "
                               "qcs::cam::uin/100000000001:roleName/NAME")
    return arn


def token_end(text: str, name: str) -> Optional[float]:
    """When the session token of a passwd file ends, in seconds since the epoch; None: the file does not say."""
    found = re.search(r"^[ \t]*COSAccessTokenExpire=[ \t]*(\S*)", text, re.MULTILINE)
    return time_of_end(found[1], f"{name}: COSAccessTokenExpire") if found else None


def time_of_end(text: str, where: str) -> Optional[float]:
    """``2026-08-29T11:32:00``, of GMT, with or without a Z, in seconds since the epoch.

    Anything else is None, with a warning: with or without a known end, the keys work.
    """
    try:
        return datetime.strptime(text[:-1] if text.endswith("Z") else text, "%Y-%m-%dT%H:%M:%S").replace(
            tzinfo=timezone.utc).timestamp()
    except ValueError:
        pass  # it has the text
    log.warning("%s is no time such as 2026-08-29T11:32:00 (GMT); when the session token ends is not known", where)
    return None


def parse_tccli(text: str, name: str) -> Credentials:
    """``~/.tccli/default.credential``. Raises: CredentialsError, NoKeys."""
    try:
        values = json.loads(text)
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise CredentialsError(f"{name}: no JSON as tccli writes it; run tccli configure, or give the keys in a "
                               "passwd_file=")
    found = [value if isinstance(value, str) else None
             for value in (values.get(item) for item in ("secretId", "secretKey", "token"))]
    return _complete(name, ("secretId", "secretKey"), *found)


def _complete(name: str, words: Tuple[str, str], secret_id: Optional[str], secret_key: Optional[str],
              token: Optional[str]) -> Credentials:
    if not secret_id and not secret_key:
        raise NoKeys(f"{name}: no {words[0]} in it")
    if not secret_id or not secret_key:
        raise CredentialsError(f"{name} has one of {words[0]} and {words[1]}; write both into it")
    return Credentials(secret_id, secret_key, token or None)


def _ini_section(text: str, name: str, section: str) -> Mapping[str, str]:
    """Raises: CredentialsError."""
    parser = configparser.ConfigParser(interpolation=None, strict=False, default_section="")
    try:
        parser.read_string(text)
    except configparser.Error as exc:
        line = getattr(exc, "lineno", None) or next((number for number, _ in getattr(exc, "errors", ())), None)
    else:
        return dict(parser[section]) if parser.has_section(section) else {}
    # out here, because that exception has the line itself
    where = name if line is None else f"{name}, line {line}"
    raise CredentialsError(f"{where}: not of the form name = value below a [{section}] line; correct it, or give the "
                           "keys in a passwd_file=")
