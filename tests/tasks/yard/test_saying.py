from __future__ import annotations

import logging

from tasks.yard import saying


def test_of_many_the_first_are_named_and_the_others_counted(caplog):
    log = logging.getLogger("tasks.somewhere")
    saying.few(log, [f"left out {number}: empty" for number in range(7)], "are left out, all of them in report.json")
    assert caplog.messages == [
        *(f"left out {number}: empty" for number in range(5)),
        "and 2 more are left out, all of them in report.json",
    ]


def test_of_few_all_are_named(caplog):
    saying.few(logging.getLogger("tasks.somewhere"), ["one: 7 % of it", "two"], "more")
    assert caplog.messages == ["one: 7 % of it", "two"]
