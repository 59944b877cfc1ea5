"""Prefect's server is not there while work is done: it goes on."""

import os
import subprocess
import sys

import pytest

SLOW = """
from flows import worker
worker.LONG_S = 0
print(list(worker.progress_bars("toy-collect")(range(2), mininterval=0)))
"""
RECORDINGS = """
from flows import worker
work = worker.task_runs("brake_coast-label")(str, [7, 8], names=["one", "two"], parallel=False)
print([made for _, made in work])
"""


@pytest.mark.parametrize(("work", "made"), [(SLOW, "[0, 1]\n"), (RECORDINGS, "['7', '8']\n")])
def test_work_goes_on_where_nobody_can_be_told_how_far_it_is(tmp_path, work, made):
    refused = {**os.environ, "PREFECT_API_URL": "http://127.0.0.1:9/api", "PREFECT_CLIENT_MAX_RETRIES": "0"}
    refused["PREFECT_HOME"] = str(tmp_path)
    run = subprocess.run([sys.executable, "-c", work], env=refused, capture_output=True, text=True)
    assert run.stdout == made, run.stderr
