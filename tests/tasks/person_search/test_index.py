"""Indexing cameras: what is written for each, what is made again, a kill in the middle, and what cannot be used."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tasks.person_search import index
from tasks.person_search.formats import cameras
from tasks.person_search.formats.crops import normalised
from tasks.person_search.learning.embed import load_network
from tasks.yard.files import read_json
from tasks.yard.step import BadInput
from tests.tasks.person_search import tiny_yard
from tests.tasks.person_search.tiny_yard import Yard, write_camera
from tests.tasks.yard import killed

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def train_detector(tmp_path_factory) -> Path:
    return tiny_yard.write_detector(tmp_path_factory.mktemp("train_detector"))


@pytest.fixture
def yard(tmp_path, train_detector) -> Yard:
    return Yard(tmp_path, train_detector)


def rows(yard: Yard, unit: str, name: str = "detections") -> dict[str, np.ndarray]:
    with h5py.File(yard.root / "index" / unit / f"{name}.h5") as file:
        return {key: values[:] for key, values in file.items()}


def files(yard: Yard, unit: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (yard.root / "index" / unit).iterdir()}


def vector_of(yard: Yard, crop: np.ndarray) -> np.ndarray:
    """What the network gives to a BGR crop, the long way round."""
    network, config = load_network(yard.networks()[tiny_yard.NETWORK] / "best.pt")
    pixels = cameras.shrunk(Image.fromarray(np.ascontiguousarray(crop[..., ::-1])), config)
    image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        found = network(normalised(image))[0].numpy()
    return found / np.linalg.norm(found)


def test_a_camera_has_the_boxes_the_detector_sees_and_the_vectors_of_their_crops(yard):
    folder = write_camera(yard.download, 1, people={7: {0: 20, 2: 60}})
    metrics = yard.index()
    found, about = rows(yard, "yard-c1"), read_json(yard.root / "index/yard-c1/camera.json")
    assert (metrics["cameras"], metrics["frames"], metrics["detections"]) == (1, 6, 18)
    assert metrics["beyond_limit"] == about["beyond_limit"] > 0
    assert found["frame"].tolist() == sorted(found["frame"].tolist()) and set(found["frame"]) == set(range(6))
    by_frame = found["confidence"].reshape(6, 3)
    assert (np.diff(by_frame, axis=1) <= 0).all()
    assert found["embedding"].shape == (18, 16) and found["box"][:, 2:].max() <= 128
    np.testing.assert_allclose(np.linalg.norm(found["embedding"], axis=1), 1, atol=1e-5)
    x1, y1, x2, y2 = np.rint(found["box"][7]).astype(int)
    image = cv2.imread(str(folder / "frames" / f"{found['frame'][7]:06d}.png"))
    np.testing.assert_allclose(found["embedding"][7], vector_of(yard, image[y1:y2, x1:x2]), atol=1e-4)


def test_the_true_boxes_are_embedded_too_and_the_detector_is_judged_by_them(yard):
    folder = write_camera(yard.download, 1, people={7: {0: 20, 2: 60}, 8: {2: 90}})
    write_camera(yard.download, 2, truth=False)
    truth = folder / "truth.csv"
    truth.write_text(truth.read_text() + "2,9,0,0,128,60\n")
    metrics = yard.index()
    assert (rows(yard, "yard-c1")["box"] == (0, 0, 128, 64)).all()  # all that an untrained detector sees
    oracle = rows(yard, "yard-c1", "oracle")
    assert oracle["frame"].tolist() == [0, 2, 2, 2] and oracle["identity"].tolist() == [7, 7, 8, 9]
    assert oracle["found"].tolist() == [0, 0, 0, 1]  # IoU 14 x 36 / (128 x 64), and 60 / 64
    image = cv2.imread(str(folder / "frames/000002.png"))
    np.testing.assert_allclose(oracle["embedding"][1], vector_of(yard, image[16:52, 60:74]), atol=1e-4)
    assert (metrics["true_boxes"], metrics["detector_recall"]) == (4, 0.25)
    assert not (yard.root / "index/yard-c2/oracle.h5").exists()
    truth.unlink()
    assert "detector_recall" not in yard.index()


def test_each_true_box_is_taken_by_one_detection():
    true = np.array([[0, 0, 10, 20], [6, 0, 16, 20], [40, 0, 50, 20]], np.float32)
    alike = np.array([[0, 0, 10, 20], [1, 0, 11, 20], [40, 0, 50, 9]], np.float32)
    assert index.taken_boxes(true, alike).tolist() == [True, False, False]  # 18/22 is one box twice, 9/20 is below half
    apart = np.array([[0, 0, 10, 20], [5, 0, 15, 20]], np.float32)
    assert index.taken_boxes(true, apart).tolist() == [True, True, False]
    assert index.taken_boxes(true[:0], apart).tolist() == [] and not index.taken_boxes(true, apart[:0]).any()


@given(st.lists(st.tuples(*[st.floats(-20, 150, width=32)] * 4), max_size=8))
def test_a_crop_has_pixels_wherever_its_box_lies(corners):
    boxes = np.array(corners, np.float32).reshape(-1, 4)
    found = cameras.crops_of(np.full((64, 128, 3), (1, 2, 3), np.uint8), boxes, tiny_yard.CONFIG)
    assert found.shape == (len(corners), 32, 16, 3) and (found == (3, 2, 1)).all()


def test_one_more_camera_costs_one_camera_and_the_bytes_are_the_same(yard):
    write_camera(yard.download, 1, people={7: {0: 20}})
    write_camera(yard.download, 2)
    yard.index()
    before = {unit: files(yard, unit) for unit in ("yard-c1", "yard-c2")}
    made = {path: path.stat().st_mtime_ns for path in (yard.root / "index").rglob("*.h5")}
    write_camera(yard.download, 3)
    assert yard.index(threads=1)["cameras"] == 3
    assert {path: path.stat().st_mtime_ns for path in made} == made
    for path in (yard.root / "index").rglob(".done.json"):
        path.unlink()
    yard.index(threads=2)
    assert {unit: files(yard, unit) for unit in before} == before


def test_a_camera_is_indexed_again_when_what_it_is_made_from_changes(yard, tmp_path):
    for number in (1, 2):
        write_camera(yard.download, number, people={7: {0: 20}})
    yard.index()

    def changed() -> list[str]:
        now = {path.parent.name: path.stat().st_mtime_ns for path in (yard.root / "index").rglob("detections.h5")}
        last = dict(seen)
        seen.update(now)
        return sorted(unit for unit in now if now[unit] != last.get(unit))

    seen: dict[str, int] = {}
    changed()
    frame = yard.download / "yard-c2/frames/000003.png"
    cv2.imwrite(str(frame), np.full((64, 128, 3), 20, np.uint8))
    yard.index()
    assert changed() == ["yard-c2"]
    truth = yard.download / "yard-c1/truth.csv"
    truth.write_text(truth.read_text() + "5,8,1,2,30,40\n")
    yard.index()
    assert changed() == ["yard-c1"]
    tiny_yard.write_network(yard.root / "train", seed=1)
    yard.index()
    assert changed() == ["yard-c1", "yard-c2"]
    yard.index(iou=0.3)
    assert changed() == ["yard-c1", "yard-c2"]
    yard.index(iou=0.3)
    assert changed() == []


def test_a_bad_frame_is_named_and_left_out_and_a_bad_camera_does_not_stop_the_others(yard, caplog):
    folder = write_camera(yard.download, 1, people={7: {1: 20, 2: 40}})
    for name, keep in (("000001.png", -30), ("000004.png", 0)):
        frame = folder / "frames" / name
        frame.write_bytes(frame.read_bytes()[:keep])
    odd = write_camera(yard.download, 2)
    (odd / "truth.csv").write_text("frame,pid,x1,y1,x2,y2\n0,7,1,1,9,9\n3,7,20,10,20\n")
    metrics = yard.index()
    about = read_json(yard.root / "index/yard-c1/camera.json")
    assert about["unreadable"] == ["000001.png", "000004.png"] and metrics["unreadable"] == 2
    assert "yard-c1/frames/000001.png" in caplog.text
    assert set(rows(yard, "yard-c1")["frame"]) == {0, 2, 3, 5}
    assert rows(yard, "yard-c1", "oracle")["frame"].tolist() == [2]
    assert (metrics["cameras"], metrics["quarantined"]) == (1, 1)
    reasons = read_json(yard.root / "index/quarantine.json")
    assert list(reasons) == ["yard-c2"] and "truth.csv, line 3" in reasons["yard-c2"]


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("truth.csv", "frame,pid,x1,y1,x2\n0,7,1,1,9\n", "line 1"),
        ("truth.csv", "frame,pid,x1,y1,x2,y2\n0,7,9,1,9,9\n", "line 2: box"),
        ("truth.csv", "frame,pid,x1,y1,x2,y2\n0,7,1,1,9,9\n99,7,1,1,9,9\n", "line 3: there is no frame 99"),
        ("camera.json", '{"fps": 2.0, "name": "door"}', "camera"),
        ("camera.json", '{"camera": 1, "fps": 0, "name": "door"}', "above 0"),
        ("frames/door.png", "", "called by its number"),
    ],
)
def test_what_makes_a_camera_unusable_is_said_with_its_place(yard, file, text, said):
    folder = write_camera(yard.download, 1)
    (folder / file).write_text(text)
    with pytest.raises(BadInput, match=said) as error:
        yard.index()
    assert str(folder / file) in str(error.value)


def test_without_cameras_the_index_is_empty_and_says_so(yard, tmp_path):
    metrics = yard.index(weights=str(tmp_path / "none.pt"))  # nothing to look at: no detector is needed
    assert metrics == {"cameras": 0, "quarantined": 0, "frames": 0, "detections": 0, "beyond_limit": 0, "unreadable": 0}
    about = read_json(yard.root / "index/index.json")
    assert about["cameras"] == {} and "no camera" in about["empty"]


def test_a_leader_that_is_not_trained_or_not_named_is_an_error(yard):
    write_camera(yard.download, 1)
    details = yard.root / "evaluate/details.json"
    held = json.loads(details.read_text())
    for network, said in (("osnet_x0_25", "osnet_x0_25.*run person_search-evaluate again"), (None, "no network leads")):
        details.write_text(json.dumps({**held, "leader": network}))
        with pytest.raises(BadInput, match=said):
            yard.index()
    details.unlink()
    with pytest.raises(BadInput, match=r"details\.json: no such file"):
        yard.index()


def test_a_kill_in_the_middle_is_made_good_to_the_byte(yard, monkeypatch):
    folder = write_camera(yard.download, 1, frames=160, people={7: {n: n % 100 for n in range(0, 160, 3)}})
    damaged = folder / "frames/000101.png"
    damaged.write_bytes(damaged.read_bytes()[:-20])
    killed.run(yard.index, done=120)  # the first block holds 100 frames
    written = sorted((yard.root / "index/yard-c1.part/.blocks").glob("[0-9]*.npz"))
    assert len(written) == 1 and not (yard.root / "index/yard-c1").exists()
    looked: list[str] = []
    read = index.decoded
    monkeypatch.setattr(index, "decoded", lambda path: looked.append(path.stem) or read(path))
    metrics = yard.index()
    assert min(looked) == "000100" and len(looked) == 60  # gone on, not begun anew
    resumed = files(yard, "yard-c1")
    (yard.root / "index/yard-c1/.done.json").unlink()
    assert yard.index() == metrics and metrics["unreadable"] == 1
    assert files(yard, "yard-c1") == resumed
