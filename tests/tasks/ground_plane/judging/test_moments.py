"""Labels, regions and planes against the pictures and the people: what a label's own numbers cannot show."""

from __future__ import annotations

import shutil
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from tasks.ground_plane.formats import calibration, sequence
from tasks.ground_plane.importers import plaza as plaza_files
from tasks.yard.files import read_json
from tasks.yard.step import BadInput
from tasks.yard.worlds import plaza
from tests.tasks.ground_plane import tiny_scene
from tests.tasks.ground_plane.importers.test_wildtrack import annotation, calibrations, hall
from tests.tasks.ground_plane.sources import fetched, film
from tests.tasks.ground_plane.test_check_data import CALIBS, IMAGES, LABELS, UNIT, changed, checked, findings

SQUARE = plaza.parse("synth://plaza?cameras=3&scenes=1&frames=12&seed=4")


@pytest.fixture(scope="module")
def rendered(tmp_path_factory) -> Path:
    unit = tmp_path_factory.mktemp("world") / "train-00"
    plaza_files.write_unit(SQUARE, "train-00", unit)
    return unit


def renumber(labels: Path, by: int) -> None:
    for path in sorted(labels.iterdir(), key=lambda path: int(path.stem.rpartition("_")[2]), reverse=by > 0):
        name, _, frame = path.stem.rpartition("_")
        if int(frame) + by >= 0:
            path.rename(path.with_name(f"{name}_{int(frame) + by}.json"))
        else:
            path.unlink()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("by", "said"), [(5, r"a frame late: .* label i \+ 5"), (-5, r"a frame early: .* label i - 5")]
)
def test_labels_a_frame_late_or_early_are_seen_in_the_pictures(rendered, tmp_path, by, said):
    """Boxes and places of a label agree with each other whichever frame it is of."""
    unit = tmp_path / "download/train-00"
    shutil.copytree(rendered, unit)
    _, right = checked(tmp_path, max_reprojection_px=25)
    assert right["units"]["train-00"]["labels_fit_pictures"] and right["units"]["train-00"]["findings"] == []
    assert "People are seen where the labels of their own frame have them, in 1 sequence." in right["verdict"]
    renumber(unit / LABELS, by)
    shutil.copytree(unit, tmp_path / "b/download/train-00")
    with pytest.raises(BadInput, match=f"the labels are {said}"):
        checked(tmp_path, max_reprojection_px=25)
    told = read_json(tmp_path / "check_data/check.json")
    assert "The labels of train-00 belong to the frames beside theirs." in told["verdict"]
    assert max(told["units"]["train-00"]["reprojection_px"].values()) < 25  # which cannot see it
    _, kept = checked(tmp_path / "b", refuse_shifted=False, max_reprojection_px=25)
    assert kept["usable"] == ["train-00"] and "number the labels 5 " in "".join(kept["units"]["train-00"]["findings"])


def wildtrack_hall(root: Path, frames: range, late: int) -> Path:
    """People whom WILDTRACK's annotations have `late` frames later than its images show them."""
    calibrations(root)

    def places(moment: int) -> list[tuple[float, float]]:
        return [(-0.5 + 0.5 * moment, -4), (6 - 0.5 * moment, -3), (1, -5 + 0.5 * moment), (3.5, 1 - 0.5 * moment)]

    turns = {}
    for number, name in ((1, "CVLab1"), (3, "CVLab3")):
        nodes = ElementTree.parse(root / f"calibrations/extrinsic/extr_{name}.xml").getroot()
        rvec, tvec = ([float(word) for word in nodes.find(key).text.split()] for key in ("rvec", "tvec"))
        turns[number] = (rvec, np.array(tvec) / 100, [[150, 0, 96], [0, 150, 54], [0, 0, 1]])
    film(root, frames, turns, lambda frame: places(frame // 5))
    for frame in frames:
        walkers = places(frame // 5 - late)
        people = [(n, round((x + 3) / 0.025) + 480 * round((y + 9) / 0.025)) for n, (x, y) in enumerate(walkers)]
        annotation(root / f"annotations_positions/{frame:08d}.json", people, 7)
    return root


@pytest.mark.slow
def test_wildtrack_and_multiviewx_a_frame_off_are_seen_with_the_offset_that_mends_it(tmp_path):
    fetched(tmp_path, wildtrack_hall(tmp_path / "W", range(0, 60, 5), late=1))
    with pytest.raises(BadInput, match=r"a frame late: .* set ground_plane.download.annotation_offset to 5"):
        checked(tmp_path)
    fetched(tmp_path, tmp_path / "W", annotation_offset=5)
    assert checked(tmp_path)[1]["units"]["W"]["labels_fit_pictures"]
    # Images and annotations of one number, though annotation i + 1 is that of image i.
    source = hall(tmp_path / "X", range(1, 13), range(1, 13), first_annotation=1)
    fetched(tmp_path / "x", source)
    with pytest.raises(BadInput, match=r"a frame late: .* set ground_plane.download.annotation_offset to 1"):
        checked(tmp_path / "x")
    fetched(tmp_path / "x", source, annotation_offset=1)
    assert checked(tmp_path / "x")[1]["units"]["X"]["labels_fit_pictures"]


def test_labels_numbered_a_frame_apart_are_one_finding(tmp_path):
    unit = tiny_scene.write_unit(tmp_path / "download")
    renumber(unit / LABELS, 5)
    for path in (unit / IMAGES).rglob("*.png"):  # nothing is seen in them
        cv2.imwrite(str(path), np.full((*tiny_scene.SIZE, 3), 90, np.uint8))
    _, said = checked(tmp_path)
    (line,) = said["units"][UNIT]["findings"]
    assert (
        "images 0 to 25, labels 5 to 30: as they are 5 frames have a label, and 6 if labels are numbered 5 less" in line
    )


def square(rendered: Path, root: Path, drawn_with: str) -> Path:
    """A MARMOT root, no plane given, whose regions are drawn on images undistorted with K or with K_new."""
    shutil.copytree(rendered, root)
    (root / sequence.SCENE).unlink()
    if drawn_with == "K_new":
        for path in (root / CALIBS).iterdir():
            changed(path, ROI=calibration.read(path).roi.tolist())
    return root


@pytest.mark.slow
@pytest.mark.parametrize(("drawn_with", "alpha"), [("K", False), ("K_new", True)])
def test_regions_of_interest_are_read_in_the_pixels_they_are_drawn_in(rendered, tmp_path, drawn_with, alpha):
    """A square of 8 x 8 m, of which each camera's region is what it films."""
    source = square(rendered, tmp_path / "square", drawn_with)
    report = fetched(tmp_path, source, use_alpha_undistort=alpha)["units"]["square"]
    np.testing.assert_allclose(report["plane_m"], [8, 8], atol=0.1)
    _, said = checked(tmp_path, max_reprojection_px=25)
    assert said["units"]["square"]["findings"] == [] and max(said["units"]["square"]["outside_region"].values()) < 0.1
    fetched(tmp_path / "wrong", source, use_alpha_undistort=not alpha)
    _, said = checked(tmp_path / "wrong", max_reprojection_px=25)
    of = said["units"]["square"]
    assert abs(np.subtract(of["plane_m"], 8)).max() > 0.4
    shown = f"set ground_plane.download.use_alpha_undistort to {str(alpha).lower()}"
    assert any(shown in line for line in of["findings"])


def test_people_outside_of_a_cameras_region_are_counted(tmp_path):
    unit = tiny_scene.write_unit(tmp_path / "download", frames=40, people=4)
    path = unit / CALIBS / "cam1.json"
    roi = np.array(read_json(path)["ROI"])
    changed(path, ROI=(roi.mean(0) + (roi - roi.mean(0)) * 0.2).tolist())
    _, said = checked(tmp_path)
    assert said["units"][UNIT]["outside_region"]["cam1"] > 0.3 > 0.1 > said["units"][UNIT]["outside_region"]["cam2"]
    assert "stand outside of its 'ROI'" in findings(said) and f"{CALIBS}/cam1.json" in findings(said)
