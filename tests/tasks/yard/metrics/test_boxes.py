"""Known answers by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.yard.metrics.boxes import ious

BOX = np.array([[0, 0, 10, 20.0]])
OTHERS = np.array([[0, 0, 10, 20], [0, 10, 10, 30], [10, 0, 20, 20], [2, 2, 2, 2.0]])


@pytest.mark.parametrize("box", [BOX, np.tile(BOX, (4, 1))])
def test_iou_by_hand(box):
    assert ious(box, OTHERS) == pytest.approx([1, 100 / 300, 0, 0])


def test_empty_boxes_and_no_boxes_overlap_nothing():
    empty = np.array([[2, 2, 2, 2.0]])
    assert ious(empty, empty).tolist() == [0]
    assert ious(BOX, np.empty((0, 4))).tolist() == []
