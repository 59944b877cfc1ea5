"""Sources through the step: which sequences are found, what is kept of them, and what is said of what is wrong."""

from __future__ import annotations

import json
import shutil
import zipfile

import cv2
import numpy as np
import pytest

from tasks.ground_plane.formats import calibration, sequence
from tasks.yard.files import folder_hash, read_json, write_json
from tasks.yard.geometry.camera import polygon_on_ground
from tasks.yard.geometry.lens import carried
from tasks.yard.step import BadInput
from tests.tasks.ground_plane.sources import changed, fetched, marmot
from tests.tasks.ground_plane.tiny_scene import write_unit

pytestmark = pytest.mark.slow

CALIBS, LABELS = "0-calibration/calibs", "1-annotation/labels"


def test_a_marmot_root_becomes_two_sequences_with_its_own_bytes(tmp_path):
    source = marmot(tmp_path / "square", cameras=11)
    report = fetched(tmp_path, source)
    assert {name: unit["splits"] for name, unit in report["units"].items()} == {
        "square-train": ["train", "val"], "square-val": ["test"],
    }  # fmt: skip
    assert report["totals"]["images"] == 2 * 11 * 4 and report["totals"]["people"] == 2 * 4 * 2
    for part in ("train", "val"):
        for name in (f"{part}/cam10/cam10_5.png", f"labels/{part}/tiny_15.json"):
            copy = tmp_path / f"download/square-{part}/1-annotation" / name
            original = source / "1-annotation" / name
            assert copy.read_bytes() == original.read_bytes() and not copy.samefile(original)
    found = sequence.read(tmp_path / "download/square-val")
    assert list(found.calibrations) == [f"cam{n}" for n in range(1, 12)] and found.where == str(source)


def test_without_labels_of_val_it_is_one_sequence_to_be_cut(tmp_path):
    report = fetched(tmp_path, marmot(tmp_path / "square", val_labels=False))
    assert {name: unit["splits"] for name, unit in report["units"].items()} == {"square": ["train", "val", "test"]}


def test_the_plane_is_the_smallest_rectangle_around_all_regions(tmp_path):
    fetched(tmp_path, marmot(tmp_path / "square"))
    found = sequence.read(tmp_path / "download/square-val")
    assert found.plane == sequence.read(tmp_path / "download/square-train").plane
    corners = [polygon_on_ground(c.camera(), c.roi) for c in found.calibrations.values()]
    assert all(found.plane.holds(found.plane.to_plane(mine)).all() for mine in corners)
    expected = cv2.minAreaRect(np.concatenate(corners).astype(np.float32))[1]
    assert sorted(found.plane.size_m) == pytest.approx(sorted(expected), rel=1e-5)


def test_what_the_step_wrote_is_a_source_too_and_keeps_its_plane_and_splits(tmp_path):
    source = write_unit(tmp_path / "made", "hall", splits=("test",))
    report = fetched(tmp_path, tmp_path / "made")
    before, after = sequence.read(source), sequence.read(tmp_path / "download/hall")
    assert report["units"]["hall"]["splits"] == ["test"] and after.plane == before.plane
    for camera, of in before.calibrations.items():
        np.testing.assert_allclose(after.calibrations[camera].T, of.T, atol=1e-12)


def test_the_newer_calibration_counts(tmp_path):
    source = marmot(tmp_path / "square")
    shutil.copy(source / CALIBS / "cam2.json", source / CALIBS / "cam2_new.json")
    changed(source / CALIBS / "cam2_new.json", lambda said: said["T"].__setitem__(2, said["T"][2] + 100))
    old = sequence.read(write_unit(tmp_path / "same", "square")).calibrations["cam2"]
    fetched(tmp_path, source)
    assert not (tmp_path / "download/square-val" / CALIBS / "cam2_new.json").exists()
    found = sequence.read(tmp_path / "download/square-val").calibrations
    np.testing.assert_allclose(found["cam2"].T - old.T, [0, 0, 1.0], atol=1e-9)


def test_metres_become_centimetres(tmp_path):
    source = marmot(tmp_path / "cm")
    metres = tmp_path / "m"
    shutil.copytree(source, metres)
    for path in (metres / CALIBS).iterdir():
        changed(path, lambda said: said.update(T=[value / 100 for value in said["T"]]))
    for path in (metres / LABELS).rglob("*.json"):
        changed(path, lambda rows: [row.__setitem__(slice(3, 6), [v / 100 for v in row[3:6]]) for row in rows[1:]])
    changed(metres / LABELS / "train/tiny_10.json", lambda rows: rows[1].__setitem__(5, float("nan")))  # not looked at
    fetched(tmp_path / "1", source)
    fetched(tmp_path / "2", metres, metres_per_unit=1.0)
    one, two = sequence.read(tmp_path / "1/download/cm-train"), sequence.read(tmp_path / "2/download/m-train")
    np.testing.assert_allclose(one.people(5), two.people(5), atol=1e-9)
    np.testing.assert_allclose(one.calibrations["cam1"].T, two.calibrations["cam1"].T, atol=1e-9)
    np.testing.assert_allclose(one.boxes(5)["cam1"], two.boxes(5)["cam1"])
    np.testing.assert_allclose(one.plane.size_m, two.plane.size_m, atol=1e-4)


def lose_key(root):
    changed(root / CALIBS / "cam2.json", lambda said: said.pop("dist"))


def lose_images(root):
    shutil.rmtree(root / "1-annotation/train/cam3")


def lose_calibration(root):
    (root / CALIBS / "cam3.json").unlink()


def break_labels(root):
    for path in (root / LABELS / "train").iterdir():
        path.write_text("{")


def turn_over(root):
    """The camera that a world with Z downwards has."""
    down = np.diag([1.0, 1.0, -1.0])

    def turned(said):
        said["R"] = (np.array(said["R"]) @ down @ np.diag([1.0, -1.0, 1.0])).tolist()

    changed(root / CALIBS / "cam2.json", turned)


def shift_labels(root):
    for path in list((root / LABELS / "train").iterdir()):
        path.rename(path.with_name(path.name.replace("tiny_", "tiny_9")))


def lose_labels(root):
    shutil.rmtree(root / LABELS)


def lose_regions(root):
    for path in (root / CALIBS).iterdir():
        changed(path, lambda said: said.update(ROI=None))


def shrink(root):
    for path in (root / "1-annotation/train/cam1").iterdir():
        cv2.imwrite(str(path), np.zeros((32, 48, 3), np.uint8))


SPOILT = [
    (lose_key, r"bad/0-calibration/calibs/cam2.json: key 'dist' is missing"),
    (lose_images, r"bad/0-calibration/calibs/cam3.json: a calibration without images in .*bad/1-annotation/train"),
    (lose_calibration, r"bad/1-annotation/train/cam3: images of a camera without a calibration"),
    (break_labels, r"bad/1-annotation/labels/train/tiny_15.json: frame 15: cannot be read as JSON"),
    (turn_over, r"bad/0-calibration/calibs/cam2.json: the bottom of the camera's image shows no ground below it"),
    (shift_labels, r"bad: no label is of a frame.*: frames 0 to 15, labels 90 to 915"),
    (lose_regions, r"bad/0-calibration/calibs: no camera's 'ROI' meets the ground"),
    (shrink, r"bad/1-annotation/train/cam1/cam1_0.png: frame 0: is 48x32 px, its calibration 96x64"),
]


@pytest.mark.parametrize(("spoil", "message"), SPOILT)
def test_a_bad_sequence_is_named_by_its_place_in_the_source_and_the_others_go_on(tmp_path, spoil, message):
    spoil(marmot(tmp_path / "in/bad", val_labels=False))
    with pytest.raises(BadInput, match=message):
        fetched(tmp_path / "alone", tmp_path / "in/bad")
    marmot(tmp_path / "in/good", val_labels=False)
    report = fetched(tmp_path / "two", tmp_path / "in")
    assert list(report["quarantined"]) == ["bad"] and list(report["units"]) == ["good"]
    assert "download/" not in report["quarantined"]["bad"]


def test_a_sequence_that_nobody_has_labelled_is_brought_beside_others_and_refused_alone(tmp_path, caplog):
    lose_labels(marmot(tmp_path / "in/bare", val_labels=False))
    with pytest.raises(BadInput, match=r"sequences: 0\n  bare: .*bare/1-annotation/labels/train: holds no label"):
        fetched(tmp_path / "alone", tmp_path / "in/bare")
    marmot(tmp_path / "in/good", val_labels=False)
    report = fetched(tmp_path / "two", tmp_path / "in")
    assert list(report["units"]) == ["bare", "good"] and report["units"]["bare"]["labels"] == 0
    assert "nobody learns from it or is judged on it, detect looks through it" in caplog.text
    with pytest.raises(BadInput, match="sequences: 1"):
        fetched(tmp_path / "two", tmp_path / "in", min_units=2)


def test_an_image_that_is_cut_off_is_left_out_and_said(tmp_path):
    source = marmot(tmp_path / "square", val_labels=False)
    image = source / "1-annotation/train/cam2/cam2_5.png"
    image.write_bytes(image.read_bytes()[:-200])
    report = fetched(tmp_path, source)
    line = report["units"]["square"]["left_out"][0]
    assert (
        line == "1-annotation/train/cam2/cam2_5.png: frame 5: cannot be used, it was cut off: it has no end: left out"
    )
    assert list(sequence.read(tmp_path / "download/square").frames["cam2"]) == [0, 10, 15]


SPOILT_LABELS = [
    (lambda path: path.write_text("{"), "cannot be read as JSON"),
    (lambda path: changed(path, lambda rows: rows[0].__setitem__(3, "X")), "its header lacks 'Xw'"),
    (lambda path: changed(path, lambda rows: rows[1].__setitem__(4, float("nan"))), "row 1: 'Yw' is nan"),
]


@pytest.mark.parametrize(("spoil", "why"), SPOILT_LABELS)
def test_a_label_that_cannot_be_read_is_left_out_and_said(tmp_path, spoil, why):
    source = marmot(tmp_path / "square", val_labels=False)
    spoil(source / LABELS / "train/tiny_10.json")
    said = fetched(tmp_path, source)["units"]["square"]
    line = said["left_out"][0]
    assert line.startswith(f"1-annotation/labels/train/tiny_10.json: frame 10: {why}") and line.endswith(": left out")
    assert (said["frames"], said["labels"], said["joined"]) == (4, 3, 3)


def test_a_region_up_to_the_horizon_is_no_plane(tmp_path):
    source = marmot(tmp_path / "square", val_labels=False)
    of = calibration.read(source / CALIBS / "cam1.json")
    camera = of.camera()
    far = camera.project(np.array([[*(camera.centre[:2] + 3000 * np.array(camera.R[2, :2])), 0.0]]))[0]
    changed(source / CALIBS / "cam1.json", lambda said: said["ROI"].append(carried(far, of.K_new, of.K)[0].tolist()))
    with pytest.raises(BadInput, match=r"calibs/cam1.json: its 'ROI' reaches \d{4} m away"):
        fetched(tmp_path, source)


def test_a_folder_of_nothing_known_is_told_the_layouts(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.jpg").write_bytes(b"")
    layouts = "MARMOT: .*WILDTRACK, MultiviewX: "
    with pytest.raises(BadInput, match=rf"(?s)photos: holds a.jpg, and no known layout:.*{layouts}"):
        fetched(tmp_path, tmp_path / "photos")


def test_an_archive_is_a_source_and_twice_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where the cache of archives is
    source = marmot(tmp_path / "halls/hall 1", val_labels=False)
    (source / CALIBS / "cam2.json").write_text("{}")
    marmot(tmp_path / "halls/hall 2", val_labels=False)
    with zipfile.ZipFile(tmp_path / "halls.zip", "w") as packed:
        for path in sorted((tmp_path / "halls").rglob("*")):
            packed.write(path, path.relative_to(tmp_path))
    report = fetched(tmp_path / "1", tmp_path / "halls.zip")
    assert list(report["units"]) == ["hall-2"]
    where = f"{tmp_path}/halls.zip/hall 1/0-calibration/calibs/cam2.json: key"
    assert report["quarantined"]["hall-1"].startswith(where)
    fetched(tmp_path / "2", tmp_path / "halls.zip")
    assert folder_hash(tmp_path / "1/download") == folder_hash(tmp_path / "2/download")


def test_only_what_has_changed_is_made_again(tmp_path):
    source = tmp_path / "in"
    marmot(source / "a")
    marmot(source / "b")
    fetched(tmp_path, source)
    stamps = {path.parent.name: path.stat().st_mtime_ns for path in (tmp_path / "download").glob("*/scene.json")}
    label = source / "b" / LABELS / "val/tiny_0.json"
    write_json(label, [*read_json(label)[:2]])
    report = fetched(tmp_path, source)
    after = {path.parent.name: path.stat().st_mtime_ns for path in (tmp_path / "download").glob("*/scene.json")}
    assert {name for name in stamps if stamps[name] != after[name]} == {"b-val"}
    assert report["units"]["b-val"]["people"] == 4 * 2 - 1
    shutil.rmtree(source / "a")
    assert set(fetched(tmp_path, source)["units"]) == {"b-train", "b-val"}
    assert not list((tmp_path / "download").glob("a-*"))
    assert json.loads((tmp_path / "download/quarantine.json").read_text()) == {}


def test_a_run_that_fails_takes_nothing_away(tmp_path):
    marmot(tmp_path / "in/a")
    fetched(tmp_path, tmp_path / "in", min_units=2)
    before = {name: folder_hash(tmp_path / "download" / name) for name in ("a-train", "a-val")}
    marmot(tmp_path / "other/b", val_labels=False)
    with pytest.raises(BadInput, match="usable sequences: 1"):
        fetched(tmp_path, tmp_path / "other", min_units=2)
    assert {name: folder_hash(tmp_path / "download" / name) for name in before} == before
    assert list(fetched(tmp_path, tmp_path / "other")["units"]) == ["b"]
    assert not list((tmp_path / "download").glob("a-*"))


def test_images_of_the_other_part_without_labels_are_said(tmp_path):
    said = fetched(tmp_path, marmot(tmp_path / "square", val_labels=False))["units"]["square"]
    assert said["left_out"] == ["1-annotation/val: 12 images without labels: left out; train is divided instead"]
    assert fetched(tmp_path / "2", marmot(tmp_path / "both"))["totals"]["left_out"] == 0


def test_lengths_in_another_unit_make_no_plane(tmp_path):
    with pytest.raises(
        BadInput, match=r"by all 'ROI' the ground plane is .* mend ground_plane.download.metres_per_unit"
    ):
        fetched(tmp_path, marmot(tmp_path / "square"), metres_per_unit=1e-6)
