"""Who leads, by known answers."""

from __future__ import annotations

from tasks.yard.metrics.leader import leader

HOW = "best mAP on validation"


def test_the_best_on_validation_leads():
    assert leader({"a": 0.2, "b": 0.9, "c": None}, HOW) == ("b", HOW)


def test_of_equals_the_first_by_name_leads_in_any_order():
    assert leader({"b": 0.5, "a": 0.5}, HOW) == leader({"a": 0.5, "b": 0.5}, HOW) == ("a", HOW)


def test_nobody_leads_among_several_that_could_not_be_judged_but_one_alone_does():
    assert leader({"a": None, "b": None}, HOW) == (None, None)
    assert leader({"a": None}, HOW) == ("a", "the only network")
