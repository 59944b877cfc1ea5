"""The search over the real training. What any search does is in tests/tasks/yard/tuning."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from tasks.bike_parts import tune
from tasks.bike_parts.params import Tune
from tasks.yard.files import read_json
from tests.tasks.bike_parts.tiny_photos import section, settings, write_split
from tests.tasks.yard.shared import machine

search = partial(tune.run, machine_params=machine())


@pytest.mark.slow
def test_a_search_trains_and_says_how_to_write_its_best_back(tmp_path):
    folders = write_split(tmp_path, train=4, val=3)
    space = {"optimizer.learning_rate": {"low": 1e-3, "high": 1e-2, "log": True}}
    params = section("tune", trials=2, network="small_points")
    params = params.model_copy(update={"space": Tune.model_validate({**params.model_dump(), "space": space}).space})
    params = params.model_copy(update={"pruner": params.pruner.model_copy(update={"min_epochs": 1, "reduction": 2})})
    found = search(params, tmp_path / "tune", train_params=settings(), **folders)
    assert found["trials"] == 2 and found["complete"] >= 1 and found["standing_score"] <= found["best_score"]
    best = read_json(tmp_path / "tune/best.json")
    assert "bike_parts.train.optimizer.learning_rate" in best["write_back"] or found["best_trial"] == 0


def test_what_stands_in_params_yaml_searches_nothing_and_could(tmp_path):
    standing = section("tune")
    none = {"download": Path("none"), "split": Path("none")}
    assert search(standing, tmp_path, train_params=section("train"), **none) == {"trials": 0}
    assert "bike_parts.tune.trials=20" in json.loads((tmp_path / "best.json").read_text())["how"]
    base = section("train")
    from tasks.yard.tuning.values import value_at

    for key, of in standing.space.items():  # each is a value of the train section, and within its own bounds
        assert of.holds(value_at(base, key, "bike_parts.train"))
    with pytest.raises(ValueError, match="did you mean 'small'"):
        Tune.model_validate({**standing.model_dump(), "network": "smal"})
