"""One factory for all networks of the line: a name in, a network from images of several cameras to one map out."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from models.ground_plane import encoders
from models.ground_plane.ground import Concat, Dilated, MeanMax, MultiScale, sampled
from models.ground_plane.variants import NETWORKS

PRIOR = 0.01  # what a cell is given at first: about so many hold a person, and focal loss starts from there
UNSEEN = -30.0  # the logit of a cell that no view sees: surely nobody


class GroundNetwork(nn.Module):
    """Images (B, V, 3, H, W), normalised by ImageNet's mean and std; where each view sees each cell, (B, V, rows,
    columns, 2) as grid_sample takes it (align_corners=False) and (B, V, rows, columns) bool whether it does at all
    -> {"ground": logits (B, rows, columns), "views": logits (B, V, h, w) of feet in each view, or None}.

    A view that sees no cell has no influence on the ground; while ResNets train, it has by their batch norms.
    """

    def __init__(self, encoder: nn.Module, join: nn.Module, ground: nn.Module, feet: bool) -> None:
        super().__init__()
        width = encoder.channels
        self.encoder, self.join, self.ground = encoder, join, ground
        self.bring = nn.Sequential(nn.Conv2d(width, width, 1), nn.ReLU())
        self.head = nn.Conv2d(ground.channels, 1, 3, padding=1)
        self.feet = nn.Sequential(nn.Conv2d(width, width, 1), nn.ReLU(), nn.Conv2d(width, 1, 1)) if feet else None
        for last in (self.head, *([self.feet[-1]] if feet else [])):
            nn.init.constant_(last.bias, -math.log(1 / PRIOR - 1))

    def features(self, images: Tensor, sampling: Tensor, visible: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (B, rows, columns), what they are made from (B, C, rows, columns), and that of the views
        (B, V, D, h, w)."""
        batch = images.shape[:2]
        seen = self.encoder(images.flatten(0, 1).contiguous(memory_format=torch.channels_last))
        below = sampled(self.bring(seen), sampling.flatten(0, 1), visible.flatten(0, 1)).unflatten(0, batch)
        ground = self.ground(self.join(below, visible).contiguous(memory_format=torch.channels_last))
        logits = self.head(ground)[:, 0].masked_fill(~visible.any(1), UNSEEN)
        return logits, ground, seen.unflatten(0, batch)

    def forward(self, images: Tensor, sampling: Tensor, visible: Tensor) -> dict[str, Tensor | None]:
        logits, _, seen = self.features(images, sampling, visible)
        feet = None if self.feet is None else self.feet(seen.flatten(0, 1))[:, 0].unflatten(0, seen.shape[:2])
        return {"ground": logits, "views": feet}


def build(name: str, views: int, pretrained: bool = False, feet: bool = False) -> GroundNetwork:
    """`views`: how many there are, which only `concat` has to know; `pretrained`: ResNets start from ImageNet's
    weights; `feet`: with a head for each view."""
    if name not in NETWORKS:
        raise ValueError(f"no network {name!r}; there are: {', '.join(NETWORKS)}")
    if views < 1:
        raise ValueError(f"views = {views}: at least 1")
    kind, aggregation = name.rsplit("-", 1)
    encoder = encoders.build(kind, pretrained)
    join = MeanMax(encoder.channels) if aggregation == "mean_max" else Concat(encoder.channels, views)
    ground = Dilated(join.channels) if kind == "small" else MultiScale(join.channels)
    network = GroundNetwork(encoder, join, ground, feet)
    return network.to(memory_format=torch.channels_last)
