"""What a page says at its top of where its pictures come from."""

from __future__ import annotations

from pathlib import Path

from tasks.yard import worlds
from tasks.yard.reporting.words import WORLDS, rendered


def test_a_rendered_world_is_named_all_of_it_or_a_part():
    assert rendered(["highway", "highway", None], "recordings").startswith("Rendered world: ")
    part = rendered(["street", "camera", "reid"], "parts of the source")
    assert part.startswith("Partly a rendered world: of 1 of 3 parts of the source ") and "synth://street" in part
    assert rendered(["native", "carla", None], "recordings") is None and rendered([], "recordings") is None


def test_every_world_is_known():
    home = Path(worlds.__file__).parent
    assert {path.name for path in home.iterdir() if (path / "__init__.py").exists()} == set(WORLDS)
