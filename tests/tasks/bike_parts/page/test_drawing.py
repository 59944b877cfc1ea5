"""Labels of a photograph, wherever its boxes are: none covers another one or the photograph, each is in the picture."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageColor

from tasks.bike_parts.formats.photos import STATES
from tasks.bike_parts.page.drawing import INKS, LINE_PX, Mark, photograph, sides, spread

SHARE = st.floats(0, 1)
BOXES = st.lists(st.tuples(SHARE, SHARE, SHARE, SHARE), max_size=30)


@given(st.lists(st.floats(-50, 500), max_size=22).map(sorted), st.floats(22 * LINE_PX, 900))
def test_labels_keep_their_order_and_distance_and_stay_in_the_picture(wanted, tall):
    places = spread(wanted, LINE_PX / 2, tall - LINE_PX / 2, LINE_PX)
    assert all(b - a >= LINE_PX - 1e-6 for a, b in pairwise(places))
    assert all(LINE_PX / 2 - 1e-6 <= y <= tall - LINE_PX / 2 + 1e-6 for y in places)


def test_labels_with_room_stand_beside_their_boxes():
    assert spread([50, 100, 200], 10, 290, 20) == [50, 100, 200]
    assert spread([50, 55, 60], 10, 290, 20) == [50, 70, 90]
    assert spread([280, 285, 300], 10, 290, 20) == [250, 270, 290]


@given(BOXES)
def test_each_label_has_one_side(boxes):
    marks = [Mark([100 * x, 100 * y, 100 * w, 100 * h], "intact", "saddle") for x, y, w, h in boxes]
    left, right = sides([*marks, Mark([0, 0, 1, 1], "absent", None)], 100)
    assert sorted([*left, *right]) == list(range(len(marks)))
    assert max(len(left), len(right)) <= max(6, len(marks) // 2 + 3)


def test_a_box_has_the_colour_of_its_state_and_the_photograph_is_not_covered():
    photo = Image.fromarray(np.full((60, 80, 3), 200, np.uint8))
    marks = [Mark([10 + 15 * i, 20, 10, 20], state, state) for i, state in enumerate(STATES)]
    bare, named = photograph(photo, [], 400), photograph(photo, marks, 400)
    assert bare.size == (400, 300) and named.height == 300 and named.width > 400
    pixels = np.asarray(named)
    for state in STATES:
        drawn = (pixels == ImageColor.getrgb(INKS[state])).all(2)
        rows = np.nonzero(drawn)[0]
        assert rows.min() <= 102 and rows.max() >= 198, state  # a box from y 20 to 40 at five times its size
    crowd = [Mark([40, 30, 1, 1], "damaged", f"part {i}") for i in range(60)]
    assert photograph(photo, crowd, 400).height >= 30 * LINE_PX  # grows rather than to lay one over another
