"""The expert's Betas against torch's own, and what is never invented."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.distributions import Beta, kl_divergence

from models.open_loop_driving import losses
from models.open_loop_driving.decoders import beta_of, raw_of
from tasks.open_loop_driving.formats.plans import control, mode


def test_the_divergence_of_betas_is_that_of_torch():
    torch.manual_seed(0)
    a, b, c, d = (torch.rand(50, dtype=torch.float64) * 11 + 0.05 for _ in range(4))
    assert torch.allclose(losses.kl(a, b, c, d), kl_divergence(Beta(a, b), Beta(c, d)), atol=1e-9)
    assert losses.kl(a, b, a, b).abs().max() < 1e-9


def test_the_mode_is_that_of_torch_and_an_end_where_there_is_none_inside():
    torch.manual_seed(0)
    a, b = (torch.rand(50, dtype=torch.float64) * 10 + 1.05 for _ in range(2))
    assert np.allclose(mode(a.numpy(), b.numpy()), Beta(a, b).mode.numpy())
    ends = mode(np.array([0.8, 5.5, 0.5]), np.array([5.5, 0.8, 0.5]))
    assert ends.tolist() == [0.0, 1.0, 0.5]  # ThinkTwice's Beta of a sure brake; its contrary; both ends alike
    brakes = control(np.array([[0.8, 6.0]]), np.array([[5.5, 6.0]]))
    assert brakes.tolist() == [[0.0, 0.0, 1.0]]


def test_raw_numbers_are_those_that_give_the_expert_s_betas():
    alpha, beta = torch.rand(9, 2) * 11 + 0.01, torch.rand(9, 2) * 11 + 0.01
    found = beta_of(raw_of(alpha, beta))
    assert torch.allclose(found[0], alpha, atol=1e-5) and torch.allclose(found[1], beta, atol=1e-5)


def test_classes_are_taken_from_the_nearest_pixel_and_unknown_ones_are_the_rest():
    """Between road (7) and vehicle (10) lies no sidewalk (8); class 0 is no class's own."""
    ids = torch.full((1, 8, 8), 7, dtype=torch.uint8)
    ids[:, :, 4:] = 10
    names = list(losses.CLASSES)
    logits = torch.full((1, len(names) + 1, 4, 4), -20.0)
    logits[:, 1 + names.index("road"), :, :2] = 20
    logits[:, 1 + names.index("vehicle"), :, 2:] = 20
    assert losses.classes(logits, ids) < 1e-6
    assert losses.class_of(torch.tensor([0, 255, 3, 1])).tolist() == [0, 0, 0, 1]


def test_the_depth_of_a_part_is_the_nearest_that_is_known_and_unknown_ones_cost_nothing():
    metres = torch.zeros(1, 4, 4)
    metres[0, 0, 0], metres[0, 1, 1] = 20.0, 5.2  # one part of 2 x 2 has depths, the others none
    logits = torch.full((1, 27, 2, 2), -30.0)
    logits[0, 2, 0, 0] = 30  # 4 to 5.5 m
    assert losses.depth(logits, metres, (1.0, 1.5, 27)) < 1e-3
    logits[0, :, 1, 1] = torch.randn(27)
    assert losses.depth(logits, metres, (1.0, 1.5, 27)) < 1e-3
    assert losses.depth(logits.flip(2), metres, (1.0, 1.5, 27)) > 1


@pytest.mark.parametrize("parts", [(6,), (2, 4)])
def test_terms_of_micro_batches_add_up(parts):
    torch.manual_seed(0)
    found = {"waypoints": torch.randn(3, 6, 4, 2), "raw": torch.randn(3, 6, 4, 4), "speed": torch.rand(6)}
    target = {"waypoints": torch.randn(6, 4, 2), "alpha": torch.rand(6, 4, 2) + 1, "beta": torch.rand(6, 4, 2) + 1,
              "speed": torch.rand(6)}  # fmt: skip
    whole = losses.all_terms(found, target, None)
    total = dict.fromkeys(whole, 0.0)
    start = 0
    for n in parts:
        s = slice(start, start + n)
        part = losses.all_terms(
            {"waypoints": found["waypoints"][:, s], "raw": found["raw"][:, s], "speed": found["speed"][s]},
            {name: value[s] for name, value in target.items()}, None,
        )  # fmt: skip
        total = {name: total[name] + float(part[name]) * n / 6 for name in total}
        start += n
    assert total == pytest.approx({name: float(value) for name, value in whole.items()}, rel=1e-5)
