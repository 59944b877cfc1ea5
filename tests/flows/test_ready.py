"""What the tests of flows stand on: whatever happens to one command, the next is served."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import pytest


def test_a_command_that_nobody_waits_for_any_more_does_not_end_the_service(finished_yard):
    for patience_s in (0.01, 0.05, 0.1):
        with pytest.raises(subprocess.TimeoutExpired):
            replace(finished_yard, patience_s=patience_s).flow("status")
    assert set(finished_yard.status().values()) == {"up to date"}
