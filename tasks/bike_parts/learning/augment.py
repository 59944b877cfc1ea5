"""Photographs changed at random, a batch at a time on the device, so that boxes and states stay true.

They are moved, made larger or smaller and mirrored, along the axes alone: a box stays the box of its part. A mirrored
bike has its front on the other side, and its front is still what it is. What the edge of the canvas cuts is clipped: a
part of which less than half is left is none, and of one that lost much the state is not learnt. What is covered by a
piece of another photograph is occluded, not damaged; where only some of a part is covered, its state is not learnt.

The draws come from torch's global state, which the engine seeds with (seed, step).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from models.bike_parts.states import UNLABELLED
from tasks.bike_parts.formats.photos import ABSENT, OCCLUDED
from tasks.bike_parts.learning.batches import FILL, MIN_PX, Batch, constant
from tasks.bike_parts.params import Augment

LEFT, WHOLE = 0.5, 0.8  # share of a box within the canvas below which it is no part, or its state is not learnt
TOUCHED, HIDDEN = 0.1, 0.6  # share that is covered, above which the state is not learnt, or is occluded
SMALLEST = 0.3  # edge of a cover, of the largest


@dataclass(frozen=True)
class Move:
    """Where a place of the photographs is after it: factor * place + shift, along x and y, in 0..1 of the canvas."""

    factor: Tensor  # (B, 2); below 0 along x: mirrored
    shift: Tensor  # (B, 2)


def between(low: float, high: float, shape: tuple[int, ...], device: torch.device) -> Tensor:
    return low + (high - low) * torch.rand(shape, device=device)


def drawn(count: int, params: Augment, device: torch.device) -> Move:
    size = between(1 - params.scale, 1 + params.scale, (count, 1), device).expand(count, 2)
    mirror = 1 - 2 * (torch.rand(count, device=device) < params.flip).float()
    factor = size * torch.stack([mirror, torch.ones_like(mirror)], 1)
    away = between(-params.shift, params.shift, (count, 2), device)
    return Move(factor, 0.5 - factor / 2 + away)


def moved(batch: Batch, move: Move) -> Batch:
    """Pictures as floats; boxes clipped to the canvas."""
    height, width = batch.pictures.shape[1:3]
    edges = constant((width, height), batch.boxes.device)
    corners = batch.boxes.unflatten(2, (2, 2)) / edges  # (B, P, 2, 2): corner, x y
    corners = (corners * move.factor[:, None, None] + move.shift[:, None, None]) * edges
    whole = torch.cat([corners.amin(2), corners.amax(2)], 2)
    boxes = torch.minimum(whole.clamp(min=0), edges.repeat(2))
    left = area(boxes) / area(whole).clamp(min=1e-6)
    seen = (left >= LEFT) & ((boxes[..., 2:] - boxes[..., :2]).amin(2) >= MIN_PX)
    parts = torch.where(seen, batch.parts, 0)
    states = torch.where(left >= WHOLE, batch.states, UNLABELLED)
    return replace(batch, pictures=warped(batch.pictures, move), boxes=boxes, parts=parts, states=states)


def area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)


def warped(pictures: Tensor, move: Move) -> Tensor:
    """(B, H, W, 3) floats; FILL where there is nothing."""
    height, width = pictures.shape[1:3]
    grids = []
    for axis, length in ((0, width), (1, height)):
        at = (torch.arange(length, device=pictures.device) + 0.5) / length
        grids.append(2 * (at - move.shift[:, axis, None]) / move.factor[:, axis, None] - 1)
    x, y = grids
    grid = torch.stack([x[:, None].expand(-1, height, -1), y[:, :, None].expand(-1, -1, width)], -1)
    fill = constant(tuple(map(float, FILL)), pictures.device)
    found = F.grid_sample((pictures - fill).movedim(-1, 1), grid, align_corners=False)
    return found.movedim(1, -1).add_(fill)


def covered(batch: Batch, params: Augment) -> Batch:
    """In some a rectangle shows what is there in the photograph before them in the batch."""
    count, (height, width) = len(batch.parts), batch.pictures.shape[1:3]
    device = batch.boxes.device
    happens = torch.rand(count, device=device) < params.erase
    edges = constant((width, height), device)
    size = params.erase_size * between(SMALLEST, 1, (count, 2), device) * edges
    begin = torch.rand((count, 2), device=device) * (edges - size)
    cover = torch.where(happens[:, None], torch.cat([begin, begin + size], 1), 0.0)
    y, x = (torch.arange(n, device=device) + 0.5 for n in (height, width))
    rows, columns = ((at >= cover[:, axis, None]) & (at < cover[:, axis + 2, None]) for axis, at in ((0, x), (1, y)))
    pictures, (some,) = batch.pictures, happens.nonzero(as_tuple=True)
    if len(some):
        inside = (columns[some, :, None] & rows[some, None])[..., None]
        other = pictures[some - 1].flip(2) if count > 1 else torch.zeros_like(pictures[some])
        pictures = pictures.index_copy(0, some, torch.where(inside, other, pictures[some]))
    common = torch.cat([
        torch.maximum(batch.boxes[..., :2], cover[:, None, :2]), torch.minimum(batch.boxes[..., 2:], cover[:, None, 2:])
    ], 2)  # fmt: skip
    hidden = area(common) / area(batch.boxes).clamp(min=1e-6)
    known = torch.where((hidden > TOUCHED) & (batch.states != OCCLUDED), UNLABELLED, batch.states)
    present = (batch.states != ABSENT) & (batch.states != UNLABELLED)
    states = torch.where((hidden >= HIDDEN) & present, OCCLUDED, known)
    return replace(batch, pictures=pictures, states=states)


def light(pictures: Tensor, params: Augment) -> Tensor:
    """Brightness, contrast and cast of colour of each, of floats (B, H, W, 3)."""
    shape = (len(pictures), 1, 1, 1)
    brightness = between(1 - params.brightness, 1 + params.brightness, shape, pictures.device)
    brightness = brightness * between(1 - params.colour, 1 + params.colour, (*shape[:3], 3), pictures.device)
    contrast = between(1 - params.contrast, 1 + params.contrast, shape, pictures.device)
    middle = pictures.mean((1, 2, 3), keepdim=True)
    return (pictures * (contrast * brightness)).add_(middle * ((1 - contrast) * brightness)).clamp_(0, 255)


def augment(batch: Batch, params: Augment) -> Batch:
    """Each photograph changed; shares of 0 change nothing."""
    if params.erase:
        batch = covered(batch, params)
    if params.scale or params.shift or params.flip:
        batch = moved(batch, drawn(len(batch.parts), params, batch.boxes.device))
    if params.brightness or params.contrast or params.colour:
        batch = replace(batch, pictures=light(batch.pictures.float(), params))
    return batch
