"""The embedded COS-compatible server behind ``cosfs serve``: for trying out, tests and offline work.

It speaks the COS XML API and, to requests signed by AWS Signature V4, its ``x-amz-*`` dialect. A request
passes app.py (parse, route, faults, authenticate), one handler (``*_handlers.py``), and answer.py (faults,
rate, log). What is kept between requests lives in store.py and below.

Threading: one event loop thread does everything except the hashing, writing and reading of large bodies,
which run in the loop's default executor. The index is touched by the loop thread only, so what happens
between two ``await`` is atomic.
"""
