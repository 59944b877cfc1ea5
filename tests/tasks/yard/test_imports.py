import subprocess
import sys

TRAINS = """
from tasks.yard import imports
imports.kept_to_the_end()
import torchvision, sys
print("triton" in sys.modules, file=sys.stderr)
"""


def test_a_command_that_ends_lists_nothing_of_its_libraries():
    run = subprocess.run([sys.executable, "-c", TRAINS], capture_output=True, text=True)
    assert (run.returncode, run.stderr) in [(0, "True\n"), (0, "False\n")]
