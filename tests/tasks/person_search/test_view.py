"""The viewer's page of a search: what it says of a small finished one, and what it does in a browser."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tasks.person_search import view
from tasks.yard import params
from tasks.yard.files import read_json
from tasks.yard.step import BadInput
from tests import browser
from tests.tasks.person_search import tiny_yard
from tests.tasks.person_search.tiny_yard import REPO, Yard, like, vector, write_camera, write_index

ANN, BOB = 7, 8
BOX, FAR = [20, 16, 34, 52], [90, 16, 104, 52]
ANNS, BOBS = "0007_c1s1_000001_00", "0008_c1s1_000001_00"


@pytest.fixture(scope="module")
def line():
    return params.load(REPO / "params.yaml").person_search


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Ann walks by in cameras 2 and 3, Bob is asked for too; camera 2 has a stranger who is as similar."""
    root = tmp_path_factory.mktemp("data")
    yard = Yard(root, tiny_yard.write_detector(root / "train_detector"))
    asked = {f"{ANNS}.png": ANN, f"{BOBS}.png": BOB}
    for number in (1, 2, 3):
        people = {ANN: {frame: 20 for frame in range(8)}} if number > 1 else {}
        write_camera(yard.download, number, 8, asked=asked if number == 1 else None, people=people)
    ann = vector(yard, yard.download / "yard-c1/queries" / f"{ANNS}.png")
    write_index(
        yard,
        {
            "yard-c1": [(3, BOX, like(ann, 0.3))],
            "yard-c2": [(0, BOX, like(ann, 0.91)), (1, BOX, like(ann, 0.95)), (1, FAR, like(ann, 0.93)),
                        (6, FAR, like(ann, 0.98)), (7, FAR, like(ann, 0.5))],
            "yard-c3": [(6, BOX, like(ann, 0.92)), (7, FAR, like(ann, 0.2))],
        },
        {unit: [(frame, BOX, ann, ANN, 1) for frame in range(8)] for unit in ("yard-c2", "yard-c3")} | {"yard-c1": []},
    )  # fmt: skip
    yard.search(gap_s=1.0)
    return root


@pytest.fixture(scope="module")
def page(data, line, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("view") / "ann.html"
    view.write(ANNS, out, line.model_copy(update={"search": line.search.model_copy(update={"gap_s": 1.0})}), data)
    return out


def held(page: Path) -> dict:
    text = page.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="page">(.*?)</script>', text, re.DOTALL)[1])


def test_detections_stand_by_their_similarity_with_what_the_truth_says(data, page):
    ann, bob = held(page)["queries"]
    assert (ann["key"], bob["key"]) == (ANNS, BOBS) and ann["says"] == read_json(
        data / "search" / ANNS / "results.json"
    )["says"]
    seen = [(hit["unit"], hit["frame"], round(hit["similarity"], 2), hit["right"]) for hit in ann["hits"]]
    assert seen[:4] == [
        ("yard-c2", 6, 0.98, False),
        ("yard-c2", 1, 0.95, True),
        ("yard-c2", 1, 0.93, False),
        ("yard-c3", 6, 0.92, True),
    ]
    assert ann["there"] == ["yard-c2", "yard-c3"] and bob["there"] == [] and ann["own"] == ["yard-c1"]
    assert all(held(page)["pictures"][hit["crop"]].startswith("data:image/jpeg;base64,") for hit in ann["hits"])
    browser.refuse_requests(page)


def test_strangers_that_are_expected_grow_as_the_threshold_sinks(page):
    chances = held(page)["queries"][0]["chances"]
    levels, expected = [one[0] for one in chances], [one[1] for one in chances]
    threshold = held(page)["queries"][0]["threshold"]
    assert any(abs(level - threshold) < 1e-6 for level in levels), "there the page says what the search says"
    assert levels == sorted(levels) and (expected[0] is None or expected == sorted(expected, reverse=True))


def test_pictures_that_have_no_room_are_left_out_and_counted(data, line, tmp_path):
    notes = view.write(BOBS, tmp_path / "bob.html", line, data, embed_mb=0.004)
    shown = held(tmp_path / "bob.html")
    assert [q["key"] for q in shown["queries"]] == [BOBS] and len(shown["pictures"]) < 5
    assert re.search(r"^\d+ pictures are left out: the page holds up to 0.004 MB", notes[0])
    assert f"1 of 2 queries are left out: {ANNS}" in notes[1]


def test_who_was_not_asked_for_and_what_was_not_searched_is_said(data, line, tmp_path):
    with pytest.raises(BadInput, match=f"no query '0007' in .* nearest: {ANNS}"):
        view.write("0007", tmp_path / "page.html", line, data)
    with pytest.raises(BadInput, match="run the line first: python -m flows run person_search"):
        view.write(ANNS, tmp_path / "page.html", line, tmp_path)


SLID = """
const first = { ...document.body.dataset };
slider.value = 0.94; slider.dispatchEvent(new Event("input"));
const high = { ...document.body.dataset };
document.querySelector(".card").click();
const box = document.querySelector("#frame rect");
const seen = { first, high, box: [box.getAttribute("x"), box.getAttribute("height")], open: by("whole").open };
document.body.dataset.seen = JSON.stringify(seen);
by("whole").close();
document.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight" }));
"""


@browser.needed
@pytest.mark.slow
def test_a_browser_shows_the_sightings_of_the_search_and_those_of_another_threshold(data, page, tmp_path):
    told = browser.told(page, tmp_path, script=SLID)
    answer, seen = read_json(data / "search" / ANNS / "results.json"), json.loads(told["seen"])
    assert int(seen["first"]["sightings"]) == len(answer["sightings"]) == 3
    assert (seen["first"]["right"], seen["first"]["wrong"]) == ("2", "1")
    assert (seen["high"]["sightings"], seen["high"]["right"], seen["high"]["wrong"]) == ("2", "1", "1")
    assert seen["box"] == ["90", "36"] and seen["open"]
    assert told["query"] == BOBS and int(told["wide"]) <= browser.PHONE_PX


@browser.needed
@pytest.mark.slow
def test_a_name_is_text_and_never_markup(data, line, page, tmp_path):
    evil = "<img src=x onerror=document.body.dataset.evil=1></script><script>document.body.dataset.evil=2</script>"
    shown = held(page)
    shown["queries"][0] |= {"key": evil, "says": evil}
    for hit in shown["queries"][0]["hits"]:
        hit |= {"unit": evil, "spot": evil}
    out = tmp_path / "evil.html"
    view.write_page(out, view.PAGE, page={**shown, "title": evil, "notes": [evil]})
    told = browser.told(out, tmp_path)
    assert "evil" not in told and told["query"] == evil and int(told["wide"]) <= browser.PHONE_PX
