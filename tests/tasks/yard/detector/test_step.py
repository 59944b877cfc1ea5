"""Training a detector on a painted road: what it writes, what its options do, and that a kill changes nothing."""

from __future__ import annotations

import io
import json
import resource
import signal
import threading
from functools import partial
from pathlib import Path

import cv2
import pytest
import torch
from pydantic import ValidationError
from tqdm import tqdm

from tasks.yard.detector import step as detector_training
from tasks.yard.detector import trainer
from tasks.yard.detector.look import Detector
from tasks.yard.detector.network import load_network
from tasks.yard.files import folder_hash
from tasks.yard.layouts import yolo_write
from tasks.yard.step import BadInput, Context
from tests.tasks.brake_coast import drives, scenes
from tests.tasks.yard.shared import machine

pytestmark = pytest.mark.slow

NETWORK = str(scenes.NETWORK)
AUGMENT = drives.section("train_detector").augment.model_dump()
WEATHER = dict.fromkeys(("rain", "fog", "night", "glare", "motion_blur"), 0.4) | {"strength": 1.0}
SMALL = {"imgsz": 128, "epochs": 3, "batch": 8, "device": "cpu", "augment": {**AUGMENT, "weather": WEATHER}}
SMALL |= {"save_period": 2}


def train(dataset: Path, out: Path, progress=None, precision="32", **changes) -> dict[str, float]:
    params = drives.section("train_detector", **{**SMALL, **changes})
    ctx = Context(progress=progress) if progress else Context()
    return detector_training.run(params, machine(precision=precision), dataset, NETWORK, out, ctx)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return scenes.write_dataset(tmp_path_factory.mktemp("world") / "detector_data")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    return scenes.write_dataset(tmp_path_factory.mktemp("world") / "tiny", train=8, val=2, test=2)


@pytest.fixture(scope="module")
def trained(dataset, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("trained")
    train(dataset, out)
    return out


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


class Killed(BaseException):
    pass


class KillAt:
    """A progress bar that ends the run at the given batch, whatever the trainer is in the middle of."""

    def __init__(self, batch: int, once_done: bool = False):
        self.batch, self.once_done, self.initial = batch, once_done, None

    def __call__(self, *args, initial: int = 0, **kwargs) -> tqdm:
        self.initial, outer = initial, self

        class Bar(tqdm):
            def update(self, n=1):
                super().update(n)
                if self.n == outer.batch:
                    raise Killed

            def close(self):
                super().close()
                if outer.once_done:
                    outer.once_done = False
                    raise Killed

        return Bar(*args, initial=initial, **{**kwargs, "file": io.StringIO()})


def test_writes_weights_scores_and_pictures_and_leaves_the_dataset_alone(dataset, trained):
    weights = ["best.pt", "epochs/epoch_0002.pt"]
    others = ["curves.png", "history.jsonl", "learnt_from.json", "metrics.json", "samples.png", "trained_from.json"]
    assert sorted(contents(trained)) == sorted([*weights, *others])
    assert len(json.loads((trained / "learnt_from.json").read_text())["pictures"]) == 24 + 8
    metrics = json.loads((trained / "metrics.json").read_text())
    assert metrics["val"]["images"] == metrics["test"]["images"] == 8
    assert set(metrics["test"]) == {"images", "boxes", "precision", "recall", "map50", "map50_95"}
    history = [json.loads(line) for line in (trained / "history.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in history] == [1, 2, 3]
    assert history[-1]["train_box_loss"] < history[0]["train_box_loss"] + 1
    assert cv2.imread(str(trained / "samples.png")).shape[1] == 2 * 128 + 4
    assert folder_hash(dataset) == folder_hash(scenes.write_dataset(trained.parent / "again"))  # no caches, no repairs


def test_what_is_trained_from_the_same_already_is_not_trained_again(dataset, trained):
    """It may have waited while nobody needed it, and DVC has no second copy of a training."""
    before = contents(trained)
    numbers = train(dataset, trained, progress=lambda *_, **__: pytest.fail("it trains again"))
    assert contents(trained) == before
    metrics = json.loads(before["metrics.json"])
    assert (numbers["epochs"], numbers["test_map50"]) == (SMALL["epochs"], metrics["test"]["map50"])


@pytest.mark.parametrize("file", ["best.pt", "epochs/epoch_0002.pt"])
def test_the_weights_are_a_detector_of_the_dataset_s_classes(trained, file):
    model = Detector(trained / file, {"vehicle": "vehicle"}, {"vehicle": 0.1}, imgsz=128, iou=0.6, device="cpu")
    assert model.classes == ["vehicle"]
    checkpoint = torch.load(trained / file, weights_only=False)
    assert "optimizer" not in checkpoint and next(checkpoint["model"].parameters()).dtype == torch.float16


@pytest.mark.parametrize(("batch", "cache"), [(2, "disk"), (8, "ram")])
def test_a_killed_run_ends_as_if_it_had_not_been_killed_however_images_are_kept(
    dataset, trained, tmp_path, batch, cache
):
    """Killed once more after the last epoch, it trains no further."""
    before = folder_hash(dataset)
    with pytest.raises(Killed):
        train(dataset, tmp_path, KillAt(batch), cache=cache)
    assert bool(list(tmp_path.rglob("*.npy"))) == (cache == "disk") and not (tmp_path / "best.pt").exists()
    resumed, again = KillAt(-1, once_done=True), KillAt(-1)
    with pytest.raises(Killed):
        train(dataset, tmp_path, resumed, cache=cache)
    assert resumed.initial == batch // 3 * 3  # three batches an epoch: whole epochs are kept
    train(dataset, tmp_path, again, cache=cache)
    assert again.initial is None
    mine, whole = contents(tmp_path), contents(trained)  # which kept none
    assert mine.pop("trained_from.json") != whole.pop("trained_from.json") and mine == whole
    assert folder_hash(dataset) == before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_on_a_gpu_it_is_trained_in_mixed_precision(tiny, tmp_path, precision):
    assert train(tiny, tmp_path, imgsz=64, epochs=1, device="cuda", precision=precision)["epochs"] == 1


@pytest.mark.parametrize("changes", [{"seed": 1}, {"resume": False}])
def test_what_was_begun_with_other_params_or_is_not_to_be_resumed_starts_anew(tiny, tmp_path, changes):
    begun = {"resume": changes.get("resume", True), "imgsz": 64}
    with pytest.raises(Killed):
        train(tiny, tmp_path, KillAt(2), **begun)
    restarted = KillAt(1)
    with pytest.raises(Killed):
        train(tiny, tmp_path, restarted, **begun | changes)
    assert restarted.initial == 0


def test_weather_is_painted_on_what_is_trained_on_with_mosaic_too(tiny, tmp_path):
    losses = {}
    for name, weather in (("clear", dict.fromkeys(WEATHER, 0.0)), ("bad", WEATHER | {"fog": 1.0})):
        augment = {**AUGMENT, "mosaic": 1.0, "close_mosaic": 1, "weather": weather}
        train(tiny, tmp_path / name, imgsz=64, epochs=2, rect=False, augment=augment)
        history = (tmp_path / name / "history.jsonl").read_text().splitlines()
        losses[name] = [json.loads(line)["train_box_loss"] for line in history]
    assert all(clear != bad for clear, bad in zip(*losses.values(), strict=True))


def test_trains_further_from_weights_in_a_thread_and_frozen_layers_stay(tiny, trained, tmp_path):
    start, results = trained / "best.pt", []
    changes = {"weights": str(start), "epochs": 1, "rect": False, "freeze": [0, 2], "single_cls": True}
    work = partial(train, tiny, tmp_path, **changes)
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    thread.join()
    assert results and results[0]["epochs"] == 1
    before, after = load_network(start), load_network(tmp_path / "best.pt")
    assert list(after.names.values()) == ["item"]
    same = [
        all(torch.equal(a, b) for a, b in zip(old.state_dict().values(), new.state_dict().values(), strict=True))
        for old, new in zip(before.model, after.model, strict=True)
    ]
    assert [index for index in range(5) if same[index]] == [0, 2]


def test_without_images_to_train_on_the_given_weights_are_handed_over(tiny, trained, tmp_path):
    data, out = tmp_path / "detector_data", tmp_path / "out"
    train(tiny, out, imgsz=64, epochs=1, save_period=1)
    data.mkdir()
    yolo_write.write_about(data, "the source holds crops only", {"train": {"images": 0}, "val": {"images": 0}})
    with pytest.raises(BadInput, match=r"the source holds crops only.*train_detector\.weights = None"):
        train(data, out)
    assert train(data, out, weights=str(trained / "best.pt")) == {"epochs": 0}
    assert sorted(contents(out)) == ["best.pt", "learnt_from.json", "metrics.json"]
    assert (out / "learnt_from.json").read_bytes() == (trained / "learnt_from.json").read_bytes()
    assert (out / "best.pt").read_bytes() == (trained / "best.pt").read_bytes()
    assert json.loads((out / "metrics.json").read_text())["reason"] == "the source holds crops only"


def test_loaders_that_find_no_room_in_shared_memory_end_the_training(tiny, tmp_path):
    """Where /dev/shm is full a batch was lost, and waited for without end."""

    class Full:
        epoch = 0

        def __call__(self, sample):  # in a loader's process, which is forked
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
            return sample

    data, _ = trainer.view(tiny, tmp_path / "data")
    settings = {"imgsz": 64, "epochs": 1, "batch": 4, "device": "cpu", "workers": 1, "amp": False}
    with pytest.raises(BadInput, match=r"no room in the memory that processes share, /dev/shm \([^\n]+\); make room"):
        trainer.train(NETWORK, data, tmp_path, settings, Context().progress, Full())


def test_bad_input_is_named(dataset, tmp_path):
    with pytest.raises(BadInput, match=r"dataset\.yaml: no such file"):
        train(tmp_path, tmp_path)
    (tmp_path / "best.pt").write_text("not a model")
    with pytest.raises(BadInput, match=r"best\.pt: not a model"):
        train(dataset, tmp_path / "out", weights=str(tmp_path / "best.pt"))
    with pytest.raises(BadInput, match="freeze = 99: the network has layers 0 to 14"):
        train(dataset, tmp_path / "out", freeze=99)
    with pytest.raises(BadInput, match=r"device = 0,99: this machine has \d+ GPUs"):
        train(dataset, tmp_path / "out", device=[0, 99], rect=False)
    for precision in ("bf16", "fp16"):
        with pytest.raises(BadInput, match=rf"yard\.machine\.precision = {precision}: .* on a GPU only"):
            train(dataset, tmp_path / "out", precision=precision)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": 0.1}, "learning_rate"),
        ({"augment": {**AUGMENT, "snow": 0.1}}, "augment.snow"),
        ({"augment": {**AUGMENT, "weather": {**WEATHER, "snow": 0.1}}}, "augment.weather.snow"),
        ({"device": "gpu"}, "must be auto, cpu"),
        ({"device": [1, 1], "rect": False}, "none twice"),
        ({"device": "0,1"}, "set rect to false"),
        ({"device": [0, 1, 2], "rect": False}, "batch = 8 must be a multiple of the 3 GPUs"),
    ],
)
def test_params_that_cannot_be_meant_are_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        drives.section("train_detector", **{**SMALL, **changes})
