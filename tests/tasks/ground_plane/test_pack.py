"""Frames and people through the step: what is cut where, what is kept, what is left out and said."""

from __future__ import annotations

import resource
import shutil
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import torch

from tasks.ground_plane import check_data, pack
from tasks.ground_plane.formats import scenes, sequence
from tasks.ground_plane.learning.targets import heatmaps
from tasks.ground_plane.params import CheckData, Pack, Shares
from tasks.yard.files import file_hash, folder_hash, read_json, write_json
from tasks.yard.step import BadInput, Context
from tests.tasks.ground_plane import tiny_scene
from tests.tasks.ground_plane.sources import fetched

UNIT = "tiny-00"
IMAGES, LABELS = "1-annotation/train", "1-annotation/labels/train"


def packed(root: Path, ctx: Context = Context(), **changes) -> dict[str, float]:
    """check_data and pack of what lies in download/; returns pack's metrics."""
    check_data.run(
        CheckData(max_reprojection_px=25, refuse_shifted=True, pictures=0),
        root / "check_data",
        download=root / "download",
    )
    params = {"height_px": 32, "width_px": 48, "cell_m": 0.2, "shares": {"val": 0.1, "test": 0.1}}
    params |= {"guard_frames": 0, "splits": None} | changes
    return pack.run(Pack(**params), root / "pack", ctx, download=root / "download", check_data=root / "check_data")


def frames_of(root: Path, camera: str) -> np.ndarray:
    with h5py.File(root / f"pack/{UNIT}-{camera}/frames.h5") as file:
        assert file["images"].chunks is None  # contiguous
        return file["images"][:]


def files(root: Path) -> dict[str, tuple[str, int]]:
    """{file: (its hash, when it was written)} of pack/."""
    found = sorted(p for p in (root / "pack").rglob("*") if p.is_file())
    return {str(p.relative_to(root)): (file_hash(p), p.stat().st_mtime_ns) for p in found}


def test_frames_are_undistorted_then_resized(tmp_path):
    unit = tiny_scene.write_unit(tmp_path / "download")
    metrics = packed(tmp_path)
    of = sequence.read(unit).calibrations["cam2"]
    images = frames_of(tmp_path, "cam2")
    assert images.shape == (6, 32, 48, 3) and images.dtype == np.uint8
    for row in (0, 5):
        filmed = cv2.imread(str(unit / IMAGES / f"cam2/cam2_{5 * row}.png"))[:, :, ::-1]
        flat = cv2.undistort(filmed, of.K, of.dist, None, of.K_new)  # OpenCV's own way in one go
        halves = flat.reshape(32, 2, 48, 2, 3).astype(float).mean((1, 3))
        assert np.abs(images[row] - halves).max() <= 2
    camera = read_json(tmp_path / f"pack/{UNIT}-cam2/camera.json")
    assert camera["frames"] == [0, 5, 10, 15, 20, 25] and camera["size"] == [32, 48]
    assert np.allclose(camera["K"][0][0], of.K_new[0, 0] / 2) and np.allclose(camera["T"], of.T)
    wanted = {"scenes": 1, "cameras": 3, "images": 18, "train_frames": 4, "val_frames": 1, "test_people": 2}
    assert wanted.items() <= metrics.items() and metrics["left_out"] == 0


def test_people_stand_in_the_plane_and_others_are_counted(tmp_path):
    unit = tiny_scene.write_unit(tmp_path / "download")
    rows = read_json(unit / LABELS / "tiny_10.json")
    corner = tiny_scene.PLANE.to_world(np.array([6.0, 4.0]))  # on the edge, which is the plane's
    beyond = tiny_scene.PLANE.to_world(np.array([6.1, 2.0]))
    rows[1][3:5], rows[2][3:5] = (corner * 100).tolist(), (beyond * 100).tolist()
    write_json(unit / LABELS / "tiny_10.json", rows)
    metrics = packed(tmp_path)
    scene = scenes.load(tmp_path / "pack")[0]
    walked = tiny_scene.walk(6, 2, 0)
    assert np.allclose(scene.people[0], [[1, *walked[0, 0]], [2, *walked[0, 1]]])
    assert scene.people[2][:, 0].tolist() == [1] and np.allclose(scene.people[2][0, 1:], [6, 4])
    assert (scene.people[2][0, 1:] <= [6.0, 4.0]).all() and metrics["outside"] == 1 and scene.grid == (20, 30)


@pytest.mark.parametrize("splits", sequence.SPLITS)
def test_a_sequence_is_cut_contiguously_training_first(tmp_path, splits):
    tiny_scene.write_unit(tmp_path / "download", splits=splits, frames=8)
    packed(tmp_path, shares={"val": 0.3, "test": 0.3})
    scene = scenes.load(tmp_path / "pack")[0]
    assert list(dict.fromkeys(scene.split)) == list(splits)
    assert sum(a != b for a, b in zip(scene.split, scene.split[1:], strict=False)) == len(splits) - 1


@pytest.mark.slow
def test_frames_keep_their_split_and_new_ones_stay_apart_from_other_splits(tmp_path, caplog):
    caplog.set_level("INFO")
    tiny_scene.write_unit(tmp_path / "download", frames=40)
    metrics = packed(tmp_path, shares={"val": 0.2, "test": 0.2}, guard_frames=2)
    first = dict(zip(*(read_json(tmp_path / "pack/scenes.json")["scenes"]["tiny-00"][k] for k in ("frames", "split")),
                     strict=True))  # fmt: skip
    assert metrics["guard_frames"] == 4 and "4 of its 40 labelled frames are left out, 2 on each border" in caplog.text
    manifest = read_json(tmp_path / "pack/splits.json")
    assert {split: manifest[split] for split in scenes.SPLITS} == {s: [f"tiny-00/{s}"] for s in scenes.SPLITS}
    assert len(manifest["members"]["tiny-00/test"]) == 8

    tiny_scene.write_unit(tmp_path / "download", frames=60)
    metrics = packed(tmp_path, shares={"val": 0.4, "test": 0.4}, guard_frames=2)
    now = read_json(tmp_path / "pack/scenes.json")["scenes"]["tiny-00"]
    then = dict(zip(now["frames"], now["split"], strict=True))
    assert {frame: then[frame] for frame in first} == first
    new = [split for frame, split in then.items() if frame not in first]
    assert new == ["guard"] * 2 + ["val"] * 18  # val lacks most by the new shares


def root_of(source: Path, train: int, val: int, first: int | None = None) -> Path:
    """A MARMOT root: so many frames in each part, one after the other, of which the first of val is called `first`."""
    made = tiny_scene.write_unit(source.parent, source.name, frames=train + val)
    (made / "scene.json").unlink()
    for row in range(train, train + val):
        frame, called = row * tiny_scene.STEP, row * tiny_scene.STEP
        if first is not None:
            called += first - train * tiny_scene.STEP
        for name in ("cam1/cam1_{}.png", "cam2/cam2_{}.png", "cam3/cam3_{}.png", "labels/train/tiny_{}.json"):
            there = made / "1-annotation" / ("" if name.startswith("labels") else "train") / name.format(frame)
            goes = Path(str(there).replace("/train/", "/val/")).parent / Path(name.format(called)).name
            goes.parent.mkdir(parents=True, exist_ok=True)
            there.rename(goes)
    return made


def splits_by_frame(root: Path) -> dict[str, dict[int, str]]:
    held = read_json(root / "pack/scenes.json")["scenes"]
    return {name: dict(zip(said["frames"], said["split"], strict=True)) for name, said in held.items()}


@pytest.mark.slow
def test_between_the_parts_of_one_root_lies_a_guard_too_and_it_stays_where_it_is(tmp_path):
    fetched(tmp_path, root_of(tmp_path / "in/site", 40, 10))
    shares = {"val": 0.25, "test": 0.1}
    for _ in range(2):
        packed(tmp_path, shares=shares, guard_frames=3)
        found = splits_by_frame(tmp_path)
        assert list(found["site-train"].values()) == ["train"] * 27 + ["guard"] * 3 + ["val"] * 7 + ["guard"] * 3
        assert list(found["site-val"].values()) == ["test"] * 10
    (remark,) = read_json(tmp_path / "pack/scenes.json")["split_remarks"]
    assert remark == "site-train and site-val are of one recording: 3 labelled frames are left out, 3 on each border"


@pytest.mark.slow
def test_parts_that_number_their_frames_alike_have_no_border(tmp_path):
    fetched(tmp_path, root_of(tmp_path / "in/site", 20, 4, first=0))
    packed(tmp_path, guard_frames=3)
    found = splits_by_frame(tmp_path)
    assert list(found["site-train"].values())[-2:] == ["val"] * 2 and set(found["site-val"].values()) == {"test"}


@pytest.mark.slow
@pytest.mark.parametrize("first", [None, 0])
def test_labels_of_val_that_come_later_draw_no_split_anew(tmp_path, first):
    """Then a root is two sequences of other names."""
    source = root_of(tmp_path / "in/site", 30, 10, first)
    (source / "1-annotation/labels/val").rename(tmp_path / "later")
    fetched(tmp_path, source)
    packed(tmp_path, shares={"val": 0.2, "test": 0.2}, guard_frames=2)
    before = splits_by_frame(tmp_path)["site"]
    assert set(before.values()) == {"train", "val", "test", "guard"}
    (tmp_path / "later").rename(source / "1-annotation/labels/val")
    fetched(tmp_path, source)
    for _ in range(2):
        packed(tmp_path, shares={"val": 0.2, "test": 0.2}, guard_frames=2)
        after = splits_by_frame(tmp_path)
        assert after["site-train"] == before and set(after["site-val"].values()) == {"test"}


def test_a_frame_that_another_split_shows_too_is_not_learnt_from(tmp_path, caplog):
    tiny_scene.write_unit(tmp_path / "download", "a-00", splits=["train"], frames=4)
    tiny_scene.write_unit(tmp_path / "download", "b-00", splits=["test"], frames=4, seed=9)
    for camera in ("cam1", "cam2", "cam3"):
        images = [tmp_path / f"download/{name}-00/{IMAGES}/{camera}/{camera}_5.png" for name in "ab"]
        shutil.copy(images[0], images[1])
    assert packed(tmp_path)["train_frames"] == 3
    assert "1 frames are left out, as other splits hold the same pictures, first frame 5 of a-00" in caplog.text
    assert [scene.split.tolist() for scene in scenes.load(tmp_path / "pack")][1] == ["test"] * 4


def test_unchanged_cameras_are_kept_and_one_new_image_costs_one_camera(tmp_path):
    unit = tiny_scene.write_unit(tmp_path / "download")
    packed(tmp_path)
    first = files(tmp_path)
    packed(tmp_path, cell_m=0.1, shares={"val": 0.3, "test": 0.3})  # of no concern to the images
    second = files(tmp_path)
    changed = {name for name in first if first[name] != second[name]}
    assert changed <= {"pack/scenes.json", "pack/splits.json", "pack/quarantine.json"}
    path = unit / IMAGES / "cam3/cam3_5.png"
    cv2.imwrite(str(path), 255 - cv2.imread(str(path)))
    packed(tmp_path)
    third = files(tmp_path)
    touched = {name for name in first if first[name][1] != third[name][1] and "tiny-00" in name}
    assert touched and all("cam3" in name for name in touched)
    assert third["pack/scenes.json"][0] == first["pack/scenes.json"][0]
    packed(tmp_path, Context(code="new"))
    assert all(mine[1] != third[name][1] for name, mine in files(tmp_path).items())


def test_a_new_calibration_costs_the_images_and_the_camera_of_its_own(tmp_path):
    unit = tiny_scene.write_unit(tmp_path / "download")
    packed(tmp_path)
    first, before = files(tmp_path), {camera: frames_of(tmp_path, camera) for camera in ("cam1", "cam2", "cam3")}
    path = unit / "0-calibration/calibs/cam2.json"
    said = read_json(path)
    write_json(path, said | {"K_new": (np.array(said["K_new"]) * [[1.2], [1.2], [1]]).tolist()})
    packed(tmp_path)
    second = files(tmp_path)
    assert {name for name in first if first[name] != second[name] and UNIT in name} == {
        f"pack/{UNIT}-cam2/{name}" for name in ("frames.h5", "camera.json", ".done.json")
    }
    assert read_json(tmp_path / f"pack/{UNIT}-cam2/camera.json")["K"][0][0] == pytest.approx(said["K_new"][0][0] * 0.6)
    assert np.abs(frames_of(tmp_path, "cam2").astype(int) - before["cam2"]).max() > 50
    for camera in ("cam1", "cam3"):
        assert np.array_equal(frames_of(tmp_path, camera), before[camera])


def test_what_is_finer_than_a_pixel_becomes_gray(tmp_path):
    """A chequered floor of one pixel a field, made smaller: no pattern that is not there."""
    unit = tiny_scene.write_unit(tmp_path / "download", frames=3)
    for number in (1, 2, 3):
        path = unit / f"0-calibration/calibs/cam{number}.json"
        said = read_json(path)
        write_json(path, said | {"K_new": said["K"], "dist": [0.0] * 5})
    y, x = np.mgrid[:64, :96]
    floor = (255 * ((x + y) % 2)).astype(np.uint8)[..., None].repeat(3, -1)
    cv2.imwrite(str(unit / IMAGES / "cam1/cam1_0.png"), floor)
    packed(tmp_path, height_px=20, width_px=30)
    shown = frames_of(tmp_path, "cam1")[0].astype(int)
    assert np.abs(shown - 127.5).max() < 40 and np.abs(shown.mean() - 127.5) < 2


def test_the_same_download_gives_the_same_bytes(tmp_path):
    for root in (tmp_path / "a", tmp_path / "b"):
        tiny_scene.write_unit(root / "download")
        packed(root)
    a, b = (files(root) for root in (tmp_path / "a", tmp_path / "b"))
    assert {name: mine[0] for name, mine in a.items()} == {name: mine[0] for name, mine in b.items()}
    assert len(a) == 3 * 3 + 3 and not any("/." in name and ".done" not in name for name in a)


def test_images_that_cannot_be_used_are_left_out_by_name(tmp_path, caplog):
    unit = tiny_scene.write_unit(tmp_path / "download")
    cut, large = unit / IMAGES / "cam1/cam1_5.png", unit / IMAGES / "cam1/cam1_20.png"
    data = cut.read_bytes()
    cut.write_bytes(data[: len(data) // 2] + data[-12:])  # both ends are there, the middle is not
    cv2.imwrite(str(large), np.zeros((80, 96, 3), np.uint8))
    whole = np.delete(frames_of_clean(tmp_path), [1, 4], axis=0)
    metrics = packed(tmp_path)
    camera = read_json(tmp_path / f"pack/{UNIT}-cam1/camera.json")
    assert camera["frames"] == [0, 10, 15, 25] and list(camera["left_out"]) == ["cam1_20.png", "cam1_5.png"]
    assert camera["left_out"]["cam1_20.png"] == "96 x 80 px; the calibration of cam1 is for 96 x 64"
    assert np.array_equal(frames_of(tmp_path, "cam1"), whole) and metrics["left_out"] == 2
    assert f"left out cam1_5.png of {UNIT}-cam1: not an image that can be read to its end" in caplog.text
    images, there = scenes.load(tmp_path / "pack")[0].images(5)
    assert there.tolist() == [False, True, True] and not images[0].any() and images[1].any()


def frames_of_clean(root: Path) -> np.ndarray:
    """Frames of cam1 of a sequence that nothing happened to."""
    tiny_scene.write_unit(root / "clean/download")
    packed(root / "clean")
    return frames_of(root / "clean", "cam1")


def test_one_bad_camera_leaves_the_others_and_a_unit_without_cameras_is_out(tmp_path, caplog):
    for unit, bad in (("good", ["cam2"]), ("gone", ["cam1", "cam2", "cam3"])):
        folder = tiny_scene.write_unit(tmp_path / "download", unit)
        for camera in bad:
            for path in (folder / IMAGES / camera).iterdir():
                data = path.read_bytes()
                path.write_bytes(data[: len(data) // 2] + data[-12:])
    metrics = packed(tmp_path)
    [scene] = scenes.load(tmp_path / "pack")
    assert scene.name == "good" and [view.name for view in scene.views] == ["cam1", "cam3"]
    said = read_json(tmp_path / "pack/quarantine.json")
    assert list(said) == ["good-cam2"] and "cam2 has no image that can be used; cam2_0.png: not" in said["good-cam2"]
    assert metrics["scenes"] == 1 and "cannot use gone" in caplog.text  # check_data saw the same


def test_a_sequence_without_labels_it_can_be_cut_by_is_out(tmp_path):
    tiny_scene.write_unit(tmp_path / "download", frames=4)
    download, checked = tmp_path / "download", tmp_path / "check_data"
    check_data.run(CheckData(max_reprojection_px=25, refuse_shifted=True, pictures=0), checked, download=download)
    for frame in (5, 10):
        (download / UNIT / LABELS / f"tiny_{frame}.json").write_text("[[")
    params = Pack(height_px=32, width_px=48, cell_m=0.2, shares=Shares(val=0.1, test=0.1), guard_frames=0, splits=None)
    with pytest.raises(BadInput, match="2 labelled frames cannot be cut into train and val and test"):
        pack.run(params, tmp_path / "pack", download=download, check_data=checked)


def test_no_room_on_the_disk_is_said_before_anything_is_written(tmp_path):
    tiny_scene.write_unit(tmp_path / "download")
    with pytest.raises(BadInput, match=r"no room for \d+ MB of frames"):
        packed(tmp_path, height_px=300_000, width_px=300_000)
    assert not list((tmp_path / "pack").rglob("*.h5"))


def test_a_disk_that_fills_up_ends_the_step_and_leaves_no_camera_out(tmp_path):
    """No file may be larger than 20 kB: writing fails as on a full disk. A camera must not be quarantined for it."""
    tiny_scene.write_unit(tmp_path / "download")
    packed(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(BadInput, match="the disk is full"):
            packed(tmp_path, height_px=64, width_px=96)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert packed(tmp_path, height_px=64, width_px=96)["cameras"] == 3
    assert frames_of(tmp_path, "cam1").any((1, 2, 3)).all()


@pytest.mark.parametrize(
    ("cell_m", "said"),
    [
        (0.001, r"a plane of 6 x 4 m has 24,000,000 cells of 0.001 m.*raise ground_plane.pack.cell_m"),
        (9.0, "a cell of 9 m has its centre outside a plane of 6 x 4 m"),
    ],
)
def test_a_plane_that_cannot_be_divided_into_cells_is_said(tmp_path, cell_m, said):
    tiny_scene.write_unit(tmp_path / "download")
    with pytest.raises(BadInput, match=f"tiny-00: {said}"):
        packed(tmp_path, cell_m=cell_m)


def test_a_run_that_can_pack_nothing_leaves_the_cameras_of_the_one_before(tmp_path):
    tiny_scene.write_unit(tmp_path / "download")
    packed(tmp_path)
    before = folder_hash(tmp_path / "pack")
    for frame in (tmp_path / "download" / UNIT / LABELS).glob("*.json"):
        frame.write_text("[[")
    check = tmp_path / "check_data"  # what was checked before the labels broke
    params = Pack(height_px=64, width_px=96, cell_m=0.2, shares=Shares(val=0.1, test=0.1), guard_frames=0, splits=None)
    with pytest.raises(BadInput, match="no sequence can be packed"):
        pack.run(params, tmp_path / "pack", download=tmp_path / "download", check_data=check)
    left = [p for p in (tmp_path / "pack").rglob("*") if ".part" in str(p.relative_to(tmp_path / "pack"))]
    for path in sorted(left, reverse=True):  # finished work that waits for the next run
        path.unlink() if path.is_file() else path.rmdir()
    assert folder_hash(tmp_path / "pack") == before


def test_who_stands_on_the_far_edge_is_learnt_and_judged(tmp_path):
    unit = tiny_scene.write_unit(tmp_path / "download", people=1)
    rows = read_json(unit / LABELS / "tiny_10.json")
    rows[1][3:5] = (tiny_scene.PLANE.to_world(np.array([6.0, 2.1])) * 100).tolist()  # row 10: 2.0 to 2.2 m
    write_json(unit / LABELS / "tiny_10.json", rows)
    packed(tmp_path)
    (scene,) = scenes.load(tmp_path / "pack")
    (there,) = scene.people[2][:, 1:]
    assert np.floor(there / scene.cell_m).astype(int).tolist() == [scene.grid[1] - 1, 10]
    assert heatmaps(torch.tensor(there)[None, None] / scene.cell_m, torch.ones(1, 1) > 0, scene.grid, 2.0).max() == 1
