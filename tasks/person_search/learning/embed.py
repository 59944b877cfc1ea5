"""A trained network from its checkpoint alone, and the vectors it gives to crops.

    network, config = load_network(Path("data/person_search/train/<network>/best.pt"))
    vectors = embed(network, images, config)            # (N, D) float32 of uint8 (N, H, W, 3), each of length 1

The cosine of two people is the product of their vectors.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.person_search.factory import build
from tasks.person_search.formats.crops import floats, normalised
from tasks.yard.step import BadInput
from tasks.yard.training import checkpoint

# A pass over more is slower on CPUs, whose allocator gives the large activations back after each layer: OSNet x1.0 saw
# 64 crops of 256x128 a second by fours and 36 by 32s (python -m tests.benchmarks embed).
CPU_PASS_PX = 4 * 256 * 128


def load_network(path: Path, device: str | torch.device = "cpu") -> tuple[nn.Module, dict]:
    """The network, ready to embed, and what it was made from: network, height_px, width_px, mean, std, datasets."""
    state = checkpoint.load(path)
    try:
        network = build(**state["config"]["network"])
        network.load_state_dict(state["model"])
    except (KeyError, TypeError, RuntimeError, ValueError) as error:
        raise BadInput(f"{path}: not a checkpoint of person_search-train ({error}); train again") from None
    return network.to(device, memory_format=torch.channels_last).eval(), state["config"]


def vectors(network: nn.Module, images: Tensor, config: dict) -> Tensor:
    """(B, H, W, 3) uint8 on the network's device -> (B, D) float32, each of length 1."""
    return F.normalize(network(normalised(floats(images), config["mean"], config["std"])).float())


@torch.inference_mode()
def embed(network: nn.Module, images: np.ndarray, config: dict, batch: int = 256) -> np.ndarray:
    """(N, H, W, 3) uint8 RGB of the size the network was trained on -> (N, D) float32, each of length 1.

    `batch` images at once on a GPU; on a CPU no more than `CPU_PASS_PX` allow.
    """
    size = (config["height_px"], config["width_px"])
    if images.shape[1:] != (*size, 3):
        raise BadInput(
            f"crops of {images.shape[1]}x{images.shape[2]} px for a network trained on {size[0]}x{size[1]}: "
            "pack's height_px or width_px was changed since: train again"
        )
    device = next(network.parameters()).device
    if device.type == "cpu":
        batch = min(batch, max(1, CPU_PASS_PX // (size[0] * size[1])))
    parts = [torch.from_numpy(images[i : i + batch]).to(device) for i in range(0, len(images), batch)]
    found = [vectors(network, part, config) for part in parts]
    return torch.cat(found).cpu().numpy() if found else np.empty((0, network.feature_dim), np.float32)
