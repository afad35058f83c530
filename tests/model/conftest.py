"""Hypothesis profiles: ``dev`` (default, the same examples in every run) and ``nightly`` (``--hypothesis-profile``)."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

_COMMON = {"deadline": None, "suppress_health_check": list(HealthCheck), "print_blob": True}

settings.register_profile("dev", max_examples=120, stateful_step_count=35, derandomize=True, **_COMMON)
settings.register_profile("nightly", max_examples=3000, stateful_step_count=60, **_COMMON)
settings.load_profile("dev")
