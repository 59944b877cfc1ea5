"""Boxes follow every change of the picture, and states say what is still to be seen."""

from __future__ import annotations

import pytest
import torch

from models.bike_parts.states import UNLABELLED
from tasks.bike_parts.formats.photos import ABSENT, DAMAGED, INTACT, OCCLUDED
from tasks.bike_parts.learning import augment as changes
from tasks.bike_parts.learning.augment import Move, augment, covered, moved
from tasks.bike_parts.learning.batches import FILL, Batch
from tests.tasks.bike_parts.tiny_photos import section

HEIGHT, WIDTH = 60, 90
STILL = dict.fromkeys(("scale", "shift", "flip", "brightness", "contrast", "colour", "erase", "erase_size"), 0.0)
STATES = [INTACT, DAMAGED, ABSENT, OCCLUDED]


def params(**values):
    return section("train").augment.model_copy(update={**STILL, **values})


def batch(count: int = 16, seed: int = 0) -> Batch:
    """Grey photographs, in each one bright block of its own colour for each of four parts."""
    random = torch.Generator().manual_seed(seed)
    pictures = torch.full((count, HEIGHT, WIDTH, 3), 60, dtype=torch.uint8)
    boxes = torch.zeros(count, 5, 4)
    for row in range(count):
        for k in range(4):
            x, y = int(torch.randint(2, 30, (), generator=random)), int(torch.randint(2, 12, (), generator=random))
            x, y = x + 45 * (k % 2), y + 30 * (k // 2)
            x2, y2 = min(x + 12, WIDTH - 1), min(y + 9, HEIGHT - 1)
            pictures[row, y:y2, x:x2] = torch.tensor([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0]][k])
            boxes[row, k] = torch.tensor([x, y, x2, y2])
    parts = torch.tensor([1, 2, 3, 4, 0]).repeat(count, 1)
    states = torch.tensor([*STATES, UNLABELLED]).repeat(count, 1)
    return Batch(
        pictures, torch.tensor([[HEIGHT, WIDTH]] * count), boxes, parts, states, torch.zeros(count, 3, dtype=torch.bool)
    )


def extent(picture: torch.Tensor, k: int) -> list[float]:
    """x1, y1, x2, y2 of the pixels that look like part k."""
    red, green, blue = (picture[..., i].float() > 140 for i in range(3))
    mask = [red & ~green & ~blue, green & ~red & ~blue, blue & ~red & ~green, red & green & ~blue][k]
    y, x = torch.nonzero(mask, as_tuple=True)
    return [x.min().item(), y.min().item(), x.max().item() + 1, y.max().item() + 1]


@pytest.mark.parametrize(
    "of", [{"flip": 1.0}, {"shift": 0.15}, {"scale": 0.3}, {"flip": 0.5, "shift": 0.1, "scale": 0.2}]
)
def test_boxes_follow_every_move(of):
    torch.manual_seed(0)
    before = batch()
    after = augment(before, params(**of))
    compared = 0
    for row in range(len(after.parts)):
        for k in range(4):
            if after.parts[row, k] and after.states[row, k] != UNLABELLED:
                compared += 1
                assert after.boxes[row, k].tolist() == pytest.approx(extent(after.pictures[row], k), abs=1.3)
    assert compared > 40
    assert not torch.equal(after.boxes, before.boxes)


def test_a_mirrored_photograph_keeps_its_parts_and_their_states():
    before = batch()
    after = augment(before, params(flip=1.0))
    assert torch.equal(after.parts, before.parts) and torch.equal(after.states, before.states)
    there = before.parts > 0
    torch.testing.assert_close(after.boxes[there][:, 0], WIDTH - before.boxes[there][:, 2])
    torch.testing.assert_close(augment(after, params(flip=1.0)).pictures, before.pictures.float(), atol=1e-2, rtol=0)


def test_nothing_asked_for_changes_nothing():
    before = batch()
    after = augment(before, params())
    assert all(torch.equal(getattr(before, name), getattr(after, name)) for name in vars(before))


def test_what_leaves_the_canvas_is_no_part_and_what_is_cut_has_no_state():
    before = batch(1)
    x1, _, x2, _ = before.boxes[0, 0].tolist()
    wide = x2 - x1

    def out(share: float) -> Batch:
        """The first part with so much of it beyond the left edge."""
        shift = torch.tensor([[-(x1 + share * wide) / WIDTH, 0.0]])
        return moved(before, Move(torch.ones(1, 2), shift))

    for share, part, state in ((0.1, 1, INTACT), (0.35, 1, UNLABELLED), (0.6, 0, UNLABELLED), (1.5, 0, UNLABELLED)):
        after = out(share)
        assert (int(after.parts[0, 0]), int(after.states[0, 0])) == (part, state), share
        if part:
            assert after.boxes[0, 0].tolist()[0] == 0
    assert bool((after.boxes[after.parts > 0][:, 2:] > after.boxes[after.parts > 0][:, :2]).all())
    assert out(0.6).pictures[0, 0, -1].tolist() == pytest.approx(list(FILL), abs=0.5)  # where nothing came in


def test_a_covered_part_is_occluded_and_never_damaged(monkeypatch):
    """The cover lies on all of the upper half of each photograph."""
    before = batch(6)

    monkeypatch.setattr(changes, "between", lambda low, high, shape, device: torch.full(shape, high, dtype=torch.float))
    monkeypatch.setattr(changes.torch, "rand", lambda shape, device: torch.zeros(shape))
    after = covered(before, params(erase=1.0, erase_size=0.5))
    cover = torch.tensor([0, 0, WIDTH / 2, HEIGHT / 2])
    for row in range(6):
        for k, state in enumerate(STATES):
            x1, y1, x2, y2 = before.boxes[row, k].tolist()
            common = max(0, min(x2, cover[2]) - x1) * max(0, min(y2, cover[3]) - y1) / ((x2 - x1) * (y2 - y1))
            now = int(after.states[row, k])
            if common <= changes.TOUCHED or state == OCCLUDED:
                assert now == state
            elif common >= changes.HIDDEN and state != ABSENT:
                assert now == OCCLUDED
            else:
                assert now == UNLABELLED
    assert torch.equal(after.boxes, before.boxes) and torch.equal(after.parts, before.parts)
    assert torch.equal(after.pictures[:, 30:], before.pictures[:, 30:])
    assert not torch.equal(after.pictures[:, :30, :45], before.pictures[:, :30, :45])


def test_draws_depend_on_torchs_seed_alone():
    drawn = []
    for _ in range(2):
        torch.manual_seed(4)
        drawn.append(augment(batch(), section("train").augment))
    assert all(torch.equal(getattr(drawn[0], name), getattr(drawn[1], name)) for name in vars(drawn[0]))
