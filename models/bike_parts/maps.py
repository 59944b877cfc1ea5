"""Maps of parts: one for each, 1 at the middle of the part and falling off around it (Zhou et al., Objects as Points,
2019). Every cell of every photograph says which part is where, and where it would be if it is absent.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.bike_parts.states import Targets

STRIDE = 4  # px a cell
PRIOR = 0.01  # what a cell is given at first; a focal loss starts from there
SIGMA = 0.54 / 6  # of the Gaussian, of the edge of the part: Liu et al., Training-Time-Friendly Network, 2020
SHARPEST = 0.6  # cells, for parts that are hardly larger than one


class Maps(nn.Conv2d):
    """Features (B, C, h, w) -> logits (B, K, h, w)."""

    def __init__(self, inputs: int, parts: int) -> None:
        super().__init__(inputs, parts, 1)
        nn.init.constant_(self.bias, -math.log(1 / PRIOR - 1))

    def loss(self, features: Tensor, targets: Targets) -> Tensor:
        """A mean over parts."""
        logits = self(features).float()
        known = torch.ones_like(logits[:, :, :1, :1])  # a part that is doubted may be in any cell
        for photo, of in enumerate(targets):
            if "doubted" in of:
                known[photo, of["doubted"] - 1] = 0
        return focal(logits, wanted(logits.shape, targets), known) / max(sum(len(of["labels"]) for of in targets), 1)


def wanted(shape: torch.Size, targets: Targets) -> Tensor:
    """(B, K, h, w): a Gaussian around each part, exactly 1 in the cell of its middle."""
    photo = torch.cat([torch.full_like(of["labels"], i) for i, of in enumerate(targets)])
    boxes, parts = (torch.cat([of[name] for of in targets]) for name in ("boxes", "labels"))
    at = (boxes[:, :2] + boxes[:, 2:]) / (2 * STRIDE)
    sigma = ((boxes[:, 2:] - boxes[:, :2]) * (SIGMA / STRIDE)).clamp(min=SHARPEST)
    along = []
    for axis, length in ((1, shape[2]), (0, shape[3])):
        cells = torch.arange(length, device=at.device)
        middle = at[:, axis].floor().clamp(0, length - 1)
        along.append(torch.exp(-((cells - middle[:, None]) ** 2) / (2 * sigma[:, axis, None] ** 2)))
    drawn = along[0][:, :, None] * along[1][:, None]
    flat = drawn.new_zeros(shape[0] * shape[1], shape[2] * shape[3])
    place = (photo * shape[1] + parts - 1)[:, None].expand(-1, shape[2] * shape[3])
    return flat.scatter_reduce(0, place, drawn.flatten(1), "amax").view(shape)


def focal(logits: Tensor, wanted: Tensor, known: Tensor | float = 1.0) -> Tensor:
    """CenterNet's: cells that are 1 are parts; the nearer another one is to a part, the less it counts; `known` is
    their weight."""
    p = logits.sigmoid()
    near = -((1 - p) ** 2) * F.logsigmoid(logits)
    far = -((1 - wanted) ** 4) * p**2 * F.logsigmoid(-logits)
    return torch.where(wanted == 1, near, far * known).sum()
