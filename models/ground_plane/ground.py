"""What happens on the ground: features of the views brought there, joined, and looked at in several sizes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.ground_plane.encoders import block

OUTSIDE = 4.0  # a place in -1..1 so far from the image that not even its padding is mixed in


def sampled(features: Tensor, sampling: Tensor, visible: Tensor) -> Tensor:
    """Features (N, C, h, w) where the cells are seen: (N, rows, columns, 2) as `grid_sample` takes it with
    align_corners=False, and (N, rows, columns) bool -> (N, C, rows, columns), exactly 0 where nothing is visible."""
    sampling = torch.where(visible[..., None], sampling, OUTSIDE)  # cheaper than to hide C channels
    if features.is_cuda and features.requires_grad and torch.are_deterministic_algorithms_enabled():
        return gathered(features, sampling)  # grid_sample's own gradient varies from run to run there
    # Places stay float32 whatever the features are: bfloat16 has them up to a pixel of a large image off.
    finer = torch.promote_types(features.dtype, sampling.dtype)
    return F.grid_sample(features.to(finer), sampling.to(finer), align_corners=False).to(features.dtype)


def gathered(features: Tensor, sampling: Tensor) -> Tensor:
    """`grid_sample` (bilinear, zeros outside, align_corners=False), whose gradient can be had in a fixed order."""
    n, c, h, w = features.shape
    flat = features.permute(0, 2, 3, 1).reshape(-1, c)
    x, y = ((sampling[..., axis] + 1) * (size / 2) - 0.5 for axis, size in ((0, w), (1, h)))
    x, y = (value.clamp(-2, size + 1) for value, size in ((x, w), (y, h)))  # what is farther out is nothing too
    left, top = x.floor(), y.floor()
    first = torch.arange(n, device=features.device).view(n, *[1] * (x.ndim - 1)) * (h * w)
    found: Tensor | float = 0.0
    for dy, row_share in ((0, 1 - (y - top)), (1, y - top)):
        for dx, column_share in ((0, 1 - (x - left)), (1, x - left)):
            column, row = left + dx, top + dy
            inside = (column >= 0) & (column < w) & (row >= 0) & (row < h)
            place = first + row.clamp(0, h - 1).long() * w + column.clamp(0, w - 1).long()
            weight = (row_share * column_share * inside).to(features.dtype)
            found = found + flat.index_select(0, place.flatten()) * weight.view(-1, 1)
    return found.view(*x.shape, c).permute(0, 3, 1, 2)


class MeanMax(nn.Module):
    """Mean and maximum over the views that see a cell, and how many these are: any number of views in any order.

    (B, V, C, rows, columns), at least 0 and 0 where not visible, and visible (B, V, rows, columns) ->
    (B, 2 C + 1, rows, columns).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = 2 * channels + 1

    def forward(self, views: Tensor, visible: Tensor) -> Tensor:
        count = visible.sum(1, keepdim=True).to(views.dtype)
        return torch.cat([views.sum(1) / count.clamp(min=1), views.amax(1), torch.log1p(count)], dim=1)


class Concat(nn.Module):
    """The views one after the other, as the original has it: so many of them, in this order.

    (B, V, C, rows, columns) -> (B, views C, rows, columns); views that are missing at the end are seen as 0.
    """

    def __init__(self, channels: int, views: int) -> None:
        super().__init__()
        self.views, self.channels = views, views * channels

    def forward(self, views: Tensor, visible: Tensor) -> Tensor:
        missing = self.views - views.shape[1]
        if missing < 0:
            raise ValueError(f"{views.shape[1]} views for a network that joins {self.views}, one after the other")
        views = views.flatten(1, 2)
        return F.pad(views, (0, 0, 0, 0, 0, self.channels - views.shape[1])) if missing else views


class Dilated(nn.Module):
    """Three 3x3 convolutions, 1, 2 and 4 cells apart (as in MVDet, Hou et al., ECCV 2020): each cell knows of 7 cells
    around it, in 48 channels."""

    channels = 48

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            block(inputs, 48), block(48, 48, dilation=2), block(48, self.channels, dilation=4)
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


@cache
def _pooling(size: int, parts: int, device: torch.device) -> Tensor:
    """(parts, size): means over the parts that adaptive pooling cuts a line of `size` into."""
    starts = [(i * size // parts, -(-(i + 1) * size // parts)) for i in range(parts)]
    return torch.tensor([[float(a <= k < b) / (b - a) for k in range(size)] for a, b in starts], device=device)


@cache
def _spreading(parts: int, size: int, device: torch.device) -> Tensor:
    """(size, parts): bilinear, align_corners=False."""
    line = torch.eye(parts)[None]
    return F.interpolate(line, size=size, mode="linear", align_corners=False)[0].T.contiguous().to(device)


def along(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """(B, C, h, w) by matrices (h', h) and (w', w) -> (B, C, h', w'). As products of matrices, pooling and spreading
    have a gradient in a fixed order on a GPU, which torch's own have not."""
    return rows.to(x) @ x @ columns.to(x).T


def normed(inputs: int, outputs: int, kernel: int = 3, dilation: int = 1) -> nn.Sequential:
    padding = dilation * (kernel // 2)
    conv = nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=dilation, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class MultiScale(nn.Module):
    """The original's: 5x5 to 256 channels, then four branches, each the ground pooled to S x S cells, four 3x3
    convolutions 2 apart, and spread to the grid again; a 1x1 to 32 channels joins them (Engilberge et al., WACV 2023).

    No branch has more cells than the grid.
    """

    channels, sizes = 32, (128, 64, 32, 16)

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.first = normed(inputs, 256, 5)
        widths = (256, 128, 128, 64, 32)
        self.branches = nn.ModuleList(
            nn.Sequential(*(normed(a, b, dilation=2) for a, b in pairwise(widths))) for _ in self.sizes
        )
        self.last = nn.Sequential(nn.Conv2d(32 * len(self.sizes), self.channels, 1), nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        h, w = x.shape[2:]
        return self.last(
            torch.cat(
                [self.at_size(branch, x, (h, w), s) for branch, s in zip(self.branches, self.sizes, strict=True)], 1
            )
        )

    def at_size(self, branch: nn.Module, x: Tensor, grid: Sequence[int], size: int) -> Tensor:
        parts = [min(side, size) for side in grid]
        if parts == list(grid):
            return branch(x)
        pooled = along(x, *(_pooling(side, part, x.device) for side, part in zip(grid, parts, strict=True)))
        return along(
            branch(pooled), *(_spreading(part, side, x.device) for side, part in zip(grid, parts, strict=True))
        )
