"""What of the test data two networks have not learnt from, by known answers."""

from __future__ import annotations

import pytest

from tasks.yard.step import BadInput
from tasks.yard.training.learnt import Item, learnt_from, unseen

TEST = [Item(("a",)), Item(("b", "monday")), Item(("c", "tuesday")), Item(("d",))]


def kept(test, champion, challenger=None, apart=1):
    configs = {"the champion": champion, "the challenger": challenger or {"learnt": {}}}
    found = unseen(test, configs, "test drives", apart)
    return found.kept.tolist(), found.words


def test_what_one_of_them_has_learnt_from_does_not_count():
    assert kept(TEST, {"learnt": {"x": None}}) == ([True] * 4, "4 test drives")
    expected = [False, True, True, True], "3 of 4 test drives (they have learnt from the others)"
    assert kept(TEST, {"learnt": {"a": None}}) == expected
    assert kept(TEST, {"learnt": {}}, {"learnt": {"a": None}}) == expected
    assert kept(TEST, {"learnt": {"monday": None, "e": None}})[0] == [True, False, True, True], "another drive of a day"


def test_an_old_checkpoint_is_judged_on_all_of_them_and_that_is_said():
    assert kept(TEST, {}) == ([True] * 4, "4 test drives (what the champion learnt from is unknown)")


def test_too_little_left_gives_no_verdict():
    with pytest.raises(BadInput, match="no verdict: of 4 test drives 1 is left that neither has learnt from"):
        kept(TEST, {"learnt": {"a": None, "b": None, "tuesday": None}})
    with pytest.raises(BadInput, match="of 4 test drives none is left"):
        kept(TEST, {"learnt": {"a": None, "b": None, "c": None, "d": None}})


def test_a_drive_that_is_cut_in_other_places_is_known_by_its_times():
    learnt = learnt_from([Item(("trip",), (0, 100)), Item(("trip",), (300, 400))])
    assert learnt == {"trip": [[0, 100], [300, 400]]}
    pieces = [Item(("trip",), span) for span in ((0, 50), (115, 200), (200, 285), (290, 350), (500, 600))]
    assert kept(pieces, {"learnt": learnt}, apart=15)[0] == [False, True, True, False, True]
    whole = [Item(("trip", "friday")), Item(("other",)), Item(("third",))]
    assert kept(whole, {"learnt": learnt})[0] == [False, True, True]
    assert learnt_from([Item(("trip",), (0, 100)), Item(("a",))], before=learnt) == {**learnt, "a": None}
    assert learnt_from([Item(("trip",), (0, 9)), Item(("trip",)), Item(("trip",), (5, 7))]) == {"trip": None}
