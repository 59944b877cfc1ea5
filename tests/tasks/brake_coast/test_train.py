from __future__ import annotations

import json
import logging
from functools import partial
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch

from models.brake_coast.variants import VARIANTS
from tasks.brake_coast import train
from tasks.brake_coast.formats import windows
from tasks.brake_coast.learning import scaling, served
from tasks.brake_coast.learning.inference import load_model, predict
from tasks.brake_coast.params import Augment, Train
from tasks.brake_coast.train import JUDGED_STRIDE, Order, augment, served_model
from tasks.yard import params as params_file
from tasks.yard.metrics import binary
from tasks.yard.step import BadInput
from tests.tasks.brake_coast.tiny_pack import NAMES, write_pack
from tests.tasks.yard import killed
from tests.tasks.yard.shared import machine

pytestmark = pytest.mark.slow

NAME = "simple_concat_lstm"
SHRUNK = {
    "model": {"embedding": 16, "hidden": 32, "heads": 2, "layers": 1},
    "engine": {"epochs": 4, "batch": 32},
    "optimizer": {"learning_rate": 0.005, "warmup_steps": 5},
}


run = partial(train.run, machine_params=machine())


def settings(**changes: dict) -> Train:
    """The project's own params, with the network and the training made small."""
    values = params_file.load().brake_coast.train.model_dump()
    for section in (SHRUNK, changes):
        for key, value in section.items():
            values[key] = {**values[key], **value} if isinstance(value, dict) else value
    return Train(**values)


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return write_pack(tmp_path_factory.mktemp("pack"), {"train": 4, "val": 2, "test": 1}, frames=300)


@pytest.fixture(scope="module")
def trained(pack, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    return out, run(settings(), out, variant=NAME, pack=pack)


def test_it_learns_what_the_drives_show_and_reports_it(trained, pack):
    out, scores = trained
    labels = windows.load(pack / "val.h5").labels
    for task in ("brake_1s", "coast_1s"):
        column = labels[:, NAMES.index(task)]
        assert scores[f"val/{task}/pr_auc"] > 2 * (column == 1).sum() / (column >= 0).sum()
    rows = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3] and scores["epochs"] == 4
    assert max(row["val"]["score"] for row in rows) == scores["val/score"] == rows[scores["best_epoch"]]["val"]["score"]


def test_best_pt_alone_gives_the_probabilities_that_were_judged(trained, pack, tmp_path):
    out, scores = trained
    alone = tmp_path / "anywhere.pt"
    alone.write_bytes((out / "best.pt").read_bytes())
    model, config = load_model(alone)
    assert config["tasks"] == ["brake_1s", "brake_2s", "coast_1s", "coast_2s"]
    assert config["data"]["telemetry_ranges"]["speed_kmh"] == [0, 250]
    frames = windows.load(pack / "val.h5")
    starts = windows.window_starts(frames.segment, 20, JUDGED_STRIDE)
    p = predict(model, frames, starts, batch=100)
    assert p.shape == (len(starts), 4) and ((p > 0) & (p < 1)).all()
    np.testing.assert_allclose(p, predict(model, frames, starts, batch=7), atol=1e-6)
    assert predict(model, frames, starts[:0]).shape == (0, 4)
    y = frames.labels[starts + 19, NAMES.index("brake_1s")]
    assert binary.scores(y[y >= 0], p[y >= 0, 0])["pr_auc"] == pytest.approx(scores["val/brake_1s/pr_auc"], abs=1e-6)


def test_the_served_model_gives_the_same_probabilities(trained, pack):
    out, _ = trained
    module, path, example = served_model(out, NAME, pack.parent)
    assert module == served.__name__
    of = served._load_pyfunc(str(path))
    assert {task: p.shape for task, p in of.predict(example).items()} == dict.fromkeys(of.tasks, (1,))
    frames = windows.load(pack / "val.h5")
    rows = np.arange(5)[:, None] + np.arange(20)
    told = of.predict({"telemetry": in_units(frames.telemetry[rows], of), "boxes": frames.detections[rows][..., :5]})
    p = predict(of.model, frames, np.arange(5))
    np.testing.assert_allclose(np.stack([told[task] for task in of.tasks], 1), p, atol=2e-6)
    with pytest.raises(BadInput, match=r"telemetry: expected \(n, 20, 5\), 20 frames of SPEED, RPM"):
        of.predict({**example, "telemetry": example["telemetry"][:, :3]})
    example["telemetry"][0, 3, 1] = np.nan
    with pytest.raises(BadInput, match=r"telemetry\[0\]\[3\]: RPM is no number"):
        of.predict(example)


def in_units(telemetry: np.ndarray, of: served.Served) -> np.ndarray:
    """Features (..., 10) in 0..1 -> (..., 5) as a car tells them."""
    ranges = [of.data["telemetry_ranges"][name] for name in scaling.CONTINUOUS.values()]
    told = [telemetry[..., k] * (high - low) + low for k, (low, high) in enumerate(ranges)]
    return np.stack([*told, telemetry[..., 4:10].argmax(-1)], -1)


def test_kept_work_is_not_done_again_and_is_the_same_bytes_elsewhere(trained, pack, tmp_path):
    out, scores = trained
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("*.pt")}
    assert run(settings(), out, variant=NAME, pack=pack) == scores
    assert {path.name: path.stat().st_mtime_ns for path in out.glob("*.pt")} == before
    run(settings(variants=["simple_query_lstm"]), tmp_path, variant=NAME, pack=pack)  # the list is no param of one run
    for path in out.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name


def test_killed_anywhere_it_ends_as_if_it_had_not_been(trained, pack, tmp_path):
    out, scores = trained
    often = machine(checkpoint_every_s=0.0)
    part = tmp_path / "killed"
    killed.run(run, settings(), part, done=20, variant=NAME, pack=pack, machine_params=often)
    left = json.loads((part / "last.json").read_text())
    assert not left["finished"]
    assert run(settings(), part, variant=NAME, pack=pack, machine_params=often) == scores
    for name in ("best", "last"):
        whole, resumed = (torch.load(folder / f"{name}.pt", weights_only=True)["model"] for folder in (out, part))
        assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_a_task_without_known_labels_is_left_out(tmp_path, caplog):
    """carOBD has no brake signal."""
    pack = write_pack(tmp_path / "pack", {"train": 2, "val": 1}, frames=200, unknown=("brake_1s", "brake_2s"))
    with caplog.at_level(logging.WARNING):
        scores = run(settings(engine={"epochs": 1}), tmp_path / "out", variant=f"{NAME}-telemetry", pack=pack)
    assert "no known label of brake_1s" in caplog.text
    assert load_model(tmp_path / "out" / "best.pt")[1]["tasks"] == ["coast_1s", "coast_2s"]
    assert "val/coast_1s/pr_auc" in scores and "val/brake_1s/pr_auc" not in scores


@pytest.mark.parametrize("loss", ["bce", "focal"])
@pytest.mark.parametrize("fault", ["no positive", "unknown in val", "no window in val"])
def test_a_split_that_cannot_be_scored_still_trains(tmp_path, fault, loss):
    pack = write_pack(tmp_path / "pack", {"train": 2, "val": 1}, frames=60 if fault == "no window in val" else 120)
    for split in ("train", "val"):
        with h5py.File(pack / f"{split}.h5", "r+") as file:
            if fault == "no positive":
                file["frames/labels"][:] = 0
            elif split == "val" and fault == "unknown in val":
                file["frames/labels"][:] = -1
            elif split == "val":
                file["frames/segment"][:] = np.arange(60)
    scores = run(settings(engine={"epochs": 2}, loss={"kind": loss}), tmp_path / "out", variant=NAME, pack=pack)
    assert not any("pr_auc" in name for name in scores)
    assert "val/loss" in scores if fault == "no positive" else scores["best_epoch"] == 1  # unjudged: the last
    predictions = predict(load_model(tmp_path / "out" / "best.pt")[0], windows.load(pack / "train.h5"), np.arange(5))
    assert np.isfinite(predictions).all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_all_twelve_learn(variant, pack, tmp_path):
    scores = run(settings(engine={"epochs": 2}), tmp_path, variant=variant, pack=pack)
    assert np.isfinite(list(scores.values())).all()
    frames = windows.load(pack / "val.h5")
    labels = frames.labels[windows.window_starts(frames.segment, 20) + 19]
    for task in ("brake_1s", "coast_1s"):
        known = labels[:, frames.label_names.index(task)]
        assert scores[f"val/{task}/pr_auc"] > 1.2 * known[known >= 0].mean(), task


def test_windows_of_an_epoch_are_the_strided_ones_shifted(pack):
    frames = windows.load(pack / "train.h5")
    labels = frames.labels[:, :4]
    still, moved = (Order(frames, labels, settings(augment={"random_shift": shift})) for shift in (False, True))
    expected = windows.window_starts(frames.segment, 20, 5)
    assert sorted(still(3).tolist()) == expected.tolist() and not torch.equal(still(3), still(4))
    phases = {epoch: set((moved(epoch) % 300 % 5).tolist()) for epoch in range(30)}
    assert all(len(phase) == 1 for phase in phases.values()) and set.union(*phases.values()) == set(range(5))
    assert torch.equal(moved(7), moved(7))
    for starts in map(moved, range(5)):
        assert (frames.segment[starts] == frames.segment[starts + 19]).all()
    balanced = Order(frames, labels, settings(augment={"positive_share": 0.5}))
    share = (labels[torch.cat([balanced(epoch) for epoch in range(20)]) + 19] == 1).any(axis=1).mean()
    assert share == pytest.approx(0.5, abs=0.05)


def test_events_long_and_short_are_drawn_alike():
    segment = np.repeat([0, 1], 400)
    labels = np.zeros((800, 1), np.int8)
    labels[100:110] = labels[500:560] = 1
    frames = SimpleNamespace(segment=segment, window_frames=20, window_stride=1)
    augment = {"positive_share": 0.5, "random_shift": False}
    for balance, short in (("event", 0.5), ("window", 10 / 70)):
        order = Order(frames, labels, settings(augment={**augment, "balance_by": balance}))
        ends = torch.cat([order(epoch) for epoch in range(10)]) + 19
        positive = ends[labels[ends, 0] == 1]
        assert len(positive) / len(ends) == pytest.approx(0.5, abs=0.05)
        assert (positive < 400).float().mean() == pytest.approx(short, abs=0.05)


def test_augmentations_do_what_they_say():
    torch.manual_seed(0)
    telemetry, boxes = torch.full((400, 2, 10), 0.5), torch.zeros(400, 2, 3, 6)
    boxes[:, :, 0] = torch.tensor([0.9, 0.1, 0.3, 0.4, 0.6, 0.09])
    mask = torch.zeros(400, 2, 3, dtype=torch.bool)
    mask[:, :, 0] = True
    off = {
        "random_shift": False,
        "positive_share": None,
        "balance_by": "window",
        "flip": 0.0,
        "detection_dropout": 0.0,
        "speed_jitter": 0.0,
    }

    def changed(**on):
        return augment(telemetry, boxes, mask, Augment(**{**off, **on}), speed=0)

    assert all(torch.equal(a, b) for a, b in zip(changed(), (telemetry, boxes, mask), strict=True))
    flipped = changed(flip=1.0)[1]
    torch.testing.assert_close(flipped[0, 0, 0], torch.tensor([0.9, 0.6, 0.3, 0.9, 0.6, 0.09]))
    assert not flipped[:, :, 1:].any()
    half = changed(flip=0.5)[1][:, :, 0, 1]
    assert torch.equal(half[:, 0], half[:, 1]) and (half[:, 0] > 0.5).float().mean() == pytest.approx(0.5, abs=0.1)
    assert changed(detection_dropout=0.25)[2].float().sum() / mask.sum() == pytest.approx(0.75, abs=0.06)
    jittered = changed(speed_jitter=0.1)[0]
    assert 0.45 <= jittered[..., 0].min() < 0.46 and 0.54 < jittered[..., 0].max() <= 0.55
    assert torch.equal(jittered[:, 0, 0], jittered[:, 1, 0]) and torch.equal(jittered[..., 1:], telemetry[..., 1:])


def test_mistakes_are_named(pack, tmp_path):
    tasks = [{"name": "brake_9s", "weight": 1.0, "alpha": 0.2, "gamma": 2.0}]
    with pytest.raises(BadInput, match=r"no label 'brake_9s' in .*it has brake_1s"):
        run(settings(tasks=tasks), tmp_path / "out", variant=NAME, pack=pack)
    with pytest.raises(BadInput, match=r"best\.pt: no such checkpoint; train first"):
        load_model(tmp_path / "best.pt")
    torch.save({"config": {"network": {"variant": NAME}}, "model": {}}, tmp_path / "other.pt")
    with pytest.raises(BadInput, match=r"other\.pt: not a checkpoint of brake_coast-train"):
        load_model(tmp_path / "other.pt")


def test_the_word_all_means_twelve():
    assert settings(variants="all").variants == list(VARIANTS)
    assert settings(variants=[f"{NAME}-telemetry", "all", NAME]).variants == [f"{NAME}-telemetry", *VARIANTS]
    with pytest.raises(ValueError, match="attention_query_transformer"):
        settings(variants=["simple_sum_lstm"])
