"""One network behind the wheel: what was seen half a second ago and what is seen now in, a plan out.

planner = Planner.load(Path("data/open_loop_driving/train/<network>/best.pt"), "cpu")
planner.needs.sensors, planner.needs.cameras       # what an observation must bring
plan = planner.plan(before, now)                   # plan.waypoints[-1] is what is driven
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from models.open_loop_driving import variants
from tasks.open_loop_driving.formats import calibration
from tasks.open_loop_driving.formats.calibration import Camera
from tasks.open_loop_driving.formats.plans import Observation, Plan
from tasks.open_loop_driving.learning.batches import TOLD, Raw, motions
from tasks.open_loop_driving.learning.network import load_network, planned
from tasks.yard.step import BadInput


@dataclass(frozen=True)
class Needs:
    sensors: tuple[str, ...]  # of rgb, lidar
    cameras: tuple[str, ...]


class Planner:
    def __init__(self, network: nn.Module, config: dict, device: str | torch.device) -> None:
        self.network, self.config, self.device = network, config, torch.device(device)
        self.name = config["network"]["name"]
        self.steps, self.step_s = config["network"]["steps"], config["network"]["step_s"]
        self.calibration: dict[str, Camera] = calibration.parse_all(config["cameras"], "the checkpoint")
        self.needs = Needs(variants.needs(self.name), tuple(config["cameras"]))
        self.told = config.get("told", TOLD)

    @classmethod
    def load(cls, checkpoint: Path, device: str | torch.device = "cpu") -> Planner:
        """Raises `BadInput` if the file is no checkpoint of this line."""
        network, config, _ = load_network(checkpoint, device)
        return cls(network, config, device)

    def plan(self, before: Observation, now: Observation) -> Plan:
        """`before`: a step (0.5 s) earlier; at the start of a drive the same as `now`. Raises `BadInput` where an
        observation lacks what `needs` says."""
        found = planned(self.network, self.name, self.raw(before, now))
        look = found["look"][:, 0] if "look" in found else None
        return Plan(*(found[name][:, 0] for name in ("waypoints", "alpha", "beta")), float(found["speed"][0]), look)

    def raw(self, before: Observation, now: Observation) -> Raw:
        if "command" in self.told and now.command not in range(1, variants.COMMANDS + 1):
            raise BadInput(f"command {now.command}: must be one of 1 to {variants.COMMANDS}")
        command = now.command if "command" in self.told else 0
        target = now.target if "target" in self.told else (0.0, 0.0)
        poses = (np.array([of.pose], float) for of in (before, now))
        found: dict = {
            "speed": self.put([now.speed_ms]), "command": torch.tensor([command], device=self.device),
            "target": self.put([target]), "motion": self.put(motions(*poses)),
        }  # fmt: skip
        if "rgb" in self.needs.sensors:
            images = np.stack([self.images(of.images) for of in (before, now)])[None]
            rig = [self.calibration[name] for name in self.needs.cameras]
            found |= {
                "images": torch.from_numpy(images).to(self.device), "K": self.put([[one.K for one in rig]]),
                "camera_from_ego": self.put([[one.camera_from_ego for one in rig]]),
            }  # fmt: skip
        if "lidar" in self.needs.sensors:
            found |= self.sweeps([now.lidar, before.lidar])
        return Raw(**found)

    def images(self, seen: Mapping[str, np.ndarray] | None) -> np.ndarray:
        """(cameras, h, w, 3)"""
        for name in self.needs.cameras:
            size = self.calibration[name].size
            if seen is None or name not in seen:
                raise BadInput(f"{self.name} needs the camera {name!r}; hand over its image")
            if seen[name].shape != (*size, 3):
                raise BadInput(f"camera {name!r}: an image of {seen[name].shape}, and {self.name} needs {(*size, 3)}")
        return np.stack([np.ascontiguousarray(seen[name], np.uint8) for name in self.needs.cameras])

    def sweeps(self, both: Sequence[np.ndarray | None]) -> dict[str, torch.Tensor]:
        """Of now, of before."""
        if any(one is None for one in both):
            raise BadInput(f"{self.name} needs lidar; hand over its points")
        sweep = np.repeat([0, 1], [len(one) for one in both])
        return {
            "points": self.put(np.concatenate(both)), "sweep": torch.from_numpy(sweep).to(self.device),
            "row": torch.zeros(len(sweep), dtype=torch.long, device=self.device),
        }  # fmt: skip

    def put(self, values) -> torch.Tensor:
        return torch.from_numpy(np.asarray(values, np.float32)).to(self.device)
