"""Processes that torchrun starts train as this process does, and what they cannot use is said here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.yard.detector import launch, trainer
from tasks.yard.step import BadInput, Context
from tests.tasks.brake_coast import scenes

pytestmark = pytest.mark.slow

SETTINGS = {"imgsz": 64, "epochs": 1, "batch": 4, "device": "cpu", "workers": 1, "amp": False, "deterministic": True}


def in_one_process(overrides, weather, progress) -> None:
    launch.launch(overrides, weather, progress, processes=1)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return scenes.write_dataset(tmp_path_factory.mktemp("world") / "tiny", train=8, val=2, test=2)


def train(dataset: Path, work: Path, fit=None, **changes) -> list[dict]:
    data, _ = trainer.view(dataset, work / "data")
    settings = {**SETTINGS, **changes}
    return trainer.train(str(scenes.NETWORK), data, work, settings, Context().progress, None, fit)[1]


def test_a_launched_training_learns_what_one_in_this_process_learns(dataset, tmp_path):
    assert train(dataset, tmp_path / "launched", in_one_process) == train(dataset, tmp_path / "here")


def test_what_a_launched_training_refuses_is_named(dataset, tmp_path):
    with pytest.raises(BadInput, match="freeze = 99: the network has layers 0 to 14"):
        train(dataset, tmp_path, in_one_process, freeze=99)
