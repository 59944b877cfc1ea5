"""What git is asked of a run."""

from __future__ import annotations

import logging
import subprocess
from pathlib import Path

import pytest

from tasks.yard.tracking.lineage import DIFF_LIMIT, git_state


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("params.yaml", "dvc.lock", "code.py"):
        Path(name).write_text(f"{name}\n")
    for command in (["init", "-q"], ["add", "-A"], ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "x"]):
        subprocess.run(["git", *command], check=True)


def test_params_and_the_lock_make_no_commit_dirty_and_the_diff_remakes_the_run(checkout):
    commit, diff = git_state(say=True)
    assert len(commit) == 40 and not diff
    Path("params.yaml").write_text("seed: 1\n")
    Path("dvc.lock").write_text("outs\n")
    now, diff = git_state(say=True)
    assert now == commit and "+seed: 1" in diff and "outs" not in diff
    Path("code.py").write_text("print()\n")
    now, diff = git_state(say=True)
    assert now == f"{commit}-dirty" and "+print()" in diff
    subprocess.run(["git", "checkout", "--", "."], check=True)
    Path("tasks").mkdir()
    Path("tasks/new.py").write_text("print('not in git')\n")
    now, diff = git_state(say=True)
    assert now == f"{commit}-dirty" and "+print('not in git')" in diff
    Path("tasks/new.py").unlink()
    Path("code.py").write_text("x\n" * DIFF_LIMIT)
    assert DIFF_LIMIT < len(git_state(say=True)[1]) < DIFF_LIMIT + 100


def test_a_checkout_of_another_owner_is_said_in_gits_words(checkout, monkeypatch, caplog):
    caplog.set_level(logging.WARNING)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    assert git_state(say=False) == ("unknown", "") and not caplog.text
    assert git_state(say=True) == ("unknown", "") and "safe.directory" in caplog.text


def test_outside_git_nothing_is_said(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    assert git_state(say=True) == ("unknown", "") and not caplog.text
    monkeypatch.setenv("PATH", str(tmp_path))  # no git at all
    assert git_state(say=True) == ("unknown", "") and not caplog.text
