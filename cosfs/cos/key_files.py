"""Files with keys: their formats, and who else may read them.

Each ``parse_…`` takes a file's text and its name, for messages, and gives the keys in it. It raises ``NoKeys`` for a
file that has none, which is no mistake where it is another tool's configuration, and CredentialsError for one that is
not understood. No message repeats what is in the file, but for names and line numbers. Threading: nothing is shared.
"""

from __future__ import annotations

import configparser
import json
import re
import stat
from datetime import datetime, timezone
from pathlib import Path
from typing import Dict, Mapping, Optional, Sequence, Tuple

from cosfs.cos.signing import Credentials
from cosfs.errors import CredentialsError

SYSTEM_PASSWD_FILE = Path("/etc/passwd-cosfs")
_QUOTES = ("'", '"')
_EXPIRY = re.compile(r"^\s*COSAccessTokenExpire=(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)Z?\s*$", re.MULTILINE | re.ASCII)


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


def expiry(text: str) -> Optional[float]:
    """When the keys of a passwd file end, in seconds since the epoch, if it says so (COSAccessTokenExpire, GMT)."""
    match = _EXPIRY.search(text)
    try:
        ends = datetime.strptime(match[1], "%Y-%m-%dT%H:%M:%S") if match else None
    except ValueError:  # a 13th month
        ends = None
    return ends.replace(tzinfo=timezone.utc).timestamp() if ends else None


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


def parse_tencentcloud(text: str, name: str) -> Credentials:
    """``~/.tencentcloud/credentials``, of Tencent's API tools. Raises: CredentialsError, NoKeys."""
    values = _ini_section(text, name, "default")
    if values.get("role_arn"):
        raise CredentialsError(f"{name}: role_arn is not supported; give keys by passwd_file=, or the role of this "
                               "machine by cam_role=")
    return _complete(name, ("secret_id", "secret_key"), values.get("secret_id"), values.get("secret_key"),
                     values.get("token"))


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
