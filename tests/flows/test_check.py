"""`python -m flows check <line>`, and the same before a run: nothing is deleted that could not be made anew."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from flows import check

CLOSED = "/proc/sys"
DEAD = "http://127.0.0.1:1"


def told(yard, *command: str, **environment: str) -> tuple[int, list[str], str]:
    process = yard.flow(*command, **environment)
    assert "Traceback" not in process.stderr, process.stderr
    return process.returncode, process.stdout.splitlines(), process.stderr


def test_all_that_a_run_needs_is_asked_at_once_and_a_source_that_nobody_needs_now_is_a_warning(yard_copy, tmp_path):
    code, said, _ = told(yard_copy, "check", "toy")
    assert code == 0 and all(line.startswith("ok: ") for line in said) and len(said) >= 5
    (yard_copy.root / "numbers").rename(yard_copy.root / "away")
    code, said, _ = told(yard_copy, "check", "toy")
    (warning,) = [line for line in said if not line.startswith("ok: ")]
    assert code == 0 and warning.startswith("warning: toy.collect.source: numbers: no such file or folder")
    assert "up to date" in warning
    yard_copy.edit("tasks/toy/reading.py", "int(text)", "10 * int(text)")  # now the stage has to read it
    assert yard_copy.dvc("remote", "add", "-d", "far", str(tmp_path / "not/mounted")).returncode == 0
    dead = {"MLFLOW_TRACKING_URI": DEAD, "PREFECT_API_URL": f"{DEAD}/api"}
    code, said, _ = told(yard_copy, "check", "toy", **dead)
    faults = sorted(line for line in said if not line.startswith("ok: "))
    assert code == 2 and [line.split()[1] for line in faults] == [
        "DVC", f"MLFLOW_TRACKING_URI={DEAD}", f"PREFECT_API_URL={DEAD}/api", "toy.collect.source:"
    ]  # fmt: skip
    assert all(line.startswith("error: ") and ";" in line for line in faults)


def test_a_run_that_could_not_be_tracked_deletes_nothing_and_says_why(yard_copy):
    before = yard_copy.outputs()
    code, said, errors = told(yard_copy, "run", "toy", "--force", "collect", MLFLOW_TRACKING_URI=DEAD)
    assert code == 2 and not said and yard_copy.outputs() == before
    assert errors.startswith(f"error: MLFLOW_TRACKING_URI={DEAD} does not answer") and len(errors.splitlines()) == 1
    (yard_copy.root / "mlflow.db").write_text("no database at all")
    (yard_copy.root / "numbers").rename(yard_copy.root / "away")
    code, _, errors = told(yard_copy, "run", "toy", "--force", "collect")
    damaged, gone = errors.splitlines()
    assert code == 2 and damaged.startswith("error: ") and "mlflow.db is damaged" in damaged
    assert gone.startswith("error: toy.collect.source: numbers: no such file") and yard_copy.outputs() == before


def test_a_full_disk_is_named(tmp_path):
    (plenty,) = check.room([(tmp_path, "")], least_b=0)
    (little,) = check.room([(tmp_path / "not/yet", "")], least_b=1e30)
    assert plenty.fault is None and str(tmp_path) in little.fault and "make room" in little.fault


def test_only_of_the_checkout_and_dvcs_cache_it_is_said_that_dvc_frees_something(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    folders = check.folders({"cache": {"dir": str(tmp_path / "cache")}})
    full = [found.fault for found in check.room(folders, least_b=1e30)]
    assert ["dvc gc" in fault for fault in full] == [True, True, False, False]
    assert full[2].startswith(f"{tmp_path}: only ") and "dvc gc" not in check.lack(tmp_path, least_b=1e30)


@pytest.mark.skipif(os.access(CLOSED, os.W_OK), reason="here it may be written to")
def test_a_read_only_disk_under_the_remote_or_the_store_is_named(bare_yard):
    bare_yard.send_to(f"{CLOSED}/store")
    code, said, _ = told(bare_yard, "check", "toy", MLFLOW_TRACKING_URI=f"sqlite:///{CLOSED}/mlflow.db")
    faults = [line for line in said if f"{CLOSED} takes no file" in line]
    named = [line.split(":")[1].strip() for line in faults]
    assert code == 2 and named == [CLOSED, f"DVC remote store ({CLOSED}/store)"]


def test_a_disk_that_takes_no_file_is_said_before_there_is_a_run(finished_yard):
    result = finished_yard.call("bash", "-c", f"ulimit -f 0; exec {sys.executable} -m flows run toy")
    assert result.returncode and "Traceback" not in result.stderr, result.stderr
    assert "error: No usable temporary directory found" in result.stderr and "the disk is full" in result.stderr


def test_a_question_that_gets_no_answer_does_not_hold_up_the_others(monkeypatch):
    import threading

    monkeypatch.setattr(check, "LIMIT_S", 0.2)
    never = threading.Event()
    answers = check._asked({"hung": never.wait, "there": lambda: None, "broken": lambda: 1 / 0})
    never.set()
    assert "no answer within" in answers["hung"] and answers["there"] is None
    assert answers["broken"] == "broken: division by zero"


def test_the_check_asks_for_what_is_published_only_by_name(tmp_path):
    assert (
        check.source_fault("weights", "yolo12n.pt") is None and check.source_fault("source", "synth://street") is None
    )
    assert "no such file" in check.source_fault("weights", str(tmp_path / "mine.pt"))
    assert check.source_fault("weights", str(Path(__file__))) is None
