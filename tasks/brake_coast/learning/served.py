"""What MLflow serves of this line: windows of telemetry and boxes in, a probability of each task out.

    {"inputs": {
        "telemetry": (n, frames, sensors)   at 2 Hz, the oldest frame first: SPEED in km/h, RPM, ACCELERATOR_POS_D and
                                            ENGINE_LOAD in %, GEAR 0 to 5 (null: not known), and BRAKE_SIGNAL, 0 or 1,
                                            of a network that was trained with it
        "boxes": (n, frames, boxes, 5)      confidence, x1, y1, x2, y2 of vehicles in fractions of the region that the
                                            detector looks at; of any number of boxes, confidence 0 where there is none
    }}

answers {"predictions": {"brake_1s": (n), ...}}: with six decimals, as `apply` writes them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from tasks.brake_coast.learning import scaling
from tasks.brake_coast.learning.inference import load_model
from tasks.yard.step import BadInput

DECIMALS = 6


class Served:
    def __init__(self, path: str):
        self.model, config = load_model(Path(path))
        self.tasks, self.data = config["tasks"], config["data"]
        self.sensors = scaling.sensors(scaling.BRAKE in self.data["telemetry_features"])

    @torch.inference_mode()
    def predict(self, inputs: dict[str, np.ndarray], params: dict | None = None) -> dict[str, np.ndarray]:
        """One window after the other: what a network says of one differs in the last digits with those beside it.
        Raises `BadInput` where something lacks."""
        telemetry, boxes = self.telemetry(inputs["telemetry"]), self.boxes(inputs["boxes"])
        if len(telemetry) != len(boxes[0]):
            raise BadInput(f"telemetry of {len(telemetry)} windows and boxes of {len(boxes[0])}; give both of each")
        parts = [
            torch.sigmoid(self.model(*(torch.from_numpy(array[row : row + 1]) for array in (telemetry, *boxes))))
            for row in range(len(telemetry))
        ]
        found = torch.cat(parts).numpy() if parts else np.empty((0, len(self.tasks)))
        return dict(zip(self.tasks, np.round(found.astype(float), DECIMALS).T, strict=True))

    def telemetry(self, values: np.ndarray) -> np.ndarray:
        """(n, frames, sensors) in their units -> (n, frames, D) float32 in 0..1."""
        values, asked = np.asarray(values, float), (self.model.config.window, len(self.sensors))
        if values.ndim != 3 or values.shape[1:] != asked:
            raise BadInput(
                f"telemetry: expected (n, {asked[0]}, {asked[1]}), {asked[0]} frames of {', '.join(self.sensors)}; it "
                f"is {values.shape}"
            )
        of = dict(zip(self.sensors, np.moveaxis(values, -1, 0), strict=True))
        for sensor, column in of.items():
            if sensor != "GEAR" and not np.isfinite(column).all():
                row, frame = np.argwhere(~np.isfinite(column))[0]
                raise BadInput(f"telemetry[{row}][{frame}]: {sensor} is no number; repeat the last known one")
        return scaling.joined(scaling.columns(of, self.data["telemetry_ranges"]))

    def boxes(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n, frames, boxes, 5) -> (n, frames, slots, 6) float32 and (n, frames, slots) bool: the largest first."""
        values, slots = np.asarray(values, float), self.data["max_detections"]
        if values.ndim != 4 or values.shape[1] != self.model.config.window or values.shape[3] != 5:
            raise BadInput(
                f"boxes: expected (n, {self.model.config.window}, boxes, 5), confidence, x1, y1, x2, y2; it is "
                f"{values.shape}"
            )
        confidence, x1, y1, x2, y2 = np.moveaxis(values, -1, 0)
        there, area = confidence > 0, (x2 - x1) * (y2 - y1)
        order = np.lexsort((x1, -confidence, -area, ~there))[..., :slots]  # as `pack` puts them into slots
        found = np.zeros((*values.shape[:2], slots, 6))
        mask = np.zeros(found.shape[:3], bool)
        kept = order.shape[-1]
        mask[:, :, :kept] = np.take_along_axis(there, order, -1)
        of = np.take_along_axis(np.concatenate([values, area[..., None]], -1), order[..., None], 2)
        found[:, :, :kept] = of * mask[:, :, :kept, None]
        return found.clip(0, 1).astype(np.float32), mask


def example(checkpoint: Path) -> dict[str, np.ndarray]:
    """A driver who comes nearer to the car ahead, takes the foot off the pedal, and has not braked yet."""
    model, config = load_model(checkpoint)
    frames = model.config.window
    since = np.arange(frames) - frames + 1  # of now, in frames
    rolling = np.clip(since + 4, 0, None)  # off the pedal for the last three
    of = {
        "SPEED": 62 - 2.0 * rolling, "RPM": 2100 - 60.0 * rolling, "ACCELERATOR_POS_D": np.where(rolling, 0.0, 18.0),
        "ENGINE_LOAD": np.where(rolling, 8.0, 34.0), "GEAR": np.full(frames, 4.0), scaling.BRAKE: np.zeros(frames),
    }  # fmt: skip
    names = scaling.sensors(scaling.BRAKE in config["data"]["telemetry_features"])
    half = 0.05 + 0.005 * np.arange(frames)
    box = np.stack([np.full(frames, 0.9), 0.5 - half, 0.6 - half, 0.5 + half, 0.6 + half], -1)
    return {"telemetry": np.stack([of[name] for name in names], -1)[None], "boxes": box.round(3)[None, :, None]}


def _load_pyfunc(path: str) -> Served:
    """The name that MLflow looks for in a loader module."""
    return Served(path)
