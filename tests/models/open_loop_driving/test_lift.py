"""From pixels to cells: what is known to be somewhere is found there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.open_loop_driving import lift
from models.open_loop_driving.encoders import LAYERS, voxels
from models.open_loop_driving.variants import GRID

IMAGE, PARTS = (64, 112), (8, 14)


def camera(yaw_deg: float, at: tuple[float, float, float]) -> tuple[torch.Tensor, torch.Tensor]:
    """K and camera_from_ego of a level camera."""
    c, s = np.cos(np.radians(yaw_deg)), np.sin(np.radians(yaw_deg))
    turn = np.array([[s, -c, 0], [0, 0, -1], [c, s, 0]])
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = turn, -turn @ at
    K = np.array([[66.0, 0, 56], [0, 66.0, 32], [0, 0, 1]])
    return torch.tensor(K, dtype=torch.float32), torch.tensor(pose, dtype=torch.float32)


RIG = [camera(0, (1.5, 0, 2.5)), camera(65, (0, 0.3, 2.5)), camera(180, (-1.6, 0, 2.5))]
PLACES = [(0, (14.0, 2.0, 0.5)), (0, (25.0, -6.0, 3.0)), (1, (6.0, 9.0, 1.0)), (2, (-6.0, 1.0, 0.5))]


@pytest.mark.parametrize(("which", "point"), PLACES)
def test_a_known_point_is_lifted_into_its_cell(which, point):
    """Its pixel at its depth, wherever the camera stands: a transposed matrix in place of the inverse loses that."""
    K, pose = RIG[which]
    at, visible = lift.project(torch.tensor([[point]]), K[None, None], pose[None, None], IMAGE)
    assert visible.all()
    column, row = ((at[0, 0, 0] + 1) / 2 * torch.tensor([PARTS[1], PARTS[0]])).floor().int().tolist()
    depth = float((pose @ torch.tensor([*point, 1.0]))[2])
    cloud = lift.frustum(K, lift.inverse(pose), IMAGE, PARTS, torch.tensor([depth]))
    found = cloud[0, row, column]
    assert torch.linalg.norm(found - torch.tensor(point)) < depth * 8 / 66  # within its part of the image
    place, inside = lift.cells(cloud)
    wanted = int((30.4 - point[0]) / 38.4 * GRID), int((19.2 - point[1]) / 38.4 * GRID)
    cell = divmod(int(place[0, row, column]), GRID)
    assert inside[0, row, column] and max(abs(a - b) for a, b in zip(cell, wanted, strict=True)) <= 1
    exact = lift.cells(torch.tensor([point]))
    assert divmod(int(exact[0][0]), GRID) == wanted and exact[1].all()


def test_pooling_is_the_sum_over_the_cloud():
    """Of depth share times features of every pixel and bin in a cell; what falls outside counts nowhere."""
    torch.manual_seed(0)
    b, n, c, d, p = 2, 2, 3, 5, 6
    features, depth = torch.randn(b, n, c, p), torch.rand(b, n, d, p)
    place, inside = torch.randint(0, GRID * GRID, (b, n, d, p)), torch.rand(b, n, d, p) < 0.7
    wanted = torch.zeros(b, c, GRID * GRID)
    for i, j, k, q in np.ndindex(b, n, d, p):
        if inside[i, j, k, q]:
            wanted[i, :, place[i, j, k, q]] += depth[i, j, k, q] * features[i, j, :, q]
    found = lift.splat(features, depth, place, inside)
    assert torch.allclose(found.flatten(2), wanted, atol=1e-5)


def motion(forward: float, left: float, yaw: float) -> torch.Tensor:
    """From the frame before to that of now, where the car has driven so far and turned so much in the former."""
    c, s = np.cos(yaw), np.sin(yaw)
    now_from_world = np.array([[c, s, 0, 0], [-s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    now_from_world[:2, 3] = -now_from_world[:2, :2] @ [forward, left]
    return torch.tensor(now_from_world, dtype=torch.float32)


def test_a_world_that_stands_is_in_the_same_cell_in_both_frames():
    """A pole seen at a known depth before and now: compensated it stays where it is, else it moves by four cells."""
    pole, moved = torch.tensor([20.0, 4.0, 1.0, 1.0]), motion(7.5, 0.4, 0.12)
    K, pose = RIG[0]
    before, _ = lift.project(pole[None, None, :3], K[None, None], pose[None, None], IMAGE)
    depth = (pose @ pole)[2]
    column, row = ((before[0, 0, 0] + 1) / 2 * torch.tensor([112, 64])).floor().int().tolist()
    seen = lift.frustum(K, moved @ lift.inverse(pose), IMAGE, IMAGE, depth[None])[0, row, column]
    now = (moved @ pole)[:3]
    assert torch.linalg.norm(seen - now) < 0.4
    assert torch.linalg.norm(lift.frustum(K, lift.inverse(pose), IMAGE, IMAGE, depth[None])[0, row, column] - now) > 7


def test_voxels_count_the_points_of_a_cell_by_sweep_and_height():
    points = torch.tensor([[30.0, 19.0, 0.1, 0.5], [30.0, 19.0, 0.2, 1.0], [30.0, 19.0, 9.0, 0.0], [99.0, 0, 0, 1.0]])
    found = voxels(points, torch.tensor([1, 1, 1, 0]), torch.tensor([0, 0, 1, 0]), 2, 84)
    assert found.shape == (2, 2 * (LAYERS + 1), 84, 84) and not found[0].any()
    assert found[1, 0, 0, 0] == pytest.approx(np.log(3)) and found[1, LAYERS, 0, 0] == pytest.approx(0.75)
    assert found[1, 2 * LAYERS, 0, 0] == pytest.approx(np.log(2)) and found[1].count_nonzero() == 3
