"""params.yaml: one clear error for every way to get it wrong, and a schema that editors can use."""

from __future__ import annotations

import difflib
import json
from pathlib import Path

import pytest
import yaml
from dvc.utils.hydra import apply_overrides

from tasks.yard import params
from tasks.yard.files import write_text
from tasks.yard.step import BadInput

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


def test_every_param_says_what_it_is():
    schema = json.loads(params.json_schema())
    silent = [
        f"{name}.{key}"
        for name, section in schema["$defs"].items()
        for key, of in section.get("properties", {}).items()
        if "description" not in of and "$ref" not in of  # a section is described by its own params
    ]
    assert not silent


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


@pytest.mark.slow
@pytest.mark.parametrize(("line", "key"), [("brake_coast", "annotate.weights"), ("person_search", "index.weights")])
def test_a_detector_is_trained_for_who_names_its_own_file(copy, tmp_path, monkeypatch, line, key):
    monkeypatch.chdir(tmp_path)
    own = f"data/{line}/train_detector/best.pt"
    for name in (own, "data/other/best.pt"):
        write_text(Path(name), "weights")
    for weights, needed in {"null": True, own: True, "yolo12n.pt": False, "data/other/best.pt": False}.items():
        params.set_values([f"{line}.{key}={weights}"], copy)
        for step in ("detector_data", "train_detector"):
            assert (params.not_needed(line, step, params.load(copy)) is None) == needed, weights


def test_no_detector_is_wanted_where_there_is_no_camera_and_no_other_step_takes_that_word(copy):
    params.set_values(["brake_coast.annotate.weights=none"], copy)
    assert params.not_needed("brake_coast", "train_detector", params.load(copy))
    with pytest.raises(BadInput, match="no such file"):
        params.set_values(["person_search.index.weights=none"], copy)


@pytest.mark.slow
def test_set_keeps_comments_and_every_other_value(copy):
    before = yaml.safe_load(copy.read_text())
    folder = str(copy.parent)
    params.set_values(["brake_coast.label.tolerance_ms=200", f"brake_coast.download.source={folder}"], copy)
    after = yaml.safe_load(copy.read_text())
    assert after["brake_coast"]["label"].pop("tolerance_ms") == 200
    assert after["brake_coast"]["download"].pop("source") == folder
    del before["brake_coast"]["label"]["tolerance_ms"], before["brake_coast"]["download"]["source"]
    assert after == before
    assert copy.read_text().count("#") == (ROOT / "params.yaml").read_text().count("#")


def changed_lines(before: str, after: str) -> list[str]:
    return [line for line in difflib.ndiff(before.splitlines(), after.splitlines()) if line[0] in "+-"]


@pytest.mark.slow
def test_set_and_dvc_write_the_file_in_one_form(copy):
    """`dvc exp run -S` is the other hand that writes it: a change of one value is one line, whoever makes it."""
    wanted = {"-     tolerance_ms: ": "250", "+     tolerance_ms: ": "200"}
    for write in (
        lambda text: params.set_values([f"brake_coast.label.tolerance_ms={text}"], copy),
        lambda text: apply_overrides(str(copy), [f"brake_coast.label.tolerance_ms={text}"]),
    ):
        before = copy.read_text()
        write("200")
        changed = changed_lines(before, copy.read_text())
        assert len(changed) == 2 and all(
            line.startswith(start + value) for line, (start, value) in zip(changed, wanted.items(), strict=True)
        ), "\n".join(changed)
        write("250")
        assert copy.read_text() == before
    by_set, by_dvc = copy, copy.with_name("other.yaml")
    by_dvc.write_text(copy.read_text())
    params.set_values(["brake_coast.train.variants=[simple_concat_lstm]", "person_search.pack.threads=2"], by_set)
    apply_overrides(str(by_dvc), ["brake_coast.train.variants=[simple_concat_lstm]", "person_search.pack.threads=2"])
    assert by_set.read_text() == by_dvc.read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("brake_coast.download.source=synth://highway?recordingz=3", "did you mean 'recordings'"),
        ("brake_coast.detector_data.source=synth://plaza", "expected synth://highway"),
        ("person_search.download.extra_sources=['synth://street?seed=x']", "whole number"),
        ("ground_plane.download.source=/no/such/folder", "no such folder"),
        ("brake_coast.annotate.weights=runs/best.pt", "no such file"),
        ("person_search.search.queries=who.jpg", "no such file"),
    ],
)
def test_what_is_not_there_is_refused_before_it_is_written(copy, assignment, said):
    before = copy.read_bytes()
    with pytest.raises(BadInput, match=said) as refused:
        params.set_values([assignment], copy)
    assert assignment.partition("=")[0] in str(refused.value)
    assert copy.read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize(
    "assignment",
    [
        "brake_coast.download.source=https://ada:hunter2@host/a.zip",
        "brake_coast.download.sorce=https://hunter2@host/a.zip",
        "person_search.download.extra_sources=https://hunter2@host/a.zip",
        "brake_coast.download.source=[https://hunter2@host/a.zip",
        "https://host/a.zip?sig=hunter2",
        "yard.reporting.source_url=https://hunter2@host/yard",
    ],
)
def test_a_secret_in_a_set_is_refused_and_not_repeated(copy, assignment):
    with pytest.raises(params.ParamsError, match=r"--set|holds") as refused:
        params.set_values([assignment], copy)
    assert "hunter2" not in str(refused.value)
    assert "hunter2" not in copy.read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    "assignment", ["brake_coast.label", "brake_coast.label.x=1", "brake_coast.label.tolerance_ms=[", "a.b.c=1"]
)
def test_a_set_that_cannot_be_used_leaves_the_file_alone(copy, assignment):
    before = copy.read_bytes()
    with pytest.raises(params.ParamsError, match="--set"):
        params.set_values(["brake_coast.label.tolerance_ms=200", assignment], copy)
    assert copy.read_bytes() == before
