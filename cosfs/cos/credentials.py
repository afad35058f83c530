"""Where the keys come from: fixed, the environment, passwd files; and the order in which they are looked for.

``find_credentials`` is the chain: a list of sources, each of which answers with a provider or has nothing.
Files and names are those of the C++ cosfs, then those of the other Tencent tools. Secrets appear in no
repr and no error text: errors name files and line numbers.

Threading: providers may be used from any thread.
"""

from __future__ import annotations

import logging
import os
import stat
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Protocol, Sequence, Tuple, Union

from cosfs.cos.signing import Credentials
from cosfs.errors import CredentialsError

log = logging.getLogger(__name__)

SYSTEM_PASSWD_FILE = Path("/etc/passwd-cosfs")
USER_PASSWD_NAME = ".passwd-cosfs"
_QUOTES = ("'", '"')


class CredentialsProvider(Protocol):
    """Asked before each sending, so it must be fast."""

    def get(self) -> Credentials:
        """The keys to sign with now. Raises: CredentialsError."""

    def refresh(self, rejected: Credentials) -> Credentials:
        """Look for others, because the service refused these; the same ones when there are none."""


@dataclass(frozen=True)
class StaticCredentials:
    """Keys that never change."""

    credentials: Credentials

    def get(self) -> Credentials:
        return self.credentials

    def refresh(self, rejected: Credentials) -> Credentials:  # noqa: ARG002 - of the protocol
        return self.credentials


class _FileState(NamedTuple):
    inode: int
    mtime_ns: int
    size_bytes: int


class FileCredentials:
    """Keys from a passwd file, which is read again when it has changed.

    A changed file that cannot be read or understood leaves the keys as they were, with a warning, so that
    an editor that writes in place does no harm. Permissions are checked by the first reading only.
    """

    def __init__(self, path: Union[str, Path], bucket: str) -> None:
        """Read the file. Raises: CredentialsError."""
        self._path = Path(path)
        self._bucket = bucket
        self._lock = threading.Lock()
        check_permissions(self._path)
        self._state, self._credentials = self._read()

    def __repr__(self) -> str:
        return f"FileCredentials({str(self._path)!r})"

    def get(self) -> Credentials:
        if self._changed():  # without the lock, which many threads would wait for
            with self._lock:
                if self._changed():
                    self._reload_locked()
        return self._credentials

    def refresh(self, rejected: Credentials) -> Credentials:
        with self._lock:
            if self._credentials == rejected:
                self._reload_locked()
            return self._credentials

    def _changed(self) -> bool:
        try:
            return _state(self._path) != self._state
        except OSError:
            return False

    def _reload_locked(self) -> None:
        try:
            self._state, self._credentials = self._read()
        except CredentialsError as exc:
            log.warning("keeping the keys as they were: %s", exc)

    def _read(self) -> Tuple[_FileState, Credentials]:
        try:
            state = _state(self._path)
            text = self._path.read_text("utf-8-sig")
        except (OSError, UnicodeDecodeError) as exc:
            raise _unreadable(self._path, exc) from None
        return state, parse_passwd(text, self._bucket, str(self._path))


def _unreadable(path: Path, exc: Exception) -> CredentialsError:
    if isinstance(exc, FileNotFoundError):
        return CredentialsError(f"passwd file {path} does not exist; write SecretId:SecretKey into it and set its mode "
                                "to 600")
    reason = exc.strerror if isinstance(exc, OSError) else "not UTF-8"
    return CredentialsError(f"passwd file {path} cannot be read ({reason}); it must be a text file of the user who "
                            "mounts")


def _state(path: Path) -> _FileState:
    found = os.stat(path)
    return _FileState(found.st_ino, found.st_mtime_ns, found.st_size)


def check_permissions(path: Path) -> None:
    """Refuse a passwd file that others can read. Raises: CredentialsError."""
    try:
        mode = path.stat().st_mode
    except OSError as exc:
        raise _unreadable(path, exc) from None
    if not stat.S_ISREG(mode):
        raise CredentialsError(f"{path}: not a regular file; name the file that holds SecretId:SecretKey")
    allowed, command = (0o640, "chmod 640") if path == SYSTEM_PASSWD_FILE else (0o600, "chmod 600")
    if stat.S_IMODE(mode) & 0o177 & ~allowed:
        raise CredentialsError(f"{path}: its mode {stat.S_IMODE(mode):04o} lets others at the keys: {command} {path}")


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
        raise CredentialsError(f"{name}: COSAccessKeyId= and COSSecretKey= are both needed")
    return Credentials(secret_id, secret_key, values.get("COSAccessToken") or None)


def _credentials_of_lines(lines: Sequence[Tuple[int, str]], bucket: str, name: str) -> Credentials:
    found: Dict[str, Credentials] = {}
    for number, line in lines:
        fields = line.split(":")
        if any(blank in line for blank in " \t") or any(text[:1] in _QUOTES or text[-1:] in _QUOTES for text in fields):
            raise CredentialsError(f"{name}, line {number}: a blank or a quotation mark; take it out, and write "
                                   "[BUCKET:]SecretId:SecretKey alone")
        if len(fields) not in (2, 3) or not all(fields):
            raise CredentialsError(f"{name}, line {number}: not of the form [BUCKET:]SecretId:SecretKey")
        owner = fields[0] if len(fields) == 3 else ""
        if not owner and owner in found:
            raise CredentialsError(f"{name}, line {number}: a second line without a bucket")
        found.setdefault(owner, Credentials(fields[-2], fields[-1]))
    for owner in (bucket, bucket.rpartition("-")[0], ""):
        if owner in found:
            return found[owner]
    raise CredentialsError(f"{name}: no line for bucket {bucket}; write SecretId:SecretKey or "
                           f"{bucket}:SecretId:SecretKey into it")


class _Names(NamedTuple):
    """Names of environment variables that belong together."""

    secret_id: str
    secret_key: str
    token: str = ""


COSFS_NAMES = _Names("COSACCESSKEYID", "COSSECRETACCESSKEY", "COSSESSIONTOKEN")
OTHER_NAMES = (
    _Names("COS_SECRET_ID", "COS_SECRET_KEY", "COS_TOKEN"),  # Python SDK samples
    _Names("COS_SECRETID", "COS_SECRETKEY", "COS_SESSIONTOKEN"),  # Go SDK samples
    _Names("COSN_SECRET_ID", "COSN_SECRET_KEY"),  # hadoop-cos
    _Names("TENCENTCLOUD_SECRET_ID", "TENCENTCLOUD_SECRET_KEY", "TENCENTCLOUD_TOKEN"),  # tencentcloud SDK, tccli
    _Names("TENCENTCLOUD_SECRETID", "TENCENTCLOUD_SECRETKEY", "TENCENTCLOUD_SESSIONTOKEN"),  # cloud functions
)
AWS_NAMES = _Names("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")

Source = Callable[[], Optional[CredentialsProvider]]
"""One link of the chain: a provider, or None when there is nothing there. Raises: CredentialsError."""


@dataclass(frozen=True)
class ChainOptions:
    """What the links of the chain look at."""

    bucket: str
    passwd_file: Optional[str] = None
    aws: bool = False
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    home: Path = field(default_factory=Path.home)
    system_file: Path = SYSTEM_PASSWD_FILE


def find_credentials(options: ChainOptions) -> CredentialsProvider:
    """The first provider of the chain. Raises: CredentialsError, when there is none or it is unusable."""
    for source in chain(options):
        provider = source()
        if provider is not None:
            return provider
    raise CredentialsError(
        "no keys found: write SecretId:SecretKey into a file of mode 600 and name it with -o passwd_file=FILE, "
        f"or set {COSFS_NAMES.secret_id} and {COSFS_NAMES.secret_key}, "
        f"or make {options.home / USER_PASSWD_NAME} or {options.system_file}")


def chain(options: ChainOptions) -> List[Source]:
    """The sources in order: the option, the environment, the files at their usual places."""
    sets = (AWS_NAMES, *OTHER_NAMES) if options.aws else OTHER_NAMES
    return [
        lambda: _named_file(options.passwd_file, options.bucket),
        lambda: _environment(options.environ, COSFS_NAMES),
        lambda: _named_file(options.environ.get("COS_CREDENTIAL_FILE"), options.bucket),
        *(lambda names=names: _environment(options.environ, names) for names in sets),
        lambda: _existing_file(options.home / USER_PASSWD_NAME, options.bucket),
        lambda: _existing_file(options.system_file, options.bucket),
    ]


def _named_file(path: Optional[str], bucket: str) -> Optional[CredentialsProvider]:
    return FileCredentials(Path(path).expanduser(), bucket) if path else None


def _existing_file(path: Path, bucket: str) -> Optional[CredentialsProvider]:
    return FileCredentials(path, bucket) if os.path.exists(path) else None  # Path.exists fails in a closed folder


def _environment(environ: Mapping[str, str], names: _Names) -> Optional[CredentialsProvider]:
    secret_id, secret_key = environ.get(names.secret_id, ""), environ.get(names.secret_key, "")
    if not secret_id and not secret_key:
        return None
    if not secret_id or not secret_key:
        raise CredentialsError(f"{names.secret_id} and {names.secret_key} must both be set in the environment")
    return StaticCredentials(Credentials(secret_id, secret_key, environ.get(names.token) or None))
