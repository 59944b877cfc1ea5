"""A trained network from its checkpoint alone, and the plans it makes.

    network, config, scores = load_network(Path("data/open_loop_driving/train/<network>/best.pt"))

config: network (name, steps, step_s), cameras (in their order, with calibrations), told (of command and target, what it
is told beside its speed), mean, std, rate_hz, learnt.
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


def batches(route: np.ndarray, batch: int, mixed: bool) -> list[np.ndarray]:
    """Places in `route` (n), which route each moment is of, at most `batch` together. None is of two routes unless they
    are `mixed`: what is planned for a route must not hang, by a last digit, on which others are there."""
    cuts = np.array([], int) if mixed else np.flatnonzero(np.diff(route)) + 1
    parts = [part for part in np.split(np.arange(len(route)), cuts) if len(part)]
    return [ids for part in parts for ids in np.array_split(part, -(-len(part) // batch))]


def plans_of(
    network: nn.Module, rows: Rows, batch: int, windows: np.ndarray | None = None, mixed: bool = False
) -> Plans:
    """Of all windows, or of these frames, in their order. Raises `BadInput` if the network plans what is no number."""
    drives, windows = rows.drives, rows.windows if windows is None else windows
    of = drives.route_of[windows]
    parts = [planned(network, rows.name, rows.raw(windows[ids])) for ids in batches(of, batch, mixed)]
    about = {
        "route": np.array([drives.routes[route] for route in of], object), "t": windows - drives.first[of],
    }  # fmt: skip
    found = {
        name: np.concatenate([part[name] for part in parts], axis=0 if name == "speed" else 1) for name in parts[0]
    }
    if not all(np.isfinite(found[name]).all() for name in ("waypoints", "alpha", "beta")):
        raise BadInput(f"{rows.name}: its plans hold NaN; lower open_loop_driving.train.optimizer.learning_rate")
    return Plans(**about, **found)
