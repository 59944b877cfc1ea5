"""What must fail, what may only suffer, and what needs no network: the runs that stand beside the networks.

A control is the leading network, at its own threshold, with something taken from it: the right calibration, cameras, or
a few pixels of accuracy. A baseline looks at no image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import nn

from tasks.ground_plane.formats.scenes import Scene
from tasks.ground_plane.judging import matching
from tasks.ground_plane.judging.matching import Frame, people_of
from tasks.ground_plane.learning.network import maps
from tasks.ground_plane.learning.peaks import peaks
from tasks.ground_plane.params import Decode
from tasks.yard.geometry import camera as geometry

OFF_PX = (1, 5)
AT_ONCE = 16  # frames whose maps are held at once
BLIND, EMPTY = "blind", "empty"
Frames = Sequence[tuple[Scene, int]]  # scene, place in its frames
Change = Callable[[Scene], dict | None]  # what `maps` is told of a scene; None: it cannot be done there


@dataclass(frozen=True)
class Control:
    kind: str  # shuffled, alone, without, off
    what: str
    change: Change
    camera: str | None = None


def shuffled(scene: Scene) -> dict | None:
    """The images of each camera with the calibration of the one before it, of the first with that of the last."""
    if len(scene.views) < 2:
        return None
    sampling, visible = scene.looked_up
    return {"sampling": (np.roll(sampling, 1, axis=0), np.roll(visible, 1, axis=0))}


def alone(camera: str) -> Change:
    return lambda scene: {"views": [camera]} if camera in _names(scene) else None


def without(camera: str) -> Change:
    def change(scene: Scene) -> dict | None:
        others = [name for name in _names(scene) if name != camera]
        return {"views": others} if others and camera in _names(scene) else None

    return change


def _names(scene: Scene) -> list[str]:
    return [view.name for view in scene.views]


def off(px: float) -> Change:
    """Every principal point so many px of the packed image too far to the right."""

    def change(scene: Scene) -> dict:
        centres = geometry.cells(scene.grid, scene.cell_m)
        wrong = [replace(v.camera, K=v.camera.K + np.array([[0, 0, px], [0, 0, 0], [0, 0, 0]])) for v in scene.views]
        found = [geometry.looked_up(camera, scene.plane, centres) for camera in wrong]
        inside = scene.plane.holds(centres)
        return {"sampling": (np.stack([s for s, _ in found]), np.stack([seen & inside for _, seen in found]))}

    return change


def controls_of(scenes: Sequence[Scene]) -> dict[str, Control]:
    """{run: control} for the cameras that these scenes have; scenes with one camera have none to take away."""
    cameras = list(dict.fromkeys(name for scene in scenes for name in _names(scene)))
    several = any(len(scene.views) > 1 for scene in scenes)
    found = {"shuffled": Control("shuffled", "images of each camera with the calibration of another", shuffled)}
    found |= {f"off_{px}px": Control("off", f"all principal points {px} px to the right", off(px)) for px in OFF_PX}
    for camera in cameras if several else []:
        found[f"only_{camera}"] = Control("alone", f"{camera} alone", alone(camera), camera)
        found[f"without_{camera}"] = Control("without", f"all cameras but {camera}", without(camera), camera)
    return found


def look(
    network: nn.Module, config: dict, frames: Frames, floor: float, device: torch.device,
    change: Change = lambda _: {}, bar=None,
) -> list[tuple[int, Frame]]:  # fmt: skip
    """(place in `frames`, what is found and who is there) of every frame where the change can be made."""
    decode, found = Decode.model_validate(config["decode"]), []
    scenes = {scene.name: scene for scene, _ in frames}
    for scene in scenes.values():
        mine, told = [i for i, (of, _) in enumerate(frames) if of is scene], change(scene)
        for start in range(0, len(mine), AT_ONCE):
            places = mine[start : start + AT_ONCE]
            if told is not None:
                rows = [frames[i][1] for i in places]
                scores = maps(network, config, scene, rows, device, **told)
                for i, row, one in zip(places, rows, scores, strict=True):
                    found.append((i, (*peaks(one, scene.mask, scene.cell_m, decode, floor), people_of(scene, row))))
            if bar is not None:
                bar.update(len(places))
    return sorted(found, key=lambda one: one[0])


def density(frames: Frames, match_m: float) -> np.ndarray | None:
    """(rows, columns), at most 1: how often somebody stands at each cell of the plane, smoothed by `match_m` / 2.

    None where nobody does. Planes of several scenes lie upon each other, corner to corner.
    """
    if not frames:
        return None
    grid, cell_m = frames[0][0].grid, frames[0][0].cell_m
    xy = np.concatenate([people_of(scene, row) for scene, row in frames])
    edges = [np.arange(n + 1) * cell_m for n in grid]
    there = gaussian_filter(np.histogram2d(xy[:, 1], xy[:, 0], bins=edges)[0], match_m / 2 / cell_m)
    return there / there.max() if there.max() > 0 else None


def blind(train: Frames, val: Frames, test: Frames, decode: Decode) -> tuple[list[Frame], list[Frame], float] | None:
    """The same places in every frame: where people stood most in training. (val, test, threshold), or None.

    As many of them, at least one, as give the best MODA on validation.
    """
    there = density(train, decode.match_m)
    if there is None:
        return None
    known: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def of(frames: Frames) -> list[Frame]:
        for scene, _ in frames:
            if scene.name not in known:
                known[scene.name] = peaks(there, scene.mask, scene.cell_m, decode, 0.0)
        return [(*known[scene.name], people_of(scene, row)) for scene, row in frames]

    drawn = matching.curve(of(val), decode.match_m)
    if not len(drawn) or np.isnan(drawn[:, 1]).any():
        return None
    return of(val), of(test), float(drawn[np.argmax(drawn[:, 1]), 0])
