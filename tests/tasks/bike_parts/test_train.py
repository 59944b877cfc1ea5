from __future__ import annotations

import json
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models import detection, mobilenet_v3_large

from models.bike_parts.states import PartHeads
from tasks.bike_parts import train
from tasks.bike_parts.formats import photos as photos_of
from tasks.bike_parts.judging.matching import matched
from tasks.bike_parts.judging.states import of_pairs
from tasks.bike_parts.learning import network as networks
from tasks.bike_parts.learning import served, start
from tasks.yard.files import read_json
from tasks.yard.layouts import images
from tasks.yard.step import BadInput
from tasks.yard.training.learnt import Item
from tests.tasks.bike_parts.tiny_photos import CLOSER, HEIGHT, PARTS, WIDTH, settings, write_network, write_split
from tests.tasks.yard.forked import in_two_processes
from tests.tasks.yard.shared import machine
from tests.tasks.yard.training import child

pytestmark = pytest.mark.slow
run = partial(train.run, network="small", machine_params=machine())
STILL = {"scale": 0.0, "shift": 0.0, "flip": 0.0, "brightness": 0.0, "contrast": 0.0, "colour": 0.0, "erase": 0.0}
LEARNS = {"engine": {"epochs": 10}, "evaluate_every": 5, "augment": STILL}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> dict[str, Path]:
    return write_split(tmp_path_factory.mktemp("project"), train=8, val=4)


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> dict[str, Path]:
    return write_split(tmp_path_factory.mktemp("many"), train=36, val=12)


@pytest.fixture(scope="module")
def trained(many, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    return out, run(settings(**LEARNS), out, **many)


def history_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


def weights_of(folder: Path, name: str = "last") -> dict[str, torch.Tensor]:
    return torch.load(folder / f"{name}.pt", weights_only=True)["model"]


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def photographs(folders: dict[str, Path], split: str) -> tuple[photos_of.Photos, list[np.ndarray]]:
    photos = photos_of.read(folders["split"], split)
    return photos, [images.decoded(folders["download"] / photo.name) for photo in photos.photos]


def test_it_finds_parts_and_their_states_and_keeps_the_epoch_with_the_best_of_both(trained):
    out, scores = trained
    rows = history_of(out)
    assert rows[-1]["train"]["loss"] < 0.7 * rows[0]["train"]["loss"]
    judged = [row["val"] for row in rows if row["val"]]
    assert len(judged) == 2 and all(np.isfinite(of["loss"]) for of in judged)
    assert scores["val/score"] == max(of["score"] for of in judged)
    assert scores["val/ap50"] > 0.4 and scores["val/state_macro_f1"] > 0.4
    assert scores["val/score"] == pytest.approx((scores["val/ap50"] + scores["val/state_macro_f1"]) / 2)


def test_the_checkpoint_says_which_bikes_it_learnt_from(many, trained):
    learnt = torch.load(trained[0] / "best.pt", weights_only=True)["config"]["learnt"]
    for split in photos_of.SPLITS:
        for photo in photos_of.read(many["split"], split).photos:
            assert Item((photo.group,)).is_of(learnt, apart=1) is (split != "test")


def test_best_pt_alone_finds_what_was_judged_in_photographs_of_any_size(trained, many, tmp_path):
    (tmp_path / "anywhere.pt").write_bytes((trained[0] / "best.pt").read_bytes())
    model, config, scores = networks.load_network(tmp_path / "anywhere.pt")
    assert config["parts"] == PARTS and networks.canvas_of(config) == (HEIGHT, WIDTH)
    assert scores["score"] == trained[1]["val/score"]
    photos, pictures = photographs(many, "val")
    small = networks.looked(model, config, pictures)
    large = networks.looked(model, config, [picture.repeat(3, 0).repeat(3, 1) for picture in pictures])
    hits = 0
    for photo, a, b in zip(photos.photos, small, large, strict=True):
        mine = photos.photo == photo.id
        hits += (matched(a.part, a.box, photos.part[mine], photos.box[mine]) >= 0).sum()
        again = matched(b.part, b.box / 3, a.part, a.box)[:4]
        assert (again >= 0).mean() >= 0.75  # the surest, at three times the size
    assert hits > 0.7 * len(photos.part)


def test_the_served_model_finds_the_same(trained, many):
    of = served._load_pyfunc(str(trained[0] / "best.pt"))
    path = trained[0] / "best.pt"
    model, config, _ = networks.load_network(path)
    _, pictures = photographs(many, "val")
    assert set(of.predict(served.example(many["download"], many["split"]))["image"]) <= {0}
    told = of.predict({"images": np.stack([picture[..., ::-1] for picture in pictures[:3]])})
    for number, alone in enumerate(networks.looked(model, config, pictures[:3])):
        mine = told["image"] == number
        for name in ("part", "box", "score", "states"):
            np.testing.assert_allclose(told[name][mine], getattr(alone, name), atol=1e-4)


def test_states_that_are_paired_with_other_boxes_teach_nothing(many, trained, tmp_path, monkeypatch):
    """The control: the first network of this kind paired states and proposals by their place in a list."""
    draw = PartHeads.select_training_samples

    def mixed(heads, proposals, targets):
        proposals, at, labels, moves = draw(heads, proposals, targets)
        for of in targets:
            of["states"] = of["states"][torch.randperm(len(of["states"]))]
        return proposals, at, labels, moves

    monkeypatch.setattr(PartHeads, "select_training_samples", mixed)
    plain = {"states": {"true_boxes": False, "balance": 0.0}}
    run(settings(**LEARNS, **plain), tmp_path, **many)
    model, config = last(tmp_path)
    photos, pictures = photographs(many, "val")
    true, said = [], []
    for photo, of in zip(photos.photos, networks.looked(model, config, pictures), strict=True):
        mine = photos.photo == photo.id
        at = matched(of.part, of.box, photos.part[mine], photos.box[mine])
        true.append(photos.state[mine][at[at >= 0]])
        said.append(of.states[at >= 0].argmax(1))
    true, said = np.concatenate(true), np.concatenate(said)
    found, majority = (of_pairs(true, of)["macro_f1"] for of in (said, np.zeros_like(true)))
    assert len(true) > 0.5 * len(photos.part)  # it finds parts as well as ever
    assert found < majority + 0.1 < trained[1]["val/state_macro_f1"]


def last(folder: Path) -> tuple:
    state = torch.load(folder / "last.pt", weights_only=True)
    model = networks.of_config(state["config"])
    model.load_state_dict(state["model"])
    return model.eval(), state["config"]


def test_killed_within_an_epoch_it_ends_with_the_same_bits(root, tmp_path):
    params, often = settings(engine={"ema_decay": 0.9}), machine(checkpoint_every_s=0.0)
    scores = run(params, tmp_path / "whole", **root, machine_params=often)
    out = tmp_path / "killed"
    assert child.killed_at(3, run, params, out, **root, machine_params=often) == -signal.SIGKILL
    assert read_json(out / "last.json")["step"] == 3
    assert run(params, out, **root, machine_params=often) == scores
    for name in ("best", "last"):
        assert same(weights_of(tmp_path / "whole", name), weights_of(out, name))
    assert (out / "history.jsonl").read_bytes() == (tmp_path / "whole/history.jsonl").read_bytes()


def test_two_processes_share_a_batch(root, tmp_path):
    """Each draws its own boxes, so the steps are not those of one process; both have the same weights all along."""
    in_two_processes(run, settings(), tmp_path / "two", **root)
    run(settings(), tmp_path / "one", **root)
    for a, b in zip(history_of(tmp_path / "one"), history_of(tmp_path / "two"), strict=True):
        assert b["step"] == a["step"] and b["train"]["loss"] == pytest.approx(a["train"]["loss"], rel=0.3)


@pytest.mark.parametrize(
    "of",
    [{"knows": "embedding", "true_boxes": False, "gamma": 2.0}, {"knows": "nothing", "balance": 1.0}],
)
def test_the_published_settings_and_the_options_of_states_can_be_had(root, tmp_path, of):
    published = {
        "optimizer": {"learning_rate": 1e-4, "weight_decay": 1e-4, "schedule": "plateau"},
        "engine": {"epochs": 1, "accumulate": 2},
    }
    run(settings(states=of, **published), tmp_path, **root)
    row = history_of(tmp_path)[0]
    assert all(np.isfinite(value) for value in row["train"].values())
    assert row["learning_rate"] == pytest.approx(1e-4)


@pytest.mark.parametrize("name", ["small", "small_points"])
def test_a_training_goes_on_from_another_and_from_another_with_other_parts(name, tmp_path):
    weights = write_network(tmp_path, name, name, seed=3) / "best.pt"
    first = networks.load_network(weights)[0].state_dict()
    params = settings(weights=str(weights))
    same_parts, _ = train.made(params, name, PARTS, np.array([0, 1]))
    assert same(same_parts.state_dict(), first)
    other, _ = train.made(params, name, [*PARTS, "steer"], np.array([0, 1]))
    body = {key: value for key, value in other.state_dict().items() if key.startswith(("backbone.", "rpn.", "hidden."))}
    assert len(body) > 50 and all(torch.equal(value, first[key]) for key, value in body.items())
    assert other.maps.out_channels == len(PARTS) + 1
    renamed, _ = train.made(params, name, PARTS[::-1], np.array([0, 1]))
    assert not torch.equal(renamed.maps.weight, first["maps.weight"])  # as many, and others


@pytest.mark.parametrize("name", ["small", "small_points"])
def test_a_closer_look_is_trained_with_its_detector_and_goes_on_from_a_checkpoint(root, tmp_path, name):
    params = settings(close=CLOSER, engine={"epochs": 1})
    run(params, tmp_path, network=name, **root)
    told = history_of(tmp_path)[-1]["train"]
    assert {"loss_close_state", "loss_close_box", "loss_close_on"} < told.keys()
    model, config, _ = networks.load_network(tmp_path / "best.pt")
    _, pictures = photographs(root, "train")
    assert all(of.states.shape[1] == 4 for of in networks.looked(model, config, pictures[:2]))
    first = model.state_dict()
    params = settings(close=CLOSER, weights=str(tmp_path / "best.pt"))
    again, _ = train.made(params, name, PARTS, np.array([0, 1]))
    assert same(again.state_dict(), first)
    for close, said in ((None, "null"), ({**CLOSER, "edge_px": 24}, "of edge_px 24")):
        with pytest.raises(BadInput, match=f"was trained with close of edge_px 16, and .*close is {said}: set it as"):
            train.made(settings(close=close, weights=str(tmp_path / "best.pt")), name, PARTS, np.array([0, 1]))
    renamed, _ = train.made(params, name, PARTS[::-1], np.array([0, 1]))
    assert torch.equal(renamed.look.vector.weight, first["look.vector.weight"])
    assert not torch.equal(renamed.look.state.out.weight, first["look.state.out.weight"])


def test_a_detector_never_sees_a_part_of_the_canvas_alone():
    with pytest.raises(ValueError, match=r"close\.shrink = 5 does not divide canvas\.height_px = 64"):
        settings(close={**CLOSER, "shrink": 5})


def test_torchvisions_file_is_taken_and_a_wrong_one_named(tmp_path):
    torch.manual_seed(0)
    state = detection.fasterrcnn_mobilenet_v3_large_fpn(weights=None, weights_backbone=None).state_dict()
    torch.save(state, tmp_path / "coco.pth")
    params = settings(networks=["mobilenet_v3"], weights=str(tmp_path / "coco.pth"))
    model, about = train.made(params, "mobilenet_v3", PARTS, np.array([0, 1]))
    assert about["before"] == "coco"
    assert torch.equal(model.state_dict()["rpn.head.cls_logits.weight"], state["rpn.head.cls_logits.weight"])
    again = networks.of_config({"network": about, "parts": PARTS, "keep": {"floor": 0.1, "nms": 0.5, "most": 10}})
    again.load_state_dict(model.state_dict())
    chosen = again.eval().roi_heads.box_predictor.cls_score
    picture = torch.zeros(1, 3, HEIGHT, WIDTH)
    for part in range(1, len(PARTS) + 1):  # the ids are ours, not COCO's: sure of one part, it tells that part alone
        with torch.no_grad():
            chosen.weight.zero_()
            chosen.bias.copy_(10.0 * (torch.arange(len(PARTS) + 1) == part))
            assert set(again(picture)[0]["labels"].tolist()) == {part}
    with pytest.raises(BadInput, match=r"coco\.pth: no weights for resnet50 \("):
        train.made(params, "resnet50", PARTS, np.array([0, 1]))
    with pytest.raises(BadInput, match=r"coco\.pth: holds weights of torchvision, and small is none of its"):
        train.made(params, "small", PARTS, np.array([0, 1]))


def test_a_local_file_of_imagenet_fills_the_backbone_and_nothing_else(tmp_path):
    torch.manual_seed(0)
    state = mobilenet_v3_large(weights=None).state_dict()
    torch.save(state, tmp_path / "imagenet.pth")
    params = settings(networks=["mobilenet_v3"], weights=str(tmp_path / "imagenet.pth"))
    model, about = train.made(params, "mobilenet_v3", PARTS, np.array([0, 1]))
    assert about["before"] == "imagenet"
    assert torch.equal(model.state_dict()["backbone.body.0.0.weight"], state["features.0.0.weight"])
    with pytest.raises(BadInput, match=r"imagenet\.pth: no weights for resnet50 \("):
        train.made(params, "resnet50", PARTS, np.array([0, 1]))


def test_offline_the_way_out_is_named(monkeypatch):
    def offline(*_):
        raise start.URLError("no route")

    monkeypatch.setattr(start.published, "downloaded", offline)
    with pytest.raises(
        BadInput, match=r"resnet50: the coco weights cannot be fetched .* or set bike_parts\.train\.weights"
    ):
        train.made(settings(networks=["resnet50"], weights="coco"), "resnet50", PARTS, np.array([0, 1]))


def test_photographs_of_test_have_no_part_in_training(root, tmp_path):
    run(settings(), tmp_path / "plain", **root)
    photos = photos_of.read(root["split"], "test")
    changed = {"download": root["download"], "split": tmp_path / "split"}
    for split in photos_of.SPLITS:
        of = photos_of.read(root["split"], split)
        if split == "test":
            of = replace(photos, box=photos.box / 2, state=(photos.state + 1) % 4)
        photos_of.write(changed["split"], split, of)
    run(settings(), tmp_path / "changed", **changed)
    assert same(weights_of(tmp_path / "plain"), weights_of(tmp_path / "changed"))


def test_mistakes_are_named(root, tmp_path):
    with pytest.raises(BadInput, match=r"train_coco\.json: 8 photographs to train on fill no batch; .* lower"):
        run(settings(engine={"batch": 64}), tmp_path, **root)
    with pytest.raises(BadInput, match=r"engine\.batch: 4 photographs cannot be shared evenly by 1 processes x 3"):
        run(settings(engine={"accumulate": 3}), tmp_path, **root)
    with pytest.raises(BadInput, match=r"cuda_graph: every photograph has another number of boxes"):
        run(settings(), tmp_path, **root, machine_params=machine(cuda_graph=True))
    (tmp_path / "other.pt").write_text("nothing")
    with pytest.raises(BadInput, match=r"other\.pt: not a checkpoint"):
        networks.load_network(tmp_path / "other.pt")
    torch.save({"config": {}, "model": {}}, tmp_path / "other.pt")
    with pytest.raises(BadInput, match=r"other\.pt: not a checkpoint of bike_parts-train"):
        networks.load_network(tmp_path / "other.pt")
    with pytest.raises(ValueError, match="there are none for small"):
        settings(weights="coco")
    with pytest.raises(ValueError, match="did you mean 'small'"):
        settings(networks=["smal"])
