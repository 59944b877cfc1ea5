"""YOLO detectors: train, judge and run them. The one room that imports ultralytics; every line uses it."""

import os
from pathlib import Path

CACHE = Path("data/.cache").absolute()
# Read by ultralytics while it is imported, so they are set before any module of this room is.
os.environ |= {
    "YOLO_CONFIG_DIR": str(CACHE),
    "YOLO_OFFLINE": "1",
    "YOLO_AUTOINSTALL": "0",
    "YOLO_VERBOSE": "0",
    "ULTRALYTICS_SAFE_LOAD": "1",
}
