"""A pack folder in a second: a lead car comes near (its box grows), the driver coasts, then brakes."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from tasks.yard.files import write_json

FEATURES = ["SPEED", "RPM", "ACCELERATOR_POS_D", "ENGINE_LOAD", *(f"gear_{i}" for i in range(6))]
FUTURE = [f"{kind}_{h}s" for kind in ("brake", "coast", "brake_onset") for h in range(1, 6)]
NAMES = [*FUTURE, "braking", "coasting"]
SLOTS = 12
STEP_MS = 500


def drive(frames: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    onsets = np.cumsum(rng.integers(25, 70, size=frames // 25))
    since = np.arange(frames)[:, None] - onsets[onsets < frames]  # frames since each onset of braking
    braking = ((since >= 0) & (since < 5)).any(axis=1)
    coasting = ((since >= -2) & (since < 7)).any(axis=1)
    nearness = np.clip(1 - np.abs(since - 1) / 8, 0, 1).max(axis=1, initial=0)

    telemetry = np.zeros((frames, len(FEATURES)), np.float32)
    slowing = np.convolve(braking, np.ones(8) / 8, "same")
    telemetry[:, 0] = np.clip(0.5 - 0.1 * slowing + rng.normal(0, 0.01, frames), 0, 1)
    telemetry[:, 1] = np.clip(telemetry[:, 0] * 0.7 + rng.normal(0, 0.01, frames), 0, 1)
    telemetry[:, 2] = np.where(coasting, 0.0, np.clip(0.25 + rng.normal(0, 0.05, frames), 0, 1))
    telemetry[:, 3] = np.clip(telemetry[:, 2] + 0.1, 0, 1)
    telemetry[np.arange(frames), 4 + rng.integers(3, 6, frames)] = 1

    mask = np.arange(SLOTS) < rng.integers(0, 5, frames)[:, None]
    size = rng.uniform(0.02, 0.08, (frames, SLOTS))
    centre = rng.uniform(0.1, 0.9, (frames, SLOTS))
    mask[:, 0] |= nearness > 0
    size[:, 0], centre[:, 0] = np.where(nearness > 0, 0.06 + 0.25 * nearness, size[:, 0]), 0.5
    half = size / 2
    box = [rng.uniform(0.5, 1, size.shape), centre - half, 0.5 - half, centre + half, 0.5 + half, size**2]
    detections = np.clip(np.stack(box, axis=-1), 0, 1).astype(np.float32) * mask[..., None]

    labels = np.full((frames, len(NAMES)), -1, np.int8)
    for h in range(1, 6):
        later = slice(2 * h, None)
        labels[: -2 * h, NAMES.index(f"brake_{h}s")] = braking[later]
        labels[: -2 * h, NAMES.index(f"coast_{h}s")] = coasting[later]
    labels[:, NAMES.index("braking")], labels[:, NAMES.index("coasting")] = braking, coasting
    return {"telemetry": telemetry, "detections": detections, "detection_masks": mask, "labels": labels}


def write_pack(folder: Path, drives: dict[str, int], frames: int, unknown: tuple[str, ...] = (), seed: int = 0) -> Path:
    """`drives` is how many drives of `frames` frames each split has; the labels named in `unknown` are all -1."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in drives.items():
        parts = [drive(frames, rng) for _ in range(count)]
        whole = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
        for name in unknown:
            whole["labels"][:, NAMES.index(name)] = -1
        which = np.repeat(np.arange(count, dtype=np.int32), frames)
        with h5py.File(folder / f"{split}.h5", "w") as file:
            group = file.create_group("frames")
            for key, values in whole.items():
                group[key] = values
            group["labels"].attrs["names"] = NAMES
            group["recording"] = group["segment"] = which
            group["t_ms"] = np.tile(np.arange(frames, dtype=np.int64) * STEP_MS, count)
            group["image_ok"] = np.ones(len(which), bool)
            file.attrs.update(
                telemetry_features=FEATURES,
                recordings=[f"{split}-{i}" for i in range(count)],
                sequence_length=20,
                sequence_stride=5,
            )
    config = {
        "sequence_length": 20,
        "max_detections": SLOTS,
        "telemetry_features": FEATURES,
        "telemetry_ranges": {"speed_kmh": [0, 250], "rpm": [0, 7000], "pedal_pct": [0, 100], "load_pct": [0, 100]},
        "detection_features": ["confidence", "x1", "y1", "x2", "y2", "area"],
        "detection_order": "area, largest first",
    }
    write_json(folder / "dataset_config.json", config)
    return folder
