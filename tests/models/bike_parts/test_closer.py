"""The closer look at found boxes: where it looks, what it sees that the detector cannot, and what it learns."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from torchvision.ops import box_iou

from models.bike_parts import closer
from models.bike_parts.closer import Close, CloseLook
from models.bike_parts.factory import States, Use, build
from tests.models.bike_parts.test_detector import HEIGHT, NONE, OPEN, PARTS, SOME, WIDTH, gradients, pictures

BOTH = pytest.mark.parametrize("name", ["small", "small_points"])
CLOSE = Close(shrink=2, edge_px=16)


def network(name: str = "small_points", use: Use = OPEN, close: Close = CLOSE):
    torch.manual_seed(0)
    return build(name, PARTS, States(), use, close=close)


def wide(count: int = 3) -> torch.Tensor:
    return pictures(count).repeat_interleave(2, 2).repeat_interleave(2, 3)


def twice(target: dict) -> dict:
    return {**target, "boxes": 2 * target["boxes"]}


@pytest.mark.parametrize("margin", [0.0, 0.5])
def test_a_cut_out_shows_the_box_and_what_is_around_it(margin):
    look = CloseLook(PARTS, replace(CLOSE, margin=margin), 0.0)
    y, x = torch.meshgrid(torch.arange(HEIGHT) + 0.5, torch.arange(WIDTH) + 0.5, indexing="ij")
    images = torch.stack([x, y, x + y])[None].repeat(2, 1, 1, 1).float()
    box = torch.tensor([20.0, 10.0, 52.0, 26.0])
    first, second, third = look.cut(images, [box[None], torch.stack([box, box + 5])])
    steps = (torch.arange(16) + 0.5) / 16 - 0.5
    torch.testing.assert_close(first[0, 3], 36 + steps * (32 * (1 + 2 * margin) + 2))
    torch.testing.assert_close(first[1, :, 5], 18 + steps * (16 * (1 + 2 * margin) + 2))
    torch.testing.assert_close(second, first)
    torch.testing.assert_close(third[:2], first[:2] + 5)


@BOTH
def test_states_tell_what_the_detector_cannot_see(name):
    """Stripes of one pixel are even grey at half the size."""
    model = network(name).eval()
    plain = torch.zeros(1, 3, 2 * HEIGHT, 2 * WIDTH)
    striped = plain.clone()
    striped[..., 0::2], striped[..., 1::2] = 1.0, -1.0
    small = torch.tensor([[20.0, 20.0, 24.0, 24.0]])  # a pixel of it is two of the cut-out
    box, part = [small], [torch.tensor([2])]
    with torch.no_grad():
        a, b = (model.backbone(images) for images in (plain, striped))
        torch.testing.assert_close(a["0"], b["0"])
        size = [(2 * HEIGHT, 2 * WIDTH)]
        apart = model.states(a, box, part, size)[0] - model.states(b, box, part, size)[0]
    assert model.look.cut(striped, box).std() > 0.5 and model.look.cut(plain, box).std() == 0
    assert apart.abs().max() > 1e-5  # of an untrained network


@BOTH
def test_boxes_are_in_pixels_of_the_photograph_and_stay_within_it_the_surest_first(name):
    model = network(name).eval()
    sizes = [(80, 192), (128, 100), (127, 191)]
    with torch.no_grad():
        found = model(wide(), sizes)
    assert max(of["boxes"].max() for of in found) > WIDTH  # beyond what the detector has seen
    for (height, width), of in zip(sizes, found, strict=True):
        assert len(of["boxes"]) and (of["boxes"] >= 0).all()
        assert (of["boxes"].amax(0)[2:] <= torch.tensor([width, height])).all()
        assert (of["scores"].diff() <= 0).all()
        torch.testing.assert_close(of["states"].sum(1), torch.ones(len(of["boxes"])))
        same = (of["labels"][:, None] == of["labels"][None]) & ~torch.eye(len(of["labels"]), dtype=torch.bool)
        assert (box_iou(of["boxes"], of["boxes"])[same].nan_to_num() <= OPEN.nms).all()


@BOTH
def test_permuting_photographs_permutes_results(name):
    model = network(name).eval()
    images, order = wide(), [2, 0, 1]
    with torch.no_grad():
        straight, permuted = model(images), model(images[order])
    for place, of in zip(order, permuted, strict=True):
        for key in ("boxes", "labels", "scores", "states"):
            torch.testing.assert_close(of[key], straight[place][key], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("targets", [[SOME, NONE, SOME], [NONE, NONE, NONE]], ids=["one without parts", "all"])
@BOTH
def test_every_weight_has_a_gradient_even_where_there_is_no_part(name, targets):
    model = network(name).train()
    losses = model(wide(), None, [twice(of) for of in targets])
    assert {"loss_close_state", "loss_close_box", "loss_close_on"} < losses.keys()
    assert all(torch.isfinite(of) for of in losses.values())
    sum(losses.values()).backward()
    lacking = [key for key, of in gradients(model).items() if of is None or not torch.isfinite(of).all()]
    assert not [key for key in lacking if key.startswith("look.")]


def test_photographs_without_a_part_teach_the_closer_look_nothing():
    model = network().train()
    losses = model.lost_closer(wide(), [NONE, NONE, NONE])
    sum(losses.values()).backward()
    assert not any(of.item() for of in losses.values())
    assert not any(of.grad.any() for of in model.look.parameters())


def test_a_shaken_box_is_put_right_by_what_was_done_to_it():
    torch.manual_seed(0)
    boxes = torch.rand(500, 4) * 50 + torch.tensor([0.0, 0.0, 60.0, 60.0])
    off = torch.rand(500, 4) - 0.5
    moved = closer.put_right(boxes, off)
    factor = off[:, 2:].exp()
    back = torch.cat([-off[:, :2] / factor, -off[:, 2:]], 1)
    torch.testing.assert_close(closer.put_right(moved, back), boxes, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(closer.overlap(boxes, moved), box_iou(boxes, moved).diagonal())
    iou = closer.overlap(boxes, closer.shaken(boxes))
    assert (iou >= closer.ON).float().mean() > 0.6 and (iou < closer.NEAR).float().mean() > 0.02


@pytest.mark.slow
def test_it_learns_to_put_boxes_right_and_to_tell_those_that_are_on_nothing():
    """Bright squares, each with a stripe of one pixel or without."""
    model = network().train()
    torch.manual_seed(1)
    rates = torch.optim.Adam(model.look.parameters(), 0.003)

    def drawn(count: int) -> tuple[torch.Tensor, list[dict]]:
        images, targets = torch.zeros(count, 3, 128, 128), []
        for image in images:
            x, y, edge = (int(of) for of in torch.randint(24, 60, (3,)))
            state = int(torch.randint(2, (1,)))
            image[:, y : y + edge, x : x + edge] = 2.0
            image[:, y + edge // 2, x : x + edge] = 2.0 - 4.0 * state
            box = torch.tensor([[x, y, x + edge, y + edge]]).float()
            targets.append({"boxes": box, "labels": torch.tensor([1]), "states": torch.tensor([state])})
        return images, targets

    for _ in range(120):
        images, targets = drawn(16)
        rates.zero_grad()
        sum(model.lost_closer(images, targets).values()).backward()
        rates.step()
    model.eval()
    images, targets = drawn(64)
    boxes = torch.cat([of["boxes"] for of in targets])
    labels, states = ([of[key] for of in targets] for key in ("labels", "states"))
    with torch.no_grad():
        shaken = closer.put_right(boxes, torch.tensor([[0.2, -0.2, 0.15, -0.15]]).expand(64, 4))
        _, off, _ = model.look(images, list(shaken[:, None]), labels)
        right = closer.put_right(shaken, off)
        told, _, on = model.look(images, list(right[:, None]), labels)
        _, _, beside = model.look(images, list((boxes + boxes[:, 2:].repeat(1, 2))[:, None]), labels)
    assert closer.overlap(right, boxes).mean() > closer.overlap(shaken, boxes).mean() + 0.1
    assert (told.argmax(1) == torch.cat(states)).float().mean() > 0.9
    assert on.sigmoid().mean() > beside.sigmoid().mean() + 0.3


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_smaller_photograph_is_the_mean_of_squares_of_it(times):
    images = torch.randn(2, 20, 31, 3).permute(0, 3, 1, 2)
    torch.testing.assert_close(closer.smaller(images, times), nn.functional.avg_pool2d(images, times))


@pytest.mark.parametrize("close", [None, CLOSE])
@BOTH
def test_a_second_look_is_at_the_boxes_that_it_is_given_in_their_order(name, close):
    model = network(name, close=close) if close else build(name, PARTS, States(), OPEN)
    model.eval()
    images, sizes = wide(2), [(128, 192), (80, 100)]
    boxes = [torch.tensor([[10.0, 10, 40, 40], [60, 20, 90, 70]]), torch.tensor([[30.0, 30, 60, 60]])]
    labels = [torch.tensor([2, 5]), torch.tensor([1])]

    def placed(order: list[int]) -> list[dict]:
        held = model.listed(images[order], [sizes[i] for i in order])
        with torch.no_grad():
            return model.placed(
                held, model.backbone(images[order]), [boxes[i] for i in order], [labels[i] for i in order]
            )

    first = placed([0, 1])
    for of, part, (height, width) in zip(first, labels, sizes, strict=True):
        assert of["labels"].tolist() == part.tolist() and ((of["scores"] >= 0) & (of["scores"] <= 1)).all()
        assert (of["boxes"] >= 0).all() and (of["boxes"][:, 2:] <= torch.tensor([width, height])).all()
        torch.testing.assert_close(of["states"].sum(1), torch.ones(len(part)))
    for one, other in zip(first, placed([1, 0])[::-1], strict=True):
        for key in one:
            torch.testing.assert_close(one[key], other[key], atol=1e-4, rtol=1e-4)


def test_a_second_look_where_the_detector_found_a_part_says_what_the_first_did():
    model = network().eval()
    images = wide(1)
    with torch.no_grad():
        held, features = model.listed(images, None), model.backbone(images)
        there = model.detector.found(model.within(held), closer.coarse(features))[0]
        boxes = there["boxes"] * model.shrink
        (again,) = model.placed(held, features, [boxes], [there["labels"]])
        (first,) = model.found(held, features)
    scores = (again["scores"] * there["scores"]).sqrt()
    for box, part, score in zip(first["boxes"], first["labels"], first["scores"], strict=True):
        apart = (again["boxes"] - box).abs().amax(1) + (scores - score).abs()
        assert apart[again["labels"] == part].min() < 1e-3
