"""Running and reading detectors: against ultralytics' own predictions, and with files that are no detectors."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

from tasks.yard.detector import network as detector
from tasks.yard.detector.network import Detector
from tasks.yard.step import BadInput
from tests.tasks.brake_coast import scenes

REPO = Path(__file__).parents[4]
REAL = REPO.parent / "shared" / "real"
YOLOV8N = REAL / "weights" / "yolov8n.pt"


def found(model: Detector, image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    return model.detect([model.frame(image, model.canvas(width, height))])[0]


@pytest.mark.skipif(not YOLOV8N.exists(), reason="needs ../shared/real: COCO weights and photographs")
def test_finds_what_ultralytics_predict_finds():
    from ultralytics import YOLO

    theirs = YOLO(YOLOV8N)
    names = dict.fromkeys(theirs.names.values(), 0.25)
    ours = Detector(YOLOV8N, {name: name for name in names}, names, imgsz=416, iou=0.6, device="cpu")
    for path in sorted((REAL / "coco8/images/val").glob("*.jpg")):
        image = cv2.imread(str(path))
        theirs_found = theirs.predict(image, imgsz=416, conf=0.25, iou=0.6, verbose=False)[0].boxes.data.numpy()
        mine, expected = (rows[np.lexsort((rows[:, 0], rows[:, 5]))] for rows in (found(ours, image), theirs_found))
        assert len(mine) == len(expected) > 0
        np.testing.assert_allclose(mine[:, 4], expected[:, 4], atol=2e-3)
        np.testing.assert_allclose(mine[:, :4], expected[:, :4], atol=0.5)
        assert (mine[:, 5] == expected[:, 5]).all()


def test_classes_that_become_one_are_one_object(tmp_path):
    weights = scenes.write_weights(tmp_path / "w.pt", names=("car", "truck", "person"))
    image, _ = scenes.scene(np.random.default_rng(0), 512, 256, cars=8)
    both = {"car": "vehicle", "truck": "vehicle"}
    boxes = found(Detector(weights, both, {"vehicle": 0.0}, imgsz=512, iou=0.5, device="cpu"), image)
    assert set(boxes[:, 5]) == {0.0}
    assert (boxes[:, :4] >= 0).all() and (boxes[:, [0, 2]] <= 512).all() and (boxes[:, [1, 3]] <= 256).all()
    uncut = boxes[(boxes[:, :2] > 0).all(1) & (boxes[:, 2] < 512) & (boxes[:, 3] < 256), :4]
    assert len(uncut) > 5
    assert box_iou(*[torch.from_numpy(uncut)] * 2).fill_diagonal_(0).max() <= 0.5


@pytest.mark.parametrize("network", [scenes.NETWORK, "yolo26n.yaml"], ids=["with-nms", "end-to-end"])
def test_each_class_has_its_own_threshold(tmp_path, network):
    weights = scenes.write_weights(tmp_path / "w.pt", names=("car", "dog", "person"), network=network)
    image, _ = scenes.scene(np.random.default_rng(0), cars=2)
    same = {"car": "car", "person": "person"}
    seen = found(Detector(weights, same, {"car": 0.0, "person": 0.99}, imgsz=128, iou=0.5, device="cpu"), image)
    assert set(seen[:, 5]) == {0.0} and (seen[:, 2:4] <= (128, 64)).all()


def test_weights_of_other_classes_are_refused(tmp_path):
    weights = scenes.write_weights(tmp_path / "w.pt", names=("person", "bicycle"))
    with pytest.raises(BadInput, match=r"w\.pt: none of its classes \(person, bicycle\)"):
        Detector(weights, {"car": "vehicle"}, {"vehicle": 0.5}, imgsz=64, iou=0.5, device="cpu")


class Attack:
    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


def saved(value) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize(
    "content",
    [b"", b"<html>Sign in</html>", saved({"a": torch.zeros(2)}), saved([1, 2]), pickle.dumps({"model": 1})],
    ids=["empty", "html", "state-dict", "list", "pickle"],
)
def test_a_file_that_is_no_model_is_named(tmp_path, content):
    path = tmp_path / "best.pt"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=r"best\.pt: .*Ultralytics detection model"):
        detector.load_network(path)


def test_a_cut_model_is_named(tmp_path):
    path = scenes.write_weights(tmp_path / "w.pt")
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(BadInput, match=r"w\.pt: not a model"):
        detector.load_network(path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_code_in_a_weights_file_is_not_run(tmp_path):
    for content in (saved({"model": Attack(tmp_path / "owned")}), pickle.dumps(Attack(tmp_path / "owned"))):
        (tmp_path / "best.pt").write_bytes(content)
        with pytest.raises(BadInput):
            detector.load_network(tmp_path / "best.pt")
    assert not (tmp_path / "owned").exists()


def test_unknown_weights_and_networks_are_named():
    for name in ("nowhere/best.pt", "yolo99.pt", "nowhere.yaml"):
        with pytest.raises(BadInput, match=name):
            detector.start_file(name)
    assert detector.start_file("yolo12n.yaml") == "yolo12n.yaml"


def test_equal_networks_are_equal_bytes(tmp_path):
    scenes.write_weights(tmp_path / "w.pt")
    for name in ("first.pt", "second.pt"):
        detector.save_network(detector.load_network(tmp_path / "w.pt"), tmp_path / name, {"imgsz": 64})
    assert (tmp_path / "first.pt").read_bytes() == (tmp_path / "second.pt").read_bytes()
    assert str(REPO).encode() not in (tmp_path / "w.pt").read_bytes()  # archive members are stored, not compressed


@pytest.mark.slow
def test_home_and_network_are_left_alone(tmp_path):
    code = """
import socket
def refuse(*a, **k): raise AssertionError("network access")
socket.getaddrinfo = socket.socket.connect = refuse
from tasks.yard.detector import network
network.settle()
from ultralytics.utils import SETTINGS, ONLINE
assert not ONLINE and not SETTINGS["mlflow"] and not SETTINGS["dvc"] and not SETTINGS["sync"]
"""
    home = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "MPLCONFIGDIR": str(REPO / "data/.cache")}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=REPO, env=os.environ | home, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == done.stderr == "" and not list(tmp_path.iterdir())
