"""What one step does: `tasks/<line>/<step>.py`, one step a file; `python -m tasks <stage>` runs one alone."""

import os

# Read by OpenMP when torch is imported, so it is set before any module here imports it. A thread that waits for
# another's share of a layer sleeps instead of spinning: beside other work on 2 cores the spinning made YOLO 3 to 15
# times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
