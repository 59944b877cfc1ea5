"""Running detectors: against ultralytics' own predictions, and what becomes of classes and thresholds."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

from tasks.yard.detector.look import Detector
from tasks.yard.step import BadInput
from tests.tasks.brake_coast import drives, scenes

pytestmark = pytest.mark.slow

REAL = drives.REPO.parent / "shared" / "real"
YOLOV8N = REAL / "weights" / "yolov8n.pt"


def detections(model: Detector, image: np.ndarray) -> np.ndarray:
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
        mine, expected = (
            rows[np.lexsort((rows[:, 0], rows[:, 5]))] for rows in (detections(ours, image), theirs_found)
        )
        assert len(mine) == len(expected) > 0
        np.testing.assert_allclose(mine[:, 4], expected[:, 4], atol=2e-3)
        np.testing.assert_allclose(mine[:, :4], expected[:, :4], atol=0.5)
        assert (mine[:, 5] == expected[:, 5]).all()


def test_classes_that_become_one_are_one_object(tmp_path):
    weights = scenes.write_weights(tmp_path / "w.pt", names=("car", "truck", "person"))
    image, _ = scenes.scene(np.random.default_rng(0), 512, 256, cars=8)
    both = {"car": "vehicle", "truck": "vehicle"}
    boxes = detections(Detector(weights, both, {"vehicle": 0.0}, imgsz=512, iou=0.5, device="cpu"), image)
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
    seen = detections(Detector(weights, same, {"car": 0.0, "person": 0.99}, imgsz=128, iou=0.5, device="cpu"), image)
    assert set(seen[:, 5]) == {0.0} and (seen[:, 2:4] <= (128, 64)).all()


def test_weights_of_other_classes_are_refused(tmp_path):
    weights = scenes.write_weights(tmp_path / "w.pt", names=("person", "bicycle"))
    with pytest.raises(BadInput, match=r"w\.pt: none of its classes \(person, bicycle\)"):
        Detector(weights, {"car": "vehicle"}, {"vehicle": 0.5}, imgsz=64, iou=0.5, device="cpu")


class RedThings:
    """Stands in for a network, as another runtime does: one box, around what is red on the canvas."""

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        output = []
        for red, green, _ in images:
            ys, xs = torch.nonzero((red > 0.7) & (green < 0.3), as_tuple=True)
            low, high = torch.stack([xs.min(), ys.min()]), torch.stack([xs.max() + 1, ys.max() + 1])
            output.append(torch.cat([(low + high) / 2, high - low, torch.ones(1)]))
        return torch.stack(output)[:, :, None]  # (images, cx cy w h score, boxes)


@pytest.mark.parametrize("size_px", [(640, 150), (150, 640), (40, 30), (96, 64)])
def test_a_box_is_in_the_pixels_of_the_image_whatever_its_shape(tmp_path, size_px):
    weights = scenes.write_weights(tmp_path / "w.pt")
    model = Detector(weights, {"vehicle": "vehicle"}, {"vehicle": 0.5}, imgsz=96, iou=0.5, device="cpu")
    model.network = RedThings()
    width, height = size_px
    true = np.array([width * 0.5, height * 0.2, width * 0.9, height * 0.7]).round().astype(int)
    image = np.full((height, width, 3), 100, np.uint8)
    image[true[1] : true[3], true[0] : true[2]] = (0, 0, 255)
    pixel = max(size_px) / 96  # of the canvas, in pixels of the image
    (box,) = detections(model, image)
    np.testing.assert_allclose(box[:4], true, atol=1.5 * max(pixel, 1))
    assert model.canvas(*size_px) != size_px or size_px == (96, 64)
