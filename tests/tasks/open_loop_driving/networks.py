"""Checkpoints of networks that nobody trained: equal seeds, equal plans."""

from __future__ import annotations

from pathlib import Path

import torch

from models.open_loop_driving.factory import build
from tasks.open_loop_driving.importers import town as importer
from tasks.yard.training import checkpoint
from tasks.yard.worlds.town import World


def write_checkpoint(
    folder: Path, name: str, world: World | None, cameras=("front",), seed: int = 0, learnt=(), rig=None
) -> Path:
    """`cameras`: of the world's rig, or of `rig`, those that it was trained with."""
    torch.manual_seed(seed)
    network = build(name, 4, 0.5)
    rig = importer.calibration(world)["cameras"] if rig is None else rig
    config = {
        "network": {"name": name, "steps": 4, "step_s": 0.5, "pretrained": False},
        "cameras": {} if name == "blind" else {camera: rig[camera] for camera in cameras},
        "mean": [0.5] * 3, "std": [0.25] * 3, "rate_hz": 2.0, "learnt": dict.fromkeys(learnt),
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint.save(folder, "best", {"model": network.state_dict(), "config": config, "scores": {}}, {})
    return folder / "best.pt"
