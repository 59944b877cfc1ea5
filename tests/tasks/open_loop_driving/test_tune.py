"""The search over the real training: nothing by default, and what stands in params.yaml can be searched by. What any
search does is in tests/tasks/yard/tuning."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from tasks.open_loop_driving import tune
from tasks.open_loop_driving.params import Tune
from tasks.yard.step import BadInput
from tests.tasks.open_loop_driving.shared import section
from tests.tasks.yard.shared import machine

search = partial(tune.run, machine_params=machine(), pack=Path("none"), teacher=Path("none"))


def test_what_stands_in_params_yaml_searches_nothing_and_could(tmp_path):
    standing = section("tune")
    assert search(standing, tmp_path, train_params=section("train")) == {"trials": 0}
    assert "open_loop_driving.tune.trials=" in json.loads((tmp_path / "best.json").read_text())["how"]
    unread = standing.model_copy(update={"trials": 1})
    with pytest.raises((FileNotFoundError, BadInput), match="none"):  # of the pack: the space is usable as it stands
        search(unread, tmp_path, train_params=section("train"))
    with pytest.raises(ValueError, match="did you mean 'thinktwice_small'"):
        Tune.model_validate({**standing.model_dump(), "network": "thinktwice_smal"})
    with pytest.raises(ValueError, match="blind keeps epochs and a rate of its own"):
        Tune.model_validate({**standing.model_dump(), "network": "blind"})
