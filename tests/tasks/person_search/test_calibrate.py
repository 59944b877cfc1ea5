"""Searches among people of validation, by the real steps from a source with cameras for validation to an answer."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from tasks.person_search import apply, calibrate, index, search
from tasks.person_search.judging import calibration
from tasks.yard import params
from tasks.yard.applying import Model, made_with
from tasks.yard.files import file_hash, read_json, write_json, write_text
from tests.tasks.person_search import tiny_yard
from tests.tasks.person_search.real_layouts import fetched, packed
from tests.tasks.person_search.tiny_yard import LIGHT, NETWORK, QUICK, draw, write_query

pytestmark = pytest.mark.slow

LINE = params.load(tiny_yard.REPO / "params.yaml").person_search
SHOWN, OTHERS, TESTED = range(1, 9), range(11, 17), (21, 22)
CONFIDENCES = [0.0, 0.2]


def write_camera(folder: Path, number: int, people, frames: int = 3, truth: bool = True) -> None:
    folder.mkdir(parents=True)
    rows = ["frame,pid,x1,y1,x2,y2"]
    for frame in range(frames):
        image = np.full((64, 160, 3), 90 + 10 * number, np.uint8)
        for place, person in enumerate(people):
            rows.append(",".join(map(str, [frame, person, *draw(image, person, 18 * place + frame, 16)])))
        cv2.imwrite(str(folder / f"{frame:06d}.png"), image)
    if truth:
        write_text(folder / "truth.csv", "\n".join(rows) + "\n")


def write_source(root: Path) -> Path:
    for part, people in (("bounding_box_train", [*SHOWN, *OTHERS]), ("bounding_box_test", TESTED), ("query", TESTED)):
        for person in people:
            for camera in (1, 2, 3):
                for nth in range(2):
                    write_query(
                        root / part / f"{person:04d}_c{camera}s1_{nth:06d}_0{'1' if part != 'query' else '2'}.png",
                        person,
                    )
    for number in (1, 2):
        write_camera(root / "validation_cameras" / f"c{number}", number, SHOWN)
        write_camera(root / "cameras" / f"c{number}", number, TESTED)
    write_query(root / "queries" / "0021_c1s1_000000_00.png", 21)
    return root


@pytest.fixture(scope="module")
def yard(tmp_path_factory) -> Path:
    """data/person_search of a small project up to where somebody is searched for."""
    root = tmp_path_factory.mktemp("project")
    data = root / "data"
    packed(data, write_source(root / "yard"), height_px=32, width_px=16, val_share=0.1)
    tiny_yard.write_detector(data / "train_detector")
    tiny_yard.write_network(data / "train")
    tiny_yard.write_leader(data / "evaluate")
    calibrated(data)
    return data


def sighted(**changes):
    return LINE.index.model_copy(update={**LIGHT, "batch": 2, **changes})


def inputs(data: Path) -> dict:
    train = {NETWORK: data / "train" / NETWORK}
    return {"download": data / "download", "train": train, "evaluate": data / "evaluate"}


def calibrated(data: Path, **changes) -> dict:
    return calibrate.run(
        LINE.calibrate.model_copy(update={"confidences": CONFIDENCES}), data / "calibrate", **inputs(data),
        pack=data / "pack", train_detector=data / "train_detector", index_params=sighted(**changes),
    )  # fmt: skip


def searched(data: Path, **changes) -> dict:
    index.run(
        sighted(), data / "index", **inputs(data), train_detector=data / "train_detector", calibrate=data / "calibrate"
    )
    (data / "search").mkdir(exist_ok=True)
    settings = LINE.search.model_copy(update={**QUICK, **changes})
    search.run(settings, data / "search", **inputs(data), index=data / "index", calibrate=data / "calibrate")
    return read_json(data / "search/search.json")


def test_whom_a_camera_for_validation_shows_validates_and_nobody_is_searched_for_there(yard):
    shown = {f"yard:{person:04d}" for person in SHOWN}
    people = read_json(yard / "pack/dataset_config.json")["identities"]
    assert set(people["val"]) == shown, "a share of 0.1 is less than who is shown"
    units = read_json(yard / "download/report.json")["units"]
    parts = {name: unit["parts"] for name, unit in units.items()}
    assert parts["yard-validation-c1"] == ["validation"] and parts["yard-camera-c1"] == ["frames"]
    assert not (yard / "download/yard-validation-c1/queries").exists()
    assert set(read_json(yard / "calibrate/calibration.json")["confidences"][0]) >= {"map", "box_recall", "detections"}
    searched(yard)
    assert set(read_json(yard / "index/index.json")["cameras"]) == {"yard-camera-c1", "yard-camera-c2"}


def test_every_query_of_validation_searches_and_nobody_of_test_is_looked_at(yard):
    told = read_json(yard / "calibrate/calibration.json")
    assert told["impostors"]["searches"] == 8 * 3 and told["people"] == 8 and told["learnt"] == 0
    before = (yard / "calibrate/calibration.json").read_bytes()
    hidden = [yard / "pack/test.h5", yard / "download/yard-camera-c1", yard / "download/yard-camera-c2"]
    aside = yard.parent / "aside"
    aside.mkdir()
    for path in hidden:
        shutil.move(path, aside / path.name)
    try:
        calibrated(yard)
        assert (yard / "calibrate/calibration.json").read_bytes() == before
    finally:
        for path in hidden:
            shutil.move(aside / path.name, path)


def test_the_search_uses_the_threshold_for_as_many_detections_as_it_has(yard):
    known = calibration.read(yard / "calibrate/calibration.json")
    for rate in (0.2, 0.5):
        found = searched(yard, false_accept_rate=rate)
        expected, _ = known.impostors.threshold(rate, found["detections"])
        assert found["threshold"] == pytest.approx(expected) and found["calibrated"]
        assert f"{rate:g} of the searches for somebody who is not there" in found["threshold_from"]
    answer = read_json(yard / "search/0021_c1s1_000000_00/results.json")
    best = max(one["best"]["similarity"] for one in answer["cameras"])
    assert answer["by_chance"] == pytest.approx(known.impostors.share(best, found["detections"]), abs=1e-3)
    assert "of the searches for somebody who is not there find one as similar" in answer["says"]
    assert searched(yard, threshold=0.5)["threshold_from"] == "person_search.search.threshold"


def test_the_detector_is_as_sure_as_validation_likes_best_or_as_is_asked(yard, tmp_path):
    told = read_json(yard / "calibrate/calibration.json")
    assert told["confidence"] == 0.0 and [one["confidence"] for one in told["confidences"]] == [0.0]
    data = shutil.copytree(yard, tmp_path / "data")
    calibrated(data, confidence=None)
    told = read_json(data / "calibrate/calibration.json")
    assert [one["confidence"] for one in told["confidences"]] == CONFIDENCES
    assert told["confidence"] is None and not any(one["map"] for one in told["confidences"]), "it knows nobody"
    assert index.confidence_of(sighted(confidence=None), data / "calibrate") == index.CONFIDENCE
    write_json(data / "calibrate/calibration.json", {**told, "confidence": 0.07})
    assert index.confidence_of(sighted(confidence=None), data / "calibrate") == 0.07
    assert index.confidence_of(sighted(confidence=0.4), data / "calibrate") == 0.4


def test_the_calibration_is_a_belonging_of_the_model(yard, tmp_path):
    stage = searched(yard)
    belongings = tmp_path / "belongings"
    belongings.mkdir()
    line = LINE.model_copy(update={"index": sighted(), "search": LINE.search.model_copy(update=QUICK)})
    apply.belongings(yard, NETWORK, line, belongings)
    weights = yard / "train" / NETWORK / "best.pt"
    model = Model("models:/person_search/1", weights, belongings, sha256=file_hash(weights))
    source = yard.parent / "yard"
    apply.run(str(source), model, tmp_path / "out", made_with(LINE, model, {}), no_film=True)
    ours = read_json(tmp_path / "out/search/search.json")
    assert ours["threshold"] == stage["threshold"] and ours["threshold_from"] == stage["threshold_from"]
    assert ours["detections"] == stage["detections"], "the same confidence"
    other = tiny_yard.write_detector(tmp_path / "other") / "best.pt"
    other.write_bytes(other.read_bytes() + b"\0")
    done = apply.run(str(source), model, tmp_path / "o2", made_with(LINE, model, {}), no_film=True, detector=other)
    assert apply.OTHER_DETECTOR in done.said


def test_people_of_test_in_frames_for_validation_change_nothing(yard, tmp_path, caplog):
    """A third camera for validation that shows them alone."""
    data = shutil.copytree(yard, tmp_path / "data")
    before = read_json(data / "calibrate/calibration.json")
    write_camera(tmp_path / "frames", 3, TESTED)
    unit = shutil.copytree(data / "download/yard-validation-c1", data / "download/yard-validation-c3")
    shutil.rmtree(unit / "frames")
    shutil.copytree(tmp_path / "frames", unit / "frames", ignore=shutil.ignore_patterns("truth.csv"))
    shutil.copy(tmp_path / "frames/truth.csv", unit / "truth.csv")
    write_json(unit / "camera.json", read_json(unit / "camera.json") | {"camera": 3, "name": "c3"})
    calibrated(data)
    told = read_json(data / "calibrate/calibration.json")
    assert told["tested"] == 3 * len(TESTED) and before["tested"] == 0
    assert "show people of test: they are left out" in caplog.text
    assert len(told["impostors"]["best"]) == len(before["impostors"]["best"])


def test_too_few_searches_leave_confidence_without_a_weight(yard, tmp_path):
    """The threshold of pairs is one of plain cosines, and so must be what it is held against."""
    data = shutil.copytree(yard, tmp_path / "data")
    file = data / "calibrate/calibration.json"
    told = read_json(file)
    few = {"impostors": {**told["impostors"], "best": []}, "strangers": None, "null_because": "few searches"}
    found = []
    for weight in (0.5, 0.0):
        write_json(file, {**told, **few, "confidence_weight": weight})
        found.append((searched(data), read_json(data / "search/0021_c1s1_000000_00/results.json")))
    assert found[0] == found[1] and found[0][0]["threshold"] == tiny_yard.THRESHOLD


def test_without_cameras_for_validation_the_threshold_is_that_of_pairs_and_the_reason_is_said(yard, tmp_path):
    data = shutil.copytree(yard, tmp_path / "data")
    for unit in data.glob("download/yard-validation-*"):
        shutil.rmtree(unit)
    assert calibrated(data) == {"cameras": 0}
    found = searched(data)
    assert found["threshold"] == tiny_yard.THRESHOLD and not found["calibrated"]
    assert "validation_cameras/<name>/ with a truth.csv" in found["not_calibrated_because"]
    assert read_json(data / "index/index.json")["lowest_confidence"] == 0.0


def test_a_camera_for_validation_that_says_not_who_is_seen_is_refused_alone(tmp_path):
    write_camera(tmp_path / "src/cameras/a", 1, TESTED)
    write_camera(tmp_path / "src/validation_cameras/a", 1, SHOWN)
    write_camera(tmp_path / "src/validation_cameras/b", 2, SHOWN, truth=False)
    report = fetched(tmp_path, tmp_path / "src")
    assert set(report["units"]) == {"src-camera-a", "src-validation-a"}
    assert "known who is seen in its frames; give truth.csv" in report["quarantined"]["src-validation-b"]
    assert read_json(tmp_path / "download/src-validation-a/camera.json")["split"] == "val"
    write_json(tmp_path / "src/cameras/a/camera.json", {"camera": 1, "fps": 2.0, "name": "a", "split": "val"})
    assert fetched(tmp_path, tmp_path / "src")["units"]["src-camera-a"]["parts"] == ["frames"], "folders say it"


def test_search_and_apply_weigh_a_detection_as_the_calibration_says(yard, tmp_path):
    """The answer's similarity is the cosine times the confidence to the power of the weight, and nothing else."""
    data = shutil.copytree(yard, tmp_path / "data")
    searched(data)
    key, file = "0021_c1s1_000000_00", data / "calibrate/calibration.json"

    def hits() -> dict:
        cameras = read_json(data / "search" / key / "results.json")["cameras"]
        return {one["unit"]: one["best"] for one in cameras}

    write_json(file, read_json(file) | {"confidence_weight": 0.0})
    searched(data)
    plain = hits()
    write_json(file, read_json(file) | {"confidence_weight": 0.5})
    searched(data)
    for unit, hit in hits().items():
        assert hit["similarity"] <= plain[unit]["similarity"] + 1e-6
        if (hit["frame"], hit["box"]) == (plain[unit]["frame"], plain[unit]["box"]):
            assert hit["similarity"] == pytest.approx(plain[unit]["similarity"] * hit["confidence"] ** 0.5, abs=1e-3)
