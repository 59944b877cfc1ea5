import os
import subprocess
import sys

SLOW = """
from flows import worker
worker.LONG_S = 0
print(list(worker.progress_bars("toy-collect")(range(2), mininterval=0)))
"""


def test_work_goes_on_where_nobody_can_be_told_how_far_it_is(tmp_path):
    refused = {**os.environ, "PREFECT_API_URL": "http://127.0.0.1:9/api", "PREFECT_HOME": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", SLOW], env=refused, capture_output=True, text=True)
    assert run.stdout == "[0, 1]\n", run.stderr
