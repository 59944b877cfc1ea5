"""What a page says at its top of where its pictures come from, and beside a table of why another network leads."""

from __future__ import annotations

from pathlib import Path

from tasks.yard import worlds
from tasks.yard.reporting.words import WORLDS, other_leads, rendered


def test_a_rendered_world_is_named_all_of_it_or_a_part():
    assert rendered(["highway", "highway", None], "recordings").startswith("Rendered world: ")
    part = rendered(["street", "camera", "reid"], "parts of the source")
    assert part.startswith("Partly a rendered world: of 1 of 3 parts of the source ") and "synth://street" in part
    assert rendered(["native", "carla", None], "recordings") is None and rendered([], "recordings") is None


def test_every_world_is_known():
    home = Path(worlds.__file__).parent
    assert {path.name for path in home.iterdir() if (path / "__init__.py").exists()} == set(WORLDS)


def test_that_another_network_has_most_of_the_test_columns_is_said():
    test = {"lstm": {"a": 0.5, "b": 0.2, "c": None}, "tf": {"a": 0.6, "b": 0.3, "c": None}}
    said = other_leads("lstm", test)
    assert said.startswith(
        "tf is above lstm in 2 of the 2 test columns, and lstm leads all the same: validation chooses"
    )
    assert other_leads("tf", test) is None and other_leads(None, test) is None
    assert other_leads("lstm", {"lstm": {"a": 0.5, "b": 0.2}, "tf": {"a": 0.6, "b": 0.1}}) is None, "one of two"
    assert other_leads("lstm", {"lstm": {"a": 0.5}}) is None and other_leads("x", {"x": {"a": None}}) is None
