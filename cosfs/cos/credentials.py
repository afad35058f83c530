"""Where the keys come from, and the order in which that is looked for.

``find_credentials`` is the chain: a list of sources, each of which answers with a provider or has nothing. Files and
names are those of the C++ cosfs, then those of the other Tencent tools, then the roles that Tencent's clouds give to a
workload or a machine. Formats of files are in key_files.py and coscli.py, services that issue keys in roles.py.

Secrets appear in no repr and no error text: errors name files and line numbers. A metadata service is asked only for a
role that was named, or when nothing else has keys.

Threading: providers may be used from any thread.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Callable, List, Mapping, NamedTuple, Optional, Protocol, Tuple, Union

from cosfs.cos import key_files, roles
from cosfs.cos.assumed_role import assumed_role_keys
from cosfs.cos.coscli import CoscliBase, parse_coscli
from cosfs.cos.key_files import SYSTEM_PASSWD_FILE, NoKeys, RoleToAssume, parse_passwd
from cosfs.cos.renewal import Issued, RenewedCredentials
from cosfs.cos.signing import Credentials
from cosfs.cos.token_end import EndingCredentials, TokenWatch
from cosfs.errors import CredentialsError

log = logging.getLogger(__name__)

USER_PASSWD_NAME = ".passwd-cosfs"
AGAIN_S = 10.0
"""Pause before a file that could not be used is read again although it looks the same: permissions, or what it lies on,
may have changed."""
TOKEN_IN_FILE = "sts"
"""``cam_role=sts`` of the C++ tool: no role, but a session token in the passwd file."""


class CredentialsProvider(Protocol):
    """Asked before each sending, so it must be fast."""

    def get(self) -> Credentials:
        """The keys to sign with now. Raises: CredentialsError."""

    def refresh(self, rejected: Credentials, *, certain: bool = True) -> Credentials:
        """Look for others, because the service refused these; the same ones when there are none.

        ``certain``: it said so; else the keys may be right, and lack a permission.
        """


class FoundCredentials(CredentialsProvider, Protocol):
    """What the chain finds."""

    @property
    def source(self) -> str:
        """Where the keys come from, for people."""

    def reload(self) -> None:
        """Look for other keys now, because somebody says that there are; without success all stays. May block."""


@dataclass(frozen=True)
class StaticCredentials:
    """Keys that never change."""

    credentials: Credentials
    source: str = "the program"

    def get(self) -> Credentials:
        return self.credentials

    def refresh(self, rejected: Credentials, *, certain: bool = True) -> Credentials:  # noqa: ARG002 - of the protocol
        return self.credentials

    def reload(self) -> None:
        """There are no others."""


class _FileState(NamedTuple):
    inode: int
    mtime_ns: int
    size_bytes: int


class FileCredentials:
    """Keys from a file, which is read again when it has changed: each ``get`` asks for its state (some 2 us).

    A changed file that cannot be read or understood leaves the keys as they were, with a warning, so that
    an editor that writes in place does no harm; it is looked at again when it changes, and every ``AGAIN_S``.
    Permissions are checked by the first reading only.
    """

    def __init__(self, path: Union[str, Path], bucket: str = "", *,
                 parse: Optional[Callable[[str, str], Credentials]] = None,
                 clock: Callable[[], float] = time.monotonic) -> None:
        """Read the file. ``parse``: its format, by default a passwd file's. Raises: CredentialsError, NoKeys."""
        self._path = Path(path)
        self._parse = parse or (lambda text, name: parse_passwd(text, bucket, name))
        self._clock = clock
        self._ends = parse is None  # no other format says when a token ends
        self._watch = TokenWatch(self.source, "write new keys into it, they are taken at once")
        self.expires_s: Optional[float] = None
        """When the session token ends, in seconds since the epoch, if the file says so."""
        self._lock = threading.Lock()
        self._seen: Optional[_FileState] = None
        self._unusable: Optional[_FileState] = None
        """The state in which the file gave no keys, and when that was; the warning about it."""
        self._unusable_since_s = 0.0
        self._warning = ""
        key_files.check_regular(self._path)
        self._state, self._credentials = self._read()
        key_files.check_permissions(self._path)

    def __repr__(self) -> str:
        return f"FileCredentials({str(self._path)!r})"

    @property
    def source(self) -> str:
        return f"the file {self._path}"

    def get(self) -> Credentials:
        if self._changed():  # without the lock, which many threads would wait for
            with self._lock:
                if self._changed():
                    self._reload_locked()
        self._watch.look(self.expires_s)
        return self._credentials

    def refresh(self, rejected: Credentials, *, certain: bool = True) -> Credentials:  # noqa: ARG002 - of the protocol
        with self._lock:
            if self._credentials == rejected:
                self._reload_locked()
            return self._credentials

    def reload(self) -> None:
        with self._lock:
            self._warning = ""  # who asks is to be told again
            self._reload_locked()

    def _changed(self) -> bool:
        try:
            state = _state(self._path)
        except OSError:
            return False
        return state != self._state and (state != self._unusable or self._clock() >= self._unusable_since_s + AGAIN_S)

    def _reload_locked(self) -> None:
        before = self._credentials
        try:
            self._state, self._credentials = self._read()
        except CredentialsError as exc:
            # else each request would read it again, and warn
            self._unusable, self._unusable_since_s = self._seen, self._clock()
            if str(exc) != self._warning:
                self._warning = str(exc)
                log.warning("keeping the keys as they were: %s", exc)
        else:
            self._unusable, self._warning = None, ""
            if self._credentials != before:
                log.info("there are new keys from %s", self.source)

    def _read(self) -> Tuple[_FileState, Credentials]:
        try:
            self._seen = state = _state(self._path)
            text = self._path.read_text("utf-8-sig")
        except (OSError, UnicodeDecodeError) as exc:
            failure = key_files.unreadable(self._path, exc)
        else:
            credentials = self._parse(text, str(self._path))
            self.expires_s = key_files.token_end(text, str(self._path)) if self._ends and credentials.token else None
            return state, credentials
        raise failure  # out here, because a UnicodeDecodeError has the file's bytes


def _state(path: Path) -> _FileState:
    found = os.stat(path)
    return _FileState(found.st_ino, found.st_mtime_ns, found.st_size)


class _Names(NamedTuple):
    """Names of environment variables that belong together."""

    secret_id: str
    secret_key: str
    token: str = ""
    end: str = ""
    """When the token ends."""
    role: str = ""
    """Which role the keys are to assume."""


COSFS_NAMES = _Names("COSACCESSKEYID", "COSSECRETACCESSKEY", "COSSESSIONTOKEN", "COSACCESSTOKENEXPIRE")
OTHER_NAMES = (
    _Names("COS_SECRET_ID", "COS_SECRET_KEY", "COS_TOKEN"),  # Python SDK samples
    _Names("COS_SECRETID", "COS_SECRETKEY", "COS_SESSIONTOKEN"),  # Go SDK samples
    _Names("COSN_SECRET_ID", "COSN_SECRET_KEY"),  # hadoop-cos
    _Names("TENCENTCLOUD_SECRET_ID", "TENCENTCLOUD_SECRET_KEY", "TENCENTCLOUD_TOKEN",
           role="TENCENTCLOUD_ROLE_ARN"),  # tencentcloud SDK, tccli
    _Names("TENCENTCLOUD_SECRETID", "TENCENTCLOUD_SECRETKEY", "TENCENTCLOUD_SESSIONTOKEN"),  # cloud functions
)
AWS_NAMES = _Names("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")

Source = Callable[[], Optional[FoundCredentials]]
"""One link of the chain: a provider, or None when there is nothing there. Raises: CredentialsError."""


def _home() -> Path:
    """The user's; of one whom neither the environment nor passwd(5) gives any, the root folder (containers)."""
    found = os.path.expanduser("~")
    return Path(found if os.path.isabs(found) else "/")


@dataclass(frozen=True)
class ChainOptions:
    """What the links of the chain look at. ``role_endpoint``: where the roles are; None: Tencent's metadata service."""

    bucket: str
    passwd_file: Optional[str] = None
    aws: bool = False
    role: Optional[str] = None
    role_endpoint: Optional[str] = None
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    home: Path = field(default_factory=_home)
    system_folder: Path = Path("/etc")


def find_credentials(options: ChainOptions) -> FoundCredentials:
    """The first provider of the chain. Blocks for seconds at most.

    Raises: CredentialsError, when there is none or it is unusable.
    """
    for source in chain(options):
        provider = source()
        if provider is not None:
            return provider
    raise CredentialsError(
        "no keys found; write SecretId:SecretKey into a file of mode 600 and name it with -o passwd_file=FILE, "
        f"or set {COSFS_NAMES.secret_id} and {COSFS_NAMES.secret_key}, or make {options.home / USER_PASSWD_NAME} or "
        f"{options.system_folder / SYSTEM_PASSWD_FILE.name}, or on a CVM name its role with -o cam_role=ROLE")


def chain(options: ChainOptions) -> List[Source]:
    """The sources in order: the options, the environment, the files at their usual places, the cloud."""
    environ, bucket, home = options.environ, options.bucket, options.home
    sets = (AWS_NAMES, *OTHER_NAMES) if options.aws else OTHER_NAMES
    return [
        lambda: _named_role(options),
        lambda: _named_file(options.passwd_file, bucket),
        lambda: _environment(environ, COSFS_NAMES),
        lambda: _named_file(environ.get("COS_CREDENTIAL_FILE"), bucket),
        *(partial(_environment, environ, names) for names in sets),
        lambda: _passwd_file(home / USER_PASSWD_NAME, bucket),
        lambda: _passwd_file(options.system_folder / SYSTEM_PASSWD_FILE.name, bucket),
        lambda: _other_file(home / ".cos.conf", key_files.parse_coscmd),
        lambda: _coscli(home / ".cos.yaml", options),
        lambda: _tencentcloud(home / ".tencentcloud" / "credentials", environ),
        lambda: _tencentcloud(options.system_folder / "tencentcloud" / "credentials", environ),
        lambda: _other_file(home / ".tccli" / "default.credential", key_files.parse_tccli),
        lambda: _workload(environ),
        lambda: _machine(options),
    ]


def _named_file(path: Optional[str], bucket: str) -> Optional[FoundCredentials]:
    return FileCredentials(os.path.expanduser(path), bucket) if path else None


def _passwd_file(path: Path, bucket: str) -> Optional[FoundCredentials]:
    return FileCredentials(path, bucket) if os.path.exists(path) else None  # Path.exists fails in a closed folder


def _other_file(path: Path, parse: Callable[[str, str], Credentials]) -> Optional[FoundCredentials]:
    """A file that other tools have there for other reasons, too, so it may be without keys."""
    try:
        return FileCredentials(path, parse=parse) if os.path.isfile(path) else None
    except NoKeys:
        return None


def _coscli(path: Path, options: ChainOptions) -> Optional[FoundCredentials]:
    told: List[CoscliBase] = []

    def parse(text: str, name: str) -> Credentials:
        told.append(parse_coscli(text, name))
        if told[-1].credentials is None:
            raise NoKeys(f"{name}: no secretid in it")
        return told[-1].credentials

    provider = _other_file(path, parse)
    if provider is None and told and told[0].use_role:
        return _role(options, told[0].role)
    return provider


def _environment(environ: Mapping[str, str], names: _Names) -> Optional[FoundCredentials]:
    secret_id, secret_key = environ.get(names.secret_id, ""), environ.get(names.secret_key, "")
    if not secret_id and not secret_key:
        return None
    if not secret_id or not secret_key:
        raise CredentialsError(f"the environment has one of {names.secret_id} and {names.secret_key}; set both or "
                               "none")
    token = environ.get(names.token, "")
    for name, value in ((names.secret_id, secret_id), (names.secret_key, secret_key), (names.token, token)):
        if value != value.strip():
            raise CredentialsError(f"{name} in the environment has a blank or a line break at its beginning or end; "
                                   "set it without")
    keys = Credentials(secret_id, secret_key, token or None)
    found = _until_end(keys, f"the environment ({names.secret_id})", names, environ)
    arn = environ.get(names.role, "")
    if not arn:
        return found
    role = RoleToAssume(key_files.checked_arn(arn, f"{names.role} in the environment"), "the environment",
                        environ.get("TENCENTCLOUD_ROLE_SESSION_NAME") or key_files.ROLE_SESSION,
                        region=environ.get("TENCENTCLOUD_REGION", ""))
    return _assumed(role, found, environ, lambda: role)


def _until_end(keys: Credentials, source: str, names: _Names, environ: Mapping[str, str]) -> FoundCredentials:
    """The keys, with the end of their token if the environment has it."""
    end = environ.get(names.end, "") if keys.token else ""
    end_s = key_files.time_of_end(end, names.end) if end else None
    if end_s is None:
        return StaticCredentials(keys, source)
    return EndingCredentials(keys, source, end_s, "mount again with new keys, or keep them in a passwd_file")


def _tencentcloud(path: Path, environ: Mapping[str, str]) -> Optional[FoundCredentials]:
    """Keys of the file, or those of the role that it has them assume."""
    named: List[Optional[RoleToAssume]] = []
    """One item: the role as the file has it now."""

    def parse(text: str, name: str) -> Credentials:
        keys, role = key_files.parse_tencentcloud(text, name)
        if named and (named[0] is None) != (role is None):
            raise CredentialsError(f"{name}: role_arn has come or gone; mount again to use the file as it is now")
        named[:] = [role]
        return keys

    keys = _other_file(path, parse)
    role = None if keys is None else named[0]
    return keys if keys is None or role is None else _assumed(role, keys, environ, lambda: named[0] or role)


def _assumed(role: RoleToAssume, keys: FoundCredentials, environ: Mapping[str, str],
             role_now: Callable[[], RoleToAssume]) -> FoundCredentials:
    """The keys of a role, which ``keys`` are to ask for; both as they are each time. Raises: CredentialsError."""
    endpoint = roles.sts_endpoint(environ)

    def ask() -> Issued:
        keys.reload()
        return assumed_role_keys(role_now(), keys.get(), endpoint)

    return RenewedCredentials(f"the role {role.arn}, assumed with {keys.source}", ask)


def _named_role(options: ChainOptions) -> Optional[FoundCredentials]:
    return _role(options, options.role) if options.role and options.role != TOKEN_IN_FILE else None


def _role(options: ChainOptions, role: str) -> FoundCredentials:
    """The keys of a role, or of the first one that the machine has. Raises: CredentialsError."""
    endpoint = options.role_endpoint or roles.ROLE_ENDPOINT

    def ask() -> RenewedCredentials:
        name = role or next(iter(roles.list_roles(endpoint)), "")
        if not name:
            raise CredentialsError(f"{endpoint} lists no role; bind one to this machine")
        return RenewedCredentials(f"the CVM role {name}", partial(roles.role_keys, endpoint, name))

    try:
        return roles.at_start(ask)
    except CredentialsError as exc:
        raise CredentialsError(f"no keys of {f'the CVM role {role}' if role else 'a CVM role'}: {exc}") from None


def _workload(environ: Mapping[str, str]) -> Optional[FoundCredentials]:
    identity = roles.web_identity(environ)
    if identity is None:
        return None
    return RenewedCredentials(f"the TKE role {identity.role_arn}", partial(roles.web_identity_keys, identity))


def _machine(options: ChainOptions) -> Optional[FoundCredentials]:
    """The role of the machine that nobody has named, where the service is Tencent's."""
    if options.aws and not options.role_endpoint:
        return None
    try:
        return _role(options, "")
    except CredentialsError as exc:
        log.debug("%s", exc)
        return None
