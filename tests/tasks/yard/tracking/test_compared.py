"""Two runs of a line beside each other."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tasks.yard.step import BadInput
from tasks.yard.tracking import compared, runs

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_store")]


def flow(number: int, rate: float, data: str, status: str = "FINISHED") -> None:
    Path("dvc.yaml").write_text("stages: {beside-download: {cmd: x, deps: [data/code/beside-download]}}")
    lock = {"stages": {"beside-download": {"outs": [{"path": "data/beside/download", "md5": data * 32}]}}}
    Path("dvc.lock").write_text(yaml.safe_dump(lock))
    run = runs.start_flow_run("beside", f"beside 2026-11-29 #{number}", {})
    numbers = {"headline/AP": 0.5 + rate, "stages": 3.0}
    runs.end_flow_run(run, status, numbers, [], {"train": {"rate": rate, "epochs": 4}})


def test_what_differs_and_all_numbers_stand_side_by_side_the_older_one_first():
    flow(1, 0.125, "a")
    flow(2, 0.25, "b")
    flow(3, 0.5, "b", "FAILED")
    said = list(compared.lines("beside", []))  # the last two that ended well
    assert said[0].split() == ["beside", "2026-11-29", "#1", "beside", "2026-11-29", "#2"]
    rows = [line.split() for line in said]
    assert ["train.rate", "0.125", "0.25"] in rows and not any("train.epochs" in row for row in rows)
    assert ["AP", "0.625", "0.75", "+0.125"] in rows and ["stages", "3", "3", "+0"] in rows
    assert ["data/beside/download", "a" * 12, "b" * 12, "another"] in rows
    assert "/#/compare-runs?runs=" in said[-1]
    for names in (["#3", "1"], ["beside 2026-11-29 #1", "3"]):
        assert [run.info.run_name[-2:] for run in compared.chosen("beside", names)] == ["#1", "#3"]
    assert [run.info.run_name[-2:] for run in compared.chosen("beside", ["3"])] == ["#2", "#3"]
    with pytest.raises(BadInput, match=r"beside has no run '#7' .*; the last ones: beside 2026-11-29 #3, "):
        compared.chosen("beside", ["#7"])


def test_one_run_alone_cannot_be_compared():
    with pytest.raises(BadInput, match="two are needed"):
        compared.chosen("alone", [])
