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

from models.person_search.factory import build
from tasks.person_search import train, tune
from tasks.person_search.formats import crops
from tasks.person_search.judging.ranking import rank
from tasks.person_search.learning import embed, served
from tasks.person_search.params import Train, Tune
from tasks.yard import params as params_file
from tasks.yard.step import BadInput
from tests.tasks.person_search.tiny_people import HEIGHT, WIDTH, write_pack
from tests.tasks.yard.forked import in_two_processes
from tests.tasks.yard.shared import machine
from tests.tasks.yard.training import child

pytestmark = pytest.mark.slow

SECTIONS = params_file.load().person_search
NAME = SECTIONS.train.networks[0]
SHRUNK = {"engine": {"epochs": 4, "batch": 16}, "weights": None, "evaluate_every": 2}
run, search = (partial(step.run, machine_params=machine()) for step in (train, tune))


def settings(**changes) -> Train:
    """The project's own params, with the training made small."""
    values = SECTIONS.train.model_dump()
    for section in (SHRUNK, changes):
        for key, value in section.items():
            values[key] = {**values[key], **value} if isinstance(value, dict) else value
    return Train(**values)


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return write_pack(tmp_path_factory.mktemp("pack"), {"train": 10, "val": 8})


@pytest.fixture(scope="module")
def trained(pack, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    return out, run(settings(), out, network=NAME, pack=pack)


def weights_of(folder: Path, name: str = "last") -> dict[str, torch.Tensor]:
    return torch.load(folder / f"{name}.pt", weights_only=True)["model"]


def history_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_it_finds_people_that_it_has_never_seen_and_reports_it(trained, pack):
    out, scores = trained
    rows = history_of(out)
    assert scores["val/mAP"] > 0.6 and scores["val/rank1"] > 0.6 and scores["epochs"] == 4
    assert {"loss", "softmax", "triplet"} == set(rows[0]["train"])
    assert [bool(row["val"]) for row in rows] == [False, True, False, True]
    assert max(row["val"]["mAP"] for row in rows if row["val"]) == scores["val/mAP"]


def test_best_pt_alone_and_the_served_model_give_the_vectors_that_were_judged(trained, pack, tmp_path):
    out, scores = trained
    (tmp_path / "anywhere.pt").write_bytes((out / "best.pt").read_bytes())
    network, config = embed.load_network(tmp_path / "anywhere.pt")
    val = crops.load(pack / "val.h5")
    vectors = embed.embed(network, val.images, config, batch=7)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    q, g = val.role == crops.QUERY, val.role == crops.GALLERY
    ranking = rank(vectors[q], vectors[g], val.identity[q], val.camera[q], val.identity[g], val.camera[g])
    assert ranking.map == pytest.approx(scores["val/mAP"], abs=1e-6)
    of = served._load_pyfunc(str(out / "best.pt"))
    np.testing.assert_allclose(
        of.predict(served.example(out / "best.pt", pack))["vectors"], vectors[:2], atol=1e-5
    )  # as text, which loses nothing
    np.testing.assert_allclose(of.predict({"images": val.images[:5]})["vectors"], vectors[:5], atol=1e-5)
    with pytest.raises(BadInput, match=rf"images\[0\] is .* the network was trained on {WIDTH} x {HEIGHT}; resize it"):
        of.predict({"images": val.images[:, :16]})
    with pytest.raises(BadInput, match=r"images\[0\]: not base64"):
        of.predict({"images": np.array(["<html>"])})


def test_killed_while_only_the_new_head_is_trained_it_ends_with_the_same_bits(trained, pack, tmp_path):
    changes = {"fixbase_epochs": 2, "weights": str(trained[0] / "best.pt")}
    params, often = settings(**changes), machine(checkpoint_every_s=0.0)
    scores = run(params, tmp_path / "whole", network=NAME, pack=pack, machine_params=often)
    steps = json.loads((tmp_path / "whole" / "last.json").read_text())["step"] // 4  # of an epoch
    out, kill_at = tmp_path / "killed", 2 * steps - 1
    inputs = {"network": NAME, "pack": pack, "machine_params": often}
    assert child.killed_at(kill_at, run, params, out, **inputs) == -signal.SIGKILL
    assert json.loads((out / "last.json").read_text())["step"] == kill_at
    assert run(params, out, network=NAME, pack=pack, machine_params=often) == scores
    for name in ("best", "last"):
        assert same(weights_of(tmp_path / "whole", name), weights_of(out, name))
    assert (out / "history.jsonl").read_bytes() == (tmp_path / "whole" / "history.jsonl").read_bytes()


def test_two_processes_take_the_steps_of_one(pack, tmp_path):
    """Their triplets and batch statistics are those of the whole batch; augmentation, whose draws differ, is off."""
    params = settings(augment=dict.fromkeys(SECTIONS.train.augment.model_dump(), 0.0), engine={"epochs": 2})
    run(params, tmp_path / "one", network=NAME, pack=pack)
    in_two_processes(run, params, tmp_path / "two", network=NAME, pack=pack)
    one, two = (history_of(tmp_path / name) for name in ("one", "two"))
    for a, b in zip(one, two, strict=True):
        assert b["train"] == pytest.approx(a["train"], rel=1e-4)
        assert b["val"] == pytest.approx(a["val"], abs=0.01)
    a, b = weights_of(tmp_path / "one"), weights_of(tmp_path / "two")
    assert a.keys() == b.keys()
    for name in a:  # weights and batch statistics
        torch.testing.assert_close(b[name], a[name], rtol=1e-3, atol=1e-4)


def test_a_frozen_backbone_does_not_move(trained, pack, tmp_path):
    source = weights_of(trained[0], "best")
    changes = {"freeze_backbone": True, "weights": str(trained[0] / "best.pt"), "engine": {"epochs": 1}}
    run(settings(**changes), tmp_path, network=NAME, pack=pack)
    after = weights_of(tmp_path)
    moved = {name for name in source if not torch.equal(source[name], after[name])}
    assert moved <= {"classifier.weight", "classifier.bias"}
    assert not torch.equal(source["classifier.weight"], after["classifier.weight"])


def test_training_sees_images_that_augment_has_changed(pack, tmp_path):
    """Mirrored people, each one mirrored again, are the people."""
    shutil.copytree(pack, tmp_path / "mirrored")
    with h5py.File(tmp_path / "mirrored" / "train.h5", "r+") as file:
        file["images"][:] = file["images"][:][:, :, ::-1]
    none = dict.fromkeys(("random_flip", "random_crop", "random_patch", "color_jitter"), 0.0)
    none |= {"random_gray_scale": 0.0, "random_erase": 0.0}
    for name, where, flip in (("plain", pack, 0.0), ("twice", tmp_path / "mirrored", 1.0)):
        params = settings(engine={"epochs": 1}, augment={**none, "random_flip": flip})
        run(params, tmp_path / name, network=NAME, pack=where)
    assert same(weights_of(tmp_path / "plain"), weights_of(tmp_path / "twice"))


def test_what_training_started_from_stays_beside_what_became_of_it(trained, pack, tmp_path, caplog):
    changes = {"engine": {"epochs": 1}}
    assert not (trained[0] / "start.pt").exists()
    state = torch.load(trained[0] / "best.pt", weights_only=True)
    state["config"]["learnt"]["old:7"] = None
    source = tmp_path / "older.pt"
    torch.save(state, source)
    pack = Path(shutil.copytree(pack, tmp_path / "pack"))
    about = json.loads((pack / "dataset_config.json").read_text())
    about["identities"]["test"] = ["old:7", "old:8"]
    (pack / "dataset_config.json").write_text(json.dumps(about))
    run(settings(**changes, weights=str(source)), tmp_path, network=NAME, pack=pack)
    config = embed.load_network(tmp_path / "best.pt")[1]
    assert {"old:7", *embed.load_network(trained[0] / "best.pt")[1]["learnt"]} == set(config["learnt"])
    assert "has learnt from 1 of the 2 test people" in caplog.text
    begun, config = embed.load_network(tmp_path / "start.pt")
    assert same(begun.state_dict(), weights_of(trained[0], "best")) and config == embed.load_network(source)[1]
    assert not same(begun.state_dict(), weights_of(tmp_path, "best"))
    run(settings(**changes), tmp_path, network=NAME, pack=pack)
    assert not (tmp_path / "start.pt").exists()  # this one began with random weights


def test_a_softmax_alone_takes_images_as_they_come(pack, tmp_path):
    engine = {"epochs": 1, "ema_decay": 0.5, "accumulate": 2}
    plain = settings(images_per_identity=None, loss={"triplet": 0.0}, engine=engine)
    scores = run(plain, tmp_path, network=NAME, pack=pack)
    assert set(history_of(tmp_path)[0]["train"]) == {"loss", "softmax"}
    assert 0 < scores["val/mAP"] <= 1


def test_a_validation_without_queries_keeps_the_last_epoch(tmp_path):
    pack = write_pack(tmp_path / "pack", {"train": 6, "val": 2})
    with h5py.File(pack / "val.h5", "r+") as file:
        file["role"][:] = 2
    scores = run(settings(engine={"epochs": 2}), tmp_path / "out", network=NAME, pack=pack)
    assert scores["best_epoch"] == 1 and "val/mAP" not in scores


def test_mistakes_are_named(pack, tmp_path):
    empty = write_pack(tmp_path / "empty", {"train": 0, "val": 2})
    with pytest.raises(BadInput, match=r"train\.h5: 0 identities to train on"):
        run(settings(), tmp_path / "out", network=NAME, pack=empty)
    with pytest.raises(BadInput, match=r"10 identities, and a batch of 64 with 4 images each wants 16; lower .* to 40"):
        run(settings(engine={"batch": 64}), tmp_path / "out", network=NAME, pack=pack)
    with pytest.raises(BadInput, match=r"val\.h5: no such file; run person_search-pack"):
        crops.load(tmp_path / "val.h5")
    (tmp_path / "val.h5").write_text("no HDF5")
    with pytest.raises(BadInput, match=r"not a split of person_search-pack"):
        crops.load(tmp_path / "val.h5")
    torch.save({"config": {"network": {"name": NAME, "identities": 3}}, "model": {}}, tmp_path / "other.pt")
    with pytest.raises(BadInput, match=r"other\.pt: not a checkpoint of person_search-train"):
        embed.load_network(tmp_path / "other.pt")
    for changes, message in {
        "did you mean": {"networks": [NAME + "x"]},
        "leaves the triplet loss no pairs": {"images_per_identity": None},
        "must be a multiple of images_per_identity": {"engine": {"batch": 18}},
        "need weights: an untrained": {"freeze_backbone": True},
        "give at least one of them a weight": {"loss": {"softmax": 0.0, "triplet": 0.0}},
    }.items():
        with pytest.raises(ValueError, match=changes):
            settings(**message)


def test_a_search_over_the_keys_of_the_seed(pack, tmp_path):
    standing = SECTIONS.tune.model_dump()
    assert search(Tune(**standing), tmp_path / "none", train_params=SECTIONS.train, pack=pack) == {"trials": 0}
    asked = {**standing, "trials": 1, "pruner": {"kind": "none", "min_epochs": 1, "reduction": 2}}
    short = settings(engine={"epochs": 1}, evaluate_every=1)
    found = search(Tune(**asked), tmp_path / "seed", train_params=short, pack=pack)
    assert found["complete"] == 1 and 0 < found["best_score"] == found["standing_score"] <= 1
    weights = tmp_path / "given.pt"
    begun = settings(engine={"epochs": 1}, evaluate_every=1, weights=str(weights))
    with pytest.raises(BadInput, match=r"given\.pt: no such file"):
        search(Tune(**asked), tmp_path / "given", train_params=begun, pack=pack)
    scores = []
    for value in (0.0, 1.0):  # other weights under the same name: a trial from the old ones says nothing
        torch.manual_seed(0)
        state = build(NAME, 10, begun.embedding).state_dict()
        torch.save({**state, "fc.weight": state["fc.weight"] * value}, weights)
        scores.append(search(Tune(**asked), tmp_path / "given", train_params=begun, pack=pack)["best_score"])
    assert scores[0] != scores[1] and not list((tmp_path / "given").rglob("*.pt"))
    grid = {"optimizer.kind": {"choices": ["sgd", "adam"]}, "optimizer.momentum": {"choices": [0.8]}}
    asked |= {"sampler": "grid", "space": grid, "trials": 9}
    assert search(Tune(**asked), tmp_path / "grid", train_params=short, pack=pack)["complete"] == 2
    asked |= {"pruner": {"kind": "asha", "min_epochs": 3, "reduction": 2}}
    with pytest.raises(BadInput, match=r"must be a multiple of person_search\.train\.evaluate_every = 2"):
        search(Tune(**asked), tmp_path, train_params=settings(), pack=pack)
