from __future__ import annotations

import json
import shutil
import signal
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from tasks.ground_plane import train
from tasks.ground_plane.formats import scenes
from tasks.ground_plane.judging.matching import people_of
from tasks.ground_plane.learning import network, served
from tasks.ground_plane.learning.augment import OUTSIDE, Example
from tasks.ground_plane.learning.peaks import peaks
from tasks.ground_plane.params import Loss, Train
from tasks.ground_plane.train import served_model, terms
from tasks.yard.files import read_json, write_json
from tasks.yard.step import BadInput
from tasks.yard.training.learnt import Item
from tests.tasks.ground_plane.learning.test_augment import STILL
from tests.tasks.ground_plane.tiny_project import HEIGHT, NETWORK, WIDTH, section, write_pack
from tests.tasks.yard.forked import in_two_processes
from tests.tasks.yard.shared import machine
from tests.tasks.yard.training import child

pytestmark = pytest.mark.slow

SHRUNK = {"engine": {"epochs": 4, "batch": 4, "threads": 1}, "evaluate_every": 2}
run = partial(train.run, machine_params=machine())


def settings(**changes) -> Train:
    """The project's own params, with the training made small."""
    values = section("train").model_dump()
    for part in (SHRUNK, changes):
        for key, value in part.items():
            values[key] = {**values[key], **value} if isinstance(value, dict) else value
    return Train(**values)


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    """Scenes of 3 and of 2 cameras."""
    units = {"one": {"frames": 24, "cameras": 3}, "two": {"frames": 16, "cameras": 2}}
    return write_pack(tmp_path_factory.mktemp("project"), **units)


@pytest.fixture(scope="module")
def trained(pack, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    return out, run(settings(engine={"epochs": 12}, augment=STILL), out, network=NETWORK, pack=pack)


def weights_of(folder: Path, name: str = "last") -> dict[str, torch.Tensor]:
    return torch.load(folder / f"{name}.pt", weights_only=True)["model"]


def test_the_checkpoint_says_which_frames_it_learnt_from(pack, trained):
    learnt = torch.load(trained[0] / "best.pt", weights_only=True)["config"]["learnt"]
    for scene in scenes.load(pack):
        for row in np.flatnonzero(scene.labelled):
            frame = int(scene.frames[row])
            known = Item((scene.name,), (frame, frame)).is_of(learnt, apart=1)
            assert known is (scene.split[row] in ("train", "val")), (scene.name, frame)


def history_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_it_learns_from_scenes_of_several_numbers_of_cameras_and_reports_it(trained):
    out, scores = trained
    rows = history_of(out)
    assert rows[-1]["train"]["ground"] < 0.5 * rows[0]["train"]["ground"]
    assert [bool(row["val"]) for row in rows] == [False, True] * 6
    assert max(row["val"]["moda"] for row in rows if row["val"]) == scores["val/moda"] == scores["val/score"]
    assert scores["val/moda"] > 0.1 and scores["val/recall"] > 0.2  # 0: nobody is found; .30 to .45 with three seeds
    assert scores["epochs"] == 12


def test_best_pt_alone_gives_the_maps_that_were_judged(trained, pack, tmp_path):
    out, scores = trained
    (tmp_path / "anywhere.pt").write_bytes((out / "best.pt").read_bytes())
    model, config, kept = network.load_network(tmp_path / "anywhere.pt")
    assert kept["threshold"] == scores["val/threshold"] and kept["score"] == scores["val/moda"]
    assert (config["height_px"], config["width_px"], config["cell_m"]) == (HEIGHT, WIDTH, 0.25)
    scene = scenes.load(pack)[0]
    rows = scene.rows("val")
    found = network.maps(model, config, scene, rows, "cpu")
    assert found.shape == (len(rows), *scene.grid) and found.dtype == np.float32
    assert not found[:, ~scene.mask].any() and found[:, scene.mask].min() > 0 and found.max() <= 1
    for row, one in zip(rows, found, strict=True):  # where people are, it is surer than elsewhere
        x, y = (people_of(scene, row) / scene.cell_m).astype(int).T
        assert one[y, x].mean() > 3 * one[scene.mask].mean()


def test_cameras_can_be_left_out_and_calibrations_put_in_their_place(trained, pack):
    model, config, _ = network.load_network(trained[0] / "best.pt")
    scene = scenes.load(pack)[0]
    rows, names = scene.rows("val")[:2], [view.name for view in scene.views]
    whole = network.maps(model, config, scene, rows, "cpu")
    np.testing.assert_allclose(network.maps(model, config, scene, rows, "cpu", names[::-1]), whole, atol=1e-6)
    sampling, visible = scene.looked_up
    np.testing.assert_array_equal(network.maps(model, config, scene, rows, "cpu", sampling=(sampling, visible)), whole)
    one = network.maps(model, config, scene, rows, "cpu", [names[1]])
    np.testing.assert_array_equal(one > 0, np.broadcast_to(visible[1], one.shape))
    blind = visible & (np.arange(3) == 1)[:, None, None]
    np.testing.assert_allclose(
        network.maps(model, config, scene, rows, "cpu", sampling=(sampling, blind)), one, atol=1e-6
    )
    assert not network.maps(model, config, scene, rows, "cpu", []).any()


def test_the_served_model_finds_the_same_people(trained, pack):
    model, config, _ = network.load_network(trained[0] / "best.pt")
    module, path, example = served_model(trained[0], NETWORK, pack.parent)
    assert module == served.__name__ and len(served.Served(str(path)).predict(example)["x_m"]) >= 0
    scene = scenes.load(pack)[0]
    row = scene.rows("val")[:1]
    (scores,) = network.maps(model, config, scene, row, "cpu")
    of = served._load_pyfunc(str(path))
    of.threshold = 0.0  # whatever it has learnt by then
    found = of.predict(served.request(scene, [int(scene.frames[row[0]])]))
    xy, confidence = peaks(scores, scene.mask, scene.cell_m, of.decode, 0.0)
    np.testing.assert_allclose(np.stack([found["x_m"], found["y_m"]], 1), xy, atol=1e-4)
    np.testing.assert_allclose(found["confidence"], confidence, atol=1e-6)


def test_killed_within_an_epoch_it_ends_with_the_same_bits(pack, tmp_path):
    params, often = settings(engine={"epochs": 2}), machine(checkpoint_every_s=0.0)
    scores = run(params, tmp_path / "whole", network=NETWORK, pack=pack, machine_params=often)
    steps, out = read_json(tmp_path / "whole/last.json")["step"] // 2, tmp_path / "killed"
    inputs = {"network": NETWORK, "pack": pack, "machine_params": often}
    assert child.killed_at(steps + 2, run, params, out, **inputs) == -signal.SIGKILL
    assert read_json(out / "last.json")["step"] == steps + 2
    assert run(params, out, network=NETWORK, pack=pack, machine_params=often) == scores
    for name in ("best", "last"):
        assert same(weights_of(tmp_path / "whole", name), weights_of(out, name))
    assert (out / "history.jsonl").read_bytes() == (tmp_path / "whole/history.jsonl").read_bytes()


def test_two_processes_and_micro_batches_take_the_steps_of_one_batch(pack, tmp_path):
    """Augmentation, whose draws differ, is off."""
    params = settings(augment=STILL, engine={"epochs": 2})
    parts = settings(augment=STILL, engine={"epochs": 2, "accumulate": 2})
    run(params, tmp_path / "one", network=NETWORK, pack=pack)
    run(parts, tmp_path / "parts", network=NETWORK, pack=pack)
    in_two_processes(run, params, tmp_path / "two", network=NETWORK, pack=pack)
    whole = weights_of(tmp_path / "one")
    for name in ("two", "parts"):
        for a, b in zip(history_of(tmp_path / "one"), history_of(tmp_path / name), strict=True):
            assert b["train"] == pytest.approx(a["train"], rel=1e-4)
        weights = weights_of(tmp_path / name)
        assert weights.keys() == whole.keys()
        for key in whole:
            torch.testing.assert_close(weights[key], whole[key], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["small-concat", "resnet18-mean_max"])
def test_the_other_networks_and_the_loss_of_the_original_with_feet(pack, tmp_path, name):
    params = settings(loss={"kind": "mse", "views": 0.5}, engine={"epochs": 1}, augment={"scene": STILL["scene"]})
    run(params, tmp_path, network=name, pack=pack)
    row = history_of(tmp_path)[0]["train"]
    assert row["ground"] > 0 and row["views"] > 0 and np.isfinite(row["loss"])
    model, config, _ = network.load_network(tmp_path / "best.pt")
    two = scenes.load(pack)[1]
    assert network.maps(model, config, two, two.rows("val")[:1], "cpu").any()


def test_feet_are_learnt_in_each_view(pack, tmp_path):
    run(settings(loss={"views": 1.0}, engine={"epochs": 4}, augment=STILL), tmp_path, network=NETWORK, pack=pack)
    rows = history_of(tmp_path)
    assert rows[-1]["train"]["views"] < 0.7 * rows[0]["train"]["views"]


def test_a_validation_with_nobody_keeps_the_last_epoch(pack, tmp_path):
    about = read_json(pack / "scenes.json")
    for said in about["scenes"].values():
        said["people"] = [[] if part == "val" else who for part, who in zip(said["split"], said["people"], strict=True)]
    for folder in pack.iterdir():
        (tmp_path / folder.name).symlink_to(folder)
    (tmp_path / "scenes.json").unlink()
    write_json(tmp_path / "scenes.json", about)
    scores = run(settings(engine={"epochs": 2}, evaluate_every=1), tmp_path / "out", network=NETWORK, pack=tmp_path)
    assert scores["best_epoch"] == 1 and "val/moda" not in scores


def test_mistakes_are_named(trained, pack, tmp_path):
    with pytest.raises(BadInput, match=r"scenes\.json: \d+ labelled frames to train on fill no batch; .* lower"):
        run(settings(engine={"batch": 64}), tmp_path, network=NETWORK, pack=pack)
    with pytest.raises(BadInput, match=r"engine\.batch: 4 frames cannot be shared evenly by 1 processes x 3 micro"):
        run(settings(engine={"accumulate": 3}), tmp_path, network=NETWORK, pack=pack)
    (tmp_path / "other.pt").write_text("nothing")
    with pytest.raises(BadInput, match=r"other\.pt: not a checkpoint"):
        network.load_network(tmp_path / "other.pt")
    torch.save({"config": {"network": {"name": NETWORK, "views": 3}}, "model": {}}, tmp_path / "other.pt")
    with pytest.raises(BadInput, match=r"other\.pt: not a checkpoint of ground_plane-train"):
        network.load_network(tmp_path / "other.pt")
    model, config, _ = network.load_network(trained[0] / "best.pt")
    scene = scenes.load(pack)[0]
    with pytest.raises(BadInput, match="one: images of 32x48 px for a network trained on 64x48"):
        network.maps(model, {**config, "height_px": 64}, scene, [0], "cpu")
    concat = {**config, "network": {**config["network"], "name": "small-concat", "views": 2}}
    with pytest.raises(BadInput, match="one: 3 cameras for small-concat, which was trained on 2"):
        network.maps(model, concat, scene, [0], "cpu")


def test_the_frames_of_test_have_no_part_in_training(pack, tmp_path):
    """Their images inverted, their people elsewhere: the same bits; whereas people of validation choose the epoch."""
    params = settings(augment=STILL, engine={"epochs": 2})
    changed = {part: tmp_path / part for part in ("test", "val")}
    for part, other in changed.items():
        shutil.copytree(pack, other)
        about = read_json(other / "scenes.json")
        for name, said in about["scenes"].items():
            mine = [i for i, split in enumerate(said["split"]) if split == part]
            for i in mine:
                said["people"][i] = [[who, *(0.2 * np.array([x, y]) + 1).tolist()] for who, x, y in said["people"][i]]
            for camera in said["cameras"]:
                with h5py.File(other / f"{name}-{camera}/frames.h5", "r+") as file:
                    file["images"][mine] = 255 - file["images"][mine]
        write_json(other / "scenes.json", about)
    scores = {part: run(params, tmp_path / f"out-{part}", network=NETWORK, pack=changed[part]) for part in changed}
    plain = run(params, tmp_path / "out", network=NETWORK, pack=pack)
    assert scores["test"] == plain and plain["val/threshold"] < 1
    assert history_of(tmp_path / "out-test") == history_of(tmp_path / "out")
    for name in ("best", "last"):
        assert same(weights_of(tmp_path / "out-test", name), weights_of(tmp_path / "out", name))
    assert scores["val"]["val/threshold"] != plain["val/threshold"]
    assert same(weights_of(tmp_path / "out-val"), weights_of(tmp_path / "out"))


def example(feet: list[list[float]], regions: torch.Tensor | None = None) -> Example:
    """One frame of one view of 32 x 48 px, with feet in -1..1 of it."""
    return Example(
        torch.zeros(1, 1, 3, 32, 48), torch.zeros(1, 1, 4, 6, 2), torch.ones(1, 1, 4, 6, dtype=torch.bool),
        torch.zeros(1, len(feet), 2), torch.ones(1, len(feet), dtype=torch.bool), torch.tensor([[feet]]), regions,
    )  # fmt: skip


def pulled(of: Example, kind: str) -> torch.Tensor:
    """(8, 12): how much the loss of the feet would have each cell of the view higher."""
    logits = torch.zeros(1, 1, 8, 12, requires_grad=True)
    found = {"ground": torch.zeros(1, 4, 6), "views": logits}
    terms(found, of, torch.zeros(1, 4, 6), Loss(kind=kind, radius_cells=2.0, views=0.5))["views"].backward()
    return -logits.grad[0, 0]


@pytest.mark.parametrize("kind", ["focal", "mse"])
def test_feet_are_wanted_where_they_stand_in_the_view_and_only_in_its_region(kind):
    x, y = 10.5 / 12 * 2 - 1, 2.25 / 8 * 2 - 1  # column 10, row 2 of 8 x 12 cells
    found = pulled(example([[x, y], [OUTSIDE, OUTSIDE]]), kind)
    assert divmod(int(found.argmax()), 12) == (2, 10) and found.max() > 0 > found[:, :7].max()
    region = torch.zeros(1, 1, 32, 48, dtype=torch.bool)
    region[..., 4:24, 20:] = True  # rows 1 to 5, columns 5 to 11
    within = pulled(example([[x, y], [-0.9, 0.9]], region), kind)
    inside = torch.zeros(8, 12, dtype=torch.bool)
    inside[1:6, 5:] = True
    assert torch.equal(within != 0, inside)
    torch.testing.assert_close(within[inside], found[inside])
