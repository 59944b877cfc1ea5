import re
from dataclasses import dataclass

import pytest

from tasks.yard.step import BadInput
from tasks.yard.worlds import query

EXAMPLE = "synth://toy?trees=3&height=2.5"


@dataclass(frozen=True)
class Toy:
    trees: int = 3
    height: float = 2.5


LIMITS = {"trees": (1, 9), "height": (0.5, 40)}


def parse(uri):
    return query.parse(uri, Toy, LIMITS, EXAMPLE)


def test_what_a_query_leaves_out_has_a_default_and_bounds_are_allowed():
    assert parse("synth://toy") == Toy() == parse(EXAMPLE)
    assert parse("synth://toy?height=40&trees=1") == Toy(1, 40.0)


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("synth://toy?tree=1", "synth://toy?tree=1: unknown key 'tree'; did you mean 'trees'?"),
        ("synth://toy?x=1", "unknown key 'x'; known keys: trees, height"),
        ("synth://toy?trees=2.5", "trees = '2.5' must be a whole number"),
        ("synth://toy?height=tall", "height = 'tall' must be a number"),
        ("synth://toy?height=", "height = '' must be a number"),
        ("synth://toy?trees=10", "trees = 10 must be from 1 to 9"),
        ("synth://toy?height=nan", "height = nan must be from 0.5 to 40"),
        ("synth://boy?trees=1", f"synth://boy?trees=1: expected {EXAMPLE}"),
    ],
)
def test_a_wrong_query_is_named_with_what_is_allowed(uri, says):
    with pytest.raises(BadInput, match=re.escape(says)):
        parse(uri)
