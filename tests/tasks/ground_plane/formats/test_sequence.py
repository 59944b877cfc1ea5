"""What a reader of download/<unit>/ gets, and what is said of a file that is wrong."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from tasks.ground_plane.formats import sequence
from tasks.yard.files import read_json, write_json
from tasks.yard.step import BadInput
from tests.tasks.ground_plane.sources import changed
from tests.tasks.ground_plane.tiny_scene import write_unit

CALIBS = "0-calibration/calibs"
LABEL = "1-annotation/labels/train/tiny_10.json"


def test_cameras_come_by_number_and_frames_and_labels_by_id(tmp_path):
    unit = write_unit(tmp_path, cameras=11, frames=3)
    (unit / "1-annotation/train/cam2/cam2_5.png").rename(unit / "1-annotation/train/cam2/cam2_7.jpg")
    (unit / "1-annotation/labels/train/tiny_0.json").unlink()
    found = sequence.read(unit)
    assert list(found.calibrations) == list(found.frames) == [f"cam{n}" for n in range(1, 12)]
    assert list(found.frames["cam2"]) == [0, 7, 10] and list(found.frames["cam10"]) == [0, 5, 10]
    assert found.frame_ids == [0, 5, 7, 10] and found.joined == [5, 10]
    assert found.people(0).shape == (0, 3) and found.boxes(0) == {}


def test_places_are_metres_and_boxes_belong_to_their_camera(tmp_path):
    unit = write_unit(tmp_path)
    header = read_json(unit / LABEL)[0]
    nobody, here = [-1] * 4, [10.0, 20.0, 30.0, 44.0]
    rows = [[0, 7, False, 250, -130.5, 0, *here, *nobody, *nobody], [1, 9, True, 0, 40, 0, *nobody, *nobody, *here]]
    write_json(unit / LABEL, [header, *rows])
    found = sequence.read(unit)
    assert found.people(10).tolist() == [[7, 2.5, -1.305], [9, 0, 0.4]]
    boxes = found.boxes(10)
    assert boxes["cam1"].tolist() == [[7, *here]] and boxes["cam3"].tolist() == [[9, *here]]
    assert boxes["cam2"].shape == (0, 5)
    (unit / f"{CALIBS}/cam2.json").unlink()
    shutil.rmtree(unit / "1-annotation/train/cam2")  # now nobody knows which box is of which camera
    assert sequence.read(unit).boxes(10) == {}


def test_of_several_annotators_the_one_with_most_files_is_read(tmp_path):
    unit = write_unit(tmp_path, frames=3)
    labels = unit / "1-annotation/labels/train"
    (labels / "ann_0.json").write_text("never opened")
    (labels / "ann_999.json").write_text("never opened")
    found = sequence.read(unit)
    assert [path.name for path in found.labels.values()] == ["tiny_0.json", "tiny_5.json", "tiny_10.json"]


WRONG = [
    (LABEL, "[[", r"tiny_10.json: frame 10: cannot be read as JSON"),
    (LABEL, lambda rows: rows[0].__setitem__(3, "X"), r"tiny_10.json: frame 10: its header lacks 'Xw'"),
    (LABEL, lambda rows: rows[2].__setitem__(4, float("nan")), r"tiny_10.json: frame 10: row 2: 'Yw' is nan"),
    (LABEL, lambda rows: rows[1].__setitem__(1, "anna"), r"tiny_10.json: frame 10: row 1: 'personID' is anna"),
    (LABEL, lambda rows: rows.append([3, 4]), r"tiny_10.json: frame 10: row 3: 'Xw' is None"),
    (f"{CALIBS}/cam2.json", lambda said: said.pop("ROI"), r"calibs/cam2.json: key 'ROI' is missing"),
    ("scene.json", lambda said: said.update(splits=["all"]), r"scene.json: 'splits' is \['all'\]; expected one of"),
    ("scene.json", lambda said: said["plane"].update(size_m=[3, 0]), r"scene.json: 'plane' needs 'size_m': two"),
]


@pytest.mark.parametrize(("name", "spoil", "message"), WRONG)
def test_what_is_wrong_is_said_with_file_and_frame(tmp_path, name, spoil, message):
    unit = write_unit(tmp_path, frames=3)
    (unit / name).write_text(spoil) if isinstance(spoil, str) else changed(unit / name, spoil)
    with pytest.raises(BadInput, match=message):
        found = sequence.read(unit)
        [found.people(frame) for frame in found.frame_ids]


def test_two_files_of_one_frame_and_images_without_a_calibration_are_refused(tmp_path):
    unit = write_unit(tmp_path, frames=2)
    (unit / "1-annotation/train/cam1/cam1_05.png").write_bytes(b"")
    with pytest.raises(BadInput, match=r"cam1_05.png and .*cam1_5.png are of one frame"):
        sequence.read(unit)
    (unit / "1-annotation/train/cam1/cam1_05.png").unlink()
    (unit / f"{CALIBS}/cam3.json").unlink()
    with pytest.raises(BadInput, match=r"train/cam3: has no 0-calibration/calibs/cam3.json"):
        sequence.read(unit)


def test_people_stand_on_the_plane_where_the_scene_put_them(tmp_path):
    found = sequence.read(write_unit(tmp_path, people=3))
    for frame in found.frame_ids:
        xy = found.plane.to_plane(found.people(frame)[:, 1:])
        assert found.plane.holds(xy).all() and np.abs(np.diff(xy, axis=0)).min() > 0
