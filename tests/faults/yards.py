"""Yards to try faults in: the toy line of the flows' tests, and real lines on the smallest worlds that they can use."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tasks.yard import params
from tests.flows.conftest import ROOT, Yard, make_yard

SMALL = {
    "ground_plane": [
        "ground_plane.download.source=synth://plaza?cameras=3&scenes=12&frames=2&seed=0",
        "ground_plane.train.engine.epochs=2",
        "ground_plane.visualize.seconds=1.0",
    ],
    "person_search": [
        "person_search.download.source=synth://street?sessions=3&cameras=3&identities=12&seed=0",
        "person_search.train_detector.epochs=1",
        "person_search.train.engine.epochs=2",
        "person_search.search.video_seconds=1.0",
    ],
    "brake_coast": [
        "brake_coast.download.source=synth://highway?recordings=6&minutes=0.5&seed=0",
        "brake_coast.detector_data.source=synth://highway?detector_images=100&seed=0",
        "brake_coast.train_detector.epochs=1",
        "brake_coast.train.variants=[simple_concat_lstm, simple_concat_lstm-telemetry]",
        "brake_coast.train.engine.epochs=2",
        "brake_coast.report.video_frames=8",
        "brake_coast.analyse.items=[misses]",
        "brake_coast.export.frames=4",
    ],
    "bike_parts": [
        "bike_parts.download.source=synth://bikes?bikes=40&rides=1&width=96&height=80&seed=0",
        "bike_parts.train.canvas={height_px: 160, width_px: 192}",
        "bike_parts.train.evaluate_every=1",
        "bike_parts.train.engine.epochs=1",
        "bike_parts.export.timed_photos=4",
    ],
    "open_loop_driving": [
        "open_loop_driving.download.source=synth://town?routes=5&seconds=8&cameras=1&height=32&width=48&seed=0",
        "open_loop_driving.check_data.pictures=1",
        "open_loop_driving.teacher.engine.epochs=1",
        "open_loop_driving.train.engine.epochs=1",
        "open_loop_driving.train.blind_epochs=1",
        "open_loop_driving.drive.routes={val: 0, test: 1}",
        "open_loop_driving.visualize.seconds=1.0",
        "open_loop_driving.visualize.height_px=480",
    ],
}


def small(line: str, root: Path) -> Yard:
    """A copy of this checkout's files as they are, committed, with a small world in params.yaml."""
    listed = subprocess.run(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True)
    for name in listed.stdout.decode().split("\0"):
        if name and name != "dvc.lock" and (ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / name)
    params.set_values(SMALL[line], root / "params.yaml")
    for command in (["init", "-q"], ["add", "-A"], ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "y"]):
        subprocess.run(["git", *command], cwd=root, check=True)
    return Yard(root)


LINES: dict[str, Callable[[Path], Yard]] = {"toy": make_yard, **{line: partial(small, line) for line in SMALL}}
