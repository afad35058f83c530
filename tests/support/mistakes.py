"""The mistakes of docs/TROUBLESHOOTING.md, each made for real: a function for each row of its tables.

A function gets a ``Desk`` and returns the line that it provoked, with the values of the words in ``<…>``; a compiled
pattern stands for a value that differs from time to time.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
import ssl
from typing import Callable, Dict, Mapping, Tuple, Union

import pytest

from cosfs import preflight
from cosfs.preflight import MountError, check_mount_point, device_problem
from tests.support.desk import Desk, as_nobody, give_away, in_own_namespace, own_device
from tests.support.mount import REPOSITORY
from tests.support.raw_server import RawServer
from tests.support.token_services import TokenServices

CERTIFICATE = REPOSITORY / "tests" / "data" / "self-signed-other.example.pem"
COS_URL = "https://cos.ap-guangzhou.myqcloud.com"

Values = Mapping[str, Union[str, "re.Pattern[str]"]]
Provoked = Tuple[str, Values]

MISTAKES: Dict[str, Callable[[Desk], Provoked]] = {}


def mistake(name: str) -> Callable[[Callable[[Desk], Provoked]], Callable[[Desk], Provoked]]:
    """Register a function for the row of that name."""
    def register(function: Callable[[Desk], Provoked]) -> Callable[[Desk], Provoked]:
        assert name not in MISTAKES
        MISTAKES[name] = function
        return function
    return register


@mistake("unknown option")
def _(desk: Desk) -> Provoked:
    return desk.line("allow_othr"), {"option": "allow_othr", "known": "allow_other"}


@mistake("wrong value")
def _(desk: Desk) -> Provoked:
    return desk.line("retries=many"), {"option": "retries", "value": "many", "allowed": "a whole number, 1 or more"}


@mistake("option without -o")
def _(desk: Desk) -> Provoked:
    return desk.line(words=[*desk.words(), "allow_other"]), {"word": "allow_other"}


@mistake("no endpoint")
def _(desk: Desk) -> Provoked:
    return desk.line(words=[desk.server.bucket, str(desk.point), "-o", f"passwd_file={desk.passwd}"]), {}


@mistake("key on the command line")
def _(desk: Desk) -> Provoked:
    line = desk.line(f"secretAccessKey={desk.server.secret_key}")
    return line, {"option": "secretAccessKey"}


@mistake("bucket without APPID")
def _(desk: Desk) -> Provoked:
    return desk.line(url=COS_URL, bucket="examplebucket"), {"bucket": "examplebucket"}


@mistake("bucket in the URL")
def _(desk: Desk) -> Provoked:
    url = f"https://{desk.server.bucket}.cos.ap-guangzhou.myqcloud.com"
    return desk.line(url=url), {"bucket": desk.server.bucket, "url": url}


@mistake("no keys at all")
def _(desk: Desk) -> Provoked:
    home = re.escape(str(desk.folder))
    return desk.line(keys=False), {"other places": re.compile(rf"{home}/\.passwd-cosfs or /etc/passwd-cosfs.*")}


@mistake("passwd file missing")
def _(desk: Desk) -> Provoked:
    desk.passwd.unlink()
    return desk.line(), {"file": str(desk.passwd)}


@mistake("passwd file's mode")
def _(desk: Desk) -> Provoked:
    desk.passwd.chmod(0o644)
    return desk.line(), {"file": str(desk.passwd), "mode": "0644"}


@mistake("passwd file malformed")
def _(desk: Desk) -> Provoked:
    desk.write_passwd("# keys\nAKIDEXAMPLE\n")
    return desk.line(), {"file": str(desk.passwd), "number": "2"}


@mistake("blank in the passwd file")
def _(desk: Desk) -> Provoked:
    desk.write_passwd(f"{desk.server.secret_id}: {desk.server.secret_key}\n")
    return desk.line(), {"file": str(desk.passwd), "number": "1"}


@mistake("no line for the bucket")
def _(desk: Desk) -> Provoked:
    desk.write_passwd(f"other-1250000000:{desk.server.secret_id}:{desk.server.secret_key}\n")
    return desk.line(), {"file": str(desk.passwd), "bucket": desk.server.bucket}


@mistake("wrong SecretId")
def _(desk: Desk) -> Provoked:
    desk.write_passwd(f"AKIDunknown:{desk.server.secret_key}\n")
    return desk.line(), _keys_and_bucket(desk)


@mistake("wrong SecretKey")
def _(desk: Desk) -> Provoked:
    desk.write_passwd(f"{desk.server.secret_id}:wrong\n")
    return desk.line(), _keys_and_bucket(desk)


@mistake("expired token")
def _(desk: Desk) -> Provoked:
    desk.server.set_faults("kind=expired-token")
    return desk.line(), _keys_and_bucket(desk)


@mistake("role refused")
def _(desk: Desk) -> Provoked:
    services = desk.stack.enter_context(TokenServices())
    services.refusal = "UnauthorizedOperation"
    file = desk.folder / ".tencentcloud" / "credentials"
    file.parent.mkdir()
    file.write_text(f"[default]\nsecret_id = {services.caller.secret_id}\nsecret_key = {services.caller.secret_key}\n"
                    f"role_arn = {services.role_arn}\n")
    file.chmod(0o600)
    desk.environment["COSFS_STS_ENDPOINT"] = services.url
    return desk.line(keys=False), {"url": services.url, "role": services.role_arn, "code": "UnauthorizedOperation",
                                   "id": "r-1", "file": str(file)}


@mistake("no permission")
def _(desk: Desk) -> Provoked:
    desk.server.set_faults("kind=status,status=403,code=AccessDenied")
    return desk.line(), {**_bucket_and_url(desk), "code": "AccessDenied"}


def _keys_and_bucket(desk: Desk) -> Dict[str, str]:
    return {"source": f"the file {desk.passwd}", **_bucket_and_url(desk)}


def _bucket_and_url(desk: Desk) -> Dict[str, str]:
    return {"bucket": desk.server.bucket, "url": desk.server.url}


@mistake("bucket not public")
def _(desk: Desk) -> Provoked:
    return desk.line("public_bucket=1"), {**_bucket_and_url(desk), "code": "AccessDenied"}


@mistake("wrong bucket")
def _(desk: Desk) -> Provoked:
    other = "otherbucket-1250000000"
    return desk.line(bucket=other), {"bucket": other, "url": desk.server.url}


@mistake("wrong region")
def _(desk: Desk) -> Provoked:
    desk.server.set_faults("kind=status,status=301,code=PermanentRedirect")
    return desk.line(), _bucket_and_url(desk)


@mistake("clock off")
def _(desk: Desk) -> Provoked:
    desk.server.set_faults("kind=clock-skew,seconds=-3600")
    return desk.line(), {"seconds": re.compile("3[56]..|3600"), "direction": "ahead"}


@mistake("unknown host")
def _(desk: Desk) -> Provoked:
    return desk.line(url="http://cos.ap-nowhere.invalid"), {"host": "cos.ap-nowhere.invalid"}


@mistake("endpoint unreachable")
def _(desk: Desk) -> Provoked:
    bound = desk.stack.enter_context(socket.socket())  # bound and not listening: nobody else can open the port
    bound.bind(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{bound.getsockname()[1]}"
    return desk.line(url=url), {"url": url, "reason": "Connection refused"}


@mistake("proxy unreachable")
def _(desk: Desk) -> Provoked:
    bound = desk.stack.enter_context(socket.socket())  # bound and not listening: nobody else can open the port
    bound.bind(("127.0.0.1", 0))
    proxy = f"127.0.0.1:{bound.getsockname()[1]}"
    desk.environment["https_proxy"] = f"http://user:{desk.server.secret_key}@{proxy}"  # which no line shows
    return desk.line(url=COS_URL), {"proxy": f"http://{proxy}", "reason": "Connection refused"}


@mistake("silent endpoint")
def _(desk: Desk) -> Provoked:
    silent = desk.stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    url = f"http://127.0.0.1:{silent.getsockname()[1]}"
    return desk.line("readwrite_timeout=0.2", url=url), {"url": url}


@mistake("TLS certificate refused")
def _(desk: Desk) -> Provoked:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    server = desk.stack.enter_context(RawServer(tls=context))
    return desk.line(url=server.url), {"url": server.url, "reason": re.compile("the certificate is refused.*")}


@mistake("https where there is none")
def _(desk: Desk) -> Provoked:
    url = desk.server.url.replace("http:", "https:")
    return desk.line(url=url), {"url": url}


@mistake("no /dev/fuse")
def _(desk: Desk) -> Provoked:
    return desk.line(wrapper=in_own_namespace("mount -t tmpfs none /dev")), {}


@mistake("libfuse missing")
def _(desk: Desk) -> Provoked:
    desk.environment["FUSE_LIBRARY_PATH"] = "/no/such/libfuse.so"
    return desk.line("libfuse=2"), {"reason": re.compile(r"/no/such/libfuse\.so: cannot open shared object.*")}


@mistake("/dev/fuse closed")
def _(desk: Desk) -> Provoked:
    if os.geteuid() != 0:  # who cannot make a device: at the function that finds it
        return device_problem(PermissionError(errno.EACCES, os.strerror(errno.EACCES))), {}
    give_away(desk.point)
    return desk.line(wrapper=[*in_own_namespace(*own_device(0o600)), *as_nobody()]), {}


@mistake("fusermount missing")
def _(desk: Desk) -> Provoked:
    give_away(desk.point)
    wrapper = as_nobody()
    if wrapper:
        wrapper = [*in_own_namespace(*own_device(0o666), f"PATH={desk.folder}"), shutil.which(wrapper[0]) or "",
                   *wrapper[1:]]
    else:
        desk.environment["PATH"] = str(desk.folder)
    return desk.line(wrapper=wrapper), {}


@mistake("user_allow_other missing")
def _(desk: Desk) -> Provoked:
    if os.geteuid() != 0:  # who cannot hide the file: at the function that looks into it
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(preflight, "FUSE_CONF", os.devnull)
            with pytest.raises(MountError) as raised:
                preflight.check_allow_other()
        return str(raised.value).replace(os.devnull, "/etc/fuse.conf"), {}
    give_away(desk.point)
    helper = desk.folder / "fusermount"  # there may be none on this machine; it is not run
    helper.write_text("#!/bin/sh\n")
    helper.chmod(0o755)
    desk.environment["PATH"] = f"{os.environ['PATH']}:{desk.folder}"
    without = ["[ ! -e /etc/fuse.conf ] || mount --bind /dev/null /etc/fuse.conf"]
    return desk.line("allow_other", wrapper=[*in_own_namespace(*without, *own_device(0o666)), *as_nobody()]), {}


@mistake("mount point missing")
def _(desk: Desk) -> Provoked:
    missing = desk.folder / "missing"
    return desk.line(point=missing), {"point": str(missing)}


@mistake("mount point no folder")
def _(desk: Desk) -> Provoked:
    return desk.line(point=desk.passwd), {"point": str(desk.passwd)}


@mistake("mount point not empty")
def _(desk: Desk) -> Provoked:
    (desk.point / "something").touch()
    return desk.line(), {"point": str(desk.point)}


@mistake("mounted already")
def _(desk: Desk) -> Provoked:
    desk.mount()
    return desk.line(), {"point": str(desk.point)}


@mistake("dead mount")
def _(desk: Desk) -> Provoked:
    """At the function that finds it."""
    desk.mount()
    desk.kill_mount()
    with pytest.raises(MountError) as raised:
        check_mount_point(str(desk.point), nonempty=False)
    return str(raised.value), {"point": str(desk.point)}


@mistake("mount point not yours")
def _(desk: Desk) -> Provoked:
    desk.point.chmod(0o555)
    return desk.line(wrapper=as_nobody()), {"point": str(desk.point)}


@mistake("no tmpdir")
def _(desk: Desk) -> Provoked:
    return desk.line("tmpdir=/no/such/folder"), {"folder": "/no/such/folder"}


@mistake("no place for the data cache")
def _(desk: Desk) -> Provoked:
    return desk.line("use_cache=/dev/null"), {"folder": "/dev/null", "reason": "Not a directory"}


@mistake("no place for the log")
def _(desk: Desk) -> Provoked:
    return desk.line("logfile=/no/such/file"), {"file": "/no/such/file", "reason": "No such file or directory"}
