"""The viewer's page of a route: what it holds, and whether a browser shows it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tasks.open_loop_driving import view
from tasks.open_loop_driving.page import inks
from tasks.yard import params
from tasks.yard.files import read_json, write_json
from tasks.yard.step import BadInput
from tests import browser
from tests.tasks.open_loop_driving import tiny_drives as tiny


@pytest.fixture(scope="module")
def line():
    return params.load(Path(__file__).parents[3] / "params.yaml").open_loop_driving


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("data")
    for name in ("town05_r000", "town01_r000"):
        tiny.write_route(root / "pack", name)
    tiny.write_manifest(root / "pack", {"town05_r000": "test", "town01_r000": "train"})
    manifest = read_json(root / "pack/manifest.json")
    write_json(root / "pack/manifest.json", {**manifest, "left_out": {"town02_r000": "its lidar cannot be read"}})
    tiny.write_plans(root / "plan/one", root / "pack", {"test": ["town05_r000"]})
    write_json(root / "evaluate/details.json", {"leader": "one"})
    return root


def held(page: Path) -> dict:
    text = page.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="route">(.*?)</script>', text, re.DOTALL)[1])


def test_a_test_route_has_a_picture_a_moment_and_the_leaders_plans(data, line, tmp_path):
    (note,) = view.write("town05_r000", tmp_path / "route.html", line, data)
    shown = held(tmp_path / "route.html")
    assert "planned on by one, which has not learnt from it" in note
    assert len(shown["pictures"]) == len(shown["t_s"]) == 9 and shown["t_s"][0] == 0.5
    assert all(uri.startswith("data:image/jpeg;base64,") for uri in shown["pictures"])
    assert [layer["name"] for layer in shown["layers"]] == ["coarse plan", "refined 1", "refined 2"]
    assert [layer["off"][0] for layer in shown["layers"]] == [4.0, 2.0, 1.0]
    assert shown["expert"] == [0.25] * 9 and shown["layers"][2]["pedal"] == [0.5] * 9
    assert shown["brakes"][:2] == [True, False] and shown["truth"] == inks.TRUTH


def test_a_route_that_was_learnt_from_is_shown_without_plans_and_says_so(data, line, tmp_path):
    (note,) = view.write("town01_r000", tmp_path / "route.html", line, data)
    assert "has learnt from it" in note and held(tmp_path / "route.html")["layers"] == []


def test_a_route_that_is_not_there_names_why_or_the_nearest(data, line, tmp_path):
    with pytest.raises(BadInput, match=r"town02_r000: is not in .*: its lidar cannot be read"):
        view.write("town02_r000", tmp_path / "route.html", line, data)
    with pytest.raises(BadInput, match="nearest: town05_r000"):
        view.write("town05_r00", tmp_path / "route.html", line, data)


@pytest.mark.slow
def test_moments_without_room_are_left_out_and_counted(data, line, tmp_path):
    size = len(held_after(data, line, tmp_path / "whole.html")["pictures"][0])
    notes = view.write("town05_r000", tmp_path / "route.html", line, data, embed_mb=(3.5 * size + 2_000) / 1e6)
    pictures = held(tmp_path / "route.html")["pictures"]
    assert len(pictures) == 9 and 1 <= sum(one is not None for one in pictures) <= 4
    assert any(note.startswith(f"{pictures.count(None)} moments are left out") for note in notes)


def held_after(data, line, out: Path) -> dict:
    view.write("town05_r000", out, line, data)
    return held(out)


@browser.needed
@pytest.mark.slow
def test_a_browser_shows_the_moment_that_was_asked_for_and_it_fits_a_phone(data, line, tmp_path):
    page = tmp_path / "route.html"
    view.write("town05_r000", page, line, data)
    browser.refuse_requests(page)
    found = browser.dom(f"{page.as_uri()}#moment=4", tmp_path)
    assert "2.5 s, 5 of 9" in found and found.count('<div class="plot">') == 3
    assert held(page)["pictures"][4] in re.search(r'<img id="picture"[^>]*>', found)[0]
    assert int(browser.told(page, tmp_path)["wide"]) <= browser.PHONE_PX
