"""Packed routes of a few numbers, without pictures: where a car was, what its driver did, who was around."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tasks.open_loop_driving.formats import pack
from tasks.yard.files import write_json
from tasks.yard.params import Reporting

REPORTING = Reporting(bootstrap_replicates=200, bootstrap_seed=0, embed_mb=1.0, source_url=None)


def straight(n: int, speed: float, yaw: float = 0.0, at: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    """Poses (n, 3), half a second apart."""
    way = speed * 0.5 * np.arange(n)
    return np.column_stack([at[0] + way * np.cos(yaw), at[1] + way * np.sin(yaw), np.full(n, yaw)])


def box(x, y, yaw=0.0, length=4.0, width=2.0, kind="vehicle"):
    return (pack.CLASSES.index(kind), x, y, 0.8, length, width, 1.6, yaw, 0.0)


def write_route(folder: Path, name: str, pose: np.ndarray, boxes=None, horizon=4, source="drive", origin="", **columns):
    """`boxes`: None, nobody was labelled; or of each frame the boxes in the car's frame of that moment."""
    n = len(pose)
    speed = np.hypot(*np.gradient(pose[:, :2], axis=0).T) * 2
    said = {"frame": np.arange(n), "time_s": np.arange(n) / 2, "pose": pose, "speed_ms": speed, **columns}
    said["windows"] = pack.windows(said["frame"], horizon)
    head = pack.Head(name.split("_")[0], source, 2.0, origin, {}, ("boxes",) if boxes else ())
    rows = [pack.Frame(boxes=np.array(boxes[i], float).reshape(-1, 9), ids=[str(k) for k in range(len(boxes[i]))])
            if boxes else pack.Frame() for i in range(n)]  # fmt: skip
    pack.path(folder, name).parent.mkdir(parents=True, exist_ok=True)
    pack.write(pack.path(folder, name), head, said, rows)
    return len(said["windows"])


def write_manifest(
    folder: Path, splits: dict[str, str], windows: dict[str, int] | None = None, horizon: int = 4
) -> Path:
    routes = {
        name: {"town": name.split("_")[0], "split": split, "windows": (windows or {}).get(name, 1), "frames": 1,
               "sha256": "", "sensors": [], "cameras": []}
        for name, split in splits.items()
    }  # fmt: skip
    counts = {split: {"routes": 1, "frames": 1, "windows": 1, "towns": []} for split in splits.values()}
    said = {
        "horizon": horizon, "rate_hz": 2.0, "subset": "full", "routes": routes, "splits": counts, "remarks": [],
        "left_out": {},
    }  # fmt: skip
    write_json(folder / pack.MANIFEST, said)
    return folder
