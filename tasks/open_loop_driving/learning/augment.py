"""Moments changed at random, a batch at a time on the device. The draws come from torch's global state, which the
engine seeds with (seed, step)."""

from __future__ import annotations

import torch
from torch import Tensor

from tasks.open_loop_driving.params import Augment


def light(images: Tensor, params: Augment) -> Tensor:
    """Bytes (B, 2, N, H, W, 3) in another light, the same in both frames and all cameras -> floats 0 to 255."""
    if not (params.brightness or params.contrast or params.colour):
        return images

    def factor(most: float, *shape: int) -> Tensor:
        drawn = torch.rand(len(images), 1, 1, 1, 1, *shape, device=images.device)
        return 1 + most * (2 * drawn - 1)

    brightness = factor(params.brightness, 1) * factor(params.colour, 3)
    contrast = factor(params.contrast, 1)
    values = images.float()
    middle = values.mean((1, 2, 3, 4, 5), keepdim=True)
    return (values * (contrast * brightness) + middle * ((1 - contrast) * brightness)).clamp(0, 255)
