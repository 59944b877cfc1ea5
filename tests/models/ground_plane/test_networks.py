from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from models.ground_plane.factory import UNSEEN, build
from models.ground_plane.ground import Dilated, MultiScale, gathered, sampled
from models.ground_plane.variants import NETWORKS

pytestmark = pytest.mark.slow

GRID = (12, 18)
SMALL = "small-mean_max"


def network(name: str, views: int = 3, **kwargs) -> nn.Module:
    torch.manual_seed(0)
    return build(name, views, **kwargs)


def looks(views: int, batch: int = 2, seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Images, sampling and visibility; about a third of the cells unseen by each view."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(batch, views, 3, 32, 48, generator=generator)
    sampling = torch.rand(batch, views, *GRID, 2, generator=generator) * 2 - 1
    return images, sampling, torch.rand(batch, views, *GRID, generator=generator) < 0.7


def ground(model: nn.Module, *inputs: Tensor) -> Tensor:
    with torch.no_grad():
        return model.eval()(*inputs)["ground"]


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_gives_a_map_and_its_features(name):
    model, inputs = network(name, feet=True).eval(), looks(3)
    with torch.no_grad():
        found, (logits, below, views) = model(*inputs), model.features(*inputs)
    stride = 4 if name.startswith("small") else 8
    assert found["ground"].shape == (2, *GRID) and found["views"].shape == (2, 3, 32 // stride, 48 // stride)
    assert torch.equal(found["ground"], logits)
    assert below.shape[2:] == GRID and views.shape[:2] == (2, 3) and views.shape[3:] == found["views"].shape[2:]
    assert network(name)(*inputs)["views"] is None


@pytest.mark.parametrize("name", [SMALL, "resnet18-mean_max"])
def test_the_order_of_the_views_does_not_matter(name):
    inputs, order = looks(4), torch.tensor([2, 0, 3, 1])
    model = network(name)
    torch.testing.assert_close(ground(model, *(x[:, order] for x in inputs)), ground(model, *inputs), rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", [SMALL, "resnet18-mean_max"])
def test_a_view_that_sees_nothing_has_no_influence(name):
    images, sampling, visible = looks(3)
    visible[:, 1] = False
    others, model = [0, 2], network(name)
    found = ground(model, images, sampling, visible)
    torch.testing.assert_close(
        found, ground(model, images[:, others], sampling[:, others], visible[:, others]), rtol=0, atol=1e-4
    )
    images[:, 1] = 100.0
    torch.testing.assert_close(found, ground(model, images, sampling, visible), rtol=0, atol=1e-4)


def test_what_no_view_may_see_has_no_influence_and_nobody_in_it():
    images, sampling, visible = looks(3)
    visible[:, :, :, 9:] = False
    model = network(SMALL)
    found = ground(model, images, sampling, visible)
    assert (found[:, :, 9:] == UNSEEN).all() and (found[:, :, :9][visible.any(1)[:, :, :9]] > UNSEEN).all()
    sampling[:, :, :, 9:] = -sampling[:, :, :, 9:]
    assert torch.equal(found, ground(model, images, sampling, visible))


def test_in_training_too_a_small_network_learns_nothing_from_a_view_that_sees_nothing():
    images, sampling, visible = looks(3)
    visible[:, 1] = False
    images.requires_grad_()
    network(SMALL).train()(images, sampling, visible)["ground"].sum().backward()
    assert (images.grad[:, 1] == 0).all() and (images.grad[:, 0] != 0).any()


@given(views=st.integers(1, 6))
@settings(max_examples=6, deadline=None)
def test_one_network_takes_any_number_of_views_and_concat_takes_its_own(views):
    assert ground(network(SMALL, views=4), *looks(views, 1)).shape == (1, *GRID)
    concat = network("small-concat", views=4)
    if views > 4:
        with pytest.raises(ValueError, match=f"{views} views for a network that joins 4"):
            ground(concat, *looks(views, 1))
    else:  # missing ones are as ones that see nothing
        inputs = looks(4, 1)
        inputs[2][:, views:] = False
        torch.testing.assert_close(
            ground(concat, *(x[:, :views] for x in inputs)), ground(concat, *inputs), rtol=0, atol=1e-4
        )


def test_how_many_views_see_a_cell_is_known():
    """Twice the same view has the same mean and the same maximum as it alone, and yet is another thing."""
    one, model = looks(1, 1), network(SMALL)
    found, twice = ground(model, *one), ground(model, *(x.expand(-1, 2, *x.shape[2:]) for x in one))
    seen = one[2][:, 0]
    assert (found - twice)[seen].abs().max() > 1e-3 and torch.equal(found[~seen], twice[~seen])


def test_a_cell_knows_of_seven_cells_around_it():
    """What changes a cell, ring by ring: from the eighth on only what the norms, which know all cells, bring."""
    torch.manual_seed(0)
    x = torch.randn(4, 8, 61, 61, requires_grad=True)
    (change,) = torch.autograd.grad(Dilated(8)(x)[:, :, 30, 30].sum(), x)
    away = (torch.stack(torch.meshgrid(*[torch.arange(61) - 30] * 2, indexing="ij"))).abs().amax(0)
    rings = torch.stack([change.abs().mean((0, 1))[away == n].mean() for n in range(20)])
    assert rings[:8].min() > 10 * rings[8:].max()


def test_sampling_in_a_fixed_order_is_grid_sample():
    features = torch.randn(3, 5, 7, 9, dtype=torch.float64, requires_grad=True)
    sampling = torch.rand(3, *GRID, 2, dtype=torch.float64) * 3 - 1.5
    wanted = F.grid_sample(features, sampling, align_corners=False)
    torch.testing.assert_close(gathered(features, sampling), wanted)
    weight = torch.randn_like(wanted)
    (a,) = torch.autograd.grad((gathered(features, sampling) * weight).sum(), features)
    (b,) = torch.autograd.grad((wanted * weight).sum(), features)
    torch.testing.assert_close(a, b)


def test_places_are_as_fine_for_features_of_bfloat16():
    spot = torch.zeros(1, 1, 1, 160)
    spot[..., 150] = 1
    x = torch.linspace(149, 152, 200) / 80 - 1  # two pixels around it
    sampling = torch.stack([x, torch.zeros_like(x)], -1)[None, None]
    seen = torch.ones(1, 1, 200, dtype=torch.bool)
    for look in (lambda features: sampled(features, sampling, seen), lambda features: gathered(features, sampling)):
        found = look(spot.bfloat16())
        assert found.dtype == torch.bfloat16
        torch.testing.assert_close(found.float(), look(spot), rtol=0, atol=0.01)  # coarser places take another pixel


def test_unseen_cells_are_0_also_where_their_place_is_no_number():
    sampling = torch.full((1, *GRID, 2), torch.nan)
    assert (sampled(torch.ones(1, 4, 5, 5), sampling, torch.zeros(1, *GRID, dtype=torch.bool)) == 0).all()


def test_branches_of_the_original_pool_and_spread_as_torch_does():
    torch.manual_seed(0)
    block, x = MultiScale(6).eval(), torch.randn(1, 6, 40, 70)
    with torch.no_grad():
        first = block.first(x)
        parts = []
        for branch, size in zip(block.branches, (128, 64, 32, 16), strict=True):
            pooled = F.adaptive_avg_pool2d(first, (min(size, 40), min(size, 70)))
            parts.append(F.interpolate(branch(pooled), (40, 70), mode="bilinear", align_corners=False))
        torch.testing.assert_close(block(x), block.last(torch.cat(parts, 1)), rtol=1e-4, atol=1e-5)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="no network 'small-sum'; there are: small-mean_max"):
        build("small-sum", 3)
    with pytest.raises(ValueError, match="views = 0"):
        build(SMALL, 0)
