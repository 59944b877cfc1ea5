"""Pictures of calibrated cameras through the step: by their content, as shown, in 8 bits; and what is passed over."""

from __future__ import annotations

import cv2
import h5py
import numpy as np
import pytest

from tasks.ground_plane.formats import sequence
from tasks.yard.step import BadInput
from tests.tasks.ground_plane.sources import fetched, marmot
from tests.tasks.ground_plane.test_pack import packed
from tests.tasks.yard import photos


def spoilt(source, kind, suffix: str, frames: list[int] | None = None, **options):
    """Every image (or those of some frames) of a root anew, as `kind` of photos.py writes it; what is shown."""
    for path in sorted((source / "1-annotation/train").rglob("cam*_*.*")):
        if frames is None or int(path.stem.partition("_")[2]) in frames:
            height, width = cv2.imread(str(path)).shape[:2]
            path.unlink()
            shown = photos.upright(width, height)
            kind(path.with_suffix(suffix), shown, **options)
    return shown


@pytest.mark.parametrize(
    ("kind", "suffix", "options"),
    [
        (photos.padded, ".jpg", {}), (photos.motion, ".JPG", {}), (photos.png_named, ".jpg", {}),
        (photos.deep, ".png", {"bits": 16}), (photos.deep, ".tiff", {"bits": 12}), (photos.phone, ".jpg", {}),
    ],
)  # fmt: skip
def test_frames_are_packed_as_shown_whatever_they_are_called(tmp_path, kind, suffix, options):
    source = marmot(tmp_path / "square", val_labels=False)
    shown = spoilt(source, kind, suffix, **options)
    report = fetched(tmp_path, source)
    [line] = report["units"]["square"]["left_out"]
    assert line.startswith("1-annotation/val: ")  # images without labels
    remarks = report["units"]["square"]["remarks"]
    assert len(remarks) == (len(report["units"]["square"]["cameras"]) if kind in (photos.deep, photos.phone) else 0)
    packed(tmp_path, height_px=shown.shape[0], width_px=shown.shape[1])
    grey = cv2.cvtColor(shown, cv2.COLOR_BGR2GRAY)
    for path in (tmp_path / "pack").glob("*/frames.h5"):
        with h5py.File(path) as file:
            image = cv2.cvtColor(file["images"][0], cv2.COLOR_RGB2GRAY)
        half = grey.shape[0] // 2
        inner = np.abs(image.astype(int) - grey)[8:-8, 8:-8]
        assert image.shape == grey.shape and inner[: half - 16].mean() < 6 and inner[half:].mean() < 6


def test_an_image_that_exif_turns_away_from_its_calibration_is_left_out_and_says_so(tmp_path):
    source = marmot(tmp_path / "square", val_labels=False)
    path = source / "1-annotation/train/cam2/cam2_5.png"
    height, width = cv2.imread(str(path)).shape[:2]
    path.unlink()
    photos.phone(path.with_suffix(".jpg"), photos.upright(height, width))  # stored as the calibration has it
    line = fetched(tmp_path, source)["units"]["square"]["left_out"][0]
    assert line.endswith(
        f"cam2_5.jpg: frame 5: is {height}x{width} px, as its EXIF turns it, its calibration {width}x{height}: left out"
    )
    assert 5 not in sequence.read(tmp_path / "download/square").frames["cam2"]


def test_a_camera_of_which_no_image_can_be_used_says_why(tmp_path):
    source = marmot(tmp_path / "square", val_labels=False)
    for path in (source / "1-annotation/train/cam2").iterdir():
        path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(BadInput, match=r"cam2_0\.png: frame 0: cannot be used, it was cut off.*no image of cam2"):
        fetched(tmp_path, source)


def test_what_is_passed_over_in_a_source_is_counted_and_named(tmp_path, caplog):
    source = marmot(tmp_path / "square", val_labels=False)
    for name in (
        "1-annotation/train/cam1/left.png",
        "0-calibration/calibs/old.json",
        "notes.txt",
        ".hidden",
        "Thumbs.db",
    ):
        photos.saved(source / name, b"x")
    left = fetched(tmp_path, source)["passed_over"]
    assert left["files"] == 3 and left["kinds"] == {".json": 1, ".png": 1, ".txt": 1}
    assert left["first"][-1] == "notes.txt" and "passed over, as nothing here uses them: 3 (" in caplog.text
