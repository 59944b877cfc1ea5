"""The viewer's page of a sequence: who is found and who is there, as evaluate counts it, and in a browser."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tasks.ground_plane import evaluate, view
from tasks.ground_plane.formats import scenes
from tasks.yard import params
from tasks.yard.files import read_json, write_json
from tasks.yard.step import BadInput
from tests import browser
from tests.tasks.ground_plane.test_report import FOUND, NUMBERS, THERE, write_found
from tests.tasks.ground_plane.tiny_project import REPO, write_network, write_pack
from tests.tasks.yard.shared import reporting

pytestmark = pytest.mark.slow
LINE = params.load(REPO / "params.yaml").ground_plane


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Three test frames whose people and detections are known; of the middle one cam3 has no image."""
    root = tmp_path_factory.mktemp("data")
    write_pack(root, missing=["tiny/1-annotation/train/cam3/cam3_50.png"])
    about = read_json(root / "pack/scenes.json")
    of = about["scenes"]["tiny"]
    for frame, who in THERE.items():
        of["people"][of["frames"].index(frame)] = [[i, *xy.tolist()] for i, xy in enumerate(who)]
    write_json(root / "pack/scenes.json", {**about, "left_out": {"lost": "no camera has a frame"}})
    folder = write_network(root, "one", threshold=0.5)
    write_found(root, scenes.load(root / "pack")[0])
    inputs = {"pack": root / "pack", "train": {"one": folder}, "detect": {"one": root / "detect/one"}}
    evaluate.run(None, root / "evaluate", reporting_params=reporting(bootstrap_replicates=200), **inputs)
    return root


@pytest.fixture(scope="module")
def page(data, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("view") / "tiny.html"
    view.write("tiny", out, LINE, data)
    return out


def held(page: Path) -> dict:
    text = page.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="page">(.*?)</script>', text, re.DOTALL)[1])


def test_each_frame_has_its_people_its_detections_and_what_became_of_them_at_each_threshold(page):
    shown = held(page)
    moments = {one["frame"]: one for one in shown["moments"]}
    middle = moments[50]
    assert middle["sure"] == pytest.approx([sure for _, sure in FOUND[50]]) and len(middle["people"]) == len(THERE[50])
    assert middle["outcomes"][0] == ["", "0000"] and middle["outcomes"][4] == ["1110", "1110"]  # above .5
    assert middle["outcomes"][5] == ["11101", "1111"]
    assert middle["images"][2] is None and None not in middle["images"][:2]
    assert 50 not in shown["cameras"][2]["frames"]
    learnt = [one for one in shown["moments"] if one["split"] == "train"]
    assert learnt and all(one["people"] and not one["found"] and not one["judged"] for one in learnt)
    browser.refuse_requests(page)


def test_pictures_of_test_come_first_and_those_without_room_are_counted(data, tmp_path):
    notes = view.write("tiny", tmp_path / "page.html", LINE, data, embed_mb=0.016)
    shown = held(tmp_path / "page.html")
    with_one = [one["split"] for one in shown["moments"] if any(place is not None for place in one["images"])]
    assert with_one and set(with_one) <= {"test", "val"} and with_one.count("test") == 3
    assert any(re.search(r"^\d+ pictures are left out", note) for note in notes)


def test_what_is_not_there_is_said(data, tmp_path):
    with pytest.raises(BadInput, match=r"no sequence 'tinny' in .* nearest: tiny"):
        view.write("tinny", tmp_path / "page.html", LINE, data)
    with pytest.raises(BadInput, match=r"lost: is not in .*: no camera has a frame"):
        view.write("lost", tmp_path / "page.html", LINE, data)
    with pytest.raises(BadInput, match="run the line first: python -m flows run ground_plane"):
        view.write("tiny", tmp_path / "page.html", LINE, tmp_path)
    (tmp_path / "pack").symlink_to(data / "pack")
    notes = view.write("tiny", tmp_path / "page.html", LINE, tmp_path)
    assert "evaluate has not run yet" in notes[0]


STEPPED = """
const first = { ...document.body.dataset };
const press = key => document.dispatchEvent(new KeyboardEvent("keydown", { key }));
press("ArrowRight"); const second = document.body.dataset.frame;
level.value = 0.2; level.dispatchEvent(new Event("input")); const low = { ...document.body.dataset };
press("w"); const fault = document.body.dataset.frame;
const dots = document.querySelectorAll("circle.found").length;
document.body.dataset.seen = JSON.stringify({ first, second, low, fault, dots });
"""


@browser.needed
def test_a_browser_counts_as_evaluate_does_and_steps_through_time(data, page, tmp_path):
    told = browser.told(page, tmp_path, "#frame=45", STEPPED)
    seen = json.loads(told["seen"])
    judged = read_json(data / "evaluate/details.json")["runs"]["one"]
    assert (
        float(seen["first"]["test"])
        == pytest.approx(judged["moda"], abs=1e-3)
        == pytest.approx(NUMBERS["moda"], abs=1e-3)
    )
    assert (seen["first"]["frame"], seen["second"]) == ("45", "50")
    assert (seen["low"]["found"], seen["low"]["right"], seen["low"]["missed"]) == ("5", "4", "0")
    assert seen["fault"] == "55" and seen["dots"] == 0  # where two are missed, for nobody is found
    assert int(told["wide"]) <= browser.PHONE_PX
