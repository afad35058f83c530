"""What tests of failing services share."""

from __future__ import annotations

import errno

RETRIES = r"cosfs\.cos\.(retry|requester|multipart|client|transport|download)"
"""Loggers that may tell of a retry."""


class refused_any:  # noqa: N801  used like ``refused``
    """The block must raise ``OSError`` with one of these."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = numbers

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: object, trace: object) -> bool:
        assert isinstance(error, OSError), f"{error!r} instead of {self.numbers}"
        assert error.errno in self.numbers, f"{errno.errorcode[error.errno or 0]}: {error}"
        return True
