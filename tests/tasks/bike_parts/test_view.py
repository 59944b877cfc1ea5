"""The viewer's page of rides and photographs: what inspect says, at other thresholds too, and what a browser shows."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from tasks.bike_parts import view
from tasks.yard import params
from tasks.yard.files import read_json, write_json
from tasks.yard.layouts.images import write_image
from tasks.yard.step import BadInput
from tests import browser
from tests.tasks.bike_parts.tiny_photos import drawn
from tests.tasks.bike_parts.tiny_rides import inspected, write_project

pytestmark = pytest.mark.slow
LINE = params.load(Path(__file__).parents[3] / "params.yaml").bike_parts


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    root = write_project(tmp_path_factory.mktemp("project"))
    inspected(root)
    return root


@pytest.fixture(scope="module")
def said(data) -> dict:
    return read_json(data / "inspect/verdicts.json")


@pytest.fixture(scope="module")
def page(data, said, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("view") / "ride.html"
    view.write(said["pairs"][1]["name"], out, LINE, data)
    return out


def held(page: Path) -> dict:
    text = page.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="page">(.*?)</script>', text, re.DOTALL)[1])


def test_at_the_threshold_of_evaluate_it_has_the_parts_of_the_verdicts_and_more_below(said, page):
    shown, more = held(page), 0
    assert len(shown["photos"]) == len(said["photos"]) == 8 and shown["believe"] == said["believe"]
    for key, photo in shown["photos"].items():
        found = [
            {k: part[k] for k in ("part", "box", "state", "score")}
            for part in photo["parts"]
            if part["raw"] >= shown["believe"]
        ]
        assert found == [
            {k: part[k] for k in ("part", "box", "state", "score")} for part in said["photos"][key]["parts"]
        ]
        assert photo["image"] is not None and all(part["truth"] for part in photo["parts"])
        more += len(photo["parts"]) - len(found)
    assert more > 0
    browser.refuse_requests(page)


def test_it_opens_at_what_was_asked_for_by_ride_file_or_key(data, said, page, tmp_path):
    assert held(page)["items"][0]["name"] == said["pairs"][1]["name"]
    key = said["pairs"][2]["after"]
    for name in (key, said["photos"][key]["file"], Path(said["photos"][key]["file"]).name):
        view.write(name, tmp_path / "page.html", LINE, data)
        assert held(tmp_path / "page.html")["items"][0]["name"] == said["pairs"][2]["name"]


def test_photographs_without_room_are_left_out_and_counted(data, said, tmp_path):
    notes = view.write(said["pairs"][0]["name"], tmp_path / "page.html", LINE, data, embed_mb=0.006)
    shown = held(tmp_path / "page.html")
    assert shown["items"][0]["name"] == said["pairs"][0]["name"] and len(shown["items"]) < 4
    assert any(re.search(r"\d of 4 rides and photographs are left out: ", note) for note in notes)


def test_a_stranger_s_photographs_are_shown_from_their_own_folder(data, tmp_path):
    root, own = tmp_path / "project", tmp_path / "own"
    shutil.copytree(data, root)
    for name in ("alone.png", "ride_before.png", "ride_after.png"):
        write_image(own / name, drawn(np.random.default_rng(3))[0])
    (own / "text.jpg").write_text("no picture")
    inspected(root, photos=str(own))
    line = LINE.model_copy(update={"inspect": LINE.inspect.model_copy(update={"photos": str(own)})})
    notes = view.write("alone.png", tmp_path / "page.html", line, root)
    shown = held(tmp_path / "page.html")
    assert [one["name"] for one in shown["items"]] == ["alone.png", "ride"]
    assert len(shown["pictures"]) == 3 and "1 files are no photographs: text.jpg." in " ".join(notes)
    with pytest.raises(BadInput, match=r"text.jpg: "):
        view.write("text.jpg", tmp_path / "page.html", line, root)
    with pytest.raises(BadInput, match=r"bike_parts.inspect.photos is null now"):
        view.write("alone.png", tmp_path / "page.html", LINE, root)


def test_what_is_not_there_is_said(data, said, tmp_path):
    with pytest.raises(BadInput, match=r"no ride or photograph 'bike10_' in .* nearest: "):
        view.write("bike10_", tmp_path / "page.html", LINE, data)
    with pytest.raises(BadInput, match=r"run the line first: python -m flows run bike_parts"):
        view.write("x", tmp_path / "page.html", LINE, tmp_path)
    (tmp_path / "inspect").mkdir()
    write_json(tmp_path / "inspect/verdicts.json", {**said, "network": "another"})
    for step in ("split", "evaluate"):
        (tmp_path / step).symlink_to(data / step)
    with pytest.raises(BadInput, match=r"made by another, and small leads now; run it again"):
        view.write(said["pairs"][0]["name"], tmp_path / "page.html", LINE, tmp_path)


LOWERED = """
const first = { ...document.body.dataset };
slider.value = page.lowest; slider.dispatchEvent(new Event("input"));
claim.value = claim.min; claim.dispatchEvent(new Event("input"));
const low = { ...document.body.dataset };
document.querySelector(".parts li").click();
const boxes = document.querySelector(".frame svg").querySelectorAll("rect").length;
document.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight" }));
document.body.dataset.seen = JSON.stringify({ first, low, boxes, next: document.body.dataset.item });
"""


@browser.needed
def test_a_browser_shows_what_is_claimed_at_each_threshold(said, page, tmp_path):
    told = browser.told(page, tmp_path, script=LOWERED)
    seen, shown, ride = json.loads(told["seen"]), held(page), said["pairs"][1]
    keys = [ride["before"], ride["after"]]
    assert seen["first"]["item"] == ride["name"]
    assert seen["first"]["parts"] == ",".join(str(len(said["photos"][key]["parts"])) for key in keys)
    assert seen["first"]["claimed"] == ",".join(c["part"] for c in ride["changes"] if c["claimed"])
    assert seen["low"]["parts"] == ",".join(str(len(shown["photos"][key]["parts"])) for key in keys)
    assert seen["low"]["claimed"] == ",".join(c["part"] for c in ride["changes"])
    assert seen["boxes"] == 1 and seen["next"] == shown["items"][1]["name"]
    assert int(told["wide"]) <= browser.PHONE_PX
