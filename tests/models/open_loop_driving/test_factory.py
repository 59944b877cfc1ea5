"""Every network goes through, gives a plan of each of its layers, and uses what it is given."""

from __future__ import annotations

import pytest
import torch

from models.open_loop_driving import losses, variants
from models.open_loop_driving.encoders import LAYERS
from models.open_loop_driving.factory import build, layers_of
from tests.models.open_loop_driving.test_lift import RIG

SMALL = [name for name in variants.NETWORKS if not name.startswith("thinktwice-") and name not in ("thinktwice", "tcp")]


def inputs(name: str, size: tuple[int, int], cameras: int = 2, batch: int = 2) -> dict:
    torch.manual_seed(0)
    state = torch.rand(batch, 9)
    found = {"state": state}
    if "rgb" in variants.needs(name):
        K, pose = (torch.stack(parts)[None].expand(batch, -1, -1, -1) for parts in zip(*RIG[:cameras], strict=True))
        motion = torch.eye(4).expand(batch, 4, 4).clone()
        motion[:, 0, 3] = -3.0
        found |= {"images": torch.randn(batch, 2, cameras, 3, *size), "K": K, "camera_from_ego": pose, "motion": motion}
    if "lidar" in variants.needs(name):
        cells = variants.sizes_of(name).lidar_cells
        found["voxels"] = torch.rand(batch, 2 * (LAYERS + 1), cells, cells)
    return found


def target(name: str, size: tuple[int, int], cameras: int = 2, batch: int = 2) -> dict:
    sizes = variants.sizes_of(name)
    maps = [torch.rand(batch, c, n, n) for c, n in zip(sizes.bev, (21, 10, 4, 2), strict=True)]
    return {
        "waypoints": torch.rand(batch, 4, 2) * 8, "alpha": torch.rand(batch, 4, 2) * 9 + 1,
        "beta": torch.rand(batch, 4, 2) * 9 + 1, "speed": torch.rand(batch) * 8, "value": torch.rand(batch),
        "maps": maps, "vector": torch.rand(batch, sizes.vector), "imitates": torch.ones(batch),
        "ahead": torch.rand(batch, 4, sizes.bev[0], 21, 21),
        "metres": torch.rand(batch, cameras, *size) * 50, "classes": torch.randint(0, 19, (batch, cameras, *size)),
    }  # fmt: skip


@pytest.mark.parametrize("name", SMALL)
def test_every_small_network_plans_in_each_layer(name):
    network = build(name, 4, 0.5).eval()
    with torch.no_grad():
        found = network(**inputs(name, (32, 56)))
    layers = len(layers_of(name))
    assert found["waypoints"].shape == (layers, 2, 4, 2) and found["raw"].shape == (layers, 2, 4, 4)
    assert ("look" in found) == (layers > 1) and found["waypoints"].isfinite().all()


def test_without_the_coarse_plan_layers_begin_with_constant_velocity():
    found = build("thinktwice_small-coarse", 4, 0.5)(**inputs("thinktwice_small-coarse", (32, 56)))
    speed = inputs("thinktwice_small", (32, 56))["state"][:, 0] * 12
    assert torch.allclose(found["waypoints"][0, :, 3, 0], speed * 2) and not found["waypoints"][0, ..., 1].any()


def test_a_small_network_learns_from_every_term_and_all_of_it_is_used():
    name, size = "thinktwice_small", (32, 56)
    network, wanted = build(name, 4, 0.5), target(name, size)
    found = network(**inputs(name, size), truth=losses.truth_of(wanted))
    terms = losses.all_terms(found, wanted, variants.sizes_of(name).depths)
    assert len(terms) == 19 and all(value.isfinite() and value > 0 for value in terms.values())
    sum(terms.values()).backward()
    idle = [key for key, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    # The last layer's map and vector are for no layer after it, but for what they are to be like.
    assert not idle, idle


def test_the_moment_before_is_seen_where_it_lies_now():
    """Another way driven since then, another plan: and without gradients, as the original."""
    name = "thinktwice_small-lidar"
    network, given = build(name, 4, 0.5).eval(), inputs(name, (32, 56))
    with torch.no_grad():
        here = network(**given)["waypoints"]
        there = network(**{**given, "motion": torch.eye(4).expand(2, 4, 4)})["waypoints"]
    assert not torch.equal(here, there)
    images = given["images"].requires_grad_()
    network(**given)["waypoints"].sum().backward()
    assert images.grad[:, 1].any() and not images.grad[:, 0].any()


PUBLISHED = {"cameras": 49.7, "lidar": 4.23, "fusion": 4.34, "down": 1.13, "coarse": 1.32, "layers": 41.36}


@pytest.mark.slow
def test_the_published_sizes_fit_together_and_weigh_what_they_weigh():
    """448 x 896 px, four cameras, five layers: shapes alone, without memory. Millions of weights of each part."""
    name, cameras = "thinktwice", 4
    given = inputs(name, (8, 16), 2, 1)
    given |= {
        "images": torch.empty(1, 2, cameras, 3, 448, 896), "K": torch.empty(1, cameras, 3, 3),
        "camera_from_ego": torch.empty(1, cameras, 4, 4),
    }  # fmt: skip
    with torch.device("meta"):
        network = build(name, 4, 0.5)
        found = network(**{key: torch.empty_like(value, device="meta") for key, value in given.items()})
    parts = {key: sum(p.numel() for p in part.parameters()) / 1e6 for key, part in network.named_children()}
    assert {key: parts[key] for key in PUBLISHED} == pytest.approx(PUBLISHED, abs=0.01) and len(network.layers) == 5
    assert found["waypoints"].shape == (6, 1, 4, 2) and found["depth"].shape == (cameras, 80, 28, 56)
    assert [map_.shape[1:] for map_ in found["maps"]] == [(32, 21, 21), (64, 10, 10), (128, 4, 4), (256, 2, 2)]


@pytest.mark.slow
def test_the_published_sizes_go_forward_and_backward():
    """All channels and layers as published, on small images and a coarse lidar; one moment, on a CPU."""
    name, size = "thinktwice", (64, 128)
    network, wanted = build(name, 4, 0.5), target(name, size, 2, 1)
    given = inputs(name, size, 2, 1)
    given["voxels"] = torch.rand(1, given["voxels"].shape[1], 84, 84)
    found = network(**given, truth=losses.truth_of(wanted))
    assert found["waypoints"].shape == (6, 1, 4, 2)
    sum(losses.all_terms(found, wanted, variants.sizes_of(name).depths).values()).backward()
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)
    idle = [key for key, p in network.named_parameters() if p.grad is None]
    assert not idle, idle


def test_an_unknown_name_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match="thinktwice_small"):
        build("thinktrice", 4, 0.5)
    with pytest.raises(ValueError, match="sees nothing"):
        build("thinktwice_small-camera-lidar", 4, 0.5)
