"""A search of 12 trials with two at once against one at a time, and what the two find."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from statistics import median

from tasks.brake_coast import tune
from tasks.yard.step import cores
from tests.tasks.brake_coast import drives
from tests.tasks.brake_coast.test_train import settings
from tests.tasks.brake_coast.tiny_pack import write_pack
from tests.tasks.yard.shared import machine

SPACE = {
    "optimizer.learning_rate": {"low": 3e-4, "high": 1e-2, "log": True},
    "model.dropout": {"low": 0.0, "high": 0.4, "log": False},
}


def searched(pack: Path, at_once: int, trials: int, epochs: int) -> tuple[float, dict[str, float]]:
    """Seconds by the clock, the start of its processes among them, and what was found."""
    pruner = {"kind": "asha", "min_epochs": 1, "reduction": 3}
    section = drives.section("tune", trials=trials, at_once=at_once, epochs=epochs, space=SPACE, pruner=pruner)
    with tempfile.TemporaryDirectory() as out:
        begin = time.perf_counter()
        found = tune.run(section, Path(out), train_params=settings(), machine_params=machine(), pack=pack)
        return time.perf_counter() - begin, found


def main(tiny: bool = False) -> None:
    os.environ.pop("TRAINYARD_RAY", None)
    frames, trials, epochs, repeats = (200, 2, 1, 1) if tiny else (4000, 12, 9, 3)
    os.environ["TRAINYARD_DEVICE_SLOTS"] = "2"
    try:
        with tempfile.TemporaryDirectory() as folder:
            pack = write_pack(Path(folder) / "pack", {"train": 3, "val": 2}, frames=frames)
            sides = {1: [], 2: []}
            for _ in range(repeats):
                for at_once, side in sides.items():
                    side.append(searched(pack, at_once, trials, epochs))
    finally:
        del os.environ["TRAINYARD_DEVICE_SLOTS"]
    one, two = (median(took for took, _ in side) for side in sides.values())
    best = "   ".join(f"{n} at once: best {side[0][1]['best_score']:.3f}" for n, side in sides.items())
    print(
        f"{trials} trials on {cores()} cores   one at a time {one:6.1f} s   two at once {two:6.1f} s   "
        f"two are {one / two:.2f} x as fast   {best}"
    )


if __name__ == "__main__":
    main()
