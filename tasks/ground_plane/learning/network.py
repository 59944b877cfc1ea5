"""A trained network from its checkpoint alone, and the maps it gives to frames of a scene.

    network, config, scores = load_network(Path("data/ground_plane/train/<network>/best.pt"))
    found = maps(network, config, scene, scene.rows("val"), "cpu")      # (n, rows, columns) float32, 0..1

`scores["threshold"]` is the confidence from which on a peak of a map counts as a person.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from models.ground_plane.factory import build
from tasks.ground_plane.formats.scenes import Scene
from tasks.ground_plane.learning.batches import normalised
from tasks.yard.step import BadInput
from tasks.yard.training import checkpoint

CPU_FRAMES, GPU_FRAMES = 4, 16  # frames in one pass
Sampling = tuple[np.ndarray, np.ndarray]  # where each view sees each cell, and whether: Scene.looked_up


def load_network(path: Path, device: str | torch.device = "cpu") -> tuple[nn.Module, dict, dict]:
    """The network, ready to look; what it was made from (network, height_px, width_px, mean, std, grid, cell_m,
    decode); and its scores on validation."""
    state = checkpoint.load(path)
    try:
        network = build(**state["config"]["network"])
        network.load_state_dict(state["model"])
        found = network.to(device).eval(), state["config"], state["scores"]
    except (KeyError, TypeError, RuntimeError, ValueError) as error:
        raise BadInput(f"{path}: not a checkpoint of ground_plane-train ({error}); train again") from None
    return found


def fits(config: dict, scene: Scene) -> None:
    """Raises `BadInput` if a network cannot look at a scene."""
    size, asked = tuple(scene.views[0].camera.size), (config["height_px"], config["width_px"])
    if size != asked:
        raise BadInput(
            f"{scene.name}: images of {size[0]}x{size[1]} px for a network trained on {asked[0]}x{asked[1]}: "
            "pack's height_px or width_px was changed since: train again"
        )
    if scene.cell_m != config["cell_m"]:
        raise BadInput(
            f"{scene.name}: cells of {scene.cell_m:g} m for a network trained on {config['cell_m']:g} m: pack's cell_m "
            "was changed since: train again"
        )
    of = config["network"]
    if concatenates(config) and len(scene.views) > of["views"]:
        raise BadInput(
            f"{scene.name}: {len(scene.views)} cameras for {of['name']}, which was trained on {of['views']}; "
            "a mean_max network takes any number"
        )


def on_its_grid(config: dict, scene: Scene) -> Scene:
    """The scene on as many cells as the network was trained on, or more if its plane is larger: the norms of a network
    are over all cells, and what it finds must not depend on which other scenes were packed beside this one."""
    own = scene.plane.grid(scene.cell_m)
    return replace(scene, grid=(max(config["grid"][0], own[0]), max(config["grid"][1], own[1])))


def concatenates(config: dict) -> bool:
    return config["network"]["name"].endswith("-concat")


def scores_of(network: nn.Module, config: dict, images: Tensor, sampling: Tensor, visible: Tensor) -> Tensor:
    """Images (B, V, H, W, 3) uint8 -> (B, rows, columns) float32 in 0..1."""
    return network(normalised(images, config["mean"], config["std"]), sampling, visible)["ground"].float().sigmoid()


@torch.inference_mode()
def maps(
    network: nn.Module, config: dict, scene: Scene, rows: Sequence[int], device: str | torch.device,
    views: Sequence[str] | None = None, sampling: Sampling | None = None,
) -> np.ndarray:  # fmt: skip
    """Scores (n, rows, columns) float32, 0..1, of frames of a scene (places in `scene.frames`); below 1e-12 where no
    view sees.

    `views`: names of the cameras that look; None: all. `sampling`: in place of `scene.looked_up`, for all its cameras.
    """
    fits(config, scene)
    names = [view.name for view in scene.views]
    looks = np.array([views is None or name in views for name in names])
    used = np.arange(len(names)) if concatenates(config) else np.flatnonzero(looks)  # concat knows views by their place
    at, visible = (torch.from_numpy(values[used]).to(device) for values in (sampling or scene.looked_up))
    size = CPU_FRAMES if torch.device(device).type == "cpu" else GPU_FRAMES
    found = [np.empty((0, *scene.grid), np.float32)]
    for start in range(0, len(rows) if len(used) else 0, size):
        pairs = [scene.images(int(scene.frames[row])) for row in rows[start : start + size]]
        images = torch.from_numpy(np.stack([shown[used] for shown, _ in pairs])).to(device)
        there = torch.from_numpy(np.stack([there[used] & looks[used] for _, there in pairs])).to(device)
        seen = visible[None] & there[..., None, None]
        found.append(scores_of(network, config, images, at.expand(len(pairs), *at.shape), seen).cpu().numpy())
    return np.concatenate(found) if len(used) else np.zeros((len(rows), *scene.grid), np.float32)
