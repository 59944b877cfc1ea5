from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.ground_plane.losses import LOSSES, focal, mse


def logit(score: float) -> float:
    return math.log(score / (1 - score))


def frame(score: list[float], target: list[float], mask: list[bool] | None = None) -> tuple[torch.Tensor, ...]:
    mask = [True] * len(score) if mask is None else mask
    return torch.tensor([[list(map(logit, score))]]), torch.tensor([[target]]), torch.tensor([[mask]])


def test_focal_is_that_of_the_paper():
    """Objects as Points, eq. 1, by hand: two people, one cell near one of them, one with nobody."""
    found = focal(*frame([0.8, 0.5, 0.3, 0.1], [1.0, 1.0, 0.6, 0.0]))
    wanted = 0.2**2 * math.log(0.8) + 0.5**2 * math.log(0.5)
    wanted += 0.4**4 * 0.3**2 * math.log(0.7) + 0.1**2 * math.log(0.9)
    assert found.item() == pytest.approx(-wanted / 2, rel=1e-5)


def test_mse_is_the_sum_over_the_cells_of_a_frame():
    assert mse(*frame([0.8, 0.5, 0.1], [1.0, 0.5, 0.4])).item() == pytest.approx(0.04 + 0.09, rel=1e-5)


@pytest.mark.parametrize("kind", LOSSES)
def test_cells_outside_of_the_mask_cost_and_teach_nothing(kind):
    logits, target, mask = frame([0.8, 0.5, 0.9], [1.0, 0.3, 1.0], [True, True, False])
    logits.requires_grad_()
    cost = LOSSES[kind](logits, target, mask)
    assert cost.item() == pytest.approx(LOSSES[kind](*(x[..., :2] for x in (logits, target, mask))).item())
    cost.backward()
    assert logits.grad[0, 0, 2] == 0 and (logits.grad[0, 0, :2] != 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("kind", LOSSES)
@given(seed=st.integers(0, 1000), people=st.integers(0, 4))
def test_a_batch_costs_the_mean_of_its_frames_with_people_or_without(kind, seed, people):
    generator = torch.Generator().manual_seed(seed)
    logits, target = torch.randn(3, 5, 6, generator=generator), torch.rand(3, 5, 6, generator=generator) * 0.9
    target[0].flatten()[:people] = 1.0
    mask = torch.rand(3, 5, 6, generator=generator) < 0.8
    alone = [LOSSES[kind](*(x[i : i + 1] for x in (logits, target, mask))) for i in range(3)]
    torch.testing.assert_close(LOSSES[kind](logits, target, mask), torch.stack(alone).mean())


@pytest.mark.parametrize("kind", LOSSES)
def test_extreme_logits_stay_finite(kind):
    logits = torch.tensor([[[-90.0, 90.0]]], requires_grad=True)
    LOSSES[kind](logits, torch.tensor([[[1.0, 0.0]]]), torch.ones(1, 1, 2, dtype=torch.bool)).backward()
    assert logits.grad.isfinite().all()
