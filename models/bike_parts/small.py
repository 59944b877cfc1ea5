"""The declared small member of the family, for CPUs: it has none of the published scores.

Four stages of plain convolutions; what the coarse ones see of the whole bike comes back down to the fine ones, for a
part that is not there is found by the others around it. Proposals are made at 8 px, parts are looked at at 4 px.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def block(inputs: int, outputs: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class SmallBackbone(nn.Module):
    """Photographs (B, 3, H, W) -> {"0": (B, F, H / 4, W / 4), "1": (B, C, H / 8, W / 8)}; `one`: the first."""

    def __init__(
        self, widths: tuple[int, int, int, int, int] = (16, 32, 64, 96, 128), coarse: int = 64, fine: int = 32,
        one: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.out_channels = coarse
        stem, *others = widths
        self.stem = block(3, stem, 2)
        before, stages = stem, []
        for width in others:
            stages.append(nn.Sequential(block(before, width, 2), block(width, width)))
            before = width
        self.stages = nn.ModuleList(stages)
        self.sides = nn.ModuleList(nn.Conv2d(width, coarse, 1) for width in others)
        self.smooth = nn.ModuleList([block(coarse, fine), *([] if one else [block(coarse, coarse)])])

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        seen, x = [], self.stem(images)
        for stage in self.stages:
            x = stage(x)
            seen.append(x)
        below, levels = self.sides[-1](seen[-1]), []
        for side, x in zip(self.sides[-2::-1], seen[-2::-1], strict=True):
            below = side(x) + F.interpolate(below, size=x.shape[-2:], mode="nearest")
            levels.append(below)
        return {str(i): smooth(levels[-1 - i]) for i, smooth in enumerate(self.smooth)}


class Pooled(nn.Module):
    """RoIAlign (two samples a cell, as torchvision's with `aligned=False`) of level "0" as two matrix products.

    A bilinear sample is a product of its weights along y and along x. torchvision's own gradient on a CPU walks through
    all samples one by one: a third of a training step. On a GPU this one is deterministic, and that is not.
    """

    def __init__(self, cells: int, stride: int) -> None:
        super().__init__()
        self.cells, self.stride = cells, stride

    def along(self, first: Tensor, last: Tensor, length: int) -> Tensor:
        """(n) from where to where, in px of the features -> weights (n, cells, length)."""
        steps = (torch.arange(2 * self.cells, device=first.device) + 0.5) / (2 * self.cells)
        at = first[:, None] + (last - first).clamp(min=1)[:, None] * steps
        inside = (at >= -1) & (at <= length)
        apart = at.clamp(0, length - 1)[..., None] - torch.arange(length, device=first.device)
        weights = (1 - apart.abs()).clamp(min=0) * inside[..., None]
        return weights.unflatten(1, (self.cells, 2)).mean(2)

    def forward(self, features: dict[str, Tensor], boxes: Sequence[Tensor], sizes: Sequence[tuple[int, int]]) -> Tensor:
        """(n, C, cells, cells) of all boxes of all photographs, x1, y1, x2, y2 px."""
        rows = features["0"].permute(0, 2, 3, 1)  # (B, h, w, C), as it lies in memory
        _, height, width, channels = rows.shape
        found = []
        for of, mine in zip(rows, boxes, strict=True):
            x1, y1, x2, y2 = (mine.float() / self.stride).unbind(1)  # in half precision a place is none
            y, x = self.along(y1, y2, height).to(of.dtype), self.along(x1, x2, width).to(of.dtype)
            bands = (y.flatten(0, 1) @ of.flatten(1)).view(-1, self.cells, width, channels)
            found.append(x[:, None] @ bands)
        return torch.cat(found).permute(0, 3, 1, 2)


class SmallHead(nn.Module):
    """Boxes (n, C, cells, cells) -> vectors (n, `outputs`)."""

    def __init__(self, inputs: int, outputs: int, cells: int) -> None:
        super().__init__()
        self.first = nn.Linear(inputs * cells**2, outputs)
        self.second = nn.Linear(outputs, outputs)

    def forward(self, boxes: Tensor) -> Tensor:
        return F.relu(self.second(F.relu(self.first(boxes.flatten(1)))))
