"""splits.json: what is known keeps its split, what is known twice is learnt from, and what cannot be read is named."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tasks.yard import params, splits
from tasks.yard.files import read_json, write_json
from tasks.yard.step import BadInput

ROOT = Path(__file__).parents[3]


def test_what_is_known_is_known_by_any_of_its_names_and_by_the_pinned_file_first(tmp_path):
    today = [("mon", "train"), ("tue", "val"), ("wed", "test")]
    splits.write(tmp_path, splits.manifest(today, {"sun": "test"}, {"mon": ["a", "b"], "tue": ["tue"], "wed": ["c"]}))
    assert read_json(tmp_path / "splits.json") == {
        "train": ["mon"], "val": ["tue"], "test": ["wed"], "members": {"mon": ["a", "b"], "wed": ["c"]},
        "absent": {"sun": "test"},
    }  # fmt: skip
    write_json(tmp_path / "pinned.json", {"train": ["c"], "val": [], "test": []})
    known = splits.known(tmp_path, str(tmp_path / "pinned.json"))
    assert known == {
        "mon": "train",
        "a": "train",
        "b": "train",
        "tue": "val",
        "wed": "test",
        "c": "train",
        "sun": "test",
    }
    write_json(tmp_path / "pinned.json", {"train": [], "val": ["mon"], "test": []})
    pinned = splits.known(tmp_path, str(tmp_path / "pinned.json"))
    assert splits.kept(pinned, {"mon": ["a", "b"]}) == ({"mon": "val"}, [])
    kept, remarks = splits.kept(known, {"trip": ["a", "tue"], "one": ["b"], "new": ["d"]})
    assert kept == {"trip": "train", "one": "train"}
    assert remarks == [
        "trip belongs together and was divided, a in train and tue in val: all of it is train from now on"
    ]
    assert splits.moved(known, [("tue", "test"), ("d", "val")]) == [
        "1 groups lie in another split than before, by the source: tue"
    ]


@pytest.mark.parametrize("text", ["[]", "{", '{"train": []}', '{"train": [1], "val": [], "test": []}',
                                  '{"train": [], "val": [], "test": [], "absent": {"a": "best"}}'])  # fmt: skip
def test_a_file_that_is_none_is_named_with_the_way_out(tmp_path, text):
    (tmp_path / "splits.json").write_text(text)
    with pytest.raises(BadInput, match=r"splits\.json: .*delete it to draw splits anew"):
        splits.known(tmp_path, None)
    with pytest.raises(BadInput, match=r"splits = no/where\.json: no such file"):
        splits.known(tmp_path / "new", "no/where.json")


def test_a_step_that_assigns_splits_keeps_its_out_between_runs():
    """DVC deletes an out before a run unless it persists, and splits.json with it."""
    stages, values = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"], params.load(ROOT / "params.yaml")
    assigning = [
        f"{line}-{step}" for line in params.lines() for step in type(getattr(values, line)).model_fields
        if hasattr(getattr(getattr(values, line), step), "splits")
    ]  # fmt: skip
    assert {name.partition("-")[0] for name in assigning} == set(params.lines())
    for name in assigning:
        assert {f"data/{name.replace('-', '/', 1)}": {"persist": True}} in stages[name]["outs"]
