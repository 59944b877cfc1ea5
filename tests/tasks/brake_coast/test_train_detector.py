"""Training the detector on a painted road: what it writes, that it repeats, and that a kill changes nothing."""

from __future__ import annotations

import io
import json
import threading
from functools import partial
from pathlib import Path

import cv2
import pytest
import torch
from tqdm import tqdm

from tasks.brake_coast import train_detector
from tasks.detector import Detector
from tasks.files import folder_hash
from tasks.step import BadInput, Context
from tests.tasks.brake_coast import drives, scenes

SMALL = {"imgsz": 128, "epochs": 3, "batch": 8, "device": "cpu", "weights": str(scenes.NETWORK)}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return scenes.write_dataset(tmp_path_factory.mktemp("world") / "detector_data")


@pytest.fixture(scope="module")
def trained(dataset, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("trained")
    train_detector.run(drives.section("train_detector", **SMALL), out, detector_data=dataset)
    return out


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


class Killed(BaseException):
    pass


class KillAt:
    """A progress bar that ends the run at the given batch, whatever the trainer is in the middle of."""

    def __init__(self, batch: int):
        self.batch, self.initial = batch, None

    def __call__(self, *args, initial: int = 0, **kwargs) -> tqdm:
        self.initial, outer = initial, self

        class Bar(tqdm):
            def update(self, n=1):
                super().update(n)
                if self.n == outer.batch:
                    raise Killed

        return Bar(*args, initial=initial, **{**kwargs, "file": io.StringIO()})


def test_writes_weights_scores_and_pictures_and_leaves_the_dataset_alone(dataset, trained):
    assert sorted(contents(trained)) == ["best.pt", "curves.png", "history.jsonl", "metrics.json", "samples.png"]
    metrics = json.loads((trained / "metrics.json").read_text())
    assert metrics["val"]["images"] == metrics["test"]["images"] == 8
    assert set(metrics["test"]) == {"images", "boxes", "precision", "recall", "map50", "map50_95"}
    history = [json.loads(line) for line in (trained / "history.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in history] == [1, 2, 3]
    assert history[-1]["train_box_loss"] < history[0]["train_box_loss"] + 1
    assert cv2.imread(str(trained / "samples.png")).shape[1] == 2 * 128 + 4
    assert folder_hash(dataset) == folder_hash(scenes.write_dataset(trained.parent / "again"))  # no caches, no repairs


def test_the_best_weights_are_a_detector_of_the_dataset_s_classes(trained):
    model = Detector(trained / "best.pt", {"vehicle": "vehicle"}, {"vehicle": 0.1}, imgsz=128, iou=0.6, device="cpu")
    assert model.classes == ["vehicle"]
    checkpoint = torch.load(trained / "best.pt", weights_only=False)
    assert "optimizer" not in checkpoint and next(checkpoint["model"].parameters()).dtype == torch.float16


@pytest.mark.parametrize("batch", [2, 8])
def test_a_killed_run_ends_as_if_it_had_not_been_killed(dataset, trained, tmp_path, batch):
    params = drives.section("train_detector", **SMALL)
    with pytest.raises(Killed):
        train_detector.run(params, tmp_path, Context(progress=KillAt(batch)), detector_data=dataset)
    assert (tmp_path / "unfinished").exists() and not (tmp_path / "best.pt").exists()
    resumed = KillAt(-1)
    train_detector.run(params, tmp_path, Context(progress=resumed), detector_data=dataset)
    assert resumed.initial == batch // 3 * 3  # three batches an epoch: whole epochs are kept
    assert contents(tmp_path) == contents(trained)


def test_what_was_begun_with_other_params_is_not_resumed(dataset, tmp_path):
    params = drives.section("train_detector", **SMALL)
    with pytest.raises(Killed):
        train_detector.run(params, tmp_path, Context(progress=KillAt(4)), detector_data=dataset)
    restarted = KillAt(1)
    with pytest.raises(Killed):
        other = drives.section("train_detector", **SMALL, seed=1)
        train_detector.run(other, tmp_path, Context(progress=restarted), detector_data=dataset)
    assert restarted.initial == 0


def test_trains_further_from_weights_in_a_thread(dataset, trained, tmp_path):
    changes = {"weights": str(trained / "best.pt"), "epochs": 1, "rect": False}
    params, results = drives.section("train_detector", **{**SMALL, **changes}), []
    work = partial(train_detector.run, params, tmp_path, detector_data=dataset)
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    thread.join()
    assert results and results[0]["epochs"] == 1


def test_bad_input_is_named(dataset, tmp_path):
    params = drives.section("train_detector", **SMALL)
    with pytest.raises(BadInput, match=r"dataset\.yaml: no such file"):
        train_detector.run(params, tmp_path, detector_data=tmp_path)
    (tmp_path / "best.pt").write_text("not a model")
    params = drives.section("train_detector", **{**SMALL, "weights": str(tmp_path / "best.pt")})
    with pytest.raises(BadInput, match=r"best\.pt: not a model"):
        train_detector.run(params, tmp_path / "out", detector_data=dataset)
