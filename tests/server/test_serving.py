"""The command ``cosfs serve``: how it starts and ends, its log, its latency and rate."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import List, Tuple

import pytest

from tests.server.conftest import MakeServer
from tests.support.server import ENVIRONMENT, CosServer

COMMAND = [sys.executable, "-m", "cosfs", "serve"]


def serve(*args: str) -> Tuple[int, str, str]:
    """Run ``cosfs serve`` with arguments that make it end by itself."""
    done = subprocess.run([*COMMAND, *args], check=False, capture_output=True, text=True, timeout=30, env=ENVIRONMENT)
    return done.returncode, done.stdout, done.stderr


def bad_starts(tmp_path: Path, port: int) -> List[Tuple[str, List[str]]]:
    directory, key = str(tmp_path), ["--secret-id", "a", "--secret-key", "b"]
    return [
        ("not a directory", [str(tmp_path / "none"), *key]),
        ("not a directory that you can reach", [str(tmp_path / ("n" * 300)), *key]),
        ("Address already in use; give another", [directory, *key, "--port", str(port)]),
        ("no bucket name", [directory, *key, "--bucket", "Nope"]),
        ("no bucket name", [directory, *key, "--bucket", "../up-1"]),
        ("kind must be one of", [directory, *key, "--fault", "kind=nope"]),
        ("--anonymous", [directory]),
        ("pairs", [directory, "--secret-id", "a"]),
        ("--port", [directory, *key, "--port", "many"]),
        ("DIR", []),
        ("--access-log", [directory, *key, "--access-log", str(tmp_path / "no" / "log")]),
        ("negative", [directory, *key, "--latency-ms", "-1"]),
    ]


def test_a_bad_start_is_one_line_and_status_1(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for words, args in bad_starts(tmp_path, taken.getsockname()[1]):
            status, out, err = serve(*args)
            assert (status, out) == (1, ""), args
            assert err.startswith("cosfs serve: ") and err.count("\n") == 1 and words in err


def test_a_directory_serves_one_server_at_a_time(server: CosServer) -> None:
    status, _, err = serve(str(server.directory), "--anonymous")
    assert status == 1 and "in use by another" in err


def test_a_missing_package_is_named(tmp_path: Path) -> None:
    (tmp_path / "aiohttp.py").write_text("raise ModuleNotFoundError(name='aiohttp')")
    environment = {**ENVIRONMENT, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ENVIRONMENT['PYTHONPATH']}"}
    done = subprocess.run([*COMMAND, str(tmp_path)], check=False, capture_output=True, text=True, timeout=30,
                          env=environment)
    assert (done.returncode, done.stderr) == (1, "cosfs: the Python module aiohttp is missing; install it with: "
                                                 f"{sys.executable} -m pip install aiohttp\n")


def test_help_explains_faults() -> None:
    status, out, _ = serve("--help")
    assert status == 0 and "stale-list" in out and "--latency-ms" in out


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
def test_signals_end_it_with_status_0(tmp_path: Path, number: str) -> None:
    process = subprocess.Popen([*COMMAND, str(tmp_path), "--anonymous"], text=True, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, env=ENVIRONMENT)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("listening on http://127.0.0.1:")
    process.send_signal(getattr(signal, number))
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "", "")


def test_an_open_connection_does_not_keep_it_up(tmp_path: Path) -> None:
    server = CosServer(tmp_path / "data").start()
    with socket.create_connection((server.host, server.port)) as idle:
        idle.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        idle.recv(10)
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 5


def test_faults_cannot_be_set_without_control(tmp_path: Path) -> None:
    process = subprocess.Popen([*COMMAND, str(tmp_path), "--anonymous", "--bucket", "b-1"], text=True,
                               stdout=subprocess.PIPE, env=ENVIRONMENT)
    assert process.stdout is not None
    port = int(process.stdout.readline().rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET /-/faults HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        assert b"<Code>NoSuchBucket</Code>" in b"".join(iter(lambda: connection.recv(4096), b""))
    process.terminate()
    process.communicate(timeout=20)


def test_access_log_tells_all_of_a_request(server: CosServer, folder: str) -> None:
    server.clear_requests()
    server.request("PUT", folder + "ä", body=b"12345")
    server.request("GET", folder + "ä", headers={"Range": "bytes=1-2"})
    server.request("GET", params=[("prefix", "p/"), ("max-keys", "1")])
    server.request("HEAD", folder + "none")
    put, get, listing, head = server.requests()
    assert (put["method"], put["op"], put["bucket"], put["key"], put["status"], put["bytes_in"]) == (
        "PUT", "put_object", server.bucket, folder + "ä", 200, 5)
    assert (get["op"], get["status"], get["bytes_out"], get["range"]) == ("get_object", 206, 2, "bytes=1-2")
    assert listing["query"] == {"prefix": "p/", "max-keys": "1"}
    assert (head["op"], head["status"], head["error"]) == ("head_object", 404, "NoSuchKey")
    assert all(line["ms"] >= 0 and line["request_id"] for line in (put, get, listing, head))
    assert server.requests(op="head_object") == [head]


def test_access_log_is_there_before_the_end_of_the_answer(server: CosServer, folder: str) -> None:
    server.request("PUT", folder + "a", body=b"x" * 1_000_000)
    for _ in range(30):
        server.clear_requests()
        server.request("GET", folder + "a")
        server.request("HEAD", folder + "a")
        assert [line["bytes_out"] for line in server.requests()] == [1_000_000, 0]


def test_access_log_holds_no_secrets(make_server: MakeServer) -> None:
    server = make_server(token="topsecrettoken")
    server.request("PUT", "a", body=b"x")
    server.request("GET", "a", [("q-signature", "0123456789"), ("x-cos-security-token", "topsecrettoken")])
    text = server.access_log.read_text()
    assert len(text.splitlines()) == 2
    for secret in (server.secret_key, "topsecrettoken", "0123456789"):
        assert secret not in text


def test_latency_delays_each_answer(make_server: MakeServer) -> None:
    server = make_server(latency_ms=100)
    server.request("PUT", "a", body=b"x")
    server.clear_requests()
    began = time.monotonic()
    for _ in range(3):
        server.request("GET", "a")
    took = time.monotonic() - began
    assert 0.3 <= took < 3
    assert all(line["ms"] >= 100 for line in server.requests())


def test_rate_limits_both_directions(make_server: MakeServer) -> None:
    server = make_server(mbps=10)
    body = os.urandom(4_000_000)
    began = time.monotonic()
    server.request("PUT", "a", body=body)
    after_put = time.monotonic()
    assert server.request("GET", "a")[2] == body
    after_get = time.monotonic()
    assert 0.3 <= after_put - began < 4
    assert 0.3 <= after_get - after_put < 4


def test_log_lines_are_json_objects(server: CosServer, folder: str) -> None:
    server.request("HEAD", folder + "a\"b\n")
    last = server.access_log.read_bytes().splitlines()[-1]
    assert json.loads(last)["key"] == folder + "a\"b\n"
