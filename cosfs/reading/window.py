"""Guesses from the reads of one handle what will be read next. Pure: no I/O, no clock.

Defined here and only here. The filesystem keeps one :class:`AccessWindow` per open handle and passes what it says to
``ObjectReader.read``.

Threading: none of its own; the lock of the handle guards it (a race would only cost a worse guess).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, NamedTuple, Optional

from cosfs.units import KIB, MIB


class Window(NamedTuple):
    """The bytes ``[start, stop)`` that should be there or under way. ``stop`` may lie behind the end of the object."""

    start: int
    stop: int


@dataclass(frozen=True)
class WindowLimits:
    """``initial_bytes``: the first window of a sequential reader: 1 MiB, and the 128 KiB that the kernel reads ahead
    by default, so that its second request finds its bytes under way. ``max_bytes``: ten ranges of 10 MiB, which ten
    connections carry at once; one gives some 100 MB/s. ``block_bytes``: random reads are rounded to it.
    ``align_bytes``: windows of a quarter of that and more end at multiples of it, which makes ranges whole.
    ``streams``: how many interleaved sequential readers of one handle are told apart.
    """

    initial_bytes: int = MIB + 128 * KIB
    max_bytes: int = 100 * MIB
    block_bytes: int = 32 * KIB
    align_bytes: int = 10 * MIB
    streams: int = 4


DEFAULT_LIMITS = WindowLimits()


def limits_up_to(max_bytes: Optional[int]) -> WindowLimits:
    """Limits of windows of at most ``max_bytes``; their ends are aligned only if that is
    no less than usual. None: the usual ones."""
    usual = DEFAULT_LIMITS
    if max_bytes is None:
        return usual
    aligned = max_bytes >= usual.max_bytes
    return WindowLimits(min(usual.initial_bytes, max_bytes), max_bytes,
                        align_bytes=usual.align_bytes if aligned else 4 * max_bytes + 4)  # never


@dataclass
class _Stream:
    """One place where the handle reads. ``window_bytes`` is 0 until a second read continues the first.

    ``[start, stop)``: the span read so far; ``ahead``: where the bytes asked for end. Since the window last grew, when
    ``stop`` was ``grown_at``, ``used_bytes`` were read.
    """

    start: int
    stop: int
    ahead: int = 0
    window_bytes: int = 0
    grown_at: int = 0
    used_bytes: int = 0


class AccessWindow:
    """The access pattern of one handle: a few streams, the one used last in front.

    A read that belongs to no stream is random, and begins a new one; the stream unused for longest goes. Only a read
    that touches the new one exactly makes it sequential: of 500 random reads of 4 KiB in 1 GiB, one in a hundred runs
    sees that by chance. A sequential stream takes every read from a window (at least 1 MiB) behind its front up
    to what was asked for, because the kernel sends its read-ahead as parallel requests that arrive in any order.
    """

    def __init__(self, limits: WindowLimits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._streams: List[_Stream] = []

    def observe(self, offset: int, size: int) -> Window:
        """Note a read of ``[offset, offset + size)``; returns what should be there or under way, the read included."""
        limits = self._limits
        stop = offset + size
        stream = self._find(offset, stop)
        if stream is not None:
            sequential = True
            self._streams.remove(stream)
        else:
            sequential = offset == 0 and not self._streams
            stream = _Stream(offset, stop)
            del self._streams[limits.streams - 1:]
        self._streams.insert(0, stream)
        if not sequential:
            block = limits.block_bytes
            return Window(offset // block * block, -(-stop // block) * block)
        if not stream.window_bytes:
            stream.window_bytes = limits.initial_bytes
            stream.grown_at = offset
        self._advance(stream, offset, stop)
        return Window(offset, max(stop, stream.ahead))

    def _find(self, offset: int, stop: int) -> Optional[_Stream]:
        for stream in self._streams:
            if stream.window_bytes:
                behind = max(stream.window_bytes, MIB)
                if stream.stop - behind <= offset <= max(stream.ahead, stream.stop):
                    return stream
            elif offset == stream.stop or stop == stream.start:
                return stream
        return None

    def _advance(self, stream: _Stream, offset: int, stop: int) -> None:
        """Move the front of a sequential stream; ask for more once half of the window, or one range, was used up."""
        limits = self._limits
        stream.start = min(stream.start, offset)
        stream.stop = max(stream.stop, stop)
        stream.used_bytes += stop - offset
        half = stream.window_bytes // 2
        if stream.ahead - stream.stop > max(half, stream.window_bytes - limits.align_bytes):
            return
        # Neither reading the same bytes again nor skipping over them is a reason to ask for more.
        if min(stream.used_bytes, stream.stop - stream.grown_at) >= half:
            stream.window_bytes = min(2 * stream.window_bytes, limits.max_bytes)
            stream.used_bytes = 0
            stream.grown_at = stream.stop
        ahead = stream.stop + stream.window_bytes
        if stream.window_bytes >= limits.align_bytes // 4:
            ahead = -(-ahead // limits.align_bytes) * limits.align_bytes
        stream.ahead = ahead
