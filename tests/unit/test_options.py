"""The mount command's words and options, from text to configuration."""

from __future__ import annotations

import dataclasses
import logging
import os
import re
from pathlib import Path
from typing import Any, List, Tuple

import pytest

from cosfs.cli import mount, options
from cosfs.cli.mount import UsageError, build, help_text, parse_bucket, scan
from cosfs.cli.options import TABLE, Option, State
from cosfs.config import SCANNERS, ConnectionConfig, FilesystemConfig, MountConfig
from cosfs.cos.additions import EncryptedBy, Encryption

WORDS = ["examplebucket-1250000000", "/mnt", "-ourl=http://cos.ap-guangzhou.myqcloud.com"]
CLASSES = {"connection": ConnectionConfig, "filesystem": FilesystemConfig, "mount": MountConfig}

OPTIONS_OF_THE_CPP_TOOL = [
    line for line in (Path(__file__).parents[1] / "data" / "options-of-the-cpp-tool.txt").read_text().splitlines()
    if not line.startswith("#")]


def configured(*items: str) -> MountConfig:
    return build(scan([*WORDS, *(word for item in items for word in ("-o", item))]))


def test_defaults_in_the_table_are_those_of_the_configuration() -> None:
    for option in TABLE:
        for target in option.targets if option.default and option.value else ():
            group, _, field = target.partition(".")
            declared = {item.name: item.default for item in dataclasses.fields(CLASSES[group])}
            assert option.value and option.value.parse(option.default) == declared[field], option.name


def test_every_target_is_a_setting() -> None:
    for option in TABLE:
        for target in option.targets:
            group, _, field = target.partition(".")
            assert group == "fuse" or field in {item.name for item in dataclasses.fields(CLASSES[group])}, option.name


def test_names_are_unique() -> None:
    names = [name for option in TABLE for name in (option.name, *option.aliases)]
    assert len(names) == len(set(names))


def test_no_option_gives_the_defaults() -> None:
    config = configured()
    assert config.connection == ConnectionConfig("examplebucket-1250000000", "http://cos.ap-guangzhou.myqcloud.com")
    assert config.filesystem == FilesystemConfig(default_uid=os.getuid(), default_gid=os.getgid())
    assert (config.mount_point, config.foreground, config.threads, config.fuse_options) == ("/mnt", False, True, {})


@pytest.mark.parametrize("item", OPTIONS_OF_THE_CPP_TOOL)
def test_an_option_of_the_cpp_tool_is_accepted(item: str) -> None:
    line = scan([*WORDS, "-ourl=https://cos.ap-guangzhou.myqcloud.com", "-o", item])
    build(line)


@pytest.mark.parametrize(("item", "group", "field", "value"), [
    ("url=https://cos.ap-beijing.myqcloud.com/", "connection", "url", "https://cos.ap-beijing.myqcloud.com"),
    ("url=cos.ap-beijing.myqcloud.com", "connection", "url", "https://cos.ap-beijing.myqcloud.com"),
    ("host=http://127.0.0.1:9000", "connection", "url", "http://127.0.0.1:9000"),
    ("url=http://[::1]:9000", "connection", "url", "http://[::1]:9000"),
    ("passwd_file=/etc/p", "connection", "passwd_file", "/etc/p"),
    ("passwd_file=a\\,b", "connection", "passwd_file", os.path.abspath("a,b")),
    ("cam_role=worker", "connection", "cam_role", "worker"),
    ("cam_role_endpoint=http://localhost:80/a/b/", "connection", "cam_role_endpoint", "http://localhost:80/a/b"),
    ("public_bucket=1", "connection", "anonymous", True),
    ("public_bucket", "connection", "anonymous", True),
    ("public_bucket=0", "connection", "anonymous", False),
    ("sigv4", "connection", "aws_v4", True),
    ("endpoint=ap-beijing", "connection", "region", "ap-beijing"),
    ("use_path_request_style", "connection", "path_style", True),
    ("no_check_certificate", "connection", "verify_tls", False),
    ("ssl_verify_hostname=0", "connection", "verify_hostname", False),
    ("retries=3", "connection", "attempts", 3),
    ("retries=200", "connection", "attempts", 100),
    ("connect_timeout=2.5", "connection", "connect_timeout_s", 2.5),
    ("readwrite_timeout=30", "connection", "read_timeout_s", 30.0),
    ("allow_other", "filesystem", "allow_other", True),
    ("uid=1000", "filesystem", "uid", 1000),
    ("uid=root", "filesystem", "uid", 0),
    ("gid=root", "filesystem", "gid", 0),
    ("umask=022", "filesystem", "umask", 0o022),
    ("umask=22", "filesystem", "umask", 0o022),
    ("mp_umask=022", "filesystem", "mp_umask", 0o022),
    ("mp_umask=22", "filesystem", "mp_umask", 22),
    ("mp_umask=0x12", "filesystem", "mp_umask", 0x12),
    ("umask=0", "filesystem", "umask", 0),
    ("default_permission=640", "filesystem", "default_mode", 0o640),
    ("storage_class=standard_ia", "filesystem", "storage_class", "STANDARD_IA"),
    ("storage_class=Standard", "filesystem", "storage_class", None),
    ("use_rrs", "filesystem", "storage_class", "REDUCED_REDUNDANCY"),
    ("use_rrs=1", "filesystem", "storage_class", "REDUCED_REDUNDANCY"),
    ("use_rrs,use_rrs=0", "filesystem", "storage_class", None),
    ("use_sse", "connection", "encryption", Encryption(EncryptedBy.SERVICE)),
    ("use_sse=1", "connection", "encryption", Encryption(EncryptedBy.SERVICE)),
    ("use_sse=kmsid", "connection", "encryption", Encryption(EncryptedBy.KMS)),
    ("use_sse=k:a:b", "connection", "encryption", Encryption(EncryptedBy.KMS, key_id="a:b")),
    ("url=http://127.0.0.1,use_sse=c:/k", "connection", "encryption", Encryption(EncryptedBy.CUSTOMER, key_file="/k")),
    ("url=https://h,use_sse=custom,load_sse_c=/k", "connection", "encryption", Encryption(EncryptedBy.CUSTOMER)),
    ("url=http://localhost:1,load_sse_c=/k", "connection", "key_file", "/k"),
    ("default_acl=public-read", "connection", "acl", "public-read"),
    ("ahbe_conf=/h", "connection", "header_file", "/h"),
    ("servicepath=/", "connection", "service_path", ""),
    ("servicepath=a/b/", "connection", "service_path", "/a/b"),
    ("disable_content_md5", "connection", "content_md5", False),
    ("disable_content_md5,enable_content_md5", "connection", "content_md5", True),
    ("enable_clientinfo", "connection", "client_info", True),
    ("curldbg", "connection", "trace", True),
    ("nomultipart", "filesystem", "multipart", False),
    ("nocopyapi", "filesystem", "server_copies", False),
    ("norenameapi", "filesystem", "server_renames", False),
    ("max_prefetch_bytes=0", "filesystem", "prefetch_limit_bytes", 0),
    ("noxattr", "filesystem", "xattr", False),
    ("use_xattr=0", "filesystem", "xattr", False),
    ("noxattr,use_xattr", "filesystem", "xattr", True),
    ("multipart_threshold=25", "filesystem", "put_threshold_bytes", 25 * 1024**2),
    ("max_thread_count=7", "filesystem", "parallel_parts", 7),
    ("mime=/m", "mount", "mime_file", "/m"),
    ("bucket_size=10T", "filesystem", "bucket_size_bytes", 10 * 1024**4),
    ("memory_limit=64", "filesystem", "memory_limit_bytes", 64 * 1024**2),
    ("memory_limit=1GiB", "filesystem", "memory_limit_bytes", 1024**3),
    ("multipart_size=5", "filesystem", "part_size_bytes", 5 * 1024**2),
    ("parallel_upload=3", "filesystem", "parallel_parts", 3),
    ("parallel_count=1000", "filesystem", "parallel_parts", 256),
    ("multireq_max=500", "filesystem", "parallel_heads", 256),
    ("stat_cache_expire=0", "filesystem", "listing_ttl_s", 0.0),
    ("stat_cache_expire=900", "filesystem", "negative_ttl_s", 900.0),
    ("stat_cache_expire=99999999", "filesystem", "stat_ttl_s", 366 * 86400.0),
    ("max_stat_cache_size=5000", "filesystem", "max_stat_entries", 5000),
    ("max_stat_cache_size=0", "filesystem", "max_stat_entries", 1),
    ("tmpdir=/var/tmp", "filesystem", "staging_folder", "/var/tmp"),
    ("ensure_diskfree=100", "filesystem", "staging_reserve_bytes", 100 * 1024**2),
    ("use_cache=/var/cache/x", "mount", "cache_folder", "/var/cache/x"),
    ("cache_size=10G", "filesystem", "cache_limit_bytes", 10 * 1024**3),
    ("cache_size=500", "filesystem", "cache_limit_bytes", 500 * 1024**2),
    ("del_cache", "filesystem", "wipe_cache", True),
    ("ro", "filesystem", "read_only", True),
    ("ro,rw", "filesystem", "read_only", False),
    ("allow_other, ro ,", "filesystem", "read_only", True),
    ("debug", "mount", "foreground", True),
    ("nonempty", "mount", "nonempty", True),
    ("scanner_guard", "mount", "scanners", SCANNERS),
    ("noscanner_guard", "mount", "scanners", ()),
    ("noscanner_guard,scanner_guard", "mount", "scanners", SCANNERS),
    ("scanner_guard=updatedb:a.b", "mount", "scanners", ("updatedb", "a.b")),
    ("scanner_guard=+mine:updatedb", "mount", "scanners", ("mine", "updatedb")),
    ("scanner_guard=+mine:+updatedb", "mount", "scanners", (*SCANNERS, "mine")),
    ("scanner_guard=-updatedb:+mine", "mount", "scanners", (*SCANNERS[1:], "mine")),
    ("wait_for_network=2.5", "mount", "wait_for_network_s", 2.5),
    ("_netdev", "mount", "wait_for_network_s", 30.0),
    ("_netdev,wait_for_network=0", "mount", "wait_for_network_s", 0.0),
    ("dbglevel=INFORMATION", "mount", "log_level", logging.INFO),
    ("dbglevel=wan", "mount", "log_level", logging.WARNING),
    ("f2", "mount", "log_level", logging.DEBUG),
    ("logfile=/l", "mount", "log_file", "/l"),
])
def test_an_option_sets_its_setting(item: str, group: str, field: str, value: Any) -> None:
    config = configured(item)
    assert getattr(config if group == "mount" else getattr(config, group), field) == value


def test_fuse_options_are_passed_on_and_words_of_fstab_are_not() -> None:
    config = configured("allow_other,ro,noexec,attr_timeout=2,max_read=131072,_netdev,nofail,x-systemd.automount")
    assert config.fuse_options == {"allow_other": True, "ro": True, "noexec": True, "attr_timeout": 2.0,
                                   "max_read": 131072}


def test_the_last_of_repeated_options_counts() -> None:
    assert configured("retries=3", "retries=4,retries=5").connection.attempts == 5


@pytest.mark.parametrize(("item", "message"), [
    ("urll=http://x", "unknown option urll; did you mean url?"),
    ("allow_others", "unknown option allow_others; did you mean allow_other?"),
    ("qqqqqqqq=1", "unknown option qqqqqqqq; see cosfs --help"),
    ("cam_role_endpoint=metadata/roles", "option cam_role_endpoint=metadata/roles is wrong; give an address such as "
                                        "http://127.0.0.1:8080/roles"),
    ("retries=abc", "option retries=abc is wrong; give a whole number, 1 or more"),
    ("retries=0", "option retries=0 is wrong; give a whole number, 1 or more"),
    ("retries", "option retries needs a value; give a whole number, 1 or more"),
    ("ro=1", "option ro=1 is wrong; ro takes no value"),
    ("umask=0o22", "option umask=0o22 is wrong; give an octal number from 0 to 777"),
    ("umask=-0", "option umask=-0 is wrong; give an octal number from 0 to 777"),
    ("mp_umask=08", "option mp_umask=08 is wrong; give a number from 0 to 0777, octal only with a leading 0"),
    ("sigv4,multipart_size=1", "multipart_size=1 is too small for sigv4; give 5 or more"),
    ("umask=9", "option umask=9 is wrong; give an octal number from 0 to 777"),
    ("default_permission=1777", "option default_permission=1777 is wrong; give an octal number from 0 to 777"),
    ("uid=no such user", "option uid=no such user is wrong; give a user's number or name"),
    ("connect_timeout=-1", "option connect_timeout=-1 is wrong; give seconds, 0.1 or more"),
    ("multipart_size=0", "option multipart_size=0 is wrong; give a whole number from 1 to 5120"),
    ("memory_limit=1M", "option memory_limit=1M is wrong; give a size such as 512M or 2G (without a letter: MiB), "
                        "16 MiB or more"),
    ("url=http://h/bucket", "option url=http://h/bucket is wrong; give an endpoint such as "
                            "https://cos.ap-guangzhou.myqcloud.com, without a path"),
    ("url=http://h:0", "option url=http://h:0 is wrong; give an endpoint such as "
                       "https://cos.ap-guangzhou.myqcloud.com, without a path"),
    ("url=http://user:password@h", "option url=http://h is wrong; give an endpoint such as "
                                   "https://cos.ap-guangzhou.myqcloud.com, without a path"),
    ("host=user:password@h", "option host=h is wrong; give an endpoint such as "
                             "https://cos.ap-guangzhou.myqcloud.com, without a path"),
    ("uid=" + 1000 * "x", f"option uid={200 * 'x'}... is wrong; give a user's number or name"),
    ("url=ftp://h", "option url=ftp://h is wrong; give an endpoint such as "
                    "https://cos.ap-guangzhou.myqcloud.com, without a path"),
    ("url=http://examplebucket-1250000000.cos.x.com",
     "the endpoint http://examplebucket-1250000000.cos.x.com must not name the bucket; "
     "leave examplebucket-1250000000. out of url="),
    ("dbglevel=loud", "option dbglevel=loud is wrong; give one of silent, critical, crit, error, err, wan, warn, "
                      "warning, inf, info, information, dbg, debug"),
    ("use_sse=2", "option use_sse=2 is wrong; give 1, kmsid, kmsid:ID, custom or custom:FILE"),
    ("use_sse=/etc/keys", "option use_sse=/etc/keys is wrong; give 1, kmsid, kmsid:ID, custom or custom:FILE"),
    ("use_sse=custom:", "option use_sse=custom: is wrong; give 1, kmsid, kmsid:ID, custom or custom:FILE"),
    ("url=https://h,use_sse=custom", "use_sse=custom needs a key; name its file with use_sse=custom:FILE or "
                                     "load_sse_c=FILE"),
    ("use_sse=custom:/k", "use_sse=custom and load_sse_c send the key with each request, and "
                          "http://cos.ap-guangzhou.myqcloud.com is not encrypted; give an endpoint with https://"),
    ("url=http://127.evil.example,load_sse_c=/k",
     "use_sse=custom and load_sse_c send the key with each request, and http://127.evil.example is not encrypted; give "
     "an endpoint with https://"),
    ("default_acl=everybody", "option default_acl=everybody is wrong; give one of private, public-read, default, "
                              "public-read-write, authenticated-read, bucket-owner-read, bucket-owner-full-control"),
    ("scanner_guard=-nobody",
     "option scanner_guard=-nobody is wrong; give names of programs joined by colons, +NAME for one more than the "
     "usual ones, or -NAME for one of those less"),
    ("scanner_guard=a::b",
     "option scanner_guard=a::b is wrong; give names of programs joined by colons, +NAME for one more than the usual "
     "ones, or -NAME for one of those less"),
    ("servicepath=/a/../b", "option servicepath=/a/../b is wrong; give a path such as /base"),
    ("iam_role", "option iam_role is not supported; keys come from passwd_file or the environment"),
    ("proxy=http://p", "option proxy is not supported; set http_proxy or https_proxy in the environment"),
    ("accessKeyId=x", "option accessKeyId is not supported; a key on the command line can be read by every user of "
                      "this machine: put it into a passwd_file"),
])
def test_a_wrong_option_is_named_with_what_is_allowed(item: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        configured(item)
    assert str(caught.value) == message


@pytest.mark.parametrize(("word", "parts"), [
    ("examplebucket-1250000000", ("examplebucket-1250000000", "")),
    ("examplebucket-1250000000:/", ("examplebucket-1250000000", "")),
    ("examplebucket-1250000000:/a/b/", ("examplebucket-1250000000", "a/b/")),
    ("examplebucket-1250000000:/a:b", ("examplebucket-1250000000", "a:b/")),
    ("1250000000:examplebucket", ("examplebucket-1250000000", "")),
    ("1250000000:examplebucket-1250000000", ("examplebucket-1250000000", "")),
    ("1250000000:examplebucket:/a", ("examplebucket-1250000000", "a/")),
    ("cosfs#examplebucket-1250000000:/a", ("examplebucket-1250000000", "a/")),
    ("cos-1250000000", ("cos-1250000000", "")),
])
def test_forms_of_the_bucket(word: str, parts: Tuple[str, str]) -> None:
    assert parse_bucket(word) == parts


@pytest.mark.parametrize("word", ["", ":/a", "a/b", "a b", "1250000000:b:c", "b?x", "b-1:sub", "cos://b-1"])
def test_what_is_no_bucket_is_refused(word: str) -> None:
    with pytest.raises(UsageError, match="is no bucket; the first word is BUCKET-APPID"):
        parse_bucket(word)


@pytest.mark.parametrize(("prefix", "reason"), [
    ("p" * 850, "a key has 1 to 850 bytes, this one has 851"),
    ("a/..", "key 'a/../' would be taken for the bucket itself"),
])
def test_what_is_no_prefix_is_refused(prefix: str, reason: str) -> None:
    with pytest.raises(UsageError, match=f"^the prefix cannot be mounted, {reason}; give another one$"):
        parse_bucket(f"b-1:/{prefix}")


@pytest.mark.parametrize(("words", "message"), [
    ([], "two words are needed, BUCKET-APPID and MOUNTPOINT, none is given; see cosfs --help"),
    (["b-1"], "two words are needed, BUCKET-APPID and MOUNTPOINT, given is: b-1; see cosfs --help"),
    (["b-1", "/mnt", "/more"],
     "two words are needed, BUCKET-APPID and MOUNTPOINT, given is: b-1 /mnt /more; see cosfs --help"),
    (["b-1", "/mnt", "url=h"], "url=h stands alone; options follow -o, joined by commas without blanks: "
                               "-o url=URL,allow_other"),
    (["b-1", "/mnt", "--url=h"], "option --url not recognized; write -o url"),
    (["b-1", "/mnt", "-oURL=h"], "unknown option URL; did you mean url?"),
    (["b-1", "/mnt", "-oregion=ap-guangzhou"],
     "option region is not supported; name the region in url=https://cos.REGION.myqcloud.com"),
    (["b", "/mnt", "-ourl=cos.ap-guangzhou.myqcloud.com"],
     "bucket b has no APPID; give the full name, such as b-1250000000"),
    (["unmount", "/mnt"], "there is no command unmount; unmount with: cosfs umount MOUNTPOINT"),
    (["restor", "-r", "/mnt"], "there is no command restor; did you mean cosfs restore?"),
    (["mout", "photos"], "there is no command mout; did you mean cosfs mount?"),
    (["mount-1", "/mnt"], "no endpoint is given; add -o url=https://cos.REGION.myqcloud.com"),
    (["b-1", "/mnt", "-ourl=h,remount"],
     "option remount is not supported; unmount and mount again: a running mount keeps its options"),
    (["b-1", ""], "the mount point is an empty word; give a folder"),
    (["b-1", "/mnt"], "no endpoint is given; add -o url=https://cos.REGION.myqcloud.com"),
    (["B-1", "/mnt", "-ourl=h"], "bucket B-1 has capital letters; names of buckets are in small letters"),
    (["b-1", "/mnt", "-z"], "option -z not recognized; see cosfs --help"),
])
def test_wrong_words_are_explained(words: List[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        build(scan(words))
    assert str(caught.value) == message


@pytest.mark.parametrize(("switches", "level", "foreground"), [
    ([], logging.WARNING, False),
    (["-d"], logging.INFO, False),
    (["--debug", "--debug"], logging.INFO, False),
    (["-d", "-d"], logging.DEBUG, True),
    (["-dd"], logging.DEBUG, True),
    (["-f"], logging.WARNING, True),
])
def test_switches(switches: List[str], level: int, foreground: bool) -> None:
    config = build(scan([*switches, *WORDS]))
    assert (config.log_level, config.foreground) == (level, foreground)
    assert config.fuse_options.get("debug", False) is (level == logging.DEBUG)


def test_single_threaded() -> None:
    assert build(scan([*WORDS, "-s"])).threads is False


def test_help_names_every_option_with_its_default_in_80_columns() -> None:
    text = help_text()
    assert max(map(len, text.splitlines())) <= mount.WIDTH
    shown = [option for option in TABLE if option.state is not State.REFUSED]
    missing = [option.name for option in shown if not re.search(rf"(?m)(^|[ ,]){re.escape(option.name)}\b", text)]
    assert missing == []
    assert "(default: 10)" in text
    assert "cache_size=SIZE         most that the data cache of the bucket takes" in text


def test_a_new_option_shows_in_parser_and_help(monkeypatch: pytest.MonkeyPatch) -> None:
    extra = Option("brand_new", "How files look", "does something", targets=("filesystem.read_only",))
    monkeypatch.setattr(options, "TABLE", (*TABLE, extra))
    monkeypatch.setitem(options.BY_NAME, "brand_new", extra)
    assert "brand_new               does something" in help_text()
    assert configured("brand_new").filesystem.read_only


def test_out_of_range_settings_are_refused_by_the_configuration() -> None:
    with pytest.raises(ValueError, match="must not start with / and must end with /"):
        FilesystemConfig(prefix="a")
    with pytest.raises(ValueError, match="part_size_bytes"):
        FilesystemConfig(part_size_bytes=1)
    with pytest.raises(ValueError, match="attempts"):
        ConnectionConfig("b", "http://h", attempts=0)
