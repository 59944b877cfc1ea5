"""Photographs in, verdicts out: the same as evaluate's where both look, and what people hand in is met with words."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.bike_parts import inspect
from tasks.bike_parts.formats import detections, looked
from tasks.bike_parts.formats import photos as photos_of
from tasks.bike_parts.importers.inspected import Asked
from tasks.bike_parts.judging import judge as judging
from tasks.bike_parts.judging.judge import Judge, judge_of
from tasks.bike_parts.judging.verdicts import Seen
from tasks.bike_parts.learning import looking
from tasks.bike_parts.page import verdict_page
from tasks.yard.files import folder_hash, read_json, write_json
from tasks.yard.layouts.images import write_image
from tasks.yard.step import BadInput
from tests.tasks.bike_parts.tiny_photos import HEIGHT, PARTS, WIDTH, drawn
from tests.tasks.bike_parts.tiny_rides import evaluated, inspected, write_project
from tests.tasks.yard import killed


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = write_project(tmp_path_factory.mktemp("project"))
    inspected(folder)
    return folder


@pytest.fixture
def own(tmp_path) -> Path:
    """Five photographs of a stranger: a ride, one alone, one turned by EXIF, one that is text."""
    random = np.random.default_rng(1)
    folder = tmp_path / "own"
    for name in ("ride_before.png", "ride_after.png", "alone.png"):
        write_image(folder / name, drawn(random)[0])
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(drawn(random)[0][..., ::-1]).save(folder / "turned.jpg", exif=exif)
    (folder / "text.jpg").write_text("no picture")
    return folder


@pytest.mark.slow
def test_a_ride_of_which_a_photograph_is_gone_costs_no_other(root, own):
    for turn in ("before", "after"):
        (own / f"gone_{turn}.jpg").symlink_to(own / f"nowhere_{turn}.jpg")
    (own / "before.png").symlink_to(own / "ride_before.png")
    (own / "after.png").symlink_to(own / "ride_after.png")
    inspected(root, "gone", photos=str(own))
    told = said(root, "gone")
    assert "gone: one of its two photographs cannot be used, so nothing is compared." in told["remarks"]
    assert {pair["name"]: pair["after"] for pair in told["pairs"]} == {
        "ride": "after", "ride, ride_after.png": "ride_after"
    }  # fmt: skip
    assert told["pairs"][0]["damaged_in_ride"] == told["pairs"][1]["damaged_in_ride"]


def said(root: Path, out: str = "inspect") -> dict:
    return read_json(root / out / "verdicts.json")


def page(root: Path, out: str = "inspect") -> str:
    return (root / out / "report.html").read_text(encoding="utf-8")


def words_of(text: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text.partition("<body>")[2]))


@pytest.mark.parametrize(("claimed", "rides", "shown"), [(0, 13, 13), (0, 14, 10), (20, 72, 20), (90, 200, 30)])
def test_the_list_of_rides_is_short_enough_to_be_read(claimed, rides, shown):
    assert verdict_page.opened(claimed, rides) == shown


@pytest.mark.slow
def test_rides_without_a_claim_are_folded(root, monkeypatch):
    monkeypatch.setattr(verdict_page, "OPEN", (1, 30))
    monkeypatch.setattr(verdict_page, "FEW", 0)
    inspected(root, "folded")
    rides = said(root, "folded")["pairs"]
    claimed = {ride["name"] for ride in rides if ride["claimed"]}
    listed = page(root, "folded").partition('id="rides"')[2].partition('class="case"')[0]
    shown, _, folded = listed.partition("<details>")
    first = {ride["name"] for ride in rides if ride["name"] in shown}
    assert (claimed or first) == first and len(first) == max(1, len(claimed))
    assert f"{len(rides) - len(first)} more rides, of none of which damage is claimed" in folded
    assert all(ride["name"] in folded for ride in rides if ride["name"] not in first)


def test_of_the_test_split_it_says_what_evaluate_says(root):
    told, details = said(root), read_json(root / "evaluate/details.json")
    of = details["changes"]["test"]
    assert told["judged"] == {key: of[key] for key in told["judged"]} and of["pairs"] == 4 and of["changes"] == 4
    test = photos_of.read(root / "split", "test")
    found, _ = detections.read(root / "detect/small" / detections.FILE, "test")
    judge = judge_of(root / "evaluate", photos_of.read(root / "split", "train"))
    for photo in test.photos:
        rows = found.image == photo.id
        seen = judge.found(Seen(found.part[rows], found.box[rows], found.score[rows], found.states[rows]))
        (mine,) = (of for of in told["photos"].values() if of["file"] == photo.name)
        assert [part["part"] for part in mine["parts"]] == [PARTS[part - 1] for part in seen.part]
        boxes = np.array([part["box"] for part in mine["parts"]]).reshape(-1, 4)
        np.testing.assert_allclose(boxes, seen.box, atol=0.06)
        np.testing.assert_allclose([part["score"] for part in mine["parts"]], seen.score, atol=1e-3)
        assert sorted([part["part"] for part in mine["parts"]] + mine["not_found"]) == sorted(PARTS)
    truth = {pair["name"]: pair["truth"] for pair in told["pairs"]}
    states = {(int(p), int(k)): int(s) for p, k, s in zip(test.photo, test.part, test.state, strict=True)}
    for pair, photo in zip(told["pairs"], test.photos[1::2], strict=True):
        assert truth[pair["name"]] == [PARTS[k - 1] for (p, k), s in states.items() if p == photo.id and s]


def test_a_strangers_photographs_are_looked_at_as_they_are_shown_and_what_is_none_is_named(root, own):
    metrics = inspected(root, "own", photos=str(own))
    told = said(root, "own")
    assert metrics["photos"] == 4 and metrics["unusable"] == 1 and told["judged"] is None
    assert list(told["unusable"]) == ["text.jpg"] and "no image" in told["unusable"]["text.jpg"]
    turned = told["photos"]["turned"]
    assert (turned["width"], turned["height"]) == (HEIGHT, WIDTH)
    for photo in told["photos"].values():
        for part in photo["parts"]:
            x, y, w, h = part["box"]
            assert x >= 0 and y >= 0 and x + w <= photo["width"] + 0.1 and y + h <= photo["height"] + 0.1
            assert 0 <= part["confidence"] <= 1 and sum(part["states"].values()) == pytest.approx(1, abs=1e-3)
    (ride,) = told["pairs"]
    assert (ride["name"], ride["before"], ride["after"]) == ("ride", "ride_before", "ride_after")
    assert 0 <= ride["damaged_in_ride"] <= 1
    shown = words_of(page(root, "own"))
    assert "text.jpg" in shown and "alone.png" in shown and "a world that a computer drew" in shown
    assert "Rendered world" not in shown  # the photographs are real, what the network has learnt from is not


def test_many_that_cannot_be_used_are_five_lines_and_a_count(root, tmp_path, caplog):
    shutil.copyfile(root / "download/unit/images/bike10_0_after.png", tmp_path / "bike.png")
    for number in range(7):
        (tmp_path / f"{number}.jpg").write_bytes(b"of words")
    assert inspected(root, "many", photos=str(tmp_path))["unusable"] == 7
    lines = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert sum(line.endswith("left out") and ".jpg" in line for line in lines) == 5
    assert "and 2 more cannot be used, left out" in lines and len(said(root, "many")["unusable"]) == 7


def test_the_page_needs_nothing_but_itself(root):
    text = page(root)
    assert text.count("data:image/jpeg") >= 8 and not re.search(
        r'(src|href)="(?!data:|#)', text.replace('href="http', "")
    )
    assert "Rendered world" in text
    assert words_of(text).count("What was done:") == 4


def test_nothing_hangs_on_how_many_are_looked_at_at_once(root):
    inspected(root, "one", batch=1)
    assert said(root, "one")["photos"].keys() == said(root)["photos"].keys()
    for key, of in said(root, "one")["photos"].items():
        scores = [part["score"] for part in said(root)["photos"][key]["parts"]]
        np.testing.assert_allclose([part["score"] for part in of["parts"]], scores, atol=2e-4)


@pytest.mark.slow
def test_a_kill_loses_a_block_at_most(root, own, monkeypatch):
    monkeypatch.setattr(looked, "MOST", 1)
    killed.run(inspected, root, "killed", photos=str(own), batch=1, done=3, desc="looked")
    done = [folder for folder in (root / "killed/looked").iterdir() if (folder / ".done.json").exists()]
    assert len(done) >= 1 and not (root / "killed/report.html").exists()
    seen: list[str] = []
    look = looking.look_through
    monkeypatch.setattr(
        looking,
        "look_through",
        lambda block, folder, **of: seen.extend(p.name for p in block) or look(block, folder, **of),
    )
    inspected(root, "killed", photos=str(own), batch=1)
    assert len(seen) == 5 - len(done)
    inspected(root, "whole", photos=str(own), batch=1)  # in one go
    assert folder_hash(root / "killed") == folder_hash(root / "whole")
    write_image(own / "later.png", np.full((HEIGHT, WIDTH, 3), 90, np.uint8))
    seen.clear()
    inspected(root, "killed", photos=str(own), batch=1)
    assert seen == ["later.png"]


def test_a_photograph_more_changes_one_block():
    names = [f"bike{i}_{turn}.jpg" for i in range(300) for turn in ("after", "before")]
    before = looked.blocks_of([Asked(name, Path(name), name) for name in names])
    after = looked.blocks_of([Asked(name, Path(name), name) for name in sorted([*names, "bike150_again.jpg"])])
    kept = [block for block in before.values() if block in after.values()]
    assert [photo.name for block in before.values() for photo in block] == names
    assert max(map(len, before.values())) <= looked.MOST and len(before) > 15
    before_sorted = looked.blocks_of([Asked(name, Path(name), name) for name in sorted(names)])
    kept = [name for name, block in before_sorted.items() if after.get(name) == block]
    assert len(before_sorted) - len(kept) <= 2


def test_nothing_usable_is_refused_and_what_was_there_stays(root, tmp_path):
    def held() -> list[bytes]:
        return [(root / "inspect" / name).read_bytes() for name in ("verdicts.json", "report.html")]

    before = held()
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match=r"empty: holds no photograph"):
        inspected(root, photos=str(tmp_path / "empty"))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/a.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(BadInput, match=r"broken: none of its 1 photograph can be used: the first, a, "):
        inspected(root, photos=str(tmp_path / "broken"))
    with pytest.raises(BadInput, match=r"nowhere: no such folder"):
        inspected(root, photos=str(tmp_path / "nowhere"))
    assert held() == before
    inspected(root)  # and what it had looked at before is not looked at again
    assert held() == before


def test_without_a_judge_it_says_what_to_run(root, tmp_path):
    train = photos_of.read(root / "split", "train")
    with pytest.raises(BadInput, match="run bike_parts-evaluate"):
        judge_of(tmp_path, train)
    write_json(tmp_path / "details.json", {"leader": None, "leader_null_because": "nothing to judge by"})
    with pytest.raises(BadInput, match=r"no network leads .nothing to judge by"):
        judge_of(tmp_path, train)
    write_json(tmp_path / "details.json", {"leader": "small"})
    with pytest.raises(BadInput, match="not written by bike_parts-evaluate"):
        judge_of(tmp_path, train)


def test_a_pair_of_one_photograph_and_a_table_without_photographs_are_said(root, tmp_path):
    shutil.copyfile(root / "download/unit/images/bike10_0_after.png", tmp_path / "a_before.png")
    shutil.copyfile(tmp_path / "a_before.png", tmp_path / "a_after.png")
    inspected(root, "same", photos=str(tmp_path))
    told = said(root, "same")
    assert "a: before and after are one and the same photograph." in told["remarks"]
    assert not told["pairs"][0]["claimed"]
    with pytest.raises(BadInput, match=r"bike_parts\.inspect\.pairs = rides\.csv: photos is null"):
        inspected(root, "same", pairs="rides.csv")


@pytest.mark.slow
def test_without_a_ride_on_validation_nothing_is_claimed_and_that_is_said(tmp_path):
    root = write_project(tmp_path, found=True)
    inspected(root)
    assert "calibrated on validation" in words_of(page(root)) and inspect.NO_CLAIM not in said(root)["remarks"]
    val = photos_of.read(root / "split", "val")
    alone = [replace(photo, name=photo.name.replace("_0_", "-")[:-9] + ".png") for photo in val.photos]
    photos_of.write(root / "split", "val", replace(val, photos=alone))
    evaluated(root)
    inspected(root)
    told, shown = said(root), words_of(page(root))
    assert told["claim"] is None and len(told["pairs"]) == 4 and not any(pair["claimed"] for pair in told["pairs"])
    assert inspect.NO_CLAIM in told["remarks"] and inspect.NO_CLAIM in shown
    assert "calibrated" not in shown and "Damaged in the ride" not in shown


@pytest.mark.slow
def test_a_network_that_has_learnt_no_states_says_none(tmp_path):
    root = write_project(tmp_path, states=False)
    inspected(root)
    told = said(root)
    assert any("learnt no states" in remark for remark in told["remarks"]) and told["judged"] is None
    assert all(part["state"] is None for photo in told["photos"].values() for part in photo["parts"])
    assert not any(photo["damaged"] or photo["absent"] for photo in told["photos"].values())
    assert {pair["says"] for pair in told["pairs"]} == {"states are not known to this network"}


def seen(states: dict[str, list[float]], score: float = 0.99) -> Seen:
    parts = np.array([PARTS.index(part) + 1 for part in states])
    boxes = np.tile([1.0, 1, 9, 9], (len(parts), 1))
    return Seen(parts, boxes, np.full(len(parts), score), np.array(list(states.values())).reshape(-1, 4))


def test_a_ride_is_told_in_a_sentence(root):
    known = judge_of(root / "evaluate", photos_of.read(root / "split", "train"))
    judge = Judge(known.network, 0.3, judging.Calibration(), known.rides, 0.5, PARTS, set(), {0, 1, 2, 3})
    whole, gone, broken = [0.98, 0.01, 0.005, 0.005], [0.01, 0.01, 0.97, 0.01], [0.02, 0.96, 0.01, 0.01]
    before = seen({"bell": whole, "chain": whole, "lock": gone, "saddle": whole})
    after = seen({"bell": broken, "chain": whole, "lock": gone, "saddle": gone})
    verdicts = [judge.verdict(of) for of in (before, after)]
    assert verdicts[1]["says"] == "damaged: bell; missing: lock, saddle"
    told = judging.ride(judge, [before, after], verdicts)
    assert told["claimed"] and told["damaged_in_ride"] > 0.9
    assert {change["part"] for change in told["changes"] if change["claimed"]} == {"bell", "saddle"}
    assert re.fullmatch(r"damaged or lost in this ride: (bell, saddle|saddle, bell)", told["says"])
    back = judging.ride(judge, [after, before], verdicts[::-1])
    assert not back["claimed"]  # what is whole after is not damaged in the ride
    few = judge.verdict(seen({"bell": broken}))
    assert few["says"] == "too little is found to rely on: 1 of 4 parts; damaged: bell"
    assert judge.verdict(seen({}))["says"] == "no part was found: is there a bicycle in it?"
