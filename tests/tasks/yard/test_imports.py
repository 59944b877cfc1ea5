import subprocess
import sys

import pytest

TRAINS = """
from tasks.yard import imports
imports.kept_to_the_end()
import torchvision, sys
print("triton" in sys.modules, file=sys.stderr)
"""


@pytest.mark.slow
def test_a_command_that_ends_lists_nothing_of_its_libraries():
    run = subprocess.run([sys.executable, "-c", TRAINS], capture_output=True, text=True)
    assert (run.returncode, run.stderr) in [(0, "True\n"), (0, "False\n")]
