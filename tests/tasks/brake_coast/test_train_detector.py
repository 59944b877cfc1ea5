"""The line's detector: what tests/tasks/yard/detector/test_step.py asks of each training, from its own network on."""

from __future__ import annotations

import pytest

from tasks.brake_coast import train_detector
from tasks.yard.detector.look import Detector
from tests.tasks.brake_coast import drives, scenes
from tests.tasks.yard.shared import machine

pytestmark = pytest.mark.slow


def test_without_weights_its_own_small_network_learns_vehicles(tmp_path, monkeypatch):
    monkeypatch.chdir(drives.REPO)  # where steps run
    data = scenes.write_dataset(tmp_path / "detector_data", train=8, val=2, test=2)
    params = drives.section("train_detector", imgsz=64, epochs=1, device="cpu", weights=None)
    metrics = train_detector.run(params, tmp_path / "out", detector_data=data, machine_params=machine())
    assert metrics["epochs"] == 1 and {"val_map50", "test_map50"} <= set(metrics)
    best = tmp_path / "out" / "best.pt"
    model = Detector(best, {"vehicle": "vehicle"}, {"vehicle": 0.1}, imgsz=64, iou=0.6, device="cpu")
    assert model.parameters < 500_000
