"""Examples that hypothesis draws are the same in every run, and no test is judged by how fast it was.

`pytest --hypothesis-profile search` draws others each time.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

STEADY = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}

settings.register_profile("steady", derandomize=True, **STEADY)
settings.register_profile("search", print_blob=True, **STEADY)
settings.load_profile("steady")
