"""Unit tests, and the doubles that extension authors may use too."""

import contextlib

with contextlib.suppress(ImportError):
    from hypothesis import HealthCheck, settings

    # How long something takes says nothing where other tests run at the same time.
    settings.register_profile("pmmux", deadline=None, suppress_health_check=(HealthCheck.too_slow,))
    settings.load_profile("pmmux")
