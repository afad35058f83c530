"""Hypothesis profiles: ``dev`` (default, the same examples in every run) and ``nightly`` (``--hypothesis-profile``)."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers

# Hypothesis tries constants that it finds in the modules that happen to be loaded: then the examples of a test would
# depend on which tests were collected beside it, and on any change anywhere.
providers.is_local_module_file = lambda _: False

_COMMON = {"deadline": None, "suppress_health_check": list(HealthCheck), "print_blob": True}

settings.register_profile("dev", max_examples=120, stateful_step_count=35, derandomize=True, **_COMMON)
settings.register_profile("nightly", max_examples=3000, stateful_step_count=60, **_COMMON)
settings.load_profile("dev")
