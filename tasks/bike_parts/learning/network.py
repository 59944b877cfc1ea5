"""A network from its checkpoint alone, and what it finds in photographs.

network, config, scores = load_network(Path("data/bike_parts/train/<network>/best.pt"))
found = looked(network, config, [photo, ...])      # BGR uint8 of any sizes -> a Found each, in their pixels
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from models.bike_parts.closer import Close, CloserDetector
from models.bike_parts.detector import PartDetector
from models.bike_parts.factory import States, Use, build
from models.bike_parts.points import PointDetector
from models.bike_parts.states import STATES
from tasks.bike_parts.learning.batches import Fitted, fitted, normalised
from tasks.yard.step import BadInput
from tasks.yard.training import checkpoint

CPU_PHOTOS, GPU_PHOTOS = 8, 16  # in one pass


Network = PartDetector | PointDetector | CloserDetector


@dataclass(frozen=True)
class Found:
    """In one photograph, the surest first; boxes in its own pixels."""

    part: np.ndarray  # (n) int64 1..K
    box: np.ndarray  # (n, 4) float32 x, y, width, height
    score: np.ndarray  # (n) float32: that the box is this part's, whatever its state
    states: np.ndarray  # (n, 4) float32 probabilities


def of_config(config: dict) -> Network:
    """The untrained network that a checkpoint's config describes."""
    of = dict(config["network"])
    states = States(**{**of.pop("states"), "class_weights": None})
    close = of.pop("close")
    return build(
        **of, parts=len(config["parts"]), states=states, use=Use(**config["keep"]), close=close and Close(**close)
    )


def load_network(path: Path, device: str | torch.device = "cpu") -> tuple[Network, dict, dict]:
    """The network, ready to look; what it was made from (network, parts, canvas, keep); its scores on validation."""
    state = checkpoint.load(path)
    try:
        network = of_config(state["config"])
        network.load_state_dict(state["model"])
        found = network.to(device).eval(), state["config"], state["scores"]
    except (KeyError, TypeError, RuntimeError, ValueError, AttributeError) as error:
        raise BadInput(f"{path}: not a checkpoint of bike_parts-train ({error}); train again") from None
    return found


def device_of(network: nn.Module) -> torch.device:
    return next(network.parameters()).device


def canvas_of(config: dict) -> tuple[int, int]:
    return config["canvas"]["height_px"], config["canvas"]["width_px"]


def on_canvas(photos: Sequence[Fitted], device: torch.device) -> tuple[Tensor, list[tuple[int, int]]]:
    """What the detector takes."""
    pictures = torch.from_numpy(np.stack([of.picture for of in photos])).to(device)
    return normalised(pictures), [of.size for of in photos]


def told(found: dict[str, Tensor], factor: tuple[float, float]) -> Found:
    """From pixels of the canvas to those of the photograph."""
    boxes = found["boxes"].float().cpu().numpy() / np.tile(np.float32(factor), 2)
    box = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)
    part, score, states = (found[name].cpu().numpy() for name in ("labels", "scores", "states"))
    return Found(part, box.astype(np.float32), score.astype(np.float32), states.astype(np.float32))


@torch.inference_mode()
def looked(network: Network, config: dict, photos: Sequence[np.ndarray]) -> list[Found]:
    """Photographs (h, w, 3) BGR uint8."""
    device, canvas, found = device_of(network), canvas_of(config), []
    size = CPU_PHOTOS if device.type == "cpu" else GPU_PHOTOS
    for start in range(0, len(photos), size):
        held = [fitted(photo, canvas) for photo in photos[start : start + size]]
        images, sizes = on_canvas(held, device)
        found += [told(one, of.factor) for one, of in zip(network(images, sizes), held, strict=True)]
    return found


@torch.inference_mode()
def looked_with_truth(
    network: Network,
    photos: Sequence[Fitted],
    boxes: Sequence[np.ndarray],
    parts: Sequence[np.ndarray],
) -> tuple[list[Found], list[np.ndarray]]:
    """What is found, and the states (n, 4) of true boxes (n, 4) x, y, width, height of the photographs."""
    device = device_of(network)
    pictures, sizes = on_canvas(photos, device)
    images = network.listed(pictures, sizes)
    features = network.backbone(pictures)
    found = [told(one, of.factor) for one, of in zip(network.found(images, features), photos, strict=True)]
    true = []
    for box, of in zip(boxes, photos, strict=True):
        scaled = np.concatenate([box[:, :2], box[:, :2] + box[:, 2:]], 1) * np.tile(of.factor, 2)
        true.append(torch.from_numpy(scaled.astype(np.float32)).to(device))
    labels = [torch.from_numpy(of).to(device) for of in parts]
    if not sum(map(len, parts)):
        return found, [np.zeros((0, STATES), np.float32) for _ in parts]
    states = network.states(features, true, labels, images.image_sizes)
    return found, [of.cpu().numpy().astype(np.float32) for of in states]
