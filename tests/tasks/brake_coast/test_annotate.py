"""Annotating recordings: statuses, ROI rules, what is kept and what is redone, and a kill -9 in the middle."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.brake_coast import annotate
from tasks.yard.detector.look import ahead
from tasks.yard.layouts import images, seen
from tasks.yard.step import BadInput
from tests.tasks.brake_coast import drives, scenes
from tests.tasks.yard import killed

pytestmark = pytest.mark.slow

REAL = drives.REPO.parent / "shared" / "real"
SIGHTED = {"imgsz": 64, "batch": 4, "max_detections": 3, "roi": [], "confidence": {"vehicle": 0.0}, "device": "cpu"}


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return scenes.write_weights(tmp_path_factory.mktemp("train_detector") / "best.pt")


@pytest.fixture
def yard(tmp_path, weights):
    """Annotates tmp_path/download into tmp_path/annotate."""

    def run(**changes) -> dict:
        params = drives.section("annotate", **{**SIGHTED, **changes})
        inputs = {"download": tmp_path / "download", "train_detector": weights.parent}
        return annotate.run(params, tmp_path / "annotate", **inputs)

    return run


def table(tmp_path: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(tmp_path / "annotate" / name / "annotations.csv", dtype={"status": str})


def about(tmp_path: Path, name: str) -> dict:
    return json.loads((tmp_path / "annotate" / name / "annotations.json").read_text())


def test_frames_without_boxes_and_frames_that_cannot_be_read_are_told_apart(tmp_path, yard):
    folder = scenes.write_recording(tmp_path / "download", "a-1", frames=6)
    frames = sorted(folder.glob("*.jpg"))
    frames[1].write_bytes(frames[1].read_bytes()[:-200])  # OpenCV would decode this
    frames[4].write_bytes(b"")
    metrics = yard()
    rows = table(tmp_path, "a-1")
    assert ",".join(rows.columns) == "Time,filename,status,class_id,confidence,x1,y1,x2,y2,area"
    assert rows.groupby("filename")["status"].first().tolist() == ["ok", "unreadable", "ok", "ok", "unreadable", "ok"]
    assert rows[rows["status"] == "unreadable"].iloc[:, 3:].isna().all(axis=None)
    assert list(rows["Time"].unique()) == [frame.stem for frame in frames]
    assert (metrics["frames"], metrics["ok"], metrics["unreadable"], metrics["boxes"]) == (6, 4, 2, 12)
    assert yard(confidence={"vehicle": 0.99})["empty"] == 4
    assert set(table(tmp_path, "a-1")["status"]) == {"empty", "unreadable"}


def test_the_largest_and_surest_boxes_are_kept(tmp_path, yard):
    scenes.write_recording(tmp_path / "download", "a-1", frames=3)
    yard(max_detections=1000)
    every = table(tmp_path, "a-1")
    metrics = yard(max_detections=2)
    kept = table(tmp_path, "a-1")
    for rows in (every, kept):
        rows["strength"] = rows["confidence"] * rows["area"]
    strongest = every.groupby("Time")["strength"].nlargest(2).groupby("Time").min()
    weakest = kept.groupby("Time")["strength"].min()
    assert (kept.groupby("Time").size() == 2).all() and metrics["boxes_beyond_limit"] == len(every) - len(kept)
    np.testing.assert_allclose(weakest, strongest, rtol=1e-3)
    sides = (every["x2"] - every["x1"]) * (every["y2"] - every["y1"])
    np.testing.assert_allclose(every["area"], sides, rtol=0.02, atol=2)


def test_drives_that_the_detector_has_learnt_from_are_named(tmp_path, weights, caplog):
    for frames, name in enumerate(("a-1", "b-1", "c-1", "d-1"), start=1):  # and so pictures of their own
        scenes.write_recording(tmp_path / "download", name, frames=frames)
    shutil.copytree(weights.parent, tmp_path / "train_detector")
    image = min((tmp_path / "download/b-1").glob("*.jpg"))
    seen.write(tmp_path / "train_detector", [("c-1", "val"), ("d-1", "test")], [(seen.picture(image), "train")])
    inputs = {step: tmp_path / step for step in ("download", "train_detector")}
    annotate.run(drives.section("annotate", **SIGHTED), tmp_path / "annotate", **inputs)
    saw = json.loads((tmp_path / "annotate/detector_saw.json").read_text())
    assert saw == {"b-1": {"split": "train", "pictures": 1}, "c-1": {"split": "val", "pictures": 0}}
    assert "the detector has learnt from 2 of the recordings: b-1, c-1" in caplog.text
    about = json.loads((tmp_path / "download/d-1/recording.json").read_text())
    (tmp_path / "download/d-1/recording.json").write_text(json.dumps({**about, "source": "films/trip.mp4"}))
    seen.write(tmp_path / "train_detector", [("trip_mp4", "train")], [])  # as Roboflow calls the frames of a film
    annotate.run(drives.section("annotate", **SIGHTED), tmp_path / "annotate", **inputs)
    saw = json.loads((tmp_path / "annotate/detector_saw.json").read_text())
    assert saw == {"d-1": {"split": "train", "pictures": 0}}
    own = {"weights": str(weights)}  # of a detector that was trained elsewhere nobody knows
    annotate.run(drives.section("annotate", **SIGHTED, **own), tmp_path / "annotate", **inputs)
    assert not (tmp_path / "annotate/detector_saw.json").exists()


def test_drives_without_a_camera_need_no_detector_and_one_with_pictures_is_named_where_none_is_given(tmp_path, caplog):
    scenes.write_recording(tmp_path / "download", "a-1", frames=0)
    inputs = {"download": tmp_path / "download", "train_detector": tmp_path / "never_trained"}
    without = drives.section("annotate", **SIGHTED, weights="none")
    assert annotate.run(without, tmp_path / "annotate", **inputs)["frames"] == 0
    assert about(tmp_path, "a-1")["roi_px"] is None and table(tmp_path, "a-1").empty
    scenes.write_recording(tmp_path / "download", "b-1", frames=3)
    metrics = annotate.run(without, tmp_path / "annotate", **inputs)
    assert (metrics["recordings"], metrics["quarantined"]) == (1, 1)
    reasons = json.loads((tmp_path / "annotate/quarantine.json").read_text())
    assert "3 pictures, and no detector to look at them; give brake_coast.annotate.weights" in reasons["b-1"]
    assert "weights=none" not in caplog.text


def test_a_detector_that_had_nothing_to_look_at_is_said_to_be_dispensable(tmp_path, yard, caplog):
    scenes.write_recording(tmp_path / "download", "a-1", frames=0)
    yard()
    assert "with brake_coast.annotate.weights=none no detector is trained" in caplog.text


def test_the_first_roi_rule_that_fits_holds_and_the_others_are_seen_whole(tmp_path, yard):
    for name, size_px in (("a-1", (128, 64)), ("b-1", (128, 64)), ("c-1", (256, 144))):
        scenes.write_recording(tmp_path / "download", name, frames=2, size_px=size_px)
    yard(
        roi=[
            {"pattern": "b-*", "image_size_px": None, "roi_px": None},
            {"pattern": "*", "image_size_px": [128, 64], "roi_px": [32, 16, 96, 48]},
        ]
    )
    used = [about(tmp_path, name)["roi_px"] for name in ("a-1", "b-1", "c-1")]
    assert used == [[32, 16, 96, 48], [0, 0, 128, 64], [0, 0, 256, 144]]
    assert table(tmp_path, "a-1")[["x2", "y2"]].max().tolist() <= [96, 48]
    assert table(tmp_path, "c-1")["x2"].max() > 128


def test_a_roi_larger_than_the_image_quarantines_that_recording_only(tmp_path, yard):
    scenes.write_recording(tmp_path / "download", "small-1", frames=2)
    scenes.write_recording(tmp_path / "download", "large-1", frames=2, size_px=(640, 360))
    metrics = yard(roi=[{"pattern": "*", "image_size_px": None, "roi_px": [0, 104, 640, 192]}])
    reasons = json.loads((tmp_path / "annotate/quarantine.json").read_text())
    assert metrics["recordings"] == metrics["quarantined"] == 1
    assert list(reasons) == ["small-1"]
    for part in ("small-1", "[0, 104, 640, 192]", "128 x 64"):
        assert part in reasons["small-1"]


def test_a_frame_of_another_size_quarantines_its_recording(tmp_path, yard):
    folder = scenes.write_recording(tmp_path / "download", "a-1", frames=6)
    scenes.write_recording(tmp_path / "download", "b-1", frames=2)
    odd = sorted(folder.glob("*.jpg"))[3]
    cv2.imwrite(str(odd), np.zeros((32, 32, 3), np.uint8))
    assert yard()["quarantined"] == 1
    assert odd.name in json.loads((tmp_path / "annotate/quarantine.json").read_text())["a-1"]


def test_only_what_changed_is_done_again(tmp_path, yard, weights):
    for name in ("a-1", "b-1"):
        scenes.write_recording(tmp_path / "download", name, frames=3)
    yard()

    def written() -> list[int]:
        return [(tmp_path / "annotate" / name / "annotations.csv").stat().st_mtime_ns for name in ("a-1", "b-1")]

    first = written()
    yard(threads=1)
    assert written() == first
    frame = sorted((tmp_path / "download/b-1").glob("*.jpg"))[0]
    cv2.imwrite(str(frame), scenes.scene(np.random.default_rng(9), cars=2)[0])
    yard()
    second = written()
    assert second[0] == first[0] and second[1] != first[1]
    yard(iou=0.3)
    third = written()
    assert not set(third) & set(second)
    yard(iou=0.3, weights=str(scenes.write_weights(weights.with_name("other.pt"))))
    assert not set(written()) & set(third)


def test_boxes_reach_over_the_whole_image_not_over_the_networks_canvas(tmp_path, yard):
    scenes.write_recording(tmp_path / "download", "a-1", frames=2, size_px=(320, 200))  # on a canvas of 64 x 64
    yard(max_detections=100)
    boxes = table(tmp_path, "a-1")  # of an untrained detector: anywhere
    assert (boxes[["x1", "y1"]].min() == 0).all() and boxes["x2"].max() == 320 and boxes["y2"].max() == 200


def test_recordings_without_a_camera_have_no_rows(tmp_path, yard):
    scenes.write_recording(tmp_path / "download", "obd-1", frames=0)
    assert yard()["frames"] == 0
    assert table(tmp_path, "obd-1").empty and about(tmp_path, "obd-1")["roi_px"] is None


def test_a_kill_in_the_middle_is_made_good_to_the_byte(tmp_path, yard, weights):
    folder = scenes.write_recording(tmp_path / "download", "a-1", frames=230)
    damaged = sorted(folder.glob("*.jpg"))[101]
    damaged.write_bytes(damaged.read_bytes()[:-200])
    inputs = {"download": tmp_path / "download", "train_detector": weights.parent}
    params = drives.section("annotate", **SIGHTED)
    # The first 100 are written for good.
    killed.run(annotate.run, params, tmp_path / "annotate", done=120, **inputs)
    part = tmp_path / "annotate" / "a-1.part"
    assert (
        json.loads((part / ".written.json").read_text())["frames"] == 100 and not (tmp_path / "annotate/a-1").exists()
    )
    with (part / "annotations.csv").open("a") as file:  # what the kernel may have had of the next block
        file.write("2025-04-03 19-33-31-0,2025-04-03 19-3")

    begun = (part / "annotations.csv").stat().st_ino
    metrics = yard()
    resumed = {path.name: path.read_bytes() for path in (tmp_path / "annotate/a-1").iterdir()}
    assert (tmp_path / "annotate/a-1/annotations.csv").stat().st_ino == begun  # gone on with, not begun anew
    for path in (tmp_path / "annotate").rglob(".done.json"):
        path.unlink()
    assert yard() == metrics
    assert {path.name: path.read_bytes() for path in (tmp_path / "annotate/a-1").iterdir()} == resumed
    assert metrics["frames"] == 230 and metrics["unreadable"] == 1


def test_reading_ahead_is_bounded_and_in_order():
    taken = []

    def items():
        for item in range(50):
            taken.append(item)
            yield item

    with ThreadPoolExecutor(3) as pool:
        results = ahead(lambda item: item * 2, items(), pool, depth=8)
        for expected in range(50):
            assert next(results) == expected * 2
            assert len(taken) <= expected + 8


WHOLE = {
    suffix: cv2.imencode(suffix, scenes.scene(np.random.default_rng(0), 32, 32, cars=0)[0], flags)[1].tobytes()
    for suffix, flags in ((".jpg", []), (".jpeg", [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]), (".png", []))
}
# As a camera embeds it: a whole thumbnail in a segment before the picture.
SEGMENT = b"\xff\xe1" + (len(WHOLE[".jpg"]) + 2).to_bytes(2, "big") + WHOLE[".jpg"]
WHOLE["thumbnail"] = WHOLE[".jpg"][:2] + SEGMENT + WHOLE[".jpg"][2:]


@given(kind=st.sampled_from(sorted(WHOLE)), share=st.floats(0, 1, exclude_max=True))
def test_a_cut_image_is_not_whole_wherever_it_was_cut(kind, share):
    data = WHOLE[kind]
    assert images.whole(data)
    with pytest.raises(images.Unusable):
        images.whole(data[: int(len(data) * share)])


def test_weights_that_are_no_model_are_named(tmp_path, yard):
    scenes.write_recording(tmp_path / "download", "a-1", frames=1)
    bad = tmp_path / "best.pt"
    bad.write_text("not a model")
    for path in (bad, tmp_path / "nowhere.pt"):
        with pytest.raises(BadInput, match=str(path)):
            yard(weights=str(path))


def test_classes_and_thresholds_have_to_agree():
    with pytest.raises(ValueError, match="confidence is given for car"):
        drives.section("annotate", confidence={"car": 0.5})


@pytest.mark.skipif(not (REAL / "carla_route").exists(), reason="needs ../shared/real: a CARLA drive and COCO weights")
def test_coco_weights_see_the_vehicles_of_a_carla_drive(tmp_path):
    folder = tmp_path / "download" / "carla-1"
    folder.mkdir(parents=True)
    for frame in sorted((REAL / "carla_route/rgb").glob("*.png"))[40:56]:
        (folder / frame.name).symlink_to(frame)
    (folder / "recording.json").write_text('{"image_width_px": 256, "image_height_px": 144, "group": "carla-1"}')
    params = drives.section("annotate", weights=str(REAL / "weights/yolov8n.pt"))  # the rest is params.yaml's
    inputs = {"download": tmp_path / "download", "train_detector": tmp_path / "train_detector"}  # which is not there
    metrics = annotate.run(params, tmp_path / "annotate", **inputs)
    near = table(tmp_path, "carla-1").query("filename == '0045.png'").sort_values("area").iloc[-1]
    assert metrics["quarantined"] == 0 and metrics["ok"] > 8
    assert near["confidence"] > 0.8  # a white car fills the left of frame 45
    np.testing.assert_allclose(near[["x1", "y1", "x2", "y2"]].astype(float), [0, 67, 72, 113], atol=4)
