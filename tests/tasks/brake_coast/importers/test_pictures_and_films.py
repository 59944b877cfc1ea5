"""Dashcam films, camera frames and labelled photographs through the steps: times by stamps, and all as shown."""

from __future__ import annotations

import json
from fractions import Fraction

import cv2
import numpy as np
import pandas as pd
import pytest

from tasks.brake_coast import detector_data, download
from tasks.brake_coast.formats import recording
from tasks.brake_coast.importers import carla
from tasks.yard.files import read_json
from tasks.yard.layouts.images import decoded
from tasks.yard.step import BadInput
from tests.tasks.brake_coast import drives
from tests.tasks.yard import films, photos

NAME = "2026-05-01_08-00-00"


def fetched(source, out) -> dict:
    download.run(drives.section("download", source=str(source), min_recordings=1), out)
    return read_json(out / "report.json")


def seen(folder) -> tuple[np.ndarray, list[int]]:
    """(seconds from the first frame by the names of the frames, the numbers that they show)."""
    paths = list(recording.images(folder).values())
    t_ms = recording.parse_times(pd.Series([path.stem for path in paths])).to_numpy(np.int64)
    return (t_ms - t_ms[0]) / 1000, [films.number_in(decoded(path)) for path in paths]


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".mp4", ".MKV", ".ts"])
def test_frames_of_a_film_that_changes_its_pace_have_the_times_of_their_stamps(tmp_path, suffix):
    stamps = np.r_[np.arange(150) / 30, 5 + np.arange(50) / 5]  # 15 s
    films.write(tmp_path / f"source/made{suffix.lower()}", stamps).rename(tmp_path / f"source/{NAME}{suffix}")
    report = fetched(tmp_path / "source", tmp_path / "out")
    seconds, numbers = seen(tmp_path / "out" / NAME)
    assert len(seconds) == report["recordings"][NAME]["rows"] == 30
    np.testing.assert_allclose(seconds, stamps[numbers], atol=0.21)


def test_a_film_that_states_a_thousand_frames_a_second_is_sampled_by_its_stamps(tmp_path):
    stamps = np.arange(300) / 30 + np.random.default_rng(0).uniform(0, 0.014, 300)  # too uneven to guess a rate
    stamps[0] = 0
    films.write(tmp_path / f"source/{NAME}.mkv", stamps.round(3), rate=1000, unit=Fraction(1, 1000))
    fetched(tmp_path / "source", tmp_path / "out")
    seconds, numbers = seen(tmp_path / "out" / NAME)
    assert len(seconds) == 20
    np.testing.assert_allclose(seconds, stamps[numbers], atol=0.04)


def test_a_slow_film_gives_each_moment_the_frame_that_is_near_it(tmp_path):
    stamps = np.arange(25) / 2.5  # every other moment lies between two frames
    films.write(tmp_path / f"source/{NAME}.mp4", stamps)
    found = fetched(tmp_path / "source", tmp_path / "out")["recordings"][NAME]
    seconds, numbers = seen(tmp_path / "out" / NAME)
    assert found["rows"] == found["images"] == len(seconds) == 20
    np.testing.assert_allclose(seconds, stamps[numbers], atol=0.21)


def test_a_film_is_shown_upright_and_a_cut_one_is_said(tmp_path, caplog):
    films.turned(films.write(tmp_path / f"source/{NAME}.mp4", np.arange(30) / 30), films.UPSIDE_DOWN)
    films.cut(films.write(tmp_path / "source/cut.mkv", np.arange(300) / 30), 0.6)
    report = fetched(tmp_path / "source", tmp_path / "out")
    first = decoded(next(iter(recording.images(tmp_path / "out" / NAME).values())))
    assert films.red_corner(first) == ("lower", "right")
    cut = report["recordings"]["video-cut"]
    [remark] = [text for text in cut["warnings"] if text.startswith("the film promises 10.0 s and holds")]
    assert remark in caplog.text and cut["rows"] == cut["images"] == 12 and cut["rows_without_image"] == 0


def test_a_film_of_which_next_to_nothing_is_left_is_quarantined_and_the_others_go_on(tmp_path):
    films.write(tmp_path / f"source/{NAME}.mp4", np.arange(60) / 30)
    films.cut(films.write(tmp_path / "source/cut.mkv", np.arange(300) / 30), 0.07)
    report = fetched(tmp_path / "source", tmp_path / "out")
    assert list(report["recordings"]) == [NAME]
    assert "cut.mkv: promises 10.0 s and holds 0." in report["quarantined"]["video-cut"]


def test_frames_of_a_drive_are_brought_as_shown_in_8_bits_and_by_their_content(tmp_path, caplog):
    table = drives.drive(frames=40)
    folder, shown = tmp_path / "source" / NAME, photos.upright(48, 64)
    photos.saved(folder / "telemetry.csv", table.to_csv(index=False).encode())
    kinds = (photos.phone, photos.padded, photos.motion, photos.png_named)
    for time, kind in zip(table["Time"], kinds, strict=False):
        kind(folder / f"{time}.jpg", shown)
    photos.deep(folder / f"{table['Time'][4]}.png", shown, bits=14)
    photos.deep(folder / f"{table['Time'][5]}.tiff", shown // 4, bits=14)
    photos.padded(folder / "cover.jpg", shown)
    found = fetched(tmp_path / "source", tmp_path / "out")["recordings"][NAME]
    assert found["images"] == 6 and found["unreadable_images"] == 0
    assert (found["image_width_px"], found["image_height_px"]) == (48, 64)
    grey = cv2.cvtColor(shown, cv2.COLOR_BGR2GRAY)
    for place, path in enumerate(recording.images(tmp_path / "out" / NAME).values()):
        stored = np.frombuffer(path.read_bytes(), np.uint8)
        image = cv2.imdecode(stored, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION)
        assert image.shape == (64, 48) and np.abs(image.astype(int) - grey // (4 if place == 5 else 1)).mean() < 4
    for text in ("1 images are turned", "2 images of 16 bits, 14 of them in use", "the first is cover.jpg"):
        assert text in caplog.text


def test_frames_of_a_simulator_are_in_the_order_of_their_numbers(tmp_path):
    for n in range(12):
        photos.saved(tmp_path / f"measurements/{n}.json", b'{"speed": %d, "throttle": 0, "brake": false}' % n)
        photos.padded(tmp_path / f"rgb/{n}.jpg", photos.upright(8, 8))
    assert carla.read(tmp_path).table["SPEED"].astype(float).tolist() == pytest.approx([3.6 * n for n in range(12)])
    assert [path.stem for path in carla.read(tmp_path).images.values()] == [str(n) for n in range(12)]


def coco_of_a_phone(root, size: tuple[int, int], bbox: list[int]):
    entries = [{"id": n, "file_name": f"{n}.jpg", "width": size[0], "height": size[1]} for n in range(9)]
    for entry in entries:
        photos.phone(root / "images" / entry["file_name"], photos.upright(60, 100, entry["id"]))
    marks = [{"id": n, "image_id": n, "category_id": 1, "bbox": bbox, "iscrowd": 0} for n in range(9)]
    value = {"images": entries, "annotations": marks, "categories": [{"id": 1, "name": "car"}]}
    photos.saved(root / "annotations/instances.json", json.dumps(value).encode())
    return root


@pytest.mark.parametrize("roi_px", [None, [0, 0, 60, 100]])
def test_labels_for_a_photograph_as_shown_fit_what_the_trainer_reads(tmp_path, caplog, roi_px):
    source = coco_of_a_phone(tmp_path / "source", (60, 100), [0, 0, 60, 50])
    section = drives.section("detector_data", source=str(source), roi_px=roi_px, hard_negative_share=0.0)
    detector_data.run(section, tmp_path / "out")
    assert "9 images are turned as their EXIF says" in caplog.text
    [image, *_] = sorted((tmp_path / "out/images/train").iterdir())
    pixels = cv2.imread(str(image), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    _, x, y, width, height = map(float, (tmp_path / f"out/labels/train/{image.stem}.txt").read_text().split())
    assert pixels.shape == (100, 60, 3) and pixels[:48].min() > 150 and pixels[52:].max() < 90
    assert [x, y, width, height] == pytest.approx([0.5, 0.25, 1, 0.5], abs=1e-5)


def test_labelled_pictures_of_16_bits_have_one_scale(tmp_path, caplog):
    source = coco_of_a_phone(tmp_path / "source", (60, 100), [0, 0, 60, 50])
    labels = source / "annotations/instances.json"
    labels.write_text(labels.read_text().replace(".jpg", ".png"))
    for n in range(9):
        photos.deep(source / f"images/{n}.png", photos.upright(60, 100, n) // (1 if n else 8), bits=12)
    detector_data.run(drives.section("detector_data", source=str(source), roi_px=None), tmp_path / "out")
    brightest = {
        path.stem[-1]: cv2.imread(str(path)).max() for path in (tmp_path / "out/images").rglob("images__?.jpg")
    }
    assert len(brightest) == 9 and brightest["0"] < 40 and 180 < brightest["1"] < 230
    assert "9 images of 16 bits are brought to 8" in caplog.text


def test_labels_for_a_photograph_as_stored_are_refused_with_the_reason(tmp_path):
    source = coco_of_a_phone(tmp_path / "source", (100, 60), [0, 0, 50, 60])
    section = drives.section("detector_data", source=str(source), roi_px=None)
    with pytest.raises(
        BadInput, match=r"its EXIF turns the image to 60x100, its labels are for 100x60, as it is stored"
    ):
        detector_data.run(section, tmp_path / "out")


def test_what_is_passed_over_in_a_source_is_counted_and_named(tmp_path, caplog):
    films.write(tmp_path / f"source/{NAME}.mp4", np.arange(30) / 30)
    for name in ("front.dav", "photos/1.jpg", ".hidden"):
        photos.saved(tmp_path / "source" / name, b"x")
    left = fetched(tmp_path / "source", tmp_path / "out")["passed_over"]
    assert left == {"files": 2, "kinds": {".dav": 1, ".jpg": 1}, "first": ["front.dav", "photos/1.jpg"]}
    assert "passed over, as nothing here uses them: 2 (1 .dav, 1 .jpg), the first is front.dav" in caplog.text
