"""params.yaml: one clear error for every way to get it wrong, and a schema that editors can use."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import yaml
from ruamel.yaml import YAML

from tasks.yard import params

ROOT = Path(__file__).parents[3]


@pytest.fixture
def copy(tmp_path) -> Path:
    path = tmp_path / "params.yaml"
    path.write_text((ROOT / "params.yaml").read_text())
    return path


def test_the_committed_params_are_valid_and_the_schema_is_theirs():
    values = params.load(ROOT / "params.yaml")
    assert set(type(values).model_fields) == {"yard", *params.lines()}
    fix = "run `python -m tasks.yard.params` to write it anew"
    assert (ROOT / "params.schema.json").read_text() == params.json_schema(), fix
    json.loads(params.json_schema())


@pytest.mark.parametrize(
    ("line", "replacement", "expected"),
    [
        (
            "tolerance_ms: 250",
            "tolerance_msec: 250",
            ["brake_coast.label.tolerance_msec", "did you mean 'tolerance_ms'"],
        ),
        ("tolerance_ms: 250", "tolerance_ms: many", ["brake_coast.label.tolerance_ms = 'many'", "integer"]),
        ("tolerance_ms: 250", "tolerance_ms: -1", ["brake_coast.label.tolerance_ms = -1", "greater than"]),
        ("tolerance_ms: 250", "", ["brake_coast.label.tolerance_ms: missing"]),
        ("tolerance_ms: 250", "tolerance_ms: .nan", ["brake_coast.label.tolerance_ms = nan"]),
    ],
)
def test_an_error_names_the_key_the_value_and_what_is_allowed(copy, line, replacement, expected):
    text = copy.read_text()
    assert line in text
    copy.write_text(text.replace(line, replacement))
    with pytest.raises(params.ParamsError) as error:
        params.load(copy)
    assert all(part in str(error.value) for part in expected), str(error.value)


def test_broken_yaml_and_a_missing_file_are_named(copy):
    copy.write_text("brake_coast: [")
    with pytest.raises(params.ParamsError, match=r"params\.yaml is not YAML"):
        params.load(copy)
    with pytest.raises(params.ParamsError, match="no such file"):
        params.load(copy.with_name("other.yaml"))


def test_set_keeps_comments_and_every_other_value(copy):
    before = yaml.safe_load(copy.read_text())
    params.set_values(["brake_coast.label.tolerance_ms=200", "brake_coast.download.source=/some/folder"], copy)
    after = yaml.safe_load(copy.read_text())
    assert after["brake_coast"]["label"].pop("tolerance_ms") == 200
    assert after["brake_coast"]["download"].pop("source") == "/some/folder"
    del before["brake_coast"]["label"]["tolerance_ms"], before["brake_coast"]["download"]["source"]
    assert after == before
    assert copy.read_text().count("#") == (ROOT / "params.yaml").read_text().count("#")
    assert copy.read_text().count(": null") == (ROOT / "params.yaml").read_text().count(": null")
    text = io.StringIO()  # DVC writes dvc.lock in this process, by the same library
    YAML().dump({"nothing": None}, text)
    assert text.getvalue() == "nothing:\n"


@pytest.mark.parametrize(
    "assignment", ["brake_coast.label", "brake_coast.label.x=1", "brake_coast.label.tolerance_ms=[", "a.b.c=1"]
)
def test_a_set_that_cannot_be_used_leaves_the_file_alone(copy, assignment):
    before = copy.read_bytes()
    with pytest.raises(params.ParamsError, match="--set"):
        params.set_values(["brake_coast.label.tolerance_ms=200", assignment], copy)
    assert copy.read_bytes() == before
