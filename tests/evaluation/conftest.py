"""Property tests without deadlines, so that a busy machine does not fail them."""

from hypothesis import HealthCheck, settings

settings.register_profile("evaluation", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("evaluation")
