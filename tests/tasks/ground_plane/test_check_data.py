"""What is wrong with a sequence is named, with its file and frame; what is right is counted."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tasks.ground_plane import check_data, pack
from tasks.ground_plane.formats import scenes
from tasks.ground_plane.params import CheckData, Pack, Shares
from tasks.yard.files import read_json, write_json
from tasks.yard.step import BadInput
from tests.tasks.ground_plane import tiny_scene

UNIT = "tiny-00"
IMAGES, LABELS, CALIBS = "1-annotation/train", "1-annotation/labels/train", "0-calibration/calibs"


def checked(
    root: Path, pictures: int = 0, refuse_shifted: bool = True, max_reprojection_px: float = 3.0
) -> tuple[dict[str, float], dict]:
    """(metrics, check.json) of what lies in download/."""
    params = CheckData(max_reprojection_px=max_reprojection_px, refuse_shifted=refuse_shifted, pictures=pictures)
    metrics = check_data.run(params, root / "check_data", download=root / "download")
    return metrics, read_json(root / "check_data/check.json")


def changed(path: Path, **values: object) -> None:
    write_json(path, read_json(path) | values)


def findings(said: dict) -> str:
    return "\n".join(said["units"][UNIT]["findings"])


def test_a_sound_sequence_is_counted_and_nothing_is_found(tmp_path):
    tiny_scene.write_unit(tmp_path / "download", people=3)
    metrics, said = checked(tmp_path)
    unit = said["units"][UNIT]
    counts = {"frames": 6, "images": 18, "labelled": 6, "people": 18, "outside": 0, "unseen": 0}
    assert unit["counts"] == counts | {"persons": 3} and said["parts"] == {"train": counts}
    assert said["usable"] == [UNIT] and unit["findings"] == []
    assert list(unit["cameras"]) == ["cam1", "cam2", "cam3"] and unit["cameras"]["cam2"]["size"] == [64, 96]
    assert max(unit["reprojection_px"].values()) < 1e-6 and metrics["reprojection_px"] < 1e-6
    assert metrics["undistort_px"] < 1e-3 and metrics["usable"] == 1
    assert "1 of 1 sequence can be used: 3 cameras, 6 frames" in said["verdict"]
    assert "Nothing else was found" in said["verdict"]


def test_a_camera_that_moved_is_found_by_its_labels(tmp_path):
    """4 px of the principal point: so far are all of its feet from their labels."""
    unit = tiny_scene.write_unit(tmp_path / "download")
    path = unit / CALIBS / "cam2.json"
    changed(path, K=np.add(read_json(path)["K"], [[0, 0, 0], [0, 0, 4], [0, 0, 0]]).tolist())
    metrics, said = checked(tmp_path)
    off = said["units"][UNIT]["reprojection_px"]
    assert off["cam2"] == pytest.approx(4) and off["cam1"] < 1e-6 and metrics["reprojection_px"] == pytest.approx(4)
    assert said["units"][UNIT]["cameras"]["cam2"]["reprojection_vertical_px"] == pytest.approx(4)
    assert f"{UNIT}/{CALIBS}/cam2.json: " in findings(said) and "cam1.json" not in findings(said)
    assert "1 calibration of 3 do not fit" in said["verdict"] and said["usable"] == [UNIT]


def test_a_camera_that_looks_the_other_way_is_found(tmp_path):
    """The labelled places are behind it: there is no pixel to compare with, and yet it is wrong."""
    unit = tiny_scene.write_unit(tmp_path / "download")
    path = unit / CALIBS / "cam1.json"
    turned = np.diag([-1, 1, -1])  # about its own vertical axis
    said = read_json(path)
    changed(path, R=(turned @ said["R"]).tolist(), T=(turned @ said["T"]).tolist())
    metrics, said = checked(tmp_path)
    assert metrics["reprojection_px"] > 96 and f"{UNIT}/{CALIBS}/cam1.json: " in findings(said)


def test_a_frame_that_a_camera_lacks_is_named(tmp_path):
    unit = tiny_scene.write_unit(tmp_path / "download")
    (unit / IMAGES / "cam3/cam3_10.png").unlink()
    _, said = checked(tmp_path)
    assert findings(said).startswith(f"{UNIT}/{IMAGES}/cam3: frame 10 is missing")
    assert len(said["units"][UNIT]["findings"]) == 1 and said["units"][UNIT]["counts"]["images"] == 17


def test_labels_and_images_without_each_other_are_named(tmp_path):
    unit = tiny_scene.write_unit(tmp_path / "download")
    (unit / LABELS / "tiny_5.json").rename(unit / LABELS / "tiny_7.json")
    _, said = checked(tmp_path)
    assert said["units"][UNIT]["counts"]["labelled"] == 5
    assert f"{UNIT}/{LABELS}/tiny_7.json: frame 7 has no image" in findings(said)
    assert f"{UNIT}/{IMAGES}/cam1/cam1_5.png: frame 5 has no label" in findings(said)


def test_somebody_outside_the_plane_is_named_with_frame_and_place(tmp_path):
    unit = tiny_scene.write_unit(tmp_path / "download")
    path = unit / LABELS / "tiny_15.json"
    rows = read_json(path)
    rows[2][3:5] = [900.0, 1234.0]
    write_json(path, rows)
    metrics, said = checked(tmp_path)
    assert f"{UNIT}/{LABELS}/tiny_15.json: frame 15: person 2 at (9.00, 12.34) m is outside" in findings(said)
    assert metrics["outside"] == 1 and "1 place outside the plane left out" in said["verdict"]


def test_images_cut_off_or_of_another_size_are_named(tmp_path):
    unit = tiny_scene.write_unit(tmp_path / "download")
    cut, large = unit / IMAGES / "cam1/cam1_0.png", unit / IMAGES / "cam2/cam2_5.png"
    cut.write_bytes(cut.read_bytes()[:-200])
    cv2.imwrite(str(large), np.zeros((80, 96, 3), np.uint8))
    _, said = checked(tmp_path, pictures=9)
    assert f"{UNIT}/{IMAGES}/cam1/cam1_0.png: frame 0: no whole image" in findings(said)
    other = f"{UNIT}/{IMAGES}/cam2/cam2_5.png: frame 5: 96 x 80 px, the calibration of cam2 is for 96 x 64"
    assert other in findings(said)
    assert said["units"][UNIT]["counts"]["images"] == 16


def test_a_frame_of_which_no_image_is_whole_is_not_a_labelled_one(tmp_path):
    unit = tiny_scene.write_unit(tmp_path / "download")
    for camera in ("cam1", "cam2", "cam3"):
        path = unit / IMAGES / f"{camera}/{camera}_10.png"
        path.write_bytes(path.read_bytes()[:-200])
    _, said = checked(tmp_path)
    counts = said["units"][UNIT]["counts"]
    assert (counts["frames"], counts["images"], counts["labelled"]) == (6, 15, 5)
    assert "of which 5 are labelled" in said["verdict"]


def test_boxes_that_the_edge_of_the_image_cuts_show_no_feet(tmp_path):
    """Person 1 of cam1 stands half out of the image on the left, of cam2 on the right, of cam3 below."""
    unit = tiny_scene.write_unit(tmp_path / "download")
    for path in (unit / LABELS).iterdir():
        rows = read_json(path)
        rows[1][6:] = [0.0, 10.0, 8.0, 40.0, 88.0, 10.0, 95.0, 40.0, 20.0, 30.0, 40.0, 63.0]
        write_json(path, rows)
    _, said = checked(tmp_path)
    of = said["units"][UNIT]
    assert [camera["boxes"] for camera in of["cameras"].values()] == [6, 6, 6]  # those of person 2
    assert max(of["reprojection_px"].values()) < 1e-6 and of["findings"] == []


def test_a_label_that_cannot_be_read_is_named_and_the_others_count(tmp_path):
    unit = tiny_scene.write_unit(tmp_path / "download")
    (unit / LABELS / "tiny_20.json").write_text("[[")
    _, said = checked(tmp_path)
    assert f"{UNIT}/{LABELS}/tiny_20.json: frame 20" in findings(said) and str(tmp_path) not in json.dumps(said)
    assert said["units"][UNIT]["counts"]["labelled"] == 5


def test_of_many_findings_of_one_kind_some_are_named(tmp_path):
    unit = tiny_scene.write_unit(tmp_path / "download", frames=12)
    for frame in range(0, 50, 5):
        (unit / IMAGES / f"cam2/cam2_{frame}.png").unlink()
    (unit / LABELS / "tiny_0.json").unlink()
    _, said = checked(tmp_path)
    assert len(said["units"][UNIT]["findings"]) == 5 + 1 + 1 and "missing frames: 5 more" in findings(said)
    assert "frame 0 has no label" in findings(said)  # the other kind is not crowded out


def test_an_unreadable_sequence_leaves_the_others_usable(tmp_path):
    tiny_scene.write_unit(tmp_path / "download", "good")
    bad = tiny_scene.write_unit(tmp_path / "download", "bad")
    said = read_json(bad / CALIBS / "cam1.json")
    del said["dist"]
    write_json(bad / CALIBS / "cam1.json", said)
    metrics, said = checked(tmp_path)
    assert said["usable"] == ["good"] and metrics["units"] == 2 and metrics["usable"] == 1
    assert said["units"]["bad"]["why"].startswith("bad/0-calibration/calibs/cam1.json: key 'dist' is missing")
    assert "1 of 2 sequences can be used" in said["verdict"]


def test_too_few_labelled_frames_to_cut_are_not_usable(tmp_path):
    tiny_scene.write_unit(tmp_path / "download", "short", frames=2)
    with pytest.raises(BadInput, match="no sequence can be used; short: 2 labelled frames with an image; it needs 3"):
        checked(tmp_path)
    assert read_json(tmp_path / "check_data/check.json")["usable"] == []  # what was found is there to be read


@pytest.mark.slow
def test_the_pictures_show_people_region_and_plane(tmp_path):
    """The cameras' sheet has a cross on every blob; the pictures are the same each time."""
    tiny_scene.write_unit(tmp_path / "download")
    checked(tmp_path, pictures=9)
    path = tmp_path / f"check_data/{UNIT}-cameras.png"
    shown = np.asarray(Image.open(path).convert("RGB")).astype(int)
    of = tiny_scene.calibration(1)
    world = tiny_scene.PLANE.to_world(tiny_scene.walk(6, 2, 0)[0])
    pixels, _ = of.camera().project(np.column_stack([world, np.zeros(2)]))
    for (u, v), colour in zip((pixels + 0.5) * 5, tiny_scene.COLOURS, strict=False):
        x, y = round(u), round(v) + check_data.check_pictures.NAME_PX
        assert (shown[y - 3 : y + 4, x - 3 : x + 4] > 250).all(-1).any()  # the white cross
        assert np.abs(shown[y + 9, x] - colour).max() < 60  # and the blob around it
    first = {p.name: p.read_bytes() for p in (tmp_path / "check_data").iterdir()}
    checked(tmp_path, pictures=9)
    assert {p.name: p.read_bytes() for p in (tmp_path / "check_data").iterdir()} == first
    assert set(first) == {"check.json", f"{UNIT}-cameras.png", f"{UNIT}-plane.png"}


def test_cameras_that_see_nobody_make_a_sequence_useless(tmp_path):
    unit = tiny_scene.write_unit(tmp_path / "download")
    for path in sorted((unit / CALIBS).iterdir()):
        changed(path, T=(-np.array(read_json(path)["T"])).tolist())  # all that is filmed lies behind them
    for path in (unit / LABELS).iterdir():
        write_json(path, [row[:6] for row in read_json(path)])
    with pytest.raises(BadInput, match="no camera sees any of the 12 labelled places; mend the calibrations"):
        checked(tmp_path)


def test_a_plane_in_centimetres_is_said(tmp_path):
    unit = tiny_scene.write_unit(tmp_path / "download")
    plane = read_json(unit / "scene.json")["plane"] | {"size_m": [600, 400]}
    changed(unit / "scene.json", plane=plane)
    with pytest.raises(BadInput, match=r"scene.json: 'size_m' of 'plane' is 600 x 400 m; .*not cm"):
        checked(tmp_path)


def test_what_the_download_could_not_use_is_in_the_verdict(tmp_path):
    tiny_scene.write_unit(tmp_path / "download")
    write_json(tmp_path / "download/quarantine.json", {"hall-2": "hall 2/0-calibration/calibs: holds no camN.json"})
    _, said = checked(tmp_path)
    assert said["usable"] == [UNIT] and "1 of 2 sequences can be used" in said["verdict"]
    assert said["units"]["hall-2"]["why"] == "hall 2/0-calibration/calibs: holds no camN.json"


def test_labels_that_no_calibration_fits_make_a_sequence_useless(tmp_path):
    unit = tiny_scene.write_unit(tmp_path / "download")
    for path in (unit / LABELS).iterdir():
        rows = read_json(path)
        for row in rows[1:]:
            row[3:5] = [value + 150 for value in row[3:5]]
        write_json(path, rows)
    with pytest.raises(BadInput, match=r"no calibration fits the labels: .* bring both to one unit"):
        checked(tmp_path)


def test_a_sequence_of_two_labelled_frames_is_test_where_another_is_trained_on(tmp_path):
    tiny_scene.write_unit(tmp_path / "download", "long", frames=6)
    tiny_scene.write_unit(tmp_path / "download", "short", frames=2, seed=5)
    tiny_scene.write_unit(tmp_path / "download", "one", frames=1, seed=6)
    _, said = checked(tmp_path)
    assert said["usable"] == ["long", "short"] and said["units"]["short"]["splits"] == ["test"]
    assert said["units"]["short"]["findings"] == [
        "short: 2 labelled frames are too few to be divided: all of them are test"
    ]
    assert "Read and left out: 1 sequence: 3 cameras, 1 frame, of which 1 are labelled" in said["verdict"]
    params = Pack(height_px=64, width_px=96, cell_m=0.2, shares=Shares(val=0.2, test=0.2), guard_frames=0, splits=None)
    pack.run(params, tmp_path / "pack", download=tmp_path / "download", check_data=tmp_path / "check_data")
    assert {s.name: s.split.tolist() for s in scenes.load(tmp_path / "pack")}["short"] == ["test", "test"]


def test_a_sequence_that_was_read_and_left_out_has_its_cameras_and_frames_in_the_verdict(tmp_path):
    tiny_scene.write_unit(tmp_path / "download", "short", frames=2)
    with pytest.raises(BadInput, match="no sequence can be used"):
        checked(tmp_path)
    said = read_json(tmp_path / "check_data/check.json")["verdict"]
    assert said.startswith("0 of 1 sequence can be used. Read and left out: 1 sequence: 3 cameras, 2 frames")
