"""A worker's own clone: where a night begins, what it takes along of the last one, and where its dvc.lock goes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from flows import clone, pools
from tasks.yard.step import BadInput

ROOT = Path(__file__).parents[2]


def git(root: Path, *words: str) -> str:
    who = ["-c", "user.name=t", "-c", "user.email=t@t"]
    return subprocess.run(["git", *who, *words], cwd=root, check=True, capture_output=True, text=True).stdout.strip()


def write_lock(root: Path, **stages: str) -> None:
    entries = {name.replace("_", "-"): {"cmd": "x", "outs": [{"md5": md5}]} for name, md5 in stages.items()}
    (root / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": entries}))


def locked(root: Path, at: str) -> dict[str, str]:
    stages = (yaml.safe_load(git(root, "show", f"{at}:dvc.lock")) or {})["stages"]
    return {name: entry["outs"][0]["md5"] for name, entry in stages.items()}


@pytest.fixture
def nights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A repository that all clone, with a dvc.lock on main, and the clone of a worker, in which this test is."""
    people, shared, worker = tmp_path / "people", tmp_path / "shared.git", tmp_path / "worker"
    people.mkdir()
    git(people, "init", "-q", "-b", "main")
    write_lock(people, toy_a="1", toy_b="1", other_a="1")
    (people / "params.yaml").write_text("toy: {}\n")
    (people / "README").write_text("a yard\n")
    git(people, "add", "-A")
    git(people, "commit", "-qm", "yard")
    git(tmp_path, "clone", "-q", "--bare", str(people), str(shared))
    git(tmp_path, "clone", "-q", str(shared), str(worker))
    git(people, "remote", "add", "origin", str(shared))
    monkeypatch.chdir(worker)
    monkeypatch.setenv("TRAINYARD_NIGHTS", "origin/main")
    monkeypatch.setenv("HOME", str(tmp_path))  # no identity of git's is known there
    return people, shared


def test_a_night_ends_on_a_branch_of_its_line_and_proposes_it(nights, tmp_path, monkeypatch):
    _, shared = nights
    monkeypatch.setenv("TRAINYARD_PROPOSE", f'echo "$TRAINYARD_LINE $TRAINYARD_BRANCH" > {tmp_path}/asked')
    clone.begin("toy")
    clone.propose("toy")
    assert "night/toy" not in git(shared, "branch")  # nothing was new
    write_lock(Path(), toy_a="2", toy_b="1", other_a="1")
    clone.propose("toy")
    assert locked(shared, "night/toy")["toy-a"] == "2" and locked(shared, "main")["toy-a"] == "1"
    assert (tmp_path / "asked").read_text() == "toy night/toy\n"
    assert git(shared, "log", "-1", "--format=%an %s", "night/toy") == "Trainyard toy: dvc.lock of a night"


def test_the_next_night_takes_along_what_nobody_has_merged_and_no_stage_that_main_has_changed(nights):
    people, shared = nights
    clone.begin("toy")
    write_lock(Path(), toy_a="2", toy_b="2", other_a="1")
    clone.propose("toy")
    write_lock(people, toy_a="1", toy_b="3", other_a="3")
    git(people, "commit", "-qam", "a person's run")
    git(people, "push", "-q", "origin", "main")
    clone.begin("toy")
    assert yaml.safe_load(Path("dvc.lock").read_text())["stages"]["toy-a"]["outs"] == [{"md5": "2"}]
    clone.propose("toy")
    assert locked(shared, "night/toy") == {"toy-a": "2", "toy-b": "3", "other-a": "3"}
    git(people, "fetch", "-q")
    git(people, "merge", "-q", "--squash", "origin/night/toy")
    git(people, "commit", "-qm", "night")
    git(people, "push", "-q", "origin", "main")
    clone.begin("toy")
    assert git(Path(), "status", "--porcelain") == ""


def test_nights_of_two_workers_take_each_others_along(nights, tmp_path, monkeypatch):
    _, shared = nights
    git(tmp_path, "clone", "-q", str(shared), str(tmp_path / "second"))
    kept: dict[str, str] = {}
    for number, stage in enumerate(("toy_a", "toy_b", "toy_c", "toy_d")):
        monkeypatch.setenv("GIT_COMMITTER_DATE", f"2026-11-29T0{number}:00:00Z")
        monkeypatch.chdir(tmp_path / ("worker", "second")[number % 2])
        clone.begin("toy")
        found = yaml.safe_load(Path("dvc.lock").read_text())["stages"]
        assert {name: found[name]["outs"][0]["md5"] for name in kept} == kept
        kept[stage.replace("_", "-")] = str(number + 5)
        known = {name.replace("-", "_"): entry["outs"][0]["md5"] for name, entry in found.items()}
        write_lock(Path(), **{**known, stage: str(number + 5)})
        clone.propose("toy")
    assert kept.items() <= locked(shared, "night/toy").items()


def test_what_a_night_made_that_failed_or_could_not_be_sent_is_there_the_next_one(nights, tmp_path, caplog):
    _, shared = nights
    clone.begin("toy")
    write_lock(Path(), toy_a="2", toy_b="1", other_a="1")  # it failed here
    clone.begin("other")
    assert locked(Path(), "HEAD")["toy-a"] == "1"
    clone.begin("toy")
    assert yaml.safe_load(Path("dvc.lock").read_text())["stages"]["toy-a"]["outs"] == [{"md5": "2"}]
    shared.rename(tmp_path / "away")
    clone.propose("toy")
    assert "the next one sends it: git push" in caplog.text
    (tmp_path / "away").rename(shared)
    clone.begin("toy")
    clone.propose("toy")
    assert locked(shared, "night/toy")["toy-a"] == "2"


def test_edits_of_a_person_and_a_branch_that_is_not_there_are_refused_in_a_sentence(nights, monkeypatch):
    Path("README").write_text("edited\n")
    with pytest.raises(BadInput, match=r"README edited here; commit that, or give the worker a clone of its own"):
        clone.begin("toy")
    git(Path(), "checkout", "-q", "README")
    write_lock(Path(), toy_a="7")
    with pytest.raises(BadInput, match=r"dvc.lock edited on a branch of yours"):
        clone.begin("toy")
    git(Path(), "checkout", "-q", "dvc.lock")
    git(Path(), "remote", "set-url", "origin", "https://ada:hunter2@127.0.0.1:1/yard.git")
    with pytest.raises(BadInput, match=r"git fetch in .*127\.0\.0\.1") as refused:
        clone.begin("toy")
    assert "hunter2" not in str(refused.value)
    monkeypatch.setenv("TRAINYARD_NIGHTS", "main")
    with pytest.raises(BadInput, match=r"<remote>/<branch>"):
        clone.start()


def test_a_name_that_a_container_was_handed_empty_is_as_if_it_were_not_set(nights, monkeypatch):
    Path("dvc.yaml").write_text("stages: {}\n")
    Path("params.yaml").write_text("toy: {source: '${DRIVES_LINK}'}\n")
    monkeypatch.setattr(clone, "HERE", Path.cwd())
    monkeypatch.setattr(clone.environment, "prepare", lambda: None)  # what it sets would stay for other tests
    empty = ("DRIVES_LINK", "TRAINYARD_NIGHTS", "MLFLOW_TRACKING_URI", "AWS_DEFAULT_REGION", "OF_SOMEBODY_ELSE")
    for name in empty:
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("TRAINYARD_NOTIFY", "json://localhost")
    clone.enter()
    assert [name for name in empty if name in os.environ] == ["OF_SOMEBODY_ELSE"]
    assert os.environ["TRAINYARD_NOTIFY"] == "json://localhost"


def test_a_worker_goes_to_its_own_clone_whatever_the_deployer_had_set(nights, monkeypatch):
    from prefect.utilities.templating import apply_values

    Path("dvc.yaml").write_text("stages: {}\n")
    Path("params.yaml").write_text("{}\n")
    monkeypatch.setattr(clone, "HERE", Path.cwd())
    monkeypatch.setattr(clone.environment, "prepare", lambda: None)
    monkeypatch.setenv("TRAINYARD_CHECKOUT", str(Path.cwd()))
    monkeypatch.delenv("TRAINYARD_NIGHTS", raising=False)
    ours = yaml.safe_load((ROOT / "prefect.yaml").read_text())["pull"]
    for pull in (ours, [{"flows.clone.enter": {"directory": "{{ $TRAINYARD_CHECKOUT }}"}}]):
        deployed = apply_values(pull, {"TRAINYARD_CHECKOUT": "/of/the/deployer"}, remove_notset=False)
        assert clone.enter(**deployed[0]["flows.clone.enter"])["directory"] == str(Path.cwd())


def test_a_worker_without_a_clone_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("TRAINYARD_CHECKOUT", str(tmp_path))
    with pytest.raises(BadInput, match=r"is no clone of this yard"):
        clone.enter("{{ $TRAINYARD_CHECKOUT }}")
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with pytest.raises(BadInput, match=r"PREFECT_API_URL is not set"):
        pools.deploy()
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    monkeypatch.setattr(pools, "SERVER_S", 0)
    with pytest.raises(BadInput, match=r"127.0.0.1:1/api does not answer"):
        pools.deploy()
