"""Crops changed at random, a whole batch at a time on the device, each with a probability of its own.

The draws come from torch's global state, which the engine seeds with (seed, step): the same step changes the same
images in the same way. Nothing here waits for the device. Ranges that no param names are torchreid's.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from tasks.person_search.formats.crops import MEAN, constant
from tasks.person_search.params import Augment

ENLARGED = 1.125  # random_crop: what the crop is cut from
ERASED_AREA, ERASED_RATIO = (0.02, 0.4), 0.3
PATCH_AREA, PATCH_RATIO = (0.01, 0.5), 0.1
TRIES = 10  # for a rectangle that fits into the image
GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601
# RGB to luma and the plane of hues (YIQ), in which a change of hue is a turn.
YIQ = (GREY, (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))
RGB = tuple(map(tuple, torch.linalg.inv(torch.tensor(YIQ, dtype=torch.float64)).tolist()))


def happens(share: float, x: Tensor) -> Tensor:
    """(B, 1, 1, 1) bool."""
    return torch.rand(len(x), 1, 1, 1, device=x.device) < share


def between(low: float | Tensor, high: float | Tensor, x: Tensor) -> Tensor:
    """(B, 1, 1, 1), even."""
    return low + (high - low) * torch.rand(len(x), 1, 1, 1, device=x.device)


def starts(room: int | Tensor, rows: int, device: torch.device) -> Tensor:
    """(B) whole numbers 0..room."""
    return (torch.rand(rows, device=device) * (room + 1)).long()


def cut(x: Tensor, top: Tensor, left: Tensor, height: int, width: int, of: Tensor) -> Tensor:
    """From image `of[b]` the window at (top, left); beyond the border its last pixels again. All (B)."""
    ys = (top[:, None] + torch.arange(height, device=x.device)).clamp(0, x.shape[2] - 1)
    xs = (left[:, None] + torch.arange(width, device=x.device)).clamp(0, x.shape[3] - 1)
    return x.permute(0, 2, 3, 1)[of[:, None, None], ys[:, :, None], xs[:, None, :]].permute(0, 3, 1, 2)


def rectangles(x: Tensor, area: tuple[float, float], ratio: float) -> tuple[Tensor, Tensor, Tensor]:
    """Height and width (B) of a rectangle in each image, and whether one that fits was found.

    Its area is even in `area`, a share of the image; height / width is even in ratio..1/ratio.
    """
    height, width = x.shape[2:]
    size = (len(x), TRIES)
    pixels = height * width * (area[0] + (area[1] - area[0]) * torch.rand(size, device=x.device))
    shape = ratio + (1 / ratio - ratio) * torch.rand(size, device=x.device)
    h, w = (pixels * shape).sqrt().round().long(), (pixels / shape).sqrt().round().long()
    fits = (h > 0) & (w > 0) & (h < height) & (w < width)
    first = fits.int().argmax(1, keepdim=True)
    return h.gather(1, first)[:, 0], w.gather(1, first)[:, 0], fits.any(1)


def inside(x: Tensor, top: Tensor, left: Tensor, height: Tensor, width: Tensor) -> Tensor:
    """(B, 1, H, W) bool: the pixels of a rectangle."""
    ys, xs = (torch.arange(n, device=x.device) for n in x.shape[2:])
    rows = (ys >= top[:, None]) & (ys < (top + height)[:, None])
    columns = (xs >= left[:, None]) & (xs < (left + width)[:, None])
    return (rows[:, :, None] & columns[:, None, :])[:, None]


def flip(x: Tensor, share: float) -> Tensor:
    return torch.where(happens(share, x), x.flip(-1), x)


def crop(x: Tensor, share: float) -> Tensor:
    """A window of the old size out of the image made larger by an eighth."""
    height, width = x.shape[2:]
    size = round(height * ENLARGED), round(width * ENLARGED)
    large = F.interpolate(x, size=size, mode="bilinear", align_corners=False)
    top, left = (starts(whole - part, len(x), x.device) for whole, part in zip(size, (height, width), strict=True))
    same = torch.arange(len(x), device=x.device)
    return torch.where(happens(share, x), cut(large, top, left, height, width, same), x)


def patch(x: Tensor, share: float) -> Tensor:
    """A rectangle of another image of the batch, pasted somewhere."""
    if len(x) < 2:
        return x
    height, width = x.shape[2:]
    other = (torch.arange(len(x), device=x.device) + 1 + starts(len(x) - 2, len(x), x.device)) % len(x)
    h, w, fits = rectangles(x, PATCH_AREA, PATCH_RATIO)
    (top, from_top), (left, from_left) = (
        (starts(room, len(x), x.device), starts(room, len(x), x.device)) for room in (height - h, width - w)
    )
    moved = cut(x, from_top - top, from_left - left, height, width, other)
    pasted = inside(x, top, left, h, w) & fits.view(-1, 1, 1, 1) & happens(share, x)
    return torch.where(pasted, moved, x)


def erase(x: Tensor, share: float) -> Tensor:
    """A rectangle of nothing: the mean colour, 0 once normalised."""
    height, width = x.shape[2:]
    h, w, fits = rectangles(x, ERASED_AREA, ERASED_RATIO)
    top, left = starts(height - h, len(x), x.device), starts(width - w, len(x), x.device)
    gone = inside(x, top, left, h, w) & fits.view(-1, 1, 1, 1) & happens(share, x)
    return torch.where(gone, constant(MEAN, x.device).view(1, 3, 1, 1), x)


def grey(x: Tensor) -> Tensor:
    """(B, 1, H, W)"""
    return (x * constant(GREY, x.device).view(1, 3, 1, 1)).sum(1, keepdim=True)


def jitter(x: Tensor, params: Augment) -> Tensor:
    """Brightness, contrast, saturation, hue, in this order (torchvision's is drawn), each by a factor of the image."""
    changed = (x * between(1 - params.brightness, 1 + params.brightness, x)).clamp(0, 1)
    middle = grey(changed).mean((2, 3), keepdim=True)
    changed = (middle + (changed - middle) * between(1 - params.contrast, 1 + params.contrast, x)).clamp(0, 1)
    if params.saturation:
        pale = grey(changed)
        changed = (pale + (changed - pale) * between(1 - params.saturation, 1 + params.saturation, x)).clamp(0, 1)
    if params.hue:
        angle = between(-params.hue, params.hue, x).flatten() * 2 * math.pi
        turn = torch.zeros(len(x), 3, 3, device=x.device)
        turn[:, 0, 0], turn[:, 1, 1], turn[:, 2, 2] = 1, angle.cos(), angle.cos()
        turn[:, 1, 2], turn[:, 2, 1] = -angle.sin(), angle.sin()
        turn = constant(RGB, x.device) @ turn @ constant(YIQ, x.device)
        changed = torch.einsum("bij,bjhw->bihw", turn, changed).clamp(0, 1)
    return torch.where(happens(params.color_jitter, x), changed, x)


def augment(x: Tensor, params: Augment) -> Tensor:
    """(B, 3, H, W) in 0..1 -> the same, changed."""
    if params.random_flip:
        x = flip(x, params.random_flip)
    if params.random_crop:
        x = crop(x, params.random_crop)
    if params.random_patch:
        x = patch(x, params.random_patch)
    if params.color_jitter:
        x = jitter(x, params)
    if params.random_gray_scale:
        x = torch.where(happens(params.random_gray_scale, x), grey(x).expand_as(x), x)
    if params.random_erase:
        x = erase(x, params.random_erase)
    return x
