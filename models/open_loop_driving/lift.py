"""From the pixels of cameras to the ground: lift-splat (Philion & Fidler, ECCV 2020), without a cloud of features.

A pixel with depths d and shares p(d) gives its features to the cells below the places at these depths, p(d) to each.
All its depths that fall into one cell are added before the features are looked at: the shares make a matrix
(cells x pixels), and the sum over the cloud is its product with the features. What scatters are numbers, not vectors.

Frames: the car's x ahead, y left, z up; cameras' x right, y down, z ahead; the middle of the first pixel is (.5, .5).
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.open_loop_driving.variants import GRID, WINDOW_M

NEAR_M = 0.1  # less depth than this is behind the camera


def bins(depths: tuple[float, float, int], device: torch.device) -> Tensor:
    """(D): the middle of each bin in metres."""
    first, step, count = depths
    return first + step * (torch.arange(count, device=device) + 0.5)


def inverse(rigid: Tensor) -> Tensor:
    """Of (..., 4, 4) turns and moves: the true one, moved as well as turned."""
    turn = rigid[..., :3, :3].transpose(-1, -2)
    moved = -(turn @ rigid[..., :3, 3:])
    return torch.cat([torch.cat([turn, moved], -1), rigid[..., 3:, :]], -2)


def frustum(K: Tensor, ego_from_camera: Tensor, image: tuple[int, int], grid: tuple[int, int], depth: Tensor) -> Tensor:
    """Where the middles of (h, w) equal parts of an image (H, W) lie at depths (D): cameras (..., 3, 3), (..., 4, 4)
    -> (..., D, h, w, 3) in the frame that `ego_from_camera` leads to."""
    v, u = (
        (torch.arange(n, device=K.device, dtype=K.dtype) + 0.5) * (side / n)
        for n, side in zip(grid, image, strict=True)
    )
    x = (u - K[..., 0, 2, None]) / K[..., 0, 0, None]  # (..., w)
    y = (v - K[..., 1, 2, None]) / K[..., 1, 1, None]  # (..., h)
    rays = torch.stack([x[..., None, :].expand(*x.shape[:-1], grid[0], grid[1]),
                        y[..., :, None].expand(*y.shape[:-1], grid[0], grid[1]),
                        torch.ones(*x.shape[:-1], *grid, device=K.device, dtype=K.dtype)], -1)  # fmt: skip
    turned = torch.einsum("...ij,...hwj->...hwi", ego_from_camera[..., :3, :3], rays)
    along = turned[..., None, :, :, :] * depth[:, None, None, None]
    return along + ego_from_camera[..., None, None, None, :3, 3]


def cells(points: Tensor, grid: int = GRID) -> tuple[Tensor, Tensor]:
    """(..., 3) metres -> the cell (row * grid + column) below each, row 0 farthest ahead and column 0 farthest left;
    and whether it lies in the window."""
    back, front, right, left = WINDOW_M
    row = ((front - points[..., 0]) * (grid / (front - back))).floor()
    column = ((left - points[..., 1]) * (grid / (left - right))).floor()
    inside = (row >= 0) & (row < grid) & (column >= 0) & (column < grid)
    place = row.clamp(0, grid - 1) * grid + column.clamp(0, grid - 1)
    return place.long(), inside


def shares(depth: Tensor, place: Tensor, inside: Tensor, grid: int = GRID) -> Tensor:
    """Depth shares (B, N, D, P), cells of the same shape -> (B, cells, N * P): what part of a pixel each cell is
    given."""
    n, d, p = (int(side) for side in depth.shape[1:])  # how many moments there are stays open for ONNX
    pixel = torch.arange(n * p, device=depth.device).view(1, n, 1, p)
    flat = (place * (n * p) + pixel).reshape(-1, n * d * p)
    given = (depth * inside).reshape(-1, n * d * p)
    matrix = torch.zeros_like(given[:, :1]).expand(-1, grid * grid * n * p)
    return matrix.scatter_add(1, flat, given).view(-1, grid * grid, n * p)


def splat(features: Tensor, depth: Tensor, place: Tensor, inside: Tensor, grid: int = GRID) -> Tensor:
    """Features (B, N, C, P) of P pixels of N cameras, depth shares (B, N, D, P), cells and whether they count of the
    same shape -> (B, C, grid, grid)."""
    n, c, p = (int(side) for side in features.shape[1:])
    matrix = shares(depth, place, inside, grid)
    below = torch.bmm(matrix, features.permute(0, 1, 3, 2).reshape(-1, n * p, c).to(matrix.dtype))
    return below.transpose(1, 2).reshape(-1, c, grid, grid)


def project(points: Tensor, K: Tensor, camera_from_ego: Tensor, image: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Points (B, Q, 3) into cameras (B, N, ...): where, (B, N, Q, 2) in -1..1 as `grid_sample` takes it
    (align_corners=False), and whether the camera sees them."""
    seen = torch.einsum("bnij,bqj->bnqi", camera_from_ego[..., :3, :3], points) + camera_from_ego[..., None, :3, 3]
    z = seen[..., 2:]
    pixels = torch.einsum("bnij,bnqj->bnqi", K, seen)[..., :2] / torch.where(z > NEAR_M, z, 1.0)
    at = torch.stack([pixels[..., 0] * (2 / image[1]) - 1, pixels[..., 1] * (2 / image[0]) - 1], -1)
    return at, (z[..., 0] > NEAR_M) & (at.abs() <= 1).all(-1)


def on_ground(xy: Tensor) -> Tensor:
    """Places (..., 2) metres -> as `grid_sample` takes them in a map of the window (align_corners=False)."""
    back, front, right, left = WINDOW_M
    column = (left - xy[..., 1]) * (2 / (left - right)) - 1
    row = (front - xy[..., 0]) * (2 / (front - back)) - 1
    return torch.stack([column, row], -1)
