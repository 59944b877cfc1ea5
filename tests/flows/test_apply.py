"""`flows apply`: which model it is, where it comes from, and what is said where it cannot be had.

On the smallest real line that applies, bike_parts, with an untrained network in a real registry.
"""

from __future__ import annotations

import inspect
import re
import shutil
import socket
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest

from flows import apply
from flows.__main__ import parser
from tasks.yard import params
from tasks.yard.applying import names_of
from tasks.yard.files import read_json, write_json, write_text
from tasks.yard.layouts.images import write_image
from tasks.yard.step import BadInput
from tasks.yard.tracking import champion, fetched, lineage, registry, store
from tests.tasks.bike_parts.tiny_photos import drawn
from tests.tasks.bike_parts.tiny_rides import NETWORK, write_project

ROOT = Path(__file__).parents[2]
DATA = Path("data/bike_parts")
FOLDER = DATA / "train" / NETWORK
WEIGHTS = FOLDER / "best.pt"
COMMIT = "0123456789abcdef"


def register(belongs: bool = True) -> str:
    """As a flow run leaves it: a run with its stage, commit and hash, the checkpoint, and what belongs to it."""
    client = store.client()
    tags = {
        "stage": f"bike_parts-train@{NETWORK}", f"dvc.out.{FOLDER}": lineage.dvc_hash(FOLDER), "git.commit": COMMIT,
    }  # fmt: skip
    run = client.create_run(store.experiment_id("bike_parts"), tags=tags).info.run_id
    client.log_artifact(run, str(WEIGHTS), "model/data")
    if not client.search_registered_models("name = 'bike_parts'"):
        client.create_registered_model("bike_parts")
    made = client.create_model_version("bike_parts", f"{client.get_run(run).info.artifact_uri}/model", run)
    if belongs:
        champion.equip("bike_parts", [str(made.version)], NETWORK, DATA)
    return str(made.version)


@pytest.fixture(scope="module")
def yard(tmp_path_factory) -> Path:
    """A checkout in which the line has run: version 1 is champion, version 2 was registered by an older yard."""
    root = tmp_path_factory.mktemp("yard")
    write_project(root / DATA)
    for name in ("tasks", "models"):
        (root / name).symlink_to(ROOT / name)
    shutil.copy(ROOT / "params.yaml", root)
    for name in ("a_before.png", "a_after.png"):
        write_image(root / "photos" / name, drawn(np.random.default_rng(len(name)))[0])
    (root / "empty").mkdir()
    write_text(root / ".gitignore", "*\n")
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@t"]
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "yard"]):
        subprocess.run([*git, *command], cwd=root, check=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root}/mlflow.db")
        registry.crown("bike_parts", register(), "by hand")
        register(belongs=False)
        sys.modules["mlflow"].set_tracking_uri(None)
    return root


@pytest.fixture
def here(yard, monkeypatch):
    monkeypatch.chdir(yard)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{yard}/mlflow.db")
    yield yard
    sys.modules["mlflow"].set_tracking_uri(None)


def applied(tmp_path: Path, *arguments: str) -> int:
    """As the command line says it."""
    told = parser().parse_args(["apply", "bike_parts", "--out", str(tmp_path / "out"), *arguments])
    options = {"detector": told.detector, "no_film": told.no_film}
    return apply.main(told.line, told.input, told.model, told.weights, told.out, told.set, options)


def verdicts(tmp_path: Path, name: str = "photos") -> dict:
    return read_json(tmp_path / "out" / name / "verdicts.json")


def told(tmp_path: Path, name: str = "photos") -> dict:
    return read_json(tmp_path / "out" / name / "apply.json")


def test_the_champion_is_applied_and_the_result_says_which_it_is(here, tmp_path, capsys):
    assert applied(tmp_path, "photos") == 0
    model = told(tmp_path)["model"]
    assert (model["name"], model["version"], model["item"]) == ("models:/bike_parts/1", "1", NETWORK)
    assert model["dvc_hash"] == lineage.dvc_hash(FOLDER) and model["git_commit"] == COMMIT
    now = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True)
    assert told(tmp_path)["applied_by"]["git_commit"].startswith(now.stdout.strip())
    assert "Model: models:/bike_parts/1 (small)" in capsys.readouterr().out
    page = (tmp_path / "out/photos/report.html").read_text(encoding="utf-8")
    assert "Model: models:/bike_parts/1" in page and now.stdout.strip()[:10] in page


def test_weights_of_this_checkout_and_of_the_registry_say_the_same(here, tmp_path):
    applied(tmp_path / "file", "photos", "--weights", str(WEIGHTS))
    (tmp_path / "elsewhere").mkdir()
    for of in (WEIGHTS, *(here / ".trainyard/models/bike_parts").glob("1-*/belongings-*")):
        where = tmp_path / "elsewhere" / of.name.partition("-")[0]
        (shutil.copytree if of.is_dir() else shutil.copy)(of, where)
    applied(tmp_path / "moved", "photos", "--weights", str(tmp_path / "elsewhere/best.pt"))
    applied(tmp_path / "registry", "photos", "--model", "models:/bike_parts/1")
    theirs = verdicts(tmp_path / "registry")
    assert theirs["pairs"] and verdicts(tmp_path / "file") == verdicts(tmp_path / "moved") == theirs
    model = told(tmp_path / "file")["model"]
    assert model["item"] == NETWORK and model["dvc_hash"] == lineage.dvc_hash(FOLDER)
    assert model["version"] in registry.tags("bike_parts") and model["git_commit"] == COMMIT


def test_a_version_that_brought_nothing_takes_what_lies_beside_the_same_weights_here(here, tmp_path):
    assert applied(tmp_path / "old", "photos", "--model", "models:/bike_parts/2") == 0
    applied(tmp_path / "new", "photos")
    assert verdicts(tmp_path / "old") == verdicts(tmp_path / "new")


def test_thresholds_that_change_without_a_training_reach_the_version_and_half_an_upload_does_not(here, monkeypatch):
    version = register()
    name = f"models:/bike_parts/{version}"
    first = fetched.model("bike_parts", name)
    assert {path.name for path in first.belongings.iterdir()} == {"known.json", "params.json"}
    shutil.copytree(first.belongings, here / "stricter")
    write_text(here / "stricter/params.json", '{"inspect": {"pictures": 3}}')
    with monkeypatch.context() as killed:
        killed.setattr(type(store.client()), "set_model_version_tag", lambda *_: sys.exit("killed"))
        with pytest.raises(SystemExit):
            fetched.keep("bike_parts", version, here / "stricter")
    assert fetched.model("bike_parts", name).fingerprint == first.fingerprint
    fetched.keep("bike_parts", version, here / "stricter")
    found = fetched.model("bike_parts", name)
    assert read_json(found.belongings / "params.json") == {"inspect": {"pictures": 3}}
    assert found.sha256 == first.sha256 and found.fingerprint != first.fingerprint


def test_a_model_that_is_not_there_is_named_with_the_way_out(here):
    for name, said in {
        "models:/bike_parts/9": r"models:/bike_parts/9: the registry .* has no such model; run the line .*--weights",
        "models:/bike_parts@rival": r"models:/bike_parts@rival: the registry .* has no such model",
        "models:/ground_plane/1": "a model of the line ground_plane, not of bike_parts",
        "best": r"--model best: expected models:/bike_parts@champion or models:/bike_parts/<version>",
    }.items():
        with pytest.raises(BadInput, match=said):
            fetched.model("bike_parts", name)
    with pytest.raises(BadInput, match="--model and --weights are two models; give one"):
        apply.main("bike_parts", ["photos"], "models:/bike_parts/1", "best.pt", None, [], {})


def test_a_registry_that_is_down_costs_a_sentence_and_no_weights_of_a_file(here, tmp_path, monkeypatch, capsys):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    with pytest.raises(BadInput, match=r"give --weights FILE to do without the registry") as error:
        applied(tmp_path, "photos")
    assert address in str(error.value) and "\n" not in str(error.value)
    assert applied(tmp_path, "photos", "--weights", str(WEIGHTS)) == 0
    assert "The commit that made these weights is not known." in capsys.readouterr().out
    assert told(tmp_path)["model"]["git_commit"] is None


def test_weights_of_another_network_or_none_are_named_and_nothing_is_written_of_them(here, tmp_path):
    (tmp_path / "other.pt").write_bytes(b"of somebody else")
    assert applied(tmp_path, "photos", "--weights", str(tmp_path / "other.pt")) == apply.NOTHING
    assert "other.pt: not a checkpoint" in told(tmp_path)["quarantined"]["photos"]
    with pytest.raises(BadInput, match=r"--weights .*gone\.pt: no such file"):  # once, and not of every input
        applied(tmp_path, "photos", "again", "--weights", str(tmp_path / "gone.pt"))
    assert not (tmp_path / "out/again").exists()


def test_a_call_that_makes_nothing_leaves_what_an_earlier_one_made(here, tmp_path, capsys):
    assert applied(tmp_path, "photos", "--weights", str(WEIGHTS)) == 0
    made = told(tmp_path)
    (tmp_path / "other.pt").write_bytes(b"of somebody else")
    assert applied(tmp_path, "photos", "--weights", str(tmp_path / "other.pt")) == apply.NOTHING
    assert "what an earlier call made stays: 2" in capsys.readouterr().out
    failed = told(tmp_path).pop("failed")
    assert told(tmp_path) == {**made, "failed": failed} and failed["model"]["name"].endswith("other.pt")
    assert "not a checkpoint" in failed["quarantined"]["photos"]
    assert applied(tmp_path, "photos", "--weights", str(WEIGHTS)) == 0 and "failed" not in told(tmp_path)


def test_one_input_that_cannot_be_used_does_not_stop_the_others(here, tmp_path, capsys):
    assert applied(tmp_path, "empty", "photos", "nowhere", "--weights", str(WEIGHTS)) == apply.PARTS
    said = capsys.readouterr().out
    assert "empty: holds no photograph" in said and "nowhere: no such folder" in said
    assert told(tmp_path, "photos")["results"] and not told(tmp_path, "empty")["results"]


def test_values_of_other_lines_unknown_keys_and_options_are_refused_and_params_yaml_stays(here, tmp_path):
    before = Path("params.yaml").read_bytes()
    for value, said in {
        "ground_plane.detect.floor=0.1": "apply bike_parts takes values of bike_parts alone",
        "bike_parts.inspect.picture=3": r"bike_parts\.inspect\.picture",
        "bike_parts.inspect.batch=none": r"bike_parts\.inspect\.batch",
        "bike_parts.evaluate.false_claims=0.02": "apply bike_parts does not read evaluate; it reads inspect$",
        "bike_parts={}": "bike_parts",
    }.items():
        with pytest.raises(BadInput, match=said):
            applied(tmp_path, "photos", "--weights", str(WEIGHTS), "--set", value)
    with pytest.raises(BadInput, match=r"apply bike_parts takes no --no-film; it takes --detector"):
        applied(tmp_path, "photos", "--no-film")
    with pytest.raises(BadInput, match="no line 'yard'"):
        apply.main("yard", ["photos"], None, None, None, [], {})
    assert applied(tmp_path, "photos", "--weights", str(WEIGHTS), "--set", "bike_parts.inspect.pictures=0") == 0
    assert Path("params.yaml").read_bytes() == before
    assert "data:image/jpeg" not in (tmp_path / "out/photos/report.html").read_text(encoding="utf-8")


def test_a_value_that_params_yaml_has_too_is_asked_for_and_not_the_one_that_the_model_was_made_with(here, tmp_path):
    (tmp_path / "belongings").mkdir()
    usual = params.load().bike_parts.inspect
    write_json(tmp_path / "belongings/params.json", {"inspect": usual.model_dump(mode="json") | {"pictures": 0}})
    shutil.copy(WEIGHTS, tmp_path)
    for pictures, shown in ((usual.pictures, True), (0, False)):
        asked = f"bike_parts.inspect.pictures={pictures}"
        assert applied(tmp_path, "photos", "--weights", str(tmp_path / "best.pt"), "--set", asked) == 0
        page = (tmp_path / "out/photos/report.html").read_text(encoding="utf-8")
        assert ("data:image/jpeg" in page) is shown


@pytest.mark.parametrize("line", params.lines())
def test_the_steps_that_a_line_says_it_reads_are_those_it_does(line):
    module = import_module(f"tasks.{line}.apply")
    named = set(re.findall(r"\bline\.(\w+)", inspect.getsource(module)))
    assert named & set(get_type_hints(module.run)["line"].model_fields) == set(module.READS)


def test_inputs_of_one_name_have_folders_of_their_own(tmp_path):
    sources = ["/a/drive", "/b/drive", "/a/drive", "s3://bucket/x/film.mp4?version=2", "https://host/.zip"]
    named = names_of(sources, tmp_path)
    assert sorted(named.values()) == sorted(set(sources)) and {"film.mp4", "zip"} < set(named)
    assert named == names_of(sources[::-1], tmp_path) and "drive" not in named


def test_what_was_made_of_an_input_of_the_same_name_stays_whichever_came_first(here, tmp_path):
    shutil.copytree("photos", tmp_path / "tue/photos")
    (tmp_path / "tue/photos/a_after.png").unlink()
    tue = str(tmp_path / "tue/photos")
    for source in ("photos", tue, str(here / "photos"), tue):  # the first and the third are one folder
        assert applied(tmp_path, source, "--weights", str(WEIGHTS)) == 0
    made = {read_json(path)["input"]: path.parent for path in (tmp_path / "out").glob("*/apply.json")}
    assert set(made) == {str(here / "photos"), tue} and made[str(here / "photos")].name == "photos"
    assert {len(read_json(folder / "apply.json")["results"]) for folder in made.values()} == {1, 2}
    both = names_of([tue, "photos"], tmp_path / "out")
    assert {tmp_path / "out" / name for name in both} == set(made.values()), "also together, in any order"
