"""What stands between libfuse's buffers and the operations, without libfuse."""

from __future__ import annotations

import ctypes
import errno
from typing import Any, Callable, List, Tuple

import pytest

from cosfs.filesystem.types import NOW, OMIT
from cosfs.fuse_callbacks import Callbacks, FuseOSError

SIZE = 8


class Info(ctypes.Structure):
    _fields_ = (("fh", ctypes.c_uint64),)


def callbacks(operation: Callable[..., Any]) -> Callbacks:
    made = Callbacks()
    made._prepare(operation, "/", 0)
    return made


def read(data: Any) -> Tuple[int, bytes]:
    """The result that libfuse gets, and its buffer, of a read of SIZE bytes that is answered with ``data``."""
    buffer = (ctypes.c_byte * (SIZE + 2))(*b"..........")
    made = callbacks(lambda *_: data)
    result = made._wrapper(made.read, b"/f", ctypes.cast(buffer, ctypes.POINTER(ctypes.c_byte)), SIZE, 0,
                           ctypes.pointer(Info()))
    return result, bytes(buffer)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda data: memoryview(bytearray(b"x" + data))[1:]])
def test_a_read_puts_any_kind_of_bytes_into_the_buffer(kind: Callable[[bytes], Any]) -> None:
    assert read(kind(b"12345678")) == (8, b"12345678..")
    assert read(kind(b"123")) == (3, b"123.......")
    assert read(kind(b"")) == (0, b"..........")


@pytest.mark.parametrize("data", [b"123456789", None, "text", 5, [1]])
def test_a_read_that_gives_too_much_or_nonsense_is_an_error_and_writes_nothing(
        data: Any, caplog: pytest.LogCaptureFixture, expected_logs: Callable[[str], None]) -> None:
    expected_logs("the binding itself failed in read")
    assert read(data) == (-errno.EIO, b"..........")
    assert "the binding itself failed in read" in caplog.text


def test_a_write_gets_the_bytes_read_only_and_not_beyond_the_call() -> None:
    seen: List[memoryview] = []

    def operation(name: str, path: bytes, data: memoryview, offset: int, info: Info) -> int:
        assert (name, path, bytes(data), offset, info.fh) == ("write", b"/f", b"12345678", 7, 5)
        assert data.readonly
        seen.append(data)
        return len(data)

    buffer = (ctypes.c_byte * SIZE)(*b"12345678")
    made = callbacks(operation)
    assert made._wrapper(made.write, b"/f", ctypes.cast(buffer, ctypes.POINTER(ctypes.c_byte)), SIZE, 7,
                         ctypes.pointer(Info(5))) == SIZE
    with pytest.raises(ValueError, match="released"):
        bytes(seen[0])


@pytest.mark.parametrize(("raised", "number"), [
    (FuseOSError(errno.ESTALE), errno.ESTALE), (OSError(), errno.EIO), (SystemExit(0), errno.EIO),
    (KeyboardInterrupt(), errno.EIO), (ValueError(), errno.EIO)], ids=repr)
def test_whatever_is_raised_is_an_errno(raised: BaseException, number: int,
                                        expected_logs: Callable[[str], None]) -> None:
    expected_logs("the binding itself failed")

    def operation(*_: Any) -> None:
        raise raised

    made = callbacks(operation)
    assert made._wrapper(made.flush, b"/f", ctypes.pointer(Info())) == -number


def test_times_now_and_omitted_are_told_apart() -> None:
    class Spec(ctypes.Structure):
        _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))

    class Times(ctypes.Structure):
        _fields_ = (("actime", Spec), ("modtime", Spec))

    calls: List[Any] = []
    made = callbacks(lambda *arguments: calls.append(arguments))
    made.utimens(b"/f\xff", ctypes.pointer(Times(Spec(0, (1 << 30) - 1), Spec(0, (1 << 30) - 2))))
    made.utimens(b"/f", ctypes.pointer(Times(Spec(5, 6), Spec(-1, 7))))
    made.utimens(b"/f", None)
    assert calls == [("utimens", "/f\udcff", NOW, OMIT), ("utimens", "/f", 5_000_000_006, -999_999_993),
                     ("utimens", "/f", NOW, NOW)]


def test_an_owner_that_is_to_stay_is_told_from_large_numbers() -> None:
    calls: List[Any] = []
    made = callbacks(lambda *arguments: calls.append(arguments))
    made.chown(b"/f", 2**32 - 1, 2**32 - 2)
    assert calls == [("chown", "/f", -1, 2**32 - 2)]
