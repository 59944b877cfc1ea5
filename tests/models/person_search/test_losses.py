from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.person_search.losses import combined, softmax, triplet

LINE = torch.tensor([[0.0], [1.0], [3.0], [7.0]])  # two people on a line: 0 and 1, 3 and 7
WHO = torch.tensor([4, 4, 2, 2])
GAPS = [1 - 3, 1 - 2, 4 - 2, 4 - 6]  # farthest own - nearest other, by hand


def slow_triplet(vectors: np.ndarray, who: np.ndarray, margin: float | None) -> float:
    losses = []
    for i in range(len(who)):
        own = [math.dist(vectors[i], vectors[j]) for j in range(len(who)) if j != i and who[j] == who[i]]
        other = [math.dist(vectors[i], vectors[j]) for j in range(len(who)) if who[j] != who[i]]
        if own and other:
            gap = max(own) - min(other)
            losses.append(math.log1p(math.exp(gap)) if margin is None else max(0.0, margin + gap))
    return sum(losses) / len(losses) if losses else 0.0


def test_softmax_by_hand():
    logits, who = torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([0])
    log_sum = math.log(math.exp(2) + 2)
    assert softmax(logits, who, 0.0).item() == pytest.approx(log_sum - 2)
    assert softmax(logits, who, 0.1).item() == pytest.approx(log_sum - 2 * (0.9 + 0.1 / 3))


def test_triplet_by_hand():
    assert triplet(LINE, WHO, 0.3).item() == pytest.approx((0.3 + 2) / 4)
    assert triplet(LINE, WHO, 2.0).item() == pytest.approx((0 + 1 + 4 + 0) / 4)
    assert triplet(LINE, WHO, None).item() == pytest.approx(sum(math.log1p(math.exp(gap)) for gap in GAPS) / 4)


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.sampled_from([0.3, 5.0, None]), st.integers(0, 2**31))
def test_triplet_is_that_of_a_slow_loop(who, margin, seed):
    generator = np.random.default_rng(seed)
    vectors = generator.normal(size=(len(who), 3)).round(1)  # rounded: some are equal
    found = triplet(torch.tensor(vectors), torch.tensor(who), margin).item()
    assert found == pytest.approx(slow_triplet(vectors, np.array(who), margin), abs=1e-5)


def test_the_gradient_pulls_ones_own_and_pushes_the_other():
    vectors = LINE.clone().requires_grad_()
    triplet(vectors, WHO, 0.3).backward()
    # Only the anchor at 3 is in want: its own at 7 comes nearer, the other at 1 goes away, it moves itself by both.
    np.testing.assert_allclose(vectors.grad.flatten(), [0, 1 / 4, -1 / 4 - 1 / 4, 1 / 4])


@pytest.mark.parametrize("margin", [0.3, None])
@pytest.mark.parametrize("who", [[0, 0, 1, 1], [0, 1, 2, 3], [0, 0, 0, 0], [0, 0, 1, 2], [0]])
@pytest.mark.parametrize("apart", [0.0, 1.0])
def test_loss_and_gradient_are_finite_whoever_is_in_the_batch(margin, who, apart):
    vectors = (apart * torch.arange(len(who) * 2.0).view(-1, 2)).requires_grad_()
    loss = triplet(vectors, torch.tensor(who), margin)
    loss.backward()
    assert loss.isfinite() and vectors.grad.isfinite().all()


def test_one_point_for_everyone_costs_the_margin():
    vectors = torch.ones(4, 8)
    assert triplet(vectors, WHO, 0.3).item() == pytest.approx(0.3)
    assert triplet(vectors, WHO, None).item() == pytest.approx(math.log(2))


def test_one_image_of_a_person_is_somebody_else_to_the_others_and_no_anchor():
    vectors, who = torch.tensor([[0.0], [1.0], [1.5]]), torch.tensor([0, 0, 1])
    assert triplet(vectors, who, 0.3).item() == pytest.approx((0 + 0.3 + 1 - 0.5) / 2)


def test_small_distances_far_from_zero_survive_mixed_precision():
    vectors = 300 + LINE / 100
    with torch.autocast("cpu", torch.bfloat16):
        found = triplet(vectors, WHO, 0.3)
    assert found.item() == pytest.approx(sum(0.3 + gap / 100 for gap in GAPS) / 4, abs=1e-4)
    assert triplet(LINE.bfloat16(), WHO, 0.3).item() == pytest.approx((0.3 + 2) / 4)


def test_the_terms_are_weighted_and_the_triplet_alone_sees_everyone():
    logits = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    whole = {"label_smoothing": 0.1, "margin": 0.3}
    terms = combined(logits, LINE, WHO, softmax_weight=0.5, triplet_weight=2, **whole)
    assert terms["softmax"].item() == pytest.approx(0.5 * softmax(logits, WHO, 0.1).item())
    assert terms["triplet"].item() == pytest.approx(2 * triplet(LINE, WHO, 0.3).item())
    assert set(combined(logits, LINE, WHO, softmax_weight=0, triplet_weight=1, **whole)) == {"triplet"}
    assert set(combined(logits, LINE, WHO, softmax_weight=1, triplet_weight=0, **whole)) == {"softmax"}

    others = {LINE[:2].shape: LINE[2:], WHO[:2].shape: WHO[2:]}
    shared = combined(
        logits[:2], LINE[:2], WHO[:2], softmax_weight=1, triplet_weight=2, **whole,
        everyone=lambda mine: torch.cat([mine, others[mine.shape]]),
    )  # fmt: skip
    assert shared["triplet"] == terms["triplet"]
    assert shared["softmax"].item() == pytest.approx(softmax(logits[:2], WHO[:2], 0.1).item())
