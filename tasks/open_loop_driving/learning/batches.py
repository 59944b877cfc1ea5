"""Moments as networks take them, and what they should say of them.

    rows = Rows(Drives(pack, ("train",)), "thinktwice_small", ("front", "back"), steps=4, teacher=folder, learn=True)
    batch = rows(torch.tensor([3, 1, 4]))       # places in the windows
    found = network(**batch.inputs)

`Raw` is one way for training, plans and driving: `assembled` makes of it what a network is called with.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.open_loop_driving import variants
from models.open_loop_driving.encoders import voxels
from models.open_loop_driving.factory import SPEED_MPS, TARGET_M
from models.open_loop_driving.variants import COMMANDS
from tasks.open_loop_driving.formats.plans import SHARP, betas
from tasks.open_loop_driving.learning.drives import Drives, Reader
from tasks.open_loop_driving.learning.features import Features
from tasks.yard.step import BadInput

log = logging.getLogger(__name__)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, RGB in 0..1
TOLD = ("command", "target")  # beside the speed, where the source has them
SIDES = {"depth": "depths", "seg": "classes"}
SWAPPED = (0, 2, 1, 3, 4, 6, 5)  # a command in the mirror


@dataclass(frozen=True)
class Raw:
    """B moments and those before; what a network does not need is None."""

    speed: Tensor  # (B) m/s
    command: Tensor  # (B) 1..6, 0: the network is not told
    target: Tensor  # (B, 2) metres ahead and to the left; zeros where the network is not told
    motion: Tensor  # (B, 4, 4) from the car's frame before to that of now
    images: Tensor | None = None  # (B, 2, N, H, W, 3) uint8: before, now
    K: Tensor | None = None  # (B, N, 3, 3)
    camera_from_ego: Tensor | None = None  # (B, N, 4, 4)
    points: Tensor | None = None  # (M, 4) of both sweeps, each in the car's frame of its own time
    row: Tensor | None = None  # (M) which moment
    sweep: Tensor | None = None  # (M) 0 now, 1 before

    def changed(self, **parts: Tensor) -> Raw:
        return replace(self, **parts)


@dataclass(frozen=True)
class Batch:
    raw: Raw
    target: dict  # what losses.all_terms wants


@cache
def constant(values: tuple, device: torch.device) -> Tensor:
    return torch.tensor(values, device=device)


def normalised(images: Tensor) -> Tensor:
    """(..., H, W, 3) of bytes -> (..., 3, H, W) float32."""
    mean, std = (constant(values, images.device) * 255 for values in (MEAN, STD))
    return ((images - mean) / std).movedim(-1, -3)


def motions(before: np.ndarray, now: np.ndarray) -> np.ndarray:
    """Poses (B, 3) x, y, yaw in the world -> (B, 4, 4) from the frame of the first to that of the second."""
    turn = before[:, 2] - now[:, 2]
    dx, dy = (before[:, :2] - now[:, :2]).T
    c, s = np.cos(now[:, 2]), np.sin(now[:, 2])
    found = np.tile(np.eye(4), (len(now), 1, 1))
    found[:, 0, 0], found[:, 0, 1], found[:, 0, 3] = np.cos(turn), -np.sin(turn), c * dx + s * dy
    found[:, 1, 0], found[:, 1, 1], found[:, 1, 3] = np.sin(turn), np.cos(turn), c * dy - s * dx
    return found.astype(np.float32)


def state_of(raw: Raw) -> Tensor:
    """(B, 9) as `variants.STATE` says."""
    command = torch.nn.functional.one_hot(raw.command.long(), COMMANDS + 1)[:, 1:].to(raw.speed.dtype)
    return torch.cat([raw.speed[:, None] / SPEED_MPS, raw.target / TARGET_M, command], 1)


def assembled(raw: Raw, name: str) -> dict[str, Tensor]:
    """What the network of this name is called with."""
    found = {"state": state_of(raw)}
    needs = variants.needs(name)
    if "rgb" in needs:
        found["images"] = normalised(raw.images)
        found |= {"K": raw.K, "camera_from_ego": raw.camera_from_ego, "motion": raw.motion}
    if "lidar" in needs:
        before = raw.motion[raw.row]
        moved = torch.einsum("mij,mj->mi", before[:, :3, :3], raw.points[:, :3]) + before[:, :3, 3]
        xyz = torch.where((raw.sweep == 1)[:, None], moved, raw.points[:, :3])
        points = torch.cat([xyz, raw.points[:, 3:]], 1)
        found["voxels"] = voxels(points, raw.row, raw.sweep, len(raw.speed), variants.sizes_of(name).lidar_cells)
    return found


def mirrored(batch: Batch, which: Tensor) -> Batch:
    """The moments `which` (B) bool seen in a mirror: left is right. Cameras stay where they are in the list, and look
    where their mirror images do, so that every matrix goes on to fit its image."""
    raw, target = batch.raw, dict(batch.target)
    sign = 1 - 2 * which.to(raw.speed.dtype)
    y = torch.stack([torch.ones_like(sign), sign], -1)
    swapped = constant(SWAPPED, raw.command.device)[raw.command]
    flip = torch.diag_embed(torch.stack([torch.ones_like(sign), sign, *[torch.ones_like(sign)] * 2], -1))
    changes: dict = {
        "target": raw.target * y, "command": torch.where(which, swapped, raw.command),
        "motion": flip @ raw.motion @ flip,
    }  # fmt: skip
    if raw.images is not None:
        width = raw.images.shape[-2]
        changes["images"] = torch.where(which[:, None, None, None, None, None], raw.images.flip(-2), raw.images)
        K = raw.K.clone()
        K[..., 0, 2] = torch.where(which[:, None], width - K[..., 0, 2], K[..., 0, 2])
        other = torch.diag_embed(torch.stack([sign, *[torch.ones_like(sign)] * 3], -1))
        changes |= {"K": K, "camera_from_ego": other[:, None] @ raw.camera_from_ego @ flip[:, None]}
        for key in ("metres", "classes"):
            if key in target:
                target[key] = torch.where(which[:, None, None, None], target[key].flip(-1), target[key])
    if raw.points is not None:
        side = torch.ones_like(raw.points)
        side[:, 1] = sign[raw.row]
        changes["points"] = raw.points * side
    target["waypoints"] = target["waypoints"] * y[:, None]
    if "alpha" not in target:
        return Batch(replace(raw, **changes), target)
    alpha, beta = target["alpha"].clone(), target["beta"].clone()
    alpha[..., 1] = torch.where(which[:, None], target["beta"][..., 1], target["alpha"][..., 1])
    beta[..., 1] = torch.where(which[:, None], target["alpha"][..., 1], target["beta"][..., 1])
    return Batch(replace(raw, **changes), {**target, "alpha": alpha, "beta": beta})


def told_of(drives: Drives) -> list[str]:
    """What of TOLD every one of these routes has: where a source lacks it, a network is not told of it."""
    return [name for name in TOLD if len(drives) and drives.has(name).all()]


def other_sizes(teacher: Path, name: str) -> BadInput:
    return BadInput(
        f"{teacher}: the expert's maps are of other sizes than those of {name}; set open_loop_driving.teacher.sizes to "
        f"{name.split('-')[0]}"
    )


class Rows:
    """All windows of some routes. `learn`: with what is learnt beside (depth, classes, the expert's maps); `told`: what
    the network is told beside its speed, of TOLD; None: what all of these routes have."""

    def __init__(
        self, drives: Drives, name: str, cameras: Sequence[str], steps: int, teacher: Path | None = None,
        learn: bool = False, device: torch.device | str = "cpu", told: Sequence[str] | None = None,
    ) -> None:  # fmt: skip
        self.drives, self.name, self.cameras, self.steps = drives, name, list(cameras), steps
        self.device = torch.device(device)
        self.needs = variants.needs(name)
        self.told = told_of(drives) if told is None else list(told)
        self.check()
        self.windows = drives.windows
        self.pose = drives.column("pose")
        self.speed, self.control = drives.column("speed_ms"), drives.column("control", width=(3,))
        self.command = drives.column("command") if "command" in self.told else np.zeros(len(drives))
        self.target = drives.column("target", width=(2,)) if "target" in self.told else np.zeros((len(drives), 2))
        alpha, beta = betas(self.control[:, 0] - self.control[:, 2], self.control[:, 1])
        own = drives.column("supervision/alpha"), drives.column("supervision/beta")
        known = drives.has("supervision/alpha")[drives.route_of]
        self.alpha, self.beta = alpha, beta
        if known.any():
            self.alpha, self.beta = (
                np.where(known[:, None], mine, made) for mine, made in zip(own, (alpha, beta), strict=True)
            )
        self.controlled = np.isfinite(self.alpha).all(1) & np.isfinite(self.beta).all(1)
        self.alpha, self.beta = (
            np.where(self.controlled[:, None], of, 1 + SHARP / 2) for of in (self.alpha, self.beta)
        )
        self.value = drives.column("supervision/value")
        self.images = drives.rows([f"images/{camera}" for camera in self.cameras]) if "rgb" in self.needs else None
        self.lidar = drives.lidar() if "lidar" in self.needs else None
        if self.images is not None:
            rigs = [[of["cameras"][camera] for camera in self.cameras] for of in drives.attrs]
            self.K = np.array([[one["K"] for one in rig] for rig in rigs], np.float32)
            self.pose_of = np.array([[one["camera_from_ego"] for one in rig] for rig in rigs], np.float32)
        self.depth = self.classes = self.features = None
        if learn and name.startswith("thinktwice"):
            if self.images is not None:
                self.depth, self.classes = self.side("depth"), self.side("seg")
            if teacher is not None:
                self.features = self.expert(teacher)

    def check(self) -> None:
        """Raises `BadInput` where a route lacks what the network needs."""
        for route, of in zip(self.drives.routes, self.drives.attrs, strict=True):
            for camera in self.cameras if "rgb" in self.needs else ():
                if f"images/{camera}" not in of["has"]:
                    raise BadInput(
                        f"{route} has no camera {camera!r}, but {', '.join(sorted(of['cameras']))}, and {self.name} "
                        f"needs it; leave the route out, or name others in open_loop_driving.train.cameras"
                    )
            if "lidar" in self.needs and "lidar/points" not in of["has"]:
                raise BadInput(
                    f"{route} has no lidar, which {self.name} needs; leave the route out, or put {self.name}-lidar "
                    "into open_loop_driving.train.networks"
                )
            if lacks := [name for name in self.told if name not in of["has"]]:
                raise BadInput(
                    f"{route} has no {lacks[0]}, which {self.name} was told of when it learnt; leave the route out, or "
                    "train it again with this route in the source"
                )
        if self.steps > self.drives.horizon:
            raise BadInput(
                f"{self.drives.pack}: windows reach {self.drives.horizon} steps ahead, and "
                f"open_loop_driving.train.steps = {self.steps}; raise open_loop_driving.pack.horizon"
            )

    def side(self, kind: str) -> Reader | None:
        """Depths or classes, if every route has them for every camera: a mean over some would be of others' weight."""
        names = [f"{kind}/{camera}" for camera in self.cameras]
        whole = np.all([self.drives.has(name) for name in names], axis=0)
        if whole.any() and not whole.all():
            lack = [route for route, has in zip(self.drives.routes, whole, strict=True) if not has]
            log.warning(
                "%s learns no %s: of every camera %d of %d routes have them, and not %s%s", self.name, SIDES[kind],
                whole.sum(), len(whole), ", ".join(lack[:3]), f" and {len(lack) - 3} more" if len(lack) > 3 else "",
            )  # fmt: skip
        return self.drives.rows(names) if whole.all() else None

    def expert(self, teacher: Path) -> Features | None:
        """The expert's maps of every frame that has some of this network's sizes. Raises `BadInput` if the stage
        teacher made all of them in others."""
        of = variants.sizes_of(self.name)
        found = Features(self.drives, teacher, (*of.bev, of.vector))
        taught = [(teacher / f"{route}.h5").exists() for route in self.drives.routes]
        if any(taught) and not found.there.any():
            raise other_sizes(teacher, self.name)
        if not found.there.all():
            log.warning(
                "%s learns on %d of %d routes from the expert's plan alone: they have no maps of its sizes",
                self.name, (~found.there).sum(), len(found.there),
            )  # fmt: skip
        return found if found.there.any() else None

    def __len__(self) -> int:
        return len(self.windows)

    def put(self, values: np.ndarray) -> Tensor:
        values = values.astype(np.float32) if values.dtype in (np.float64, np.float16) else values
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device)

    def raw(self, frames: np.ndarray) -> Raw:
        """Of frames of the drives, each with the one before."""
        before = frames - 1
        found: dict = {
            "speed": self.put(self.speed[frames]), "command": self.put(self.command[frames].astype(np.int64)),
            "target": self.put(self.target[frames]), "motion": self.put(motions(self.pose[before], self.pose[frames])),
        }  # fmt: skip
        if self.images is not None:
            both = self.images(np.stack([before, frames], 1).ravel())
            both = both.reshape(len(frames), 2, len(self.cameras), *both.shape[-3:])
            route = self.drives.route_of[frames]
            found |= {"images": self.put(both), "K": self.put(self.K[route]),
                      "camera_from_ego": self.put(self.pose_of[route])}  # fmt: skip
        if self.lidar is not None:
            found |= self.sweeps([self.lidar(frames), self.lidar(before)])
        return Raw(**found)

    def sweeps(self, sweeps: list[list[np.ndarray]]) -> dict[str, Tensor]:
        """Of now and before, of every moment."""
        flat = [(points, row, sweep) for sweep, moments in enumerate(sweeps) for row, points in enumerate(moments)]
        lengths = [len(points) for points, _, _ in flat]
        return {
            "points": self.put(np.concatenate([points for points, _, _ in flat]).astype(np.float32)),
            "row": self.put(np.repeat([row for _, row, _ in flat], lengths)),
            "sweep": self.put(np.repeat([sweep for _, _, sweep in flat], lengths)),
        }

    def wanted(self, frames: np.ndarray, mirror: np.ndarray) -> dict:
        """What the expert does and knows at frames, see losses.all_terms; its maps of those that are to be mirrored
        (n) bool are already those of the mirror's world."""
        ahead = frames[:, None] + np.arange(1, self.steps + 1)
        now = frames[:, None] + np.arange(self.steps)
        delta = self.pose[ahead, :2] - self.pose[frames, None, :2]
        yaw = self.pose[frames, 2][:, None]
        c, s = np.cos(yaw), np.sin(yaw)
        way = np.stack([c * delta[..., 0] + s * delta[..., 1], c * delta[..., 1] - s * delta[..., 0]], -1)
        found = {"waypoints": self.put(way), "speed": self.put(self.speed[frames])}
        if self.controlled.any():
            found |= {"alpha": self.put(self.alpha[now]), "beta": self.put(self.beta[now])}
            if not self.controlled.all():
                found["controlled"] = self.put(self.controlled[now].all(1).astype(np.float32))
        if np.isfinite(self.value).all():
            found["value"] = self.put(self.value[frames])
        if self.depth is not None:
            found["metres"] = self.put(self.many(self.depth(frames)).astype(np.float32) / 100)
        if self.classes is not None:
            found["classes"] = self.put(self.many(self.classes(frames)))
        if self.features is not None:
            *maps, vector = (self.put(values) for values in self.features(frames, mirror))
            later = self.features(ahead.ravel(), mirror.repeat(self.steps), (0,))[0]
            there = self.features.known(frames, mirror)
            found |= {"maps": maps, "vector": vector, "ahead": self.put(later).unflatten(0, ahead.shape),
                      "imitates": self.put(there.astype(np.float32))}  # fmt: skip
        return found

    def surprise_m(self) -> np.ndarray:
        """(windows): metres between where the car is at the end of what is planned, and where it were at its speed of
        now."""
        now, seconds = self.windows, self.steps / self.drives.rate_hz
        yaw = self.pose[now, 2]
        on = self.pose[now, :2] + (self.speed[now] * seconds)[:, None] * np.stack([np.cos(yaw), np.sin(yaw)], -1)
        return np.linalg.norm(self.pose[now + self.steps, :2] - on, axis=-1)

    def many(self, values: np.ndarray) -> np.ndarray:
        """(n, cameras, h, w), of one camera too."""
        return values if values.ndim == 4 else values[:, None]

    def __call__(self, rows: Tensor, mirror: Tensor | None = None) -> Batch:
        """Places in the windows (n); which of them to mirror (n) bool."""
        frames = self.windows[rows.cpu().numpy()]
        which = np.zeros(len(frames), bool) if mirror is None else mirror.cpu().numpy()
        batch = Batch(self.raw(frames), self.wanted(frames, which))
        return batch if mirror is None or not which.any() else mirrored(batch, mirror.to(self.device))
