"""How a sequence is cut: by shares, with a guard between two parts, and the same way again when frames are added."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tasks.ground_plane.formats import sequence
from tasks.ground_plane.learning import splits
from tasks.ground_plane.learning.splits import GUARD
from tasks.ground_plane.params import Shares

SHARE = st.floats(0.01, 0.49)
SEVERAL = st.sampled_from([some for some in sequence.SPLITS if len(some) > 1])
ALL = ("train", "val", "test")


@given(st.integers(3, 500), SHARE, SHARE, SEVERAL, st.integers(0, 30))
def test_splits_are_cut_by_their_shares_and_none_is_empty(labelled, val, test, some, guard):
    counts, gap = splits.cut(labelled, some, Shares(val=val, test=test), guard)
    assert sum(counts) + gap * (len(some) - 1) == labelled and min(counts) >= 1 and gap <= guard
    for count, share in zip(counts[1:], (val, test), strict=False):
        assert count <= max(1, round(share * labelled))
        if labelled > 60:
            assert abs(count - share * labelled) <= 1.5


def test_wildtrack_s_published_test_frames_are_the_last_40_of_400():
    assert splits.cut(400, ALL, Shares(val=0.1, test=0.1), 10) == ([300, 40, 40], 10)


@given(st.integers(3, 120), st.integers(0, 40), SHARE, SHARE, SEVERAL, st.integers(0, 12))
def test_what_has_a_split_keeps_it_and_two_splits_are_a_guard_apart(labelled, more, val, test, some, guard):
    shares = Shares(val=val, test=test)
    first, gap = splits.of_frames([True] * labelled, [None] * labelled, some, shares, guard)
    before = [None if split == GUARD else split for split in first]
    assert splits.of_frames([True] * labelled, before, some, shares, guard)[0] == first
    then, _ = splits.of_frames([True] * (labelled + more), before + [None] * more, some, shares, gap)
    assert then[:labelled] == first
    places = [(place, split) for place, split in enumerate(then) if split != GUARD]
    assert all(b - a > gap for (a, one), (b, other) in pairwise(places) if one != other)


def test_a_frame_without_a_label_is_where_the_labelled_one_before_it_is():
    labelled = [place % 2 == 0 for place in range(40)]
    found, gap = splits.of_frames(labelled, [None] * 40, ALL, Shares(val=0.2, test=0.2), 1)
    assert gap == 1 and all(found[place] == found[place - 1] for place in range(1, 40, 2))
    assert found == ["train"] * 20 + [GUARD] * 2 + ["val"] * 8 + [GUARD] * 2 + ["test"] * 8
