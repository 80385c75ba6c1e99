"""How hypothesis looks for examples: without a clock, for a machine may be busy with other things."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("isoline", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("isoline")
