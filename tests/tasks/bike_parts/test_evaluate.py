"""The evaluate step: its numbers can be computed again from the files, and validation alone decides."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tasks.bike_parts.formats import detections, photos
from tasks.bike_parts.formats.detections import FILE
from tasks.bike_parts.formats.photos import ABSENT, STATES
from tasks.bike_parts.judging.coco import PROTOCOLS
from tasks.bike_parts.judging.judge import judge_of
from tasks.bike_parts.judging.pairs import pairs_of, probabilities
from tasks.yard.files import folder_hash, read_json
from tasks.yard.step import BadInput
from tests.tasks.bike_parts.judged_photos import PARTS, evaluate, labelled, unlabelled, write

pytestmark = pytest.mark.slow

GOOD, POOR = {"wrong": 0.1, "shift": 0.05}, {"wrong": 0.6, "shift": 0.3, "lost": 0.3}
BASELINES = ["mean_box", "majority_state", "blind"]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    root = write(tmp_path_factory.mktemp("project"), {"good": GOOD, "poor": POOR})
    flat, details = evaluate(root)
    return root, flat, details


def textbook(root, run: str, split: str) -> dict[str, float]:
    """Numbers of one network from its file and the labels, part by part."""
    of = photos.read(root / "split", split)
    found, oracle = detections.read(root / "detect" / run / FILE, split)
    true, told = [], []
    best = np.full(len(of.id), -1.0)
    for photo in of.photos:
        for part in range(1, len(of.parts) + 1):
            [row] = np.flatnonzero((of.photo == photo.id) & (of.part == part))
            x, y, w, h = of.box[row]
            mine = []
            for i in np.flatnonzero((found.image == photo.id) & (found.part == part)):
                a, b, c, d = found.box[i].astype(float)
                common = max(0, min(x + w, a + c) - max(x, a)) * max(0, min(y + h, b + d) - max(y, b))
                if common / (w * h + c * d - common) >= 0.5:
                    mine.append(i)
            if mine:
                surest = mine[int(np.argmax(found.score[mine]))]
                true.append(of.state[row])
                told.append(found.states[surest].argmax())
                best[row] = max(found.presence[mine])
    true, told = np.array(true), np.array(told)
    f1 = [2 * np.sum((true == k) & (told == k)) / (np.sum(true == k) + np.sum(told == k)) for k in range(len(STATES))]
    on_true = of.state[np.argsort(of.id)] == oracle.states.argmax(1)[np.argsort(oracle.annotation)]
    return {
        "pairs": len(true), "accuracy": np.mean(true == told), "macro_f1": np.mean(f1), "oracle": np.mean(on_true),
        "best": best, "absent": of.state == ABSENT,
    }  # fmt: skip


@pytest.mark.parametrize("run", ["good", "poor"])
def test_the_numbers_can_be_computed_again_from_the_files(project, run):
    root, flat, details = project
    for split, told in (("test", details["runs"][run]), ("val", details["runs"][run]["validation"])):
        again = textbook(root, run, split)
        assert told["states"]["pairs"] == again["pairs"]
        assert told["states"]["accuracy"] == told["state_accuracy"] == pytest.approx(again["accuracy"], abs=1e-6)
        assert told["state_macro_f1"] == pytest.approx(again["macro_f1"], abs=1e-6)
        assert told["oracle"]["accuracy"] == pytest.approx(again["oracle"], abs=1e-6)
        assert np.sum(told["states"]["confusion"]) == again["pairs"]
        threshold = details["runs"][run]["threshold"]
        assert told["recall"] == pytest.approx(np.mean(again["best"][~again["absent"]] >= threshold), abs=1e-6)
        assert told["hallucination"] == pytest.approx(np.mean(again["best"][again["absent"]] >= threshold), abs=1e-6)
        assert told["score"] == pytest.approx((told["ap50"] + told["state_macro_f1"]) / 2, abs=1e-6)
    assert flat[f"test/{run}/ap50"] == details["runs"][run]["protocols"]["without_absent"]["ap50"]


def test_each_network_has_the_highest_threshold_that_finds_enough_on_validation(project):
    root, _, details = project
    for run in ("good", "poor"):
        again = textbook(root, run, "val")
        best = again["best"][~again["absent"]]
        of = details["runs"][run]
        if "none finds" in of["threshold_from"]:
            assert of["threshold"] == best[best >= 0].min() and of["validation"]["recall"] < 0.8
        else:
            higher = again["best"][again["best"] > of["threshold"]].min()
            assert np.mean(best >= of["threshold"]) >= 0.8 > np.mean(best >= higher)
    assert details["threshold"] == details["runs"]["good"]["threshold"]


def test_every_run_goes_through_the_same_judge_and_has_its_files(project):
    root, _, details = project
    assert details["leader"] == "good" and details["baselines"] == BASELINES and details["parts"] == PARTS
    assert set(details["runs"]) == {"good", "poor", *BASELINES}
    assert {path.stem for path in (root / "evaluate/metrics").iterdir()} == set(details["runs"])
    for name, of in details["runs"].items():
        assert set(of["protocols"]) == set(PROTOCOLS) and of["intervals"]["ap50"]["replicates"] == 100
        low, high = (of["intervals"]["ap50"][key] for key in ("low", "high"))
        assert low <= of["ap50"] <= high, name
        assert read_json(root / "evaluate/metrics" / f"{name}.json")["ap50"] == of["ap50"]
        assert set(of["states"]["by_part"]) == set(PARTS)
    runs = details["runs"]
    assert runs["good"]["ap50"] > 0.8 > 0.2 > runs["mean_box"]["ap50"] > runs["blind"]["ap50"] - 0.1
    assert runs["good"]["state_macro_f1"] > 2 * runs["majority_state"]["state_macro_f1"]
    with_absent = [runs[name]["protocols"]["with_absent"]["ap50"] for name in ("good", "majority_state")]
    assert with_absent[0] == with_absent[1], "the same boxes"
    table = pd.read_csv(root / "evaluate/parts.csv")
    assert len(table) == 5 * len(PARTS) and set(table["run"]) == set(runs)
    assert set(pd.read_csv(root / "evaluate/plots/presence.csv")["run"]) == {"good"}
    curves = pd.read_csv(root / "evaluate/presence.csv")
    assert set(curves["split"]) == {"val", "test"} and set(curves["run"]) == set(runs)
    assert all((root / "evaluate" / f"{name}.png").stat().st_size > 5000 for name in ("confusion", "presence"))


def test_the_counts_say_how_often_each_state_is_there(project):
    root, _, details = project
    for split in photos.SPLITS:
        of, told = photos.read(root / "split", split), details["counts"][split]
        assert told["states"] == {name: int((of.state == k).sum()) for k, name in enumerate(STATES)}
        assert (told["photos"], told["pairs"]) == (len(of.photos), len(of.photos) // 2)
        assert told["groups"] == len({photo.group for photo in of.photos})


def test_what_inspect_applies_is_what_was_judged(project):
    """The judge that inspect reads from the file gives the same probabilities, and claims as often wrong as is said."""
    root, _, details = project
    test = photos.read(root / "split", "test")
    judge = judge_of(root / "evaluate", photos.read(root / "split", "train"))
    found, _ = detections.read(root / "detect/good" / FILE, "test")
    second = detections.read_again(root / "detect/good" / FILE, "test")
    p = probabilities(found, second, pairs_of(test), judge)
    told = details["changes"]["test"]
    state = {(photo, part): state for photo, part, state in zip(test.photo, test.part, test.state, strict=True)}
    hits = wrong = real = 0
    for (before, after), row in zip(pairs_of(test), p, strict=True):
        for part, claimed in enumerate(row >= judge.claim, 1):
            ride = state[before, part], state[after, part]
            worse = ride in {(0, 1), (0, 2), (1, 2)}
            real += worse
            hits += worse and claimed
            wrong += claimed and not worse
    assert (told["changes"], told["found"], told["false_claims"]) == (real, hits, wrong)
    assert judge.network == "good" and judge.believe == details["believe"]


def test_changes_that_can_be_seen_are_found_and_hardly_any_claimed_beside_them(tmp_path):
    splits = {split: labelled(split, bikes, changes=0.1) for split, bikes in (("train", 80), ("val", 60), ("test", 60))}
    clear = write(tmp_path / "clear", {"net": {"wrong": 0.0, "lost": 0.0, "shift": 0.02}}, splits)
    told = evaluate(clear)[1]["changes"]
    assert told["test"]["recall"] > 0.9 and told["test"]["false_a_pair"] <= 0.1
    assert all(of["recall"] > 0.9 and of["false_a_pair"] <= 0.1 for of in told["limits"].values())
    noisy = write(tmp_path / "noisy", {"net": {"wrong": 0.08, "lost": 0.0, "shift": 0.02}}, splits)
    told = evaluate(noisy)[1]["changes"]
    assert told["validation"]["false_a_pair"] <= 0.1
    assert told["baselines"]["never"]["recall"] == told["baselines"]["never"]["false_a_pair"] == 0
    assert told["baselines"]["states_as_told"]["false_a_pair"] > 0.1
    assert told["limits"]["true_states_after"]["recall"] > told["test"]["recall"]
    spans = told["test"]["intervals"]
    assert spans["recall"]["low"] <= told["test"]["recall"] <= spans["recall"]["high"]


def test_validation_names_the_leader_and_test_chooses_nothing(tmp_path):
    """On test the order is the other way round, and so is the alphabet's."""
    best, other = "second", "first"
    root = write(tmp_path, {best: {"val": GOOD, "test": POOR}, other: {"val": POOR, "test": GOOD}})
    _, details = evaluate(root)
    assert details["leader"] == best
    assert details["runs"][other]["score"] > details["runs"][best]["score"]


def test_the_examples_are_the_best_and_the_worst_of_the_test_photographs(project, tmp_path):
    root, _, details = project
    shown, test = details["examples"], photos.read(root / "split", "test")
    assert set(shown["best"]) & set(shown["worst"]) == set() and len(shown["best"]) == 12
    splits = {split: photos.read(root / "split", split) for split in photos.SPLITS}
    write(tmp_path, {"net": {"wrong": 0, "lost": 0, "shift": 0, "false": 0}}, splits)
    spoilt = test.photos[3].id
    path = tmp_path / "detect/net" / FILE
    held = {split: detections.read(path, split) for split in ("val", "test")}
    found, oracle = held["test"]
    states = np.where((found.image == spoilt)[:, None], np.roll(found.states, 1, axis=1), found.states)
    held["test"] = replace(found, states=states), oracle
    detections.write(path, held)
    shown = evaluate(tmp_path)[1]["examples"]
    assert shown["worst"][0] == spoilt and spoilt not in shown["best"]
    assert shown["confused"] == [spoilt]


def test_same_input_same_bytes_and_nothing_stale(project, tmp_path):
    root, _, _ = project
    shutil.copytree(root, tmp_path / "root")
    for stale in ("metrics/gone.json", "plots/gone.csv", "gone.png"):
        (tmp_path / "root/evaluate" / stale).write_text("left by an earlier run")
    evaluate(tmp_path / "root")
    assert folder_hash(tmp_path / "root/evaluate") == folder_hash(root / "evaluate")


def one_bike(of: photos.Photos) -> photos.Photos:
    return replace(of, photos=[replace(photo, group="bike") for photo in of.photos])


def emptied(of: photos.Photos) -> photos.Photos:
    none = {name: getattr(of, name)[:0] for name in ("id", "photo", "part", "box", "state", "trust")}
    return replace(of, **none)


def small(**changed) -> dict[str, photos.Photos]:
    return {split: changed.get(split, lambda of: of)(labelled(split, 5)) for split in photos.SPLITS}


def test_a_source_without_states_has_a_detector_that_is_judged_and_states_that_are_null(tmp_path):
    splits = small(train=unlabelled, val=unlabelled, test=unlabelled)
    flat, details = evaluate(write(tmp_path, {"net": GOOD}, splits))
    of = details["runs"]["net"]
    assert of["ap50"] > 0.5 and of["score"] == of["ap50"] and details["leader"] == "net"
    assert of["state_macro_f1"] is None and of["states"]["null_because"] == "no state is labelled"
    assert of["hallucination"] is None and of["presence"]["null_because"] == "no part is absent"
    assert details["claim"] is None and "no pair whose states" in details["changes"]["test"]["null_because"]
    assert "test/net/state_macro_f1" not in flat and "claim" not in flat
    assert details["baselines"] == ["mean_box", "blind"]  # the usual state of nothing would be the leader again


def test_one_bike_alone_has_no_interval_and_no_blind_baseline(tmp_path):
    _, details = evaluate(write(tmp_path, {"net": GOOD}, small(test=one_bike)))
    assert details["baselines"] == ["mean_box", "majority_state"]
    assert set(details["runs"]["net"]["intervals"].values()) == {None}
    assert details["runs"]["net"]["ap50"] is not None


@pytest.mark.parametrize("split", ["val", "test"])
def test_photographs_without_a_labelled_part_are_judged_as_nothing(tmp_path, split):
    networks = {"one": GOOD, "other": POOR}
    _, details = evaluate(write(tmp_path, networks, small(**{split: emptied})))
    side = details["runs"]["one"] if split == "test" else details["runs"]["one"]["validation"]
    assert side["ap50"] is None and side["protocols"]["with_absent"]["null_because"] == "no labelled box"
    assert (details["leader"] is None) == (split == "val")
    if split == "val":
        assert details["leader_null_because"] and details["threshold"] is None


def test_a_network_that_finds_nothing_is_worth_nothing_and_stops_nobody(tmp_path):
    blind = {"lost": 1.0, "false": 0.0}
    _, details = evaluate(write(tmp_path, {"empty": blind, "good": GOOD}, small()))
    of = details["runs"]["empty"]
    assert of["ap50"] == 0 and of["threshold"] is None and of["recall"] is None
    assert of["state_macro_f1"] is None and details["leader"] == "good"
    assert of["states"]["null_because"] == "no labelled part is found"


def test_detections_of_other_photographs_are_refused_by_name(tmp_path):
    root = write(tmp_path, {"net": GOOD}, small())
    photos.write(root / "split", "test", labelled("test", 4))
    with pytest.raises(
        BadInput, match=r"net/detections\.h5: not of the test photographs of split; run bike_parts-detec"
    ):
        evaluate(root)
    (root / "detect/net" / FILE).write_bytes(b"none")
    with pytest.raises(BadInput, match=r"not a file of bike_parts-detect"):
        evaluate(root)
