"""What several parts of the networks share: dropout, attention, positions, and work on the filled slots only."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Dropout(nn.Module):
    """Dropout whose CPU masks take one random byte a value instead of one random number.

    torch's CPU generator is serial, and draws one number a value. The rate is rounded to 1/256 (.15 -> .1484) and the
    scale follows the rounded rate, so that the mean is kept exactly (in bfloat16 to .3 %, as by torch's own).
    """

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        if not x.is_cpu:
            return F.dropout(x, self.rate)
        dropped = min(round(self.rate * 256), 255)
        words = torch.empty((x.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
        keep = torch.empty(x.shape, dtype=x.dtype)
        torch.ge(words.view(torch.uint8)[: x.numel()].view(x.shape), dropped, out=keep)
        return x * keep.mul_(256 / (256 - dropped))

    def extra_repr(self) -> str:
        return str(self.rate)


def attended(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Torch's attention; on a CPU in float32 where the rest is in less: of windows this short its bfloat16 gradient
    takes ten times as long there (`python -m tests.benchmarks train` prints both)."""
    if not q.is_cpu or q.dtype in (torch.float32, torch.float64):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    with torch.autocast("cpu", enabled=False):
        return F.scaled_dot_product_attention(q.float(), k.float(), v.float(), attn_mask=mask).to(v.dtype)


class Attention(nn.Module):
    """Multi-head attention. The weights themselves are not dropped, so that the fused kernels serve training too."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, query: Tensor, keys: Tensor, keep: Tensor | None = None) -> Tensor:
        """query (N, Q, D), keys (N, K, D) -> (N, Q, D); keep (N, K): keys that may be looked at, at least one a row."""

        def split(x: Tensor) -> Tensor:
            return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        q = split(self.query(query))
        k, v = (split(x) for x in self.key_value(keys).chunk(2, dim=-1))
        return self.out(attended(q, k, v, None if keep is None else keep[:, None, None, :]).transpose(1, 2).flatten(2))


class SlotAttention(nn.Module):
    """Attention over the boxes of a frame and one learned "no object" token, which an empty frame attends to.

    Without that token the softmax of an empty frame has nothing to sum over and is NaN, which is why 10 of the original
    system's 12 networks never took a training step.
    """

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.no_object = nn.Parameter(torch.randn(dim) * 0.02)
        self.attend = Attention(dim, heads)

    def forward(self, query: Tensor, slots: Tensor, mask: Tensor) -> Tensor:
        """query (N, Q, D), slots (N, S, D), mask (N, S) -> (N, Q, D)."""
        token = self.no_object.to(slots.dtype).expand(slots.shape[0], 1, -1)
        keep = torch.cat([mask.new_ones(mask.shape[0], 1), mask], dim=1)
        return self.attend(query, torch.cat([token, slots], dim=1), keep)


class Slots(NamedTuple):
    """A vector a box: of the filled slots alone, (P, D), and their places in the flat mask, (P); or where `at` is None
    of all of them, (..., S, D), zeros in the empty ones."""

    values: Tensor
    at: Tensor | None

    def spread(self, mask: Tensor) -> Tensor:
        """(..., S, D)"""
        if self.at is None:
            return self.values
        zeros = self.values.new_zeros(mask.numel(), self.values.shape[-1])
        return zeros.index_copy(0, self.at, self.values).unflatten(0, mask.shape)


def filled(mask: Tensor) -> Tensor | None:
    """The places of the filled slots (about a quarter) in the flat mask, where it pays to compute these alone: on a
    CPU. Counting them would make the host wait for a GPU, and an exported graph has to know its shapes: None."""
    if not mask.is_cpu or torch.onnx.is_in_onnx_export():
        return None
    return mask.flatten().nonzero().squeeze(1)


def on_filled(function: Callable[[Tensor], Tensor], boxes: Tensor, mask: Tensor) -> Slots:
    """`function` of what stands in the filled slots: what padding holds cannot matter. boxes (..., S, D), mask (...,
    S)."""
    at = filled(mask)
    if at is None:
        return Slots(function(boxes.masked_fill(~mask[..., None], 0)) * mask[..., None], None)
    return Slots(function(boxes.flatten(0, -2)[at]), at)


def masked_mean(slots: Tensor, mask: Tensor) -> Tensor:
    """Mean over the filled slots, zeros for an empty frame: (..., S, D), (..., S) -> (..., D)."""
    return (slots * mask[..., None]).sum(-2) / mask.sum(-1, keepdim=True).clamp(min=1)


class Pool(nn.Module):
    """Weighted mean over the filled slots, zeros for an empty frame: slots, boxes (..., S, 8), mask (..., S) ->
    (..., D).

    The weights are learned from the slots and from the boxes that they encode, and start on the car ahead:
    near the middle of the picture in its own widths, and tall. In a plain mean it moves less than a dozen others come
    and go, and the 80 brakings of a small training set do not suffice to find it.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(dim))
        start = {"aside": -2.0, "log_height": 1.5}
        self.where = nn.Parameter(torch.tensor([start.get(name, 0.0) for name in PERSPECTIVE]))

    def shares(self, slots: Slots, boxes: Tensor, mask: Tensor) -> Tensor:
        """(..., S): what each slot counts for; their sum is 1, or 0 for an empty frame."""
        if slots.at is None:
            scores = (slots.values @ self.weight + boxes @ self.where).masked_fill(~mask, -1e4)
        else:
            found = slots.values @ self.weight + boxes.flatten(0, -2)[slots.at] @ self.where
            scores = found.new_full((mask.numel(),), -1e4).index_copy(0, slots.at, found).view(mask.shape)
        return scores.softmax(-1) * mask

    def forward(self, slots: Slots, boxes: Tensor, mask: Tensor) -> Tensor:
        shares = self.shares(slots, boxes, mask)
        if slots.at is None:
            return (shares[..., None] * slots.values).sum(-2)
        parts = shares.flatten()[slots.at, None] * slots.values
        frames, frame = mask.shape[:-1], slots.at // mask.shape[-1]
        return parts.new_zeros(frames.numel(), parts.shape[-1]).index_add(0, frame, parts).unflatten(0, frames)


def positions(length: int, dim: int) -> Tensor:
    """Sinusoidal position code (length, dim) of Vaswani et al. 2017."""
    steps = torch.arange(length)[:, None]
    rates = torch.exp(torch.arange(0, dim, 2) * (-math.log(10_000.0) / dim))
    code = torch.zeros(length, dim)
    code[:, 0::2] = torch.sin(steps * rates)
    code[:, 1::2] = torch.cos(steps * rates[: dim // 2])
    return code


PERSPECTIVE = ["confidence", "middle", "aside", "foot", "log_width", "log_height", "growth_1s", "growth_2s"]
# 1 s and 2 s at 2 Hz: over a single frame closing drowns in the detector's jitter of 4 % of a width.
GROWTH_FRAMES = (2, 4)
SAME_CAR_IOU = 0.3


def perspective(boxes: Tensor, mask: Tensor) -> Tensor:
    """Boxes (B, T, S, 6) said the way a driver sees, (B, T, S, 8): see PERSPECTIVE.

    A camera shows distance as 1 / width, so the growth of log size in a second is 1 / time to collision, at any
    distance (Lee 1976, "tau"). `aside` is asinh of the distance from the middle in the box's own widths, which are
    1.8 m for a car.
    """
    confidence, x1, y1, x2, y2, _ = boxes.unbind(-1)
    width, height, middle = (x2 - x1).clamp(min=1e-3), (y2 - y1).clamp(min=1e-3), (x1 + x2) / 2
    aside = torch.asinh((middle - 0.5).abs() / width)
    seen = torch.stack([confidence, middle, aside, y2, width.log(), height.log()], dim=-1)
    return torch.cat([seen, *(growth(boxes, mask, frames)[..., None] for frames in GROWTH_FRAMES)], dim=-1)


def growth(boxes: Tensor, mask: Tensor, frames: int) -> Tensor:
    """(B, T, S): log size of each box over that of the same car `frames` ago, the one it overlaps most; 0 if none
    does."""
    x1, y1, x2, y2 = (boxes[..., i].contiguous() for i in range(1, 5))
    width, height = (x2 - x1).clamp(min=1e-3), (y2 - y1).clamp(min=1e-3)
    log_size = (width.log() + height.log()) / 2
    grown = torch.zeros_like(log_size)
    if boxes.shape[1] <= frames:
        return grown
    planes = (x1, y1, x2, y2, width * height)
    now, then, there = [x[:, frames:] for x in planes], [x[:, :-frames] for x in planes], mask[:, :-frames]
    later, shown = log_size[:, frames:], mask[:, frames:]
    before = log_size[:, :-frames].flatten(0, 1)  # flat, because OpenVINO 2026.4 loses a slice right before a gather
    at = filled(shown)
    if at is None:
        best, same = most_alike([x[..., None] for x in now], [x[:, :, None] for x in then], there[:, :, None])
        change = (later - before.gather(-1, same.flatten(0, 1)).view_as(same)).clamp(-0.6, 0.6)
        grown[:, frames:] = torch.where((best > SAME_CAR_IOU) & shown, change, 0)
        return grown
    frame = at // mask.shape[-1]
    rows, columns = [x.flatten()[at, None] for x in now], [x.flatten(0, 1)[frame] for x in then]
    best, same = most_alike(rows, columns, there.flatten(0, 1)[frame])
    change = (later.flatten()[at] - before[frame, same]).clamp(-0.6, 0.6)
    change = torch.where(best > SAME_CAR_IOU, change, 0)
    grown[:, frames:] = torch.zeros_like(later).flatten().index_copy(0, at, change).view_as(later)
    return grown


def most_alike(now: list[Tensor], then: list[Tensor], there: Tensor) -> tuple[Tensor, Tensor]:
    """The largest IoU of each box with one of an earlier frame, and the slot of that: x1, y1, x2, y2 and area of boxes
    (..., 1), and of those of the earlier frame (..., S), and which of them there are."""
    across = (torch.minimum(now[2], then[2]) - torch.maximum(now[0], then[0])).clamp(min=0)
    down = (torch.minimum(now[3], then[3]) - torch.maximum(now[1], then[1])).clamp(min=0)
    shared = across * down
    return (shared / (now[4] + then[4] - shared) * there).max(-1)


class Standardise(nn.Module):
    """(x - mean) / deviation of the training data; part of the weights, so a checkpoint holds it."""

    def __init__(self, features: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("deviation", torch.ones(features))

    def fit(self, rows: Tensor, least: float) -> None:
        """From rows (N, F); a feature that hardly varies is not blown up: its deviation counts as `least`."""
        if len(rows) > 1:
            self.mean.copy_(rows.mean(0))
            self.deviation.copy_(rows.std(0).clamp(min=least))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.deviation
