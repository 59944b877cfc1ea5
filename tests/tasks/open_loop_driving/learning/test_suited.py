"""Routes of one source that have different sensors: what a network sees through, and why it cannot be trained."""

from __future__ import annotations

import json

import h5py
import pytest
from lightning_fabric import Fabric

from tasks.open_loop_driving import train, tune
from tasks.open_loop_driving.learning import suited, untrained
from tasks.open_loop_driving.learning.drives import Drives
from tasks.yard.step import BadInput
from tests.tasks.open_loop_driving import tiny_drives
from tests.tasks.open_loop_driving.shared import section
from tests.tasks.yard.shared import machine

TRAIN = ("a0", "a1", "a2")
NAME = "tcp_small"  # needs cameras alone
BOTH = ("front", "back")


def written(folder, cameras):
    """A pack of three routes to train on, one of validation and one of test; `cameras`: {route: those it has}."""
    splits = dict.fromkeys(TRAIN, "train") | {"v": "val", "t": "test"}
    for name in splits:
        with h5py.File(tiny_drives.write_route(folder, name), "a") as file:
            has = json.loads(file.attrs["cameras"])
            has["left"] = has["back"]
            file["images/left"] = file["images/back"][:]
            for gone in set(has) - set(cameras.get(name, ("front",))):
                del has[gone], file[f"images/{gone}"]
            file.attrs["cameras"] = json.dumps(has)
    tiny_drives.write_manifest(folder, splits)
    return folder


def test_a_network_sees_through_what_most_routes_have(tmp_path):
    pack = written(tmp_path, {"a0": BOTH})
    assert untrained.reason(pack, NAME, None) is None
    whole = Drives(pack, suited.EVERY)
    assert suited.eyes(whole, NAME, None) == ["front"] and suited.lacking(whole, NAME, ["front"]) == {}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cameras", "seen"),
    [
        ({"a0": BOTH, "a2": ("front", "left")}, ["front"]),  # each set once, and all three have front
        ({"a0": BOTH, "a1": BOTH}, ["front", "back"]),
        ({"a0": ("front", "left"), "a1": ("front", "back"), "a2": ("back", "left")}, ["front"]),
        ({"a0": ("back",), "a1": ("left",), "a2": ("front",)}, ["back"]),  # no two have one in common
    ],
)
def test_what_most_have_is_what_more_than_half_have_together(tmp_path, cameras, seen):
    assert suited.eyes(Drives(written(tmp_path, cameras), suited.EVERY), NAME, None) == seen


def test_a_split_without_the_camera_of_the_others_names_what_to_do(tmp_path):
    pack = written(tmp_path, {"v": ("back",)})
    why = untrained.reason(pack, NAME, None)
    assert why.startswith("no route of val has all that it needs: v has no camera 'front'; add routes that have it, or")
    assert why.endswith("or name others in open_loop_driving.train.cameras")


def test_routes_to_train_on_without_any_camera_are_said_also_by_the_search(tmp_path):
    pack = written(tmp_path / "pack", dict.fromkeys(TRAIN, ()))
    assert untrained.reason(pack, NAME, None) == "no route of train has a camera"
    once = section("tune").model_copy(update={"network": NAME, "trials": 1})
    with pytest.raises(BadInput, match=r"manifest\.json: tcp_small cannot be trained: no route of train has a camera"):
        tune.run(
            once,
            tmp_path / "tune",
            train_params=section("train"),
            machine_params=machine(),
            pack=pack,
            teacher=tmp_path,
        )


def test_what_a_network_does_without_is_said_once_a_search_and_by_none_of_its_trainings(tmp_path, caplog):
    pack = written(tmp_path / "pack", {"a1": ("back",)})
    base = section("train").model_copy(update={"steps": tiny_drives.HORIZON})
    many = base.model_copy(update={"engine": base.engine.model_copy(update={"batch": 1000})})
    said = "tcp_small does without 1 of 5 routes, which lack what it needs: a1 has no camera 'front'"
    with pytest.raises(BadInput, match="moments to train on fill no batch"):
        train.prepare(many, machine(), NAME, pack, tmp_path, "code", Fabric(accelerator="cpu", devices=1))
    assert "does without" not in caplog.text
    with pytest.raises(BadInput, match="moments to train on fill no batch"):
        train.run(many, tmp_path / "train", network=NAME, pack=pack, teacher=tmp_path, machine_params=machine())
    assert caplog.text.count(said) == 1
    once = section("tune").model_copy(update={"network": NAME, "trials": 1})
    with pytest.raises(BadInput, match="moments to train on fill no batch"):
        tune.run(once, tmp_path / "tune", train_params=many, machine_params=machine(), pack=pack, teacher=tmp_path)
    assert caplog.text.count(said) == 2
