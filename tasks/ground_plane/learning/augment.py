"""Frames changed at random on two levels, a batch at a time on the device (Engilberge et al., WACV 2023).

The scene: the ground under all views is turned, moved, sheared, made larger or smaller, mirrored by one matrix. Cells
are moved before they are looked up in the images, and people with them: all views stay aligned.
The view: one image is cut to a window, mirrored, and the way from the ground to it changed by the same matrix; its
light changes; a view is taken away.

Both are matrices on coordinates with 0 in the middle, metres on the plane and -1..1 in the image. The draws come from
torch's global state, which the engine seeds with (seed, step).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from tasks.ground_plane.learning.batches import Batch, normalised
from tasks.ground_plane.params import Augment, SceneAugment, ViewAugment

NEAR_M = 1e-6  # less depth than this is behind the camera, as in geometry.Camera.sees
OUTSIDE = 2.0  # where nothing is seen, in coordinates of -1..1


@dataclass(frozen=True)
class Example:
    """What a network is given, and what it should know; B frames of V views."""

    images: Tensor  # (B, V, 3, H, W) float, normalised
    sampling: Tensor  # (B, V, rows, columns, 2) as grid_sample takes it, align_corners=False
    visible: Tensor  # (B, V, rows, columns) bool
    people: Tensor  # (B, P, 2) metres from the middle of the moved plane
    real: Tensor  # (B, P) bool: which of them there are
    feet: Tensor  # (B, V, P, 2) where they stand in the images, in -1..1; OUTSIDE where they are not seen
    regions: Tensor | None  # (B, V, H, W) bool of the changed images; None: all of them


def between(low: float, high: float, shape: tuple[int, ...], device: torch.device) -> Tensor:
    return low + (high - low) * torch.rand(shape, device=device)


def happens(share: float, shape: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.rand(shape, device=device) < share


def matrices(rows: list[list[Tensor | float]], like: Tensor) -> Tensor:
    """Entries of the shape of `like`, or numbers -> (..., n, n)."""
    return torch.stack([torch.stack([torch.zeros_like(like) + entry for entry in row], -1) for row in rows], -2)


def either(which: Tensor, matrix: Tensor) -> Tensor:
    """The matrix where `which`, else the one that changes nothing."""
    return torch.where(which[..., None, None], matrix, torch.eye(3, device=matrix.device))


def scene_moves(size: Tensor, params: SceneAugment) -> Tensor:
    """(B, 3, 3): where on the true ground a place of the moved one is. `size` (B, 2) of the planes in metres."""
    shape, device = (len(size),), size.device
    turn = torch.deg2rad(between(-params.rotate_deg, params.rotate_deg, shape, device))
    lean = torch.tan(torch.deg2rad(between(-params.shear_deg, params.shear_deg, shape, device)))
    scale = between(1 - params.scale, 1 + params.scale, shape, device)
    x, y = (between(-params.translate, params.translate, shape, device) * size[:, axis] for axis in (0, 1))
    c, s = turn.cos() * scale, turn.sin() * scale
    moved = matrices([[c, c * lean - s, x], [s, s * lean + c, y], [0, 0, 1]], turn)  # turn @ [[1, lean], [0, 1]]
    mirror = 1 - 2 * happens(params.flip, shape, device).float()
    mirrored = matrices([[mirror, 0, 0], [0, 1, 0], [0, 0, 1]], mirror)
    return either(happens(params.share, shape, device), moved) @ mirrored


def view_moves(shape: tuple[int, int], params: ViewAugment, device: torch.device) -> Tensor:
    """(B, V, 3, 3): where in the changed image a place of the image is, both in -1..1."""
    shown = between(1 - params.scale, 1, shape, device)
    x, y = ((1 - shown) * between(-1, 1, shape, device) for _ in range(2))
    cut = matrices([[1 / shown, 0, -x / shown], [0, 1 / shown, -y / shown], [0, 0, 1]], shown)
    mirror = 1 - 2 * happens(params.flip, shape, device).float()
    mirrored = matrices([[mirror, 0, 0], [0, 1, 0], [0, 0, 1]], mirror)
    return mirrored @ either(happens(params.share, shape, device), cut)


def kept(there: Tensor, share: float) -> Tensor:
    """(B, V) bool: views that are not taken away; of each frame that has one, one at least stays."""
    draw = torch.rand(there.shape, device=there.device)
    luckiest = torch.where(there, draw, -1).argmax(1, keepdim=True)
    stays = draw >= share
    return there & stays.scatter(1, luckiest, True)


def looked_up(places: Tensor, ground: Tensor, view: Tensor, regions: Tensor | None) -> tuple[Tensor, Tensor]:
    """Where each view sees places of the true ground: (B, N, 2) metres -> (B, V, N, 2) in -1..1 of the changed images,
    OUTSIDE where they are not seen, and (B, V, N) bool.

    Not seen is what is behind the camera, outside of its image or of the window cut from it, or of its region.
    """

    x, y = places[:, None, :, :1], places[:, None, :, 1:]

    def through(matrix: Tensor) -> Tensor:  # (B, V, 3, 3) -> (B, V, N, 3); so small a product is slow as a matrix's
        first, second, third = matrix[:, :, None].unbind(-1)
        return x * first + y * second + third

    image = through(ground)
    depth = image[..., 2:]
    before, after = (
        values[..., :2] / torch.where(depth > NEAR_M, depth, 1.0) for values in (image, through(view @ ground))
    )
    seen = (depth[..., 0] > NEAR_M) & (before.abs() <= 1).all(-1) & (after.abs() <= 1).all(-1)
    if regions is not None:
        height, width = regions.shape[-2:]
        u, v = (((before[..., axis] + 1) * (size / 2)).nan_to_num() for axis, size in ((0, width), (1, height)))
        pixel = v.clamp(0, height - 1).long() * width + u.clamp(0, width - 1).long()
        seen = seen & regions.flatten(-2).gather(-1, pixel)
    return torch.where(seen[..., None], after, OUTSIDE), seen


def warped(images: Tensor, view: Tensor, mode: str = "bilinear") -> Tensor:
    """(B, V, C, H, W) changed by (B, V, 3, 3)."""
    height, width = images.shape[-2:]
    y, x = (((torch.arange(n, device=view.device) + 0.5) * (2 / n) - 1)[:, None] for n in (height, width))
    first, second, third = torch.linalg.inv_ex(view.flatten(0, 1)).inverse[:, None, :2].unbind(-1)
    grid = (y * second + third)[:, :, None] + (x * first)[:, None]  # affine_grid's, without its product of matrices
    return F.grid_sample(images.flatten(0, 1), grid, mode, "border", align_corners=False).unflatten(0, images.shape[:2])


def light(images: Tensor, params: ViewAugment) -> Tensor:
    """Each view's brightness, contrast and cast of colour, of bytes as floats (B, V, 3, H, W)."""
    shape = (*images.shape[:2], 1, 1, 1)
    brightness = between(1 - params.brightness, 1 + params.brightness, shape, images.device)
    if params.colour:
        cast = (*images.shape[:3], 1, 1)
        brightness = brightness * between(1 - params.colour, 1 + params.colour, cast, images.device)
    contrast = between(1 - params.contrast, 1 + params.contrast, shape, images.device)
    middle = images.mean((2, 3, 4), keepdim=True)
    return (images * (contrast * brightness) + middle * ((1 - contrast) * brightness)).clamp(0, 255)


def augment(batch: Batch, params: Augment) -> Example:
    """Each frame moved, each view changed; shares of 0 change nothing."""
    of = params.view
    scene = scene_moves(batch.size, params.scene)
    view = view_moves(batch.there.shape, of, batch.there.device)
    there = kept(batch.there, of.drop)
    grid = batch.cells.shape[1:3]
    places = batch.cells.flatten(1, 2) @ scene[:, :2, :2].mT + scene[:, None, :2, 2]
    sampling, visible = looked_up(places, batch.ground, view, batch.regions)
    on_plane = (places.abs() <= batch.size[:, None] / 2 + NEAR_M).all(-1)
    visible = visible & on_plane[:, None] & there[..., None]
    back = torch.linalg.inv_ex(scene).inverse  # unlike inv, does not wait for the device
    people = batch.people @ back[:, :2, :2].mT + back[:, None, :2, 2]
    feet, standing = looked_up(batch.people, batch.ground, view, batch.regions)
    standing = standing & there[..., None] & batch.real[:, None]
    images, regions = batch.images.movedim(-1, 2), batch.regions
    if (of.share and of.scale) or of.flip:
        images = warped(images.float(), view)
        regions = None if regions is None else warped(regions[:, :, None].float(), view, "nearest")[:, :, 0] > 0.5
    if of.brightness or of.contrast or of.colour:
        images = light(images.float(), of)
    return Example(
        normalised(images.movedim(2, -1)), sampling.unflatten(2, grid), visible.unflatten(2, grid), people, batch.real,
        torch.where(standing[..., None], feet, OUTSIDE), regions,
    )  # fmt: skip
