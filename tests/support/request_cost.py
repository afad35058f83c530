"""CPU time of the client for small requests, signing included: ``python -m tests.support.request_cost [THREADS...]``.

No test: machines differ. Compare two states of the code in turns, by ratio.
"""

from __future__ import annotations

import statistics
import sys
import threading
import time

from cosfs.cos.credentials import StaticCredentials
from cosfs.cos.interface import ObjectHeaders
from tests.support.clients import make_client
from tests.support.server import CosServer

REQUESTS = 2000
ROUNDS = 5
BODY = bytes(4096)
HEADERS = ObjectHeaders(metadata={"mode": "33188", "uid": "0", "gid": "0", "mtime": "1700000000"})


def cost_us(call, threads):
    numbers = iter(range(REQUESTS))

    def work():
        for number in numbers:
            call(number)
    workers = [threading.Thread(target=work) for _ in range(threads)]
    begin = time.process_time()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return (time.process_time() - begin) / REQUESTS * 1e6


def main():
    with CosServer() as server:
        client = make_client(server.url, bucket=server.bucket, credentials=StaticCredentials(server.credentials))
        calls = {
            "PUT 4 KiB": lambda number: client.put_object(f"folder/file-{number}", BODY, headers=HEADERS),
            "HEAD": lambda number: client.head_object(f"folder/file-{number}"),
            "GET 4 KiB": lambda number: client.get_object(f"folder/file-{number}", memoryview(bytearray(4096))),
        }
        for threads in map(int, sys.argv[1:] or ("1", "64")):
            for name, call in calls.items():
                median = statistics.median(cost_us(call, threads) for _ in range(ROUNDS))
                sys.stdout.write(f"{name:10} {threads:4} threads  {median:6.0f} us\n")
        client.close()


if __name__ == "__main__":
    main()
