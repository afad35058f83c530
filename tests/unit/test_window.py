"""The access window: what is asked for, given the reads of one handle."""

from __future__ import annotations

import random

from cosfs.reading.window import AccessWindow, Window, WindowLimits
from cosfs.units import GIB, KIB, MIB

STEP = 128 * KIB
LIMITS = WindowLimits()


def test_first_read_at_the_start_asks_for_the_initial_window() -> None:
    assert AccessWindow().observe(0, STEP) == Window(0, STEP + LIMITS.initial_bytes)


def test_sequential_reading_doubles_the_window_to_the_limit() -> None:
    window = AccessWindow()
    depths = [window.observe(offset, STEP).stop - offset - STEP for offset in range(0, GIB, STEP)]
    assert max(depths[:8]) < 3 * MIB
    assert max(depths) <= LIMITS.max_bytes + LIMITS.align_bytes
    assert min(depths[len(depths) // 2:]) >= LIMITS.max_bytes // 2 - STEP


def test_sequential_reading_asks_in_few_steps() -> None:
    window = AccessWindow()
    stops = {window.observe(offset, STEP).stop for offset in range(0, GIB, STEP)}
    assert len(stops) <= 6 + GIB // LIMITS.align_bytes


def test_random_small_reads_ask_for_little_more() -> None:
    rng = random.Random(3)
    window = AccessWindow()
    for _ in range(500):
        offset = rng.randrange(1, GIB // 4096) * 4096
        start, stop = window.observe(offset, 4096)
        assert start <= offset and offset + 4096 <= stop
        assert stop - start <= 4096 + 64 * KIB


def test_reading_on_from_the_middle_becomes_sequential_with_the_second_read() -> None:
    window = AccessWindow()
    assert window.observe(GIB, STEP).stop == GIB + STEP
    assert window.observe(GIB + STEP, STEP).stop == GIB + 2 * STEP + LIMITS.initial_bytes


def test_a_jump_collapses_the_window() -> None:
    window = AccessWindow()
    for offset in range(0, 64 * MIB, STEP):
        window.observe(offset, STEP)
    start, stop = window.observe(512 * MIB + 4096, 4096)
    assert stop - start <= 4096 + 64 * KIB


def test_parallel_reads_of_the_kernel_out_of_order_stay_sequential() -> None:
    rng = random.Random(5)
    window = AccessWindow()
    for base in range(0, 64 * MIB, 8 * STEP):
        offsets = [base + index * STEP for index in range(8)]
        rng.shuffle(offsets)
        asked = [window.observe(offset, STEP) for offset in offsets]
    assert all(stop - start > 16 * MIB for start, stop in asked)


def test_interleaved_streams_of_one_handle_stay_sequential() -> None:
    window = AccessWindow()
    bases = [0, 300 * MIB, 600 * MIB]
    for offset in range(0, 32 * MIB, STEP):
        asked = [window.observe(base + offset, STEP) for base in bases]
    assert all(stop - start > 8 * MIB for start, stop in asked)


def test_reading_the_same_bytes_again_does_not_widen_the_window() -> None:
    window = AccessWindow()
    stops = {window.observe(0, STEP).stop for _ in range(100)}
    assert stops == {STEP + LIMITS.initial_bytes}
