"""The mount command: its words and options turned into a ``MountConfig``, and its ``--help``.

The command line is that of the C++ tool: ``cosfs BUCKET-APPID[:/PREFIX] MOUNTPOINT [-o option[,option]...]
[-f] [-s] [-d]``. Mistakes end in one line on standard error and exit status 1.
"""

from __future__ import annotations

import difflib
import getopt
import logging
import os
import re
import signal
import sys
import textwrap
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple
from urllib.parse import urlsplit

from cosfs.cli import COMMANDS, options, pending
from cosfs.cli.options import Option, State
from cosfs.config import ConnectionConfig, FilesystemConfig, MountConfig
from cosfs.cos.additions import EncryptedBy, Encryption
from cosfs.cos.endpoint import check_key, is_address, without_login
from cosfs.errors import CosfsError, InvalidParameter
from cosfs.mount import mount
from cosfs.network_wait import BOOT_WAIT_S, declared_in_fstab
from cosfs.units import MIB, MIN_PART_BYTES, S3_MIN_PART_BYTES
from cosfs.version import __version__

WIDTH = 80
USAGE = "cosfs BUCKET-APPID[:/PREFIX] MOUNTPOINT -o url=URL[,OPTION...] [-fsd]"
SWITCHES = (
    ("-o OPTION[,OPTION...]", "options, see below; may be given several times"),
    ("-f", "stay in the foreground, log to standard error"),
    ("-s", "serve one call at a time"),
    ("-d, --debug", "log more; -d twice: show every call of the kernel as well (implies -f)"),
    ("-u", "list uploads that were never finished, and abort them if told to"),
    ("-h, --help", "this text"),
    ("--version", "the version"),
)
FORBIDDEN_IN_BUCKET = "/:\\;!@#$%^&*?|+= \t\n"
COS_DOMAINS = (".myqcloud.com", ".tencentcos.cn")
SHOWN_LENGTH = 200
NO_COMMANDS = {
    "unmount": "unmount with: cosfs umount MOUNTPOINT",
    "help": "see cosfs --help", "version": "see cosfs --version", "server": "start the server with: cosfs serve DIR",
}
"""Words that one may try first, and what to do instead."""


class UsageError(CosfsError):
    """A mistake in the command line; the message is the whole line shown, but for the program's name."""


@dataclass
class CommandLine:
    """What the words of one command line say. ``settings``: group -> field -> value."""

    words: List[str] = field(default_factory=list)
    settings: Dict[str, Dict[str, Any]] = field(
        default_factory=lambda: {"connection": {}, "filesystem": {}, "mount": {}, "fuse": {}})
    warnings: List[str] = field(default_factory=list)
    dropped: List[str] = field(default_factory=list)
    debug_switches: int = 0
    show: Optional[str] = None
    utility: bool = False

    def apply(self, name: str, text: Optional[str]) -> None:
        """Take in one option as it was written: ``name`` or ``name=text``."""
        option = options.find(name)
        if option is None:
            near = options.nearest(name)
            raise UsageError(f"unknown option {name}; " + (f"did you mean {near}?" if near else "see cosfs --help"))
        if option.state is State.REFUSED:
            raise UsageError(f"option {name} is not supported; {option.help}")
        value = _value_of(option, name, text)
        if option.state is State.DROPPED:
            self.dropped.append(name)
        for target in option.targets:
            group, _, setting = target.partition(".")
            self.settings[group][setting] = value


def _value_of(option: Option, name: str, text: Optional[str]) -> Any:
    if text is None:
        if option.value is None or option.bare:
            return option.constant
        raise UsageError(f"option {name} needs a value; give {option.value.allowed}")
    if option.value is None:
        raise UsageError(f"option {name}={_shown(name, text)} is wrong; {name} takes no value")
    try:
        return option.value.parse(text)
    except (ValueError, KeyError, OSError):  # the last: a relative path in a folder that is gone
        raise UsageError(f"option {name}={_shown(name, text)} is wrong; give {option.value.allowed}") from None


def _shown(name: str, text: str) -> str:
    """A value as it is repeated: not for pages, and without a password that stands in a URL."""
    text = without_login(text) if "://" in text or name in ("url", "host", "cam_role_endpoint") else text
    return text if len(text) <= SHOWN_LENGTH else f"{text[:SHOWN_LENGTH]}..."


def scan(argv: Sequence[str], line: Optional[CommandLine] = None) -> CommandLine:
    """Read switches, options and words; on top of ``line``, if it is given. Raises: UsageError."""
    line = line or CommandLine()
    try:
        switches, line.words = getopt.gnu_getopt(list(argv), "hfsdnvuo:", ["help", "version", "debug"])
    except getopt.GetoptError as exc:
        if not any("url=" in word for word in argv):
            _check_command(argv[0])  # whose switches a mount does not have
        advice = f"write -o {exc.opt}" if len(exc.opt) > 1 and options.find(exc.opt) else "see cosfs --help"
        raise UsageError(f"{exc.msg}; {advice}") from None
    for switch, text in switches:
        if switch == "-o":
            for name, value in split_options(text):
                line.apply(name, value)
        elif switch in ("-h", "--help", "--version"):
            line.show = line.show or switch
        elif switch == "-u":
            line.utility = True
        else:
            _apply_switch(line, switch)
    return line


def split_options(text: str) -> Iterator[Tuple[str, Optional[str]]]:
    """Names and values of options joined by commas; a comma within a value stands there as ``\\,``."""
    for item in re.split(r"(?<!\\),", text):
        name, equals, value = item.replace("\\,", ",").partition("=")
        if name.strip():
            yield name.strip(), value if equals else None


def _apply_switch(line: CommandLine, switch: str) -> None:
    """-f, -s, -d, --debug; mount(8) also passes -n and -v, which change nothing here."""
    settings = line.settings["mount"]
    if switch == "-f":
        settings["foreground"] = True
    elif switch == "-s":
        settings["threads"] = False
    elif switch == "--debug":
        settings.setdefault("log_level", logging.INFO)
    elif switch == "-d":
        line.debug_switches += 1
        settings["log_level"] = logging.INFO
        if line.debug_switches > 1:
            settings["foreground"] = line.settings["fuse"]["debug"] = True
            settings["log_level"] = logging.DEBUG


def parse_bucket(word: str) -> Tuple[str, str]:
    """Split the first word into the full bucket name and the key prefix ("" or ending with "/").

    Forms: ``BUCKET-APPID``, ``BUCKET-APPID:/PREFIX``, and the old ``APPID:BUCKET``, ``APPID:BUCKET:/PREFIX``;
    fstab's ``cosfs#`` may stand before each.
    """
    if word.startswith("cosfs#"):
        word = word[len("cosfs#"):]
    bucket, *rest = word.split(":", 2)
    if rest and bucket.isdigit() and not rest[0].startswith("/"):
        appid, bucket = bucket, rest.pop(0)
        bucket = bucket if bucket.endswith("-" + appid) else f"{bucket}-{appid}"
    prefix = ":".join(rest)
    malformed = not bucket or any(char in FORBIDDEN_IN_BUCKET for char in bucket) or "://" in word
    if malformed or (prefix and not prefix.startswith("/")):
        raise UsageError(f"{word!r} is no bucket; the first word is BUCKET-APPID or BUCKET-APPID:/PREFIX")
    prefix = prefix.strip("/")
    if prefix:
        prefix += "/"
        try:
            check_key(prefix)
        except InvalidParameter as exc:
            raise UsageError(f"the prefix cannot be mounted, {exc}; give another one") from None
    return bucket, prefix


def build(line: CommandLine) -> MountConfig:
    """The configuration that the command line asks for. Raises: UsageError."""
    connection = line.settings["connection"]
    _check_words(line.words, with_url="url" in connection)
    bucket, prefix = parse_bucket(line.words[0])
    _check_endpoint(bucket, connection)
    _check_parts(line.settings["filesystem"], connection)
    mount_point = _absolute(line.words[1])
    if line.settings["mount"].get("snapshot_s") is not None:
        line.settings["filesystem"]["read_only"] = line.settings["fuse"]["ro"] = True
    if "_netdev" in line.dropped or declared_in_fstab(mount_point):  # a mount that is made at boot
        line.settings["mount"].setdefault("wait_for_network_s", BOOT_WAIT_S)
    try:
        return MountConfig(
            connection=ConnectionConfig(bucket, **connection),
            filesystem=FilesystemConfig(**{"prefix": prefix, "default_uid": os.getuid(), "default_gid": os.getgid(),
                                           "min_part_bytes": S3_MIN_PART_BYTES if connection.get("aws_v4")
                                           else MIN_PART_BYTES,
                                           **line.settings["filesystem"]}),
            mount_point=mount_point,
            fuse_options=line.settings["fuse"],
            **line.settings["mount"])
    except ValueError as exc:
        raise UsageError(f"{exc}; see cosfs --help") from None


def _absolute(mount_point: str) -> str:
    """The mount serves it from another current folder."""
    try:
        return os.path.abspath(mount_point)
    except OSError as exc:
        raise UsageError(f"the current folder cannot be used ({exc.strerror}); give the whole path of the mount "
                         "point") from None


def _check_command(word: str) -> None:
    """For a command line that cannot be a mount: whether its first word is a command that was mistyped."""
    near = difflib.get_close_matches(word, COMMANDS, 1, cutoff=0.75)
    if near and not re.search(r"-\d+$", word):  # with an APPID it is a bucket
        raise UsageError(f"there is no command {word}; did you mean cosfs {near[0]}?")


def _check_words(words: Sequence[str], *, with_url: bool) -> None:
    if words and words[0] in NO_COMMANDS and not (len(words) == 2 and with_url):  # else a bucket of that name
        raise UsageError(f"there is no command {words[0]}; {NO_COMMANDS[words[0]]}")
    if words and not with_url:
        _check_command(words[0])
    if len(words) == 2:
        if not words[1]:  # as a variable of a script that is not set; abspath would take it for the current folder
            raise UsageError("the mount point is an empty word; give a folder")
        return
    for word in words:
        if options.find(word.partition("=")[0]):
            raise UsageError(f"{word} stands alone; options follow -o, joined by commas without blanks: "
                             "-o url=URL,allow_other")
    given = f"given is: {' '.join(words)}" if words else "none is given"
    raise UsageError(f"two words are needed, BUCKET-APPID and MOUNTPOINT, {given}; see cosfs --help")


def _check_endpoint(bucket: str, connection: Mapping[str, Any]) -> None:
    url = connection.get("url")
    if url is None:
        raise UsageError("no endpoint is given; add -o url=https://cos.REGION.myqcloud.com")
    if url.split("://")[1].startswith(bucket + "."):
        raise UsageError(f"the endpoint {url} must not name the bucket; leave {bucket}. out of url=")
    if urlsplit(url).netloc.endswith(COS_DOMAINS) and not re.search(r"-\d+$", bucket):
        raise UsageError(f"bucket {bucket} has no APPID; give the full name, such as {bucket}-1250000000")
    _check_keys(url, connection.get("encryption"), connection.get("key_file"))
    if bucket != bucket.lower() and not (connection.get("aws_v4") or connection.get("path_style")):
        raise UsageError(f"bucket {bucket} has capital letters; names of buckets are in small letters")


def _check_parts(filesystem: Mapping[str, Any], connection: Mapping[str, Any]) -> None:
    part_bytes = filesystem.get("part_size_bytes", S3_MIN_PART_BYTES)
    if connection.get("aws_v4") and part_bytes < S3_MIN_PART_BYTES:
        raise UsageError(f"multipart_size={part_bytes // MIB} is too small for sigv4; give {S3_MIN_PART_BYTES // MIB} "
                         "or more")


def _check_keys(url: str, encryption: Optional[Encryption], key_file: Optional[str]) -> None:
    """That the customer's keys are named, and are not sent where others can read them."""
    own_key = encryption is not None and encryption.by is EncryptedBy.CUSTOMER
    if (own_key or key_file) and not _is_private(url):
        raise UsageError(f"use_sse=custom and load_sse_c send the key with each request, and {url} is not encrypted; "
                         "give an endpoint with https://")
    if encryption is not None and own_key and encryption.key_file is None and key_file is None:
        raise UsageError("use_sse=custom needs a key; name its file with use_sse=custom:FILE or load_sse_c=FILE")


def _is_private(url: str) -> bool:
    """Whether nobody between here and the service can read what is sent."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return parts.scheme == "https" or host == "::1" or (host.startswith("127.") and is_address(host)) \
        or host.lower() == "localhost"


def help_text() -> str:
    """The text of ``--help``, at most 80 columns wide."""
    parts = [f"usage: {USAGE}\n", "Mount a bucket of Tencent COS (or of an S3-compatible service) as a folder.\n"]
    parts += [_entry(switch, text) for switch, text in SWITCHES]
    sections: Dict[str, List[Option]] = {}
    for option in options.TABLE:
        sections.setdefault(option.section, []).append(option)
    for title, members in sections.items():
        if members[0].state is State.REFUSED:
            continue
        parts.append(f"\n{title}:")
        if members[0].help:
            parts += [_entry(form(option), described(option)) for option in members]
        else:
            names = ", ".join(form(option) for option in members)
            parts.append(textwrap.fill(names, WIDTH, initial_indent="  ", subsequent_indent="  ",
                                       break_on_hyphens=False))
    parts.append("\n" + textwrap.fill("Other commands, each with --help: "
                                      + ", ".join(f"cosfs {name}" for name in COMMANDS), WIDTH, break_on_hyphens=False))
    return "\n".join(parts)


def form(option: Option) -> str:
    """An option as it is written, with the kind of its value."""
    if option.value is None:
        return option.name
    metavar = option.value.metavar if option.help else "..."
    return f"{option.name}[={metavar}]" if option.bare else f"{option.name}={metavar}"


def described(option: Option) -> str:
    """What an option does, with its other names and its default."""
    aliases = f"; also {', '.join(option.aliases)}" if option.aliases else ""
    default = f" (default: {option.default})" if option.default else ""
    return option.help + aliases + default


def _entry(form: str, text: str) -> str:
    indent = 26
    lines = textwrap.wrap(text, WIDTH - indent, break_on_hyphens=False)
    start = f"  {form} ".ljust(indent)
    if len(start) > indent:
        return "\n".join([start.rstrip(), *(" " * indent + line for line in lines)])
    return "\n".join([start + lines[0], *(" " * indent + line for line in lines[1:])])


def run(argv: Sequence[str]) -> int:
    """Carry out the mount command; returns the exit status."""
    return reported(lambda: _run(scan(argv)))


def _run(line: CommandLine) -> int:
    if line.show:
        print(f"cosfs {__version__}" if line.show == "--version" else help_text())
        return 0
    if line.utility:
        return _utility(line)
    return carry_out(build(line), line)


def carry_out(config: MountConfig, line: CommandLine) -> int:
    """Mount, telling what the command line was warned of. Raises: MountError."""
    for warning in line.warnings:
        print(f"cosfs: warning: {warning}", file=sys.stderr)
    return mount(config, dropped_options=line.dropped)


def reported(work: Callable[[], int]) -> int:
    """The exit status of a command; what it raises on purpose is one line on standard error."""
    try:
        return work()
    except CosfsError as exc:
        print(f"cosfs: {one_line(str(exc))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _utility(line: CommandLine) -> int:
    """The mode of ``-u``. Raises: UsageError, MountError."""
    if len(line.words) != 1:
        raise UsageError(f"-u takes one word, BUCKET-APPID, given is: {' '.join(line.words) or 'none'}")
    line.words.append("/")  # nothing is mounted there
    return pending.utility(build(line))


def one_line(text: str) -> str:
    """A message as it is shown, whatever it was made of."""
    return " ".join(text.split())
