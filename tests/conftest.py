"""How long property tests may take to make their examples."""

from hypothesis import HealthCheck, settings

# As long as they do: that says how busy a machine is, or that it is emulated.
settings.register_profile("any machine", suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")
