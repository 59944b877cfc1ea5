"""What a yard costs that holds many recordings of many pictures: `python -m tests.benchmarks size`.

For each number of recordings of 300 pictures, brake_coast up to `label` in a copy of this checkout, with a DVC remote
beside it: the first run, a run with nothing to do, `dvc status` of the two stages, and a run after one recording has
come. The last lines fit a + b n to each, and say what that gives for 1,000 and 10,000. Seconds of the clock, for steps
run in processes that their flow does not wait for: on a quiet machine only.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from tests.faults.yards import small
from tests.flows.conftest import Yard
from tests.tasks.brake_coast.drives import START_MS, drive

PICTURES = 300
RECORDINGS = (16, 64, 256)


def write_recording(source: Path, index: int, pictures: int) -> None:
    """A drive of half seconds in the native layout, one small picture a row; days apart from the others."""
    folder = source / f"drive_{index:05d}"
    folder.mkdir(parents=True)
    table = drive(pictures, seed=index, start_ms=START_MS + index * 86_400_000)
    table.to_csv(folder / "telemetry.csv", index=False)
    rng = np.random.default_rng(index)
    for name in table["Time"]:
        cv2.imwrite(str(folder / f"{name}.jpg"), rng.integers(0, 255, (16, 24, 3), np.uint8))


def clock_s(yard: Yard, *command: str) -> float:
    """How long a command takes that has to succeed."""
    began = time.perf_counter()
    done = yard.call(*command)
    assert done.returncode == 0, f"{command}: {done.stderr[-2000:]}"
    return time.perf_counter() - began


def measure(count: int, pictures: int, folder: Path) -> dict[str, float]:
    yard = small("brake_coast", folder / "yard")
    source = folder / "source"
    for index in range(count):
        write_recording(source, index, pictures)
    flow = (sys.executable, "-m", "flows", "run", "brake_coast", "--until", "label")
    clock_s(yard, "dvc", "remote", "add", "-d", "beside", str(folder / "remote"))
    first = clock_s(yard, *flow, "--set", f"brake_coast.download.source={source}")
    nothing = min(clock_s(yard, *flow) for _ in range(2))
    status = min(clock_s(yard, "dvc", "status", "brake_coast-download", "brake_coast-label") for _ in range(2))
    write_recording(source, count, pictures)
    one = clock_s(yard, *flow)
    return {"first run": first, "nothing to do": nothing, "dvc status": status, "one new recording": one}


def main(tiny: bool = False) -> None:
    if tiny:
        print("no tiny form: this one needs flows from nothing")
        return
    rows = {}
    for count in RECORDINGS:
        with tempfile.TemporaryDirectory() as folder:
            rows[count] = measure(count, PICTURES, Path(folder))
        told = ", ".join(f"{what} {seconds:.1f} s" for what, seconds in rows[count].items())
        print(f"{count} recordings of {PICTURES} pictures: {told}", flush=True)
    for what in ("nothing to do", "dvc status", "one new recording"):
        slope, base = np.polyfit(list(rows), [row[what] for row in rows.values()], 1)
        at = {count: base + slope * count for count in (1_000, 10_000)}
        print(
            f"{what}: {base:.1f} s + {slope * 1000:.0f} ms a recording; if it goes on like that, "
            + ", ".join(f"{seconds:.0f} s at {count:,}" for count, seconds in at.items())
        )
