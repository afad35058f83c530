"""The log as JSON, one object a line, for programs that collect logs (``log_format=json``)."""

from __future__ import annotations

import json
import logging
import time


class JsonLines(logging.Formatter):
    """``time`` (UTC), ``level``, ``logger``, ``thread``, ``message``; ``exception`` when there is one. All in ASCII."""

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {"time": f"{moment}.{int(record.msecs):03}Z", "level": record.levelname, "logger": record.name,
                "thread": record.threadName, "message": record.getMessage()}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)
