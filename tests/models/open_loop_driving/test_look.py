"""A layer sees what it looks at. The original's, as released, did not: it kept the padding of its queries, gave every
step one vector, and set what the lidar saw to zero."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from models.open_loop_driving import lift
from models.open_loop_driving.encoders import Down
from models.open_loop_driving.refine import FIXED_M, Attention, Layer, Look, Prediction
from models.open_loop_driving.variants import sizes_of
from tests.models.open_loop_driving.test_lift import IMAGE, RIG

SIZES = sizes_of("thinktwice_small")
WAYPOINTS = torch.tensor([[[4.0, 0.0], [8.0, 0.3], [12.0, 1.0], [16.0, 2.0]]])
FIXED = len(FIXED_M)


def seen(seed: int = 0) -> dict:
    torch.manual_seed(seed)
    K, pose = (torch.stack(parts)[None] for parts in zip(*RIG[:2], strict=True))
    levels = [torch.randn(2, SIZES.fpn, *size) for size in ((16, 28), (8, 14))]
    return {"K": K, "camera_from_ego": pose, "image": IMAGE, "levels": levels, "lidar": torch.randn(1, 32, 21, 21)}


def looked(look: Look, waypoints: torch.Tensor, of: dict) -> torch.Tensor:
    time = torch.zeros(1, 4, 16)
    state, vector = torch.zeros(1, SIZES.state), torch.zeros(1, SIZES.vector)
    with torch.no_grad():
        return look(waypoints, torch.zeros(1, 4, 4), time, state, vector, of)


def reference(attention: Attention, query, at, visible, levels) -> torch.Tensor:
    """The mean over cameras that see a query, place by place."""
    (b, n, q), out = visible.shape, torch.zeros(*query.shape[:2], levels[0].shape[1])
    heads, points, width = attention.heads, attention.points, levels[0].shape[1] // attention.heads
    offsets = attention.offsets(query).view(b, q, heads, len(levels), points, 2)
    weights = attention.weights(query).view(b, q, heads, -1).softmax(-1).view(b, q, heads, len(levels), points)
    for i in range(b):
        for j in range(q):
            cameras = [k for k in range(n) if visible[i, k, j]]
            for k in cameras:
                for m, level in enumerate(levels):
                    values = attention.value(level[i * n + k].permute(1, 2, 0)).permute(2, 0, 1)
                    size = torch.tensor([level.shape[3], level.shape[2]])
                    for h in range(heads):
                        for p in range(points):
                            place = at[i, k, j] + offsets[i, j, h, m, p] * 2 / size
                            part = values[None, h * width : (h + 1) * width]
                            got = F.grid_sample(part, place.view(1, 1, 1, 2), align_corners=False)[0, :, 0, 0]
                            share = weights[i, j, h, m, p] / len(cameras)
                            out[i, j, h * width : (h + 1) * width] += share * got
            out[i, j] = attention.out(out[i, j]) if cameras else 0
    return out


def test_attention_is_that_of_a_loop_over_places():
    torch.manual_seed(1)
    attention = Attention(query=5, width=8, heads=2, levels=2, points=3)
    torch.nn.init.normal_(attention.offsets.weight)
    torch.nn.init.normal_(attention.weights.weight)
    levels = [torch.randn(2, 8, 6, 9), torch.randn(2, 8, 3, 5)]
    query, at = torch.randn(1, 4, 5), torch.rand(1, 2, 4, 2) * 2 - 1
    visible = torch.tensor([[[True, True, False, True], [True, False, False, True]]])
    with torch.no_grad():
        found, wanted = attention(query, at, visible, levels), reference(attention, query, at, visible, levels)
    assert torch.allclose(found, wanted, atol=1e-5) and not found[0, 2].any()


def test_what_lies_at_a_waypoint_in_the_image_reaches_its_step():
    """Padding does not: there is none, and a place that no camera sees gives nothing."""
    look, of = Look(SIZES, 16).eval(), seen()
    before = looked(look, WAYPOINTS, of)
    at, _ = lift.project(torch.tensor([[[*WAYPOINTS[0, 2], 1.5]]]), of["K"], of["camera_from_ego"], IMAGE)
    changed = [level.clone() for level in of["levels"]]
    column, row = ((at[0, 0, 0] + 1) / 2 * torch.tensor([28, 16])).int().tolist()
    changed[0][0, :, row, column] += 5
    after = looked(look, WAYPOINTS, {**of, "levels": changed})
    moved = (after - before).abs().amax((0, 2))
    assert moved[2] > 1e-3
    behind = torch.tensor([[[-4.0, 0.0]] * 4])
    nothing = looked(look, behind, of)[:, :4, : SIZES.fpn]
    assert torch.equal(nothing, looked(look, behind, {**of, "levels": changed})[:, :4, : SIZES.fpn])


def test_every_step_has_a_vector_of_its_own_that_moves_with_its_place():
    look, of = Look(SIZES, 16).eval(), seen()
    found = looked(look, WAYPOINTS, of)
    assert all((found[0, i] - found[0, j]).abs().max() > 1e-3 for i in range(4) for j in range(i))
    elsewhere = WAYPOINTS.clone()
    elsewhere[0, 1, 1] += 4
    moved = (looked(look, elsewhere, of) - found).abs().amax((0, 2))
    assert moved[1] > 1e-3 and not moved[[0, 2, 3, *range(4, 4 + FIXED)]].any()


def test_the_lidar_is_looked_at_where_the_plan_leads():
    look, of = Look(sizes_of("thinktwice_small-camera"), 16).eval(), seen()
    before = looked(look, WAYPOINTS, of)
    changed = of["lidar"].clone()
    cell = ((lift.on_ground(WAYPOINTS[0, 3]) + 1) / 2 * 21).int()
    changed[0, :, cell[1], cell[0]] += 5
    moved = (looked(look, WAYPOINTS, {**of, "lidar": changed}) - before).abs().amax((0, 2))
    assert moved[3] > 1e-3 and moved[0] == 0 and before.any()


def test_a_layer_learns_from_both_sensors_and_gives_each_step_its_offset():
    torch.manual_seed(0)
    layer, of = Layer(SIZES, 4), seen()
    for level in (*of["levels"], of["lidar"]):
        level.requires_grad_()

    now, vector = torch.rand(1, 16, 21, 21), torch.rand(1, SIZES.vector)
    down = Down(SIZES.bev, SIZES.vector)
    found = layer(WAYPOINTS, torch.zeros(1, 4, 4), now, vector, torch.rand(1, SIZES.state), of, down)
    found["offset"].sum().backward()
    assert all(level.grad.abs().sum() > 0 for level in (*of["levels"], of["lidar"]))
    assert found["offset"].shape == (1, 4, 2) and found["ahead"].shape == (1, 4, 16, 21, 21)


def test_another_plan_predicts_other_surroundings():
    torch.manual_seed(0)
    prediction, now = Prediction(SIZES), torch.rand(1, 16, 21, 21)
    raw = torch.zeros(1, 4, 4)
    one, other = (prediction(WAYPOINTS * by, raw, now) for by in (1, 0))
    assert not torch.allclose(one, other) and not torch.allclose(one[:, 0], one[:, 3])


@pytest.mark.parametrize("part", ["camera", "lidar"])
def test_a_network_without_a_sensor_has_no_weights_for_it(part):
    look = Look(sizes_of(f"thinktwice_small-{part}"), 16)
    assert (look.attention if part == "camera" else look.gate) is None
