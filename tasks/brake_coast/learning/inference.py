"""A trained network from its checkpoint alone, its probabilities, and windows gathered from frames on the device.

model, config = load_model(Path("data/brake_coast/train/simple_concat_lstm/best.pt"))
probabilities = predict(model, frames, starts)     # (N, tasks), columns as in config["tasks"]
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.brake_coast.factory import Config, Network, build
from tasks.brake_coast.formats.windows import Frames
from tasks.yard.step import BadInput
from tasks.yard.training import checkpoint


class Windows:
    """The frames of a split on the device; a batch of windows is one gather of rows, each frame being held once."""

    def __init__(self, frames: Frames, length: int, device: torch.device | str = "cpu"):
        self.offsets = torch.arange(length, device=device)
        self.boxes_shape = frames.detections.shape[1:]
        self.telemetry = torch.from_numpy(frames.telemetry).to(device)
        self.boxes = torch.from_numpy(frames.detections.reshape(len(frames.detections), -1)).to(device)
        self.mask = torch.from_numpy(frames.detection_masks).to(device)

    def __call__(self, starts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """telemetry (B, T, F), boxes (B, T, slots, 6), mask (B, T, slots) of the windows that start at `starts` (B)."""
        rows = (starts[:, None] + self.offsets).flatten()
        shape = (len(starts), len(self.offsets))
        telemetry, boxes, mask = (x.index_select(0, rows) for x in (self.telemetry, self.boxes, self.mask))
        return telemetry.unflatten(0, shape), boxes.view(*shape, *self.boxes_shape), mask.unflatten(0, shape)


def load_model(path: Path, device: str = "cpu") -> tuple[Network, dict]:
    """The network, ready to predict, and what it was made from: tasks, network, data (features, ranges), loss."""
    state = checkpoint.load(path)
    try:
        model = build(Config(**state["config"]["network"]))
        model.load_state_dict(state["model"])
    except (KeyError, TypeError, RuntimeError) as error:
        raise BadInput(f"{path}: not a checkpoint of brake_coast-train ({error}); train again") from None
    return model.to(device).eval(), state["config"]


@torch.inference_mode()
def predict(model: Network, frames: Frames, starts: np.ndarray, batch: int = 512) -> np.ndarray:
    """Probabilities (N, tasks) float32 of the windows that start at the frames `starts`, which ascend.

    A batch ends where its recording ends: what a network says of a window differs in the last digits with the windows
    beside it, and a recording is to have the same numbers alone as among others.
    """
    config = model.config
    if frames.telemetry.shape[1] != config.telemetry_dim:
        raise BadInput(
            f"{frames.telemetry.shape[1]} telemetry features for a network trained on {config.telemetry_dim}: "
            "pack.brake_signal was changed since: train again"
        )
    device = next(model.parameters()).device
    gather = Windows(frames, config.window, device)
    starts = np.asarray(starts)
    ends = np.flatnonzero(np.diff(frames.recording[starts])) + 1
    parts = [part for mine in np.split(starts, ends) for part in torch.from_numpy(mine).to(device).split(batch)]
    scores = [torch.sigmoid(model(*gather(part))) for part in parts if len(part)]
    return torch.cat(scores).float().cpu().numpy() if scores else np.empty((0, len(config.priors)), np.float32)
