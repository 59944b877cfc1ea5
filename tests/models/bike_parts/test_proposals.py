"""What proposals are taught of a photograph in which a part is doubted: it may be anywhere."""

from __future__ import annotations

import pytest
import torch

from models.bike_parts.factory import build

BOX = torch.tensor([[10.0, 10, 30, 30]])
ANCHORS = torch.tensor([[10.0, 10, 30, 30], [60, 10, 80, 30], [60, 40, 80, 60], [10, 60, 30, 80]])
LOOKS = [3.0, 2.0, -1.0, -2.0]  # the second one looks like a part, and no label says so


def pull(doubted: list[int] | None) -> torch.Tensor:
    """(anchors) by how much the loss of a photograph would change the objectness of each."""
    torch.manual_seed(0)
    rpn = build("small", 3).rpn
    target = {"boxes": BOX, "labels": torch.tensor([1])}
    if doubted is not None:
        target["doubted"] = torch.tensor(doubted, dtype=torch.int64)
    looks = torch.tensor(LOOKS, requires_grad=True)
    labels, boxes = rpn.assign_targets_to_anchors([ANCHORS], [target])
    wanted = rpn.box_coder.encode(boxes, [ANCHORS])
    lost, _ = rpn.compute_loss(looks[:, None], torch.zeros(len(ANCHORS), 4), labels, wanted)
    lost.backward()
    return looks.grad


@pytest.mark.parametrize("doubted", [None, []])
def test_where_no_part_is_doubted_all_that_bears_no_label_is_background(doubted):
    assert (pull(doubted)[0] < 0) and (pull(doubted)[1:] > 0).all()


def test_where_a_part_is_doubted_what_looks_like_one_is_not_called_background():
    moved = pull([2])
    assert moved[0] < 0 and moved[1] == 0 and (moved[2:] > 0).all()


def test_networks_of_torchvision_do_so_too():
    assert type(build("mobilenet_v3", 3).rpn) is type(build("small", 3).rpn).__bases__[0]
