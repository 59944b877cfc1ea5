"""A trained network from its checkpoint alone, and the plans it makes.

    network, config, scores = load_network(Path("data/open_loop_driving/train/<network>/best.pt"))

config: network (name, steps, step_s), cameras (in their order, with calibrations), height_px, width_px, mean, std.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from models.open_loop_driving.decoders import beta_of
from models.open_loop_driving.factory import build
from tasks.open_loop_driving.formats.plans import Plans
from tasks.open_loop_driving.learning.batches import Raw, Rows, assembled
from tasks.yard.step import BadInput
from tasks.yard.training import checkpoint


def load_network(path: Path, device: str | torch.device = "cpu") -> tuple[nn.Module, dict, dict]:
    """The network, ready to plan; what it was made from; and its scores on validation."""
    state = checkpoint.load(path)
    try:
        network = build(**state["config"]["network"])
        network.load_state_dict(state["model"])
        found = network.to(device).eval(), state["config"], state["scores"]
    except (KeyError, TypeError, RuntimeError, ValueError) as error:
        raise BadInput(f"{path}: not a checkpoint of open_loop_driving-train ({error}); train again") from None
    return found


def columns(found: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """What a network gives -> waypoints, alpha, beta (L, B, S, 2), speed (B), look (L - 1, B, S, 2) if it looks."""
    alpha, beta = beta_of(found["raw"])
    batch = found["waypoints"].shape[1]
    speed = found["speed"].float() if "speed" in found else torch.full((batch,), float("nan"))
    made = {"waypoints": found["waypoints"].float(), "alpha": alpha, "beta": beta, "speed": speed}
    if "look" in found:
        made["look"] = found["look"].float()
    return {name: value.cpu().numpy() for name, value in made.items()}


@torch.inference_mode()
def planned(network: nn.Module, name: str, raw: Raw) -> dict[str, np.ndarray]:
    return columns(network(**assembled(raw, name)))


def plans_of(network: nn.Module, rows: Rows, batch: int) -> Plans:
    """Of all windows, in their order. Raises `BadInput` if the network plans what is no number."""
    drives, parts = rows.drives, []
    for ids in np.array_split(np.arange(len(rows)), max(1, -(-len(rows) // batch))):
        if len(ids):
            parts.append(planned(network, rows.name, rows.raw(rows.windows[ids])))
    of = drives.route_of[rows.windows]
    about = {
        "route": np.array([drives.routes[route] for route in of], object), "t": rows.windows - drives.first[of],
    }  # fmt: skip
    found = {
        name: np.concatenate([part[name] for part in parts], axis=0 if name == "speed" else 1) for name in parts[0]
    }
    if not all(np.isfinite(found[name]).all() for name in ("waypoints", "alpha", "beta")):
        raise BadInput(f"{rows.name}: its plans hold NaN; lower open_loop_driving.train.optimizer.learning_rate")
    return Plans(**about, **found)
