"""What a detector must do whatever it has learnt: its losses, its boxes, its states."""

from __future__ import annotations

import copy
import math
from functools import partial

import pytest
import torch
from torch import nn
from torchvision.models import detection
from torchvision.ops import roi_align

from models.bike_parts import maps, published
from models.bike_parts.factory import States, Use, build
from models.bike_parts.small import Pooled
from models.bike_parts.states import UNLABELLED, StateHead, StateLoss
from models.bike_parts.variants import NETWORKS, UNPUBLISHED

HEIGHT, WIDTH, PARTS = 64, 96, 5
LOSSES = {
    "small": {"loss_maps", "loss_classifier", "loss_box_reg", "loss_state", "loss_objectness", "loss_rpn_box_reg"},
    "small_points": {"loss_maps", "loss_box", "loss_state"},
}
BOTH = pytest.mark.parametrize("name", ["small", "small_points"])
OPEN = Use(floor=0.0, nms=0.7, most=20)  # an untrained network is sure of nothing


def network(name: str = "small", use: Use = OPEN, **states):
    torch.manual_seed(0)
    return build(name, PARTS, States(**states), use)


def pictures(count: int = 3) -> torch.Tensor:
    return torch.randn(count, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1))


def target(boxes: list[list[float]], labels: list[int], states: list[int]) -> dict[str, torch.Tensor]:
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor(labels, dtype=torch.int64),
        "states": torch.tensor(states, dtype=torch.int64),
    }


SOME = target([[4, 4, 20, 30], [40, 10, 80, 50], [60, 30, 70, 40]], [1, 3, 5], [0, 2, 1])
NONE = target([], [], [])


def gradients(model: nn.Module) -> dict[str, torch.Tensor | None]:
    return {name: p.grad for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.slow
@pytest.mark.parametrize("knows", ["nothing", "embedding", "outputs"])
@pytest.mark.parametrize("true_boxes", [False, True])
@BOTH
def test_every_weight_has_a_gradient_even_where_a_photograph_or_all_have_no_part(name, knows, true_boxes):
    """Else processes of one training would wait for each other for ever."""
    model = network(name, knows=knows, true_boxes=true_boxes).train()
    for targets in ([SOME, NONE, SOME], [NONE, NONE, NONE]):
        model.zero_grad()
        lost = model(pictures(), None, targets)
        assert lost.keys() == LOSSES[name] and all(bool(value.isfinite()) for value in lost.values())
        sum(lost.values()).backward()
        found = gradients(model)
        assert not [name for name, grad in found.items() if grad is None]
        assert all(bool(grad.isfinite().all()) for grad in found.values())
    assert float(lost["loss_state"].detach()) == 0


@BOTH
def test_only_states_of_boxes_that_are_matched_with_a_labelled_part_are_learnt(name):
    model = network(name).train()

    def lost(states: list[int]) -> float:
        torch.manual_seed(3)
        of = {**SOME, "states": torch.tensor(states)}
        return float(model(pictures(1), None, [of])["loss_state"].detach())

    assert lost([UNLABELLED] * 3) == 0
    one = lost([UNLABELLED, 2, UNLABELLED])
    assert one > 0 and lost([0, 2, 1]) != one


@BOTH
def test_a_part_that_is_doubted_teaches_nowhere_that_it_is_not(name):
    """Of a part whose box was left out, no weight of its own moves; with a box of it elsewhere it is learnt there."""
    model = network(name).train()
    of_part = [
        p for n, p in model.named_parameters() if n in ("maps.weight", "roi_heads.box_predictor.cls_score.weight")
    ]
    places = [1 if name == "small_points" or len(p) == PARTS else 2 for p in of_part]

    def moved(*targets) -> list[float]:
        model.zero_grad()
        torch.manual_seed(0)
        sum(model(pictures(len(targets)), None, list(targets)).values()).backward()
        return [float(p.grad[place].abs().sum()) for p, place in zip(of_part, places, strict=True)]

    doubted = SOME | {"doubted": torch.tensor([2])}
    assert len(of_part) == (1 if name == "small_points" else 2)
    assert all(value > 0 for value in moved(SOME, SOME)) and moved(doubted, doubted) == [0.0] * len(of_part)
    assert all(value > 0 for value in moved(doubted, SOME | {"labels": torch.tensor([2, 3, 5])}))


def test_what_the_detection_loses_does_not_depend_on_states():
    """One draw of boxes serves both tasks: torchvision's own heads lose the same."""
    found = {}
    for name, weight in (("ours", 0.5), ("no states", 0.0)):
        model = network(weight=weight).train()
        torch.manual_seed(3)
        found[name] = model(pictures(1), None, [SOME])
    torch.manual_seed(0)
    plain = build("small", PARTS, States(), OPEN).train()
    plain.roi_heads.__class__ = type("Plain", (detection.roi_heads.RoIHeads,), {})
    torch.manual_seed(3)
    images = plain.listed(pictures(1), None)
    features = plain.backbone(images.tensors)
    proposals, of_proposals = plain.rpn(images, features, [SOME])
    theirs = plain.roi_heads(features, proposals, images.image_sizes, [SOME])[1] | of_proposals
    for name, value in theirs.items():
        for mine in found.values():
            torch.testing.assert_close(mine[name], value, rtol=1e-6, atol=1e-7)


def test_label_0_is_never_a_part():
    """Neither as found nor as learnt: a target of 0 would be background."""
    model = network().eval()
    with torch.no_grad():
        found = model(pictures())
        predictor = model.roi_heads.box_predictor
        assert predictor.cls_score.out_features == PARTS + 1 and predictor.bbox_pred.out_features == 4 * (PARTS + 1)
        for part in range(1, PARTS + 1):  # what is made surest of is what is told
            predictor.cls_score.bias.zero_()[part] = 50.0
            labels = torch.cat([of["labels"][:1] for of in model(pictures())])
            assert labels.tolist() == [part] * 3
    assert all(1 <= int(label) <= PARTS for of in found for label in of["labels"])


@BOTH
def test_permuting_photographs_permutes_what_is_found(name):
    model, images = network(name, knows="outputs").eval(), pictures(4)
    order = [2, 0, 3, 1]
    with torch.no_grad():
        straight, permuted = model(images), model(images[order])
    for place, of in zip(order, permuted, strict=True):
        for name in ("boxes", "labels", "scores", "states"):
            torch.testing.assert_close(of[name], straight[place][name], rtol=1e-4, atol=1e-4)


@BOTH
def test_states_are_those_of_the_final_boxes(name):
    model = network(name, knows="outputs").eval()
    with torch.no_grad():
        images = model.listed(pictures(2), None)
        features = model.backbone(images.tensors)
        for i, of in enumerate(model.found(images, features)):
            one = {name: level[i : i + 1] for name, level in features.items()}
            again = model.states(one, [of["boxes"]], [of["labels"]], images.image_sizes[:1])[0]
            torch.testing.assert_close(of["states"], again, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(of["states"].sum(1), torch.ones(len(of["boxes"])))


@BOTH
def test_boxes_stay_within_their_photograph_on_the_canvas(name):
    model = network(name).eval()
    sizes = [(40, 96), (64, 50), (64, 96)]
    with torch.no_grad():
        for (height, width), of in zip(sizes, model(pictures(), sizes), strict=True):
            low, high = of["boxes"].amin(0), of["boxes"].amax(0)
            assert bool((low >= 0).all()) and high[2] <= width and high[3] <= height


@BOTH
def test_a_validation_loss_moves_nothing_and_drops_nothing(name):
    model = network(name).train()
    for _ in range(2):
        model(pictures(), None, [SOME, SOME, NONE])
    model.eval()
    before = copy.deepcopy(model.state_dict())

    def lost() -> dict[str, torch.Tensor]:
        with torch.no_grad(), model.judged():
            torch.manual_seed(5)
            images = model.listed(pictures(), None)
            return model.lost(images, model.backbone(images.tensors), [SOME, SOME, NONE])

    a, b = lost(), lost()
    assert a == b and a.keys() == LOSSES[name]
    assert not any(part.training for part in model.modules())
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_pooling_by_products_is_torchvisions():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 8, 20, 24, generator=generator).requires_grad_()
    boxes = [
        torch.tensor([[0, 0, 95.0, 79], [3, 3, 4, 4.5], [-10, -20, 30, 30], [50, 40, 96, 80], [10, 10, 10, 10.0]]),
        torch.rand(5, 2, generator=generator).repeat(1, 2) * 40 + torch.tensor([0, 0, 30, 20.0]),
    ]
    ours, theirs = Pooled(7, 4)({"0": features}, boxes, []), roi_align(features, boxes, 7, 0.25, 2)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    upstream = torch.randn(ours.shape, generator=generator)
    a, b = (torch.autograd.grad(of, features, upstream)[0] for of in (ours, theirs))
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_pooling_knows_places_in_mixed_precision_too():
    features = torch.arange(100.0).expand(1, 1, 100, 100)  # a cell holds its own place
    box = torch.tensor([[301.0, 41, 329, 69]])
    found = Pooled(7, 4)({"0": features.bfloat16()}, [box], [])
    middle = found[0, 0, 3, 3].item()
    assert middle == pytest.approx(315 / 4, abs=0.51)  # what bfloat16 can tell of a number of this size


def test_the_state_loss_is_a_mean_over_known_boxes_times_the_weights():
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    states, weights = torch.tensor([0, 1, 2, 3, UNLABELLED, 1]), torch.tensor([0.5, 3.0, 1.0, 2.0])
    known = states >= 0
    by_hand = nn.functional.cross_entropy(logits[known], states[known], reduction="none") * weights[states[known]]
    torch.testing.assert_close(StateLoss(weights)(logits, states), by_hand.sum() / 5)
    p = logits[known].softmax(1).gather(1, states[known, None])[:, 0]
    torch.testing.assert_close(StateLoss(None, gamma=2.0)(logits, states), (-((1 - p) ** 2) * p.log()).sum() / 5)


def test_a_head_with_outputs_for_each_part_tells_parts_apart():
    torch.manual_seed(0)
    vectors, parts = torch.randn(1, 8).expand(3, 8), torch.tensor([1, 2, 1])
    for knows, differs in (("nothing", False), ("embedding", True), ("outputs", True)):
        logits = StateHead(8, 16, 2, knows, 0.0)(vectors, parts)
        assert torch.equal(logits[0], logits[2]) and torch.equal(logits[0], logits[1]) is not differs


def test_maps_are_1_where_a_part_is_and_fall_off_around_it():
    wanted = maps.wanted(
        torch.Size((2, PARTS, 16, 24)), [target([[8, 8, 40, 24]], [2], [0]), target([[50, 30, 56, 36]], [5], [1])]
    )
    assert (wanted == 1).nonzero().tolist() == [[0, 1, 4, 6], [1, 4, 8, 13]]
    row = wanted[0, 1, 4]
    assert bool((row[6:].diff() <= 0).all()) and row[7] > wanted[0, 1, 5, 6]  # wider than high
    untouched = wanted.sum((2, 3)) == 0
    assert untouched.sum() == 2 * PARTS - 2


def test_a_box_is_read_off_at_its_peak():
    """Where the map says part 3, and nowhere else; its box as the cell says it."""
    model = network("small_points").eval()
    with torch.no_grad():
        model.box.weight.zero_()
        model.box.bias.copy_(torch.tensor([0.25, -0.5, 0.0, math.log(0.5)]).repeat(PARTS))
        heat = torch.full((1, PARTS, 16, 24), -9.0)
        heat[0, 2, 5, 7], heat[0, 2, 5, 8] = 3.0, 2.0  # the second is no peak
        model.maps = Fixed(heat)
        model.floor = 0.05
        (found,) = model(pictures(1))
    assert found["labels"].tolist() == [3] and found["scores"].tolist() == pytest.approx([1 / (1 + math.exp(-3.0))])
    assert found["boxes"][0].tolist() == pytest.approx([31 - 8, 20 - 4, 31 + 8, 20 + 4])


class Fixed(nn.Module):
    def __init__(self, value: torch.Tensor):
        super().__init__()
        self.value = value

    def forward(self, _: torch.Tensor) -> torch.Tensor:
        return self.value


def test_names_and_numbers_that_cannot_be_are_refused():
    for wrong, words in (
        ({"name": "smal"}, "no network 'smal'"),
        ({"parts": 0}, "parts = 0"),
        ({"before": "coco"}, "no coco weights for small"),
        ({"name": "small_points", "before": "imagenet"}, "no imagenet weights for small_points"),
        ({"states": States(knows="all")}, "not 'all'"),
    ):
        with pytest.raises(ValueError, match=words):
            build(**{"name": "small", "parts": 3, **wrong})


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in UNPUBLISHED])
def test_the_published_ones_take_torchvisions_weights_and_put_their_own_classes_in_place_of_coco(name):
    torch.manual_seed(0)
    theirs = partial(getattr(detection, {**published.TORCHVISION}[name]), weights=None, weights_backbone=None)
    state = theirs(num_classes=91).state_dict()
    model = build(name, PARTS, States(), OPEN, before="coco")
    own = model.roi_heads.box_predictor.cls_score.weight.clone()
    published.load(model, "coco", state)
    assert torch.equal(model.roi_heads.box_predictor.cls_score.weight, own)
    mine = model.state_dict()
    shared = [key for key in state if key in mine and not key.startswith(published.HEAD)]
    assert len(shared) > 50 and all(torch.equal(state[key], mine[key]) for key in shared)
    hidden = model.roi_heads.state_head.hidden
    assert (hidden.in_features, hidden.out_features) == (1024, 256)
    still = [p for p in model.backbone.parameters() if not p.requires_grad]
    assert still and any(p.requires_grad for p in model.backbone.parameters())
    lost = model.train()(pictures(2), None, [SOME, NONE])
    assert lost.keys() == LOSSES["small"] - {"loss_maps"} and all(bool(value.isfinite()) for value in lost.values())
    with torch.no_grad():
        found = model.eval()(pictures(1))[0]
    assert set(found["labels"].tolist()) <= set(range(1, PARTS + 1)) and found["states"].shape[1] == 4
    with pytest.raises(ValueError, match=r"of its tensors are of another network|size mismatch"):
        published.load(model, "coco", {"roi_heads.box_head.fc6.weight": torch.zeros(2, 2)})
