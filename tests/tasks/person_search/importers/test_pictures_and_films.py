"""Films and pictures of cameras, crops and labelled images through download: times by stamps, and all as shown."""

from __future__ import annotations

import json
from fractions import Fraction

import cv2
import h5py
import numpy as np
import pytest

from tasks.person_search import detector_data, pack
from tasks.yard.files import read_json
from tasks.yard.step import BadInput
from tests.tasks.person_search.real_layouts import fetched, market, section, yolo
from tests.tasks.yard import films, photos


def seen(folder) -> tuple[list[float], list[int]]:
    """(the times that a search gives the frames, the numbers that they show)."""
    fps, paths = read_json(folder / "camera.json")["fps"], sorted((folder / "frames").iterdir())
    return [int(path.stem) / fps for path in paths], [films.number_in(cv2.imread(str(path))) for path in paths]


def test_frames_of_a_film_that_changes_its_pace_have_the_times_of_their_stamps(tmp_path):
    stamps = np.r_[np.arange(150) / 30, 5 + np.arange(50) / 5]  # 15 s
    films.write(tmp_path / "yard/cameras/door.mp4", stamps)
    fetched(tmp_path, tmp_path / "yard", frames_fps=2.0)
    seconds, numbers = seen(tmp_path / "download/yard-camera-door")
    assert len(seconds) == 30
    np.testing.assert_allclose(seconds, stamps[numbers], atol=0.11)  # half a step where it films slowly


def test_a_film_that_states_a_thousand_frames_a_second_is_sampled_by_its_stamps(tmp_path):
    stamps = np.arange(300) / 30 + np.random.default_rng(0).uniform(0, 0.014, 300)  # too uneven to guess a rate
    stamps[0] = 0
    films.write(tmp_path / "yard/cameras/door.mkv", stamps.round(3), rate=1000, unit=Fraction(1, 1000))
    fetched(tmp_path, tmp_path / "yard", frames_fps=2.0)
    seconds, numbers = seen(tmp_path / "download/yard-camera-door")
    assert len(seconds) == 20
    np.testing.assert_allclose(seconds, stamps[numbers], atol=0.02)


def test_a_slow_film_keeps_its_own_rate_and_a_pause_leaves_numbers_out(tmp_path):
    slow, paused = np.arange(20) / 0.5, np.r_[np.arange(60) / 30, 10 + np.arange(60) / 30]
    films.write(tmp_path / "yard/cameras/slow.mp4", slow)
    films.write(tmp_path / "yard/cameras/paused.mp4", paused)
    report = fetched(tmp_path, tmp_path / "yard", frames_fps=2.0)
    for name, stamps, count in (("slow", slow, 20), ("paused", paused, 9)):
        seconds, numbers = seen(tmp_path / f"download/yard-camera-{name}")
        assert len(seconds) == count
        np.testing.assert_allclose(seconds, stamps[numbers], atol=0.04)
    assert "pauses without a frame" in report["units"]["yard-camera-paused"]["said"]["film"][0]


def test_of_a_slow_uneven_film_no_frame_is_lost(tmp_path):
    stamps = np.cumsum(np.r_[0, np.random.default_rng(0).uniform(0.7, 3, 30)])
    films.write(tmp_path / "yard/cameras/door.mp4", stamps)
    fetched(tmp_path, tmp_path / "yard", frames_fps=2.0)
    seconds, numbers = seen(tmp_path / "download/yard-camera-door")
    assert numbers == list(range(31))
    np.testing.assert_allclose(seconds, stamps, atol=0.26)


def test_a_film_is_shown_upright_and_a_cut_one_is_said(tmp_path, caplog):
    films.turned(films.write(tmp_path / "yard/cameras/turned.mp4", np.arange(30) / 30))
    films.cut(films.write(tmp_path / "yard/cameras/cut.mkv", np.arange(300) / 30), 0.6)
    report = fetched(tmp_path, tmp_path / "yard", frames_fps=2.0)
    first = cv2.imread(str(tmp_path / "download/yard-camera-turned/frames/000000.jpg"))
    assert first.shape == (96, 64, 3) and films.red_corner(first) == ("upper", "right")
    [remark] = report["units"]["yard-camera-cut"]["said"]["film"]
    assert remark.startswith("promises 10.0 s and holds") and remark in caplog.text


@pytest.mark.parametrize("suffix", [".ts", ".MTS", ".m4v", ".avi", ".webm"])
def test_films_of_every_container_are_cameras(tmp_path, suffix):
    unit = Fraction(1, 30) if suffix == ".avi" else None
    path = films.write(
        tmp_path / f"made{'.mkv' if suffix == '.webm' else suffix.lower()}", np.arange(60) / 30, unit=unit
    )
    (tmp_path / "yard/cameras").mkdir(parents=True)
    path.rename(tmp_path / f"yard/cameras/door{suffix}")
    fetched(tmp_path, tmp_path / "yard", frames_fps=2.0)
    assert [films.number_in(cv2.imread(str(p))) for p in sorted((tmp_path / "download").glob("*/frames/*"))] == [
        0, 15, 30, 45,
    ]  # fmt: skip


NAMES = {
    "frame_{}": lambda n: n, "{}": lambda n: n, "frame_{:04d}": lambda n: n, "cam2-img{}_left": lambda n: n,
    "20260501_0800{:02d}": lambda n: n - 1, "{}x{}": lambda n: n - 1,
}  # fmt: skip


@pytest.mark.parametrize("pattern", NAMES)
def test_frames_are_in_the_order_of_their_numbers_and_keep_them(tmp_path, pattern):
    for n in range(1, 13):
        photos.saved(
            tmp_path / f"yard/cameras/door/{pattern.format(n, 2 * n)}.png",
            cv2.imencode(".png", films.picture(n))[1].tobytes(),
        )
    report = fetched(tmp_path, tmp_path / "yard")
    frames = sorted((tmp_path / "download/yard-camera-door/frames").iterdir())
    assert [films.number_in(cv2.imread(str(path))) for path in frames] == list(range(1, 13))
    assert [int(path.stem) for path in frames] == [NAMES[pattern](n) for n in range(1, 13)]
    named = report["units"]["yard-camera-door"]["said"]["original_names"]
    assert named[frames[9].name] == f"{pattern.format(10, 20)}.png"


def test_frames_are_brought_as_shown_in_8_bits_and_by_their_content(tmp_path, caplog):
    shown = photos.upright(48, 64)
    for kind in (photos.phone, photos.padded, photos.motion, photos.png_named):
        for n in range(2):
            kind(tmp_path / f"yard/cameras/{kind.__name__}/{n}.jpg", shown)
    photos.deep(tmp_path / "yard/cameras/deep/0.png", shown, bits=12)
    photos.deep(tmp_path / "yard/cameras/deep/1.tiff", shown // 4, bits=12)
    report = fetched(tmp_path, tmp_path / "yard")
    grey = cv2.cvtColor(shown, cv2.COLOR_BGR2GRAY)
    for name in ("phone", "padded", "motion", "png_named", "deep"):
        frames = tmp_path / f"download/yard-camera-{name}/frames"
        found = cv2.imread(str(frames / "000000.jpg"), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION)
        assert found.shape == (64, 48) and np.abs(found.astype(int) - grey).mean() < 4, name
        assert report["units"][f"yard-camera-{name}"]["frames"]["unreadable"] == []
    assert cv2.imread(str(tmp_path / "download/yard-camera-deep/frames/000001.jpg")).max() < 80  # one scale for both
    assert "yard-camera-phone: 2 images are turned as their EXIF says" in caplog.text
    assert "yard-camera-deep: 2 images of 16 bits, 12 of them in use, are brought to 8" in caplog.text


@pytest.mark.parametrize(
    ("kind", "suffix"), [("phone", ".jpg"), ("deep", ".png"), ("padded", ".jpg"), ("png_named", ".jpg")]
)
def test_crops_are_packed_as_shown(tmp_path, kind, suffix):
    source = market(tmp_path / "crops")
    for path in sorted(source.rglob("*.jpg")):
        path.unlink()
        getattr(photos, kind)(path.with_suffix(suffix), photos.upright(32, 64, seed=int(path.stem[:4])))
    fetched(tmp_path, source)
    (tmp_path / "pack").mkdir()
    metrics = pack.run(section("pack"), tmp_path / "pack", download=tmp_path / "download")
    assert metrics["left_out"] == 0
    with h5py.File(tmp_path / "pack/train.h5") as file:
        image = file["images"][0].astype(int)
    half = len(image) // 2
    assert image[2 : half - 2].min() > 170 and image[half + 2 :].max() < 80 and image.max() < 240


def coco_of_a_phone(root, size: tuple[int, int], bbox: list[int]):
    entries = [{"id": n, "file_name": f"{n}.jpg", "width": size[0], "height": size[1]} for n in range(9)]
    for entry in entries:
        photos.phone(root / "images" / entry["file_name"], photos.upright(60, 100, entry["id"]))
    marks = [{"id": n, "image_id": n, "category_id": 1, "bbox": bbox, "iscrowd": 0} for n in range(9)]
    value = {"images": entries, "annotations": marks, "categories": [{"id": 1, "name": "person"}]}
    photos.saved(root / "annotations/instances.json", json.dumps(value).encode())
    return root


def test_labels_for_a_photograph_as_shown_fit_what_the_trainer_reads(tmp_path):
    report = fetched(tmp_path, coco_of_a_phone(tmp_path / "street", (60, 100), [0, 0, 60, 50]))
    assert report["units"]["street-detect"]["said"]["turned_as_shown"] == 9
    detector_data.run(section("detector_data"), tmp_path / "detector_data", download=tmp_path / "download")
    [image, *_] = sorted((tmp_path / "detector_data/images/train").iterdir())
    pixels = cv2.imread(str(image), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    label = tmp_path / f"detector_data/labels/train/{image.stem}.txt"
    _, x, y, width, height = map(float, label.read_text().split())
    assert pixels.shape == (100, 60, 3) and pixels[:48].min() > 150 and pixels[52:].max() < 90
    assert [x, y, width, height] == pytest.approx([0.5, 0.25, 1, 0.5], abs=1e-5)


def test_labels_for_a_photograph_as_stored_are_refused_with_the_reason(tmp_path):
    source = coco_of_a_phone(tmp_path / "street", (100, 60), [0, 0, 50, 60])
    with pytest.raises(
        BadInput, match=r"its EXIF turns the image to 60x100, its labels are for 100x60, as it is stored"
    ):
        fetched(tmp_path, source)


def test_the_trainer_gets_no_image_that_it_would_write_anew(tmp_path):
    shown = photos.upright(64, 48)
    for n, kind in enumerate((photos.padded, photos.motion, photos.png_named) * 3):
        image = tmp_path / f"yolo/images/train/s{n % 3}/{n}.jpg"
        kind(image, shown)
        photos.saved(tmp_path / f"yolo/labels/train/s{n % 3}/{n}.txt", b"0 0.5 0.5 0.4 0.4\n")
    photos.saved(tmp_path / "yolo/data.yaml", b"train: images/train\nnames: [person]\n")
    fetched(tmp_path, tmp_path / "yolo")
    detector_data.run(section("detector_data"), tmp_path / "detector_data", download=tmp_path / "download")
    ends = {path.suffix: path.read_bytes()[-2:] for path in (tmp_path / "detector_data/images").rglob("*.*")}
    assert ends == {".jpg": b"\xff\xd9", ".png": b"\x60\x82"}


def test_what_is_passed_over_in_a_source_is_counted_and_named(tmp_path, caplog):
    films.write(tmp_path / "yard/cameras/door.mp4", np.arange(30) / 30)
    for name in ("cameras/hall.dav", "cameras/attic/more/1.jpg", "cameras/attic/notes.txt", "Thumbs.db", ".hidden"):
        photos.saved(tmp_path / "yard" / name, b"x")
    report = fetched(tmp_path, tmp_path / "yard")
    [left] = report["passed_over"].values()
    assert left["files"] == 3 and left["kinds"] == {".dav": 1, ".jpg": 1, ".txt": 1}
    assert left["first"] == ["cameras/attic/more/1.jpg", "cameras/attic/notes.txt", "cameras/hall.dav"]
    assert "passed over, as nothing here uses them: 3 (" in caplog.text


def test_images_that_a_description_names_from_elsewhere_are_not_passed_over(tmp_path):
    source = yolo(tmp_path / "street/data", {"train": ["a1", "b1", "c1"]})
    (source / "data.yaml").write_text("train: ../data/images/train\nnames: [person]\n")
    assert "passed_over" not in fetched(tmp_path, tmp_path / "street")
    photos.saved(source / "labels/train/gone.txt", b"0 0.5 0.5 0.4 0.4\n")
    [left] = fetched(tmp_path, tmp_path / "street")["passed_over"].values()
    assert left["first"] == ["data/labels/train/gone.txt"]
