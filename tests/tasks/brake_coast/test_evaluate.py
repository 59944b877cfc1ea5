"""The evaluate step on trained (tiny) networks: what it writes can be computed again from its own predictions."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from tasks.brake_coast import evaluate, train
from tasks.brake_coast.formats import windows
from tasks.yard.files import folder_hash, read_json
from tasks.yard.step import BadInput
from tests.figures import measured
from tests.tasks.brake_coast import drives
from tests.tasks.brake_coast.tiny_pack import NAMES, write_pack
from tests.tasks.yard.shared import machine, reporting

pytestmark = pytest.mark.slow

pytestmark = pytest.mark.slow

RUNS = ("simple_concat_lstm", "simple_concat_lstm-telemetry")
PARAMS = drives.section("evaluate")
evaluated = partial(evaluate.run, PARAMS, reporting_params=reporting(bootstrap_replicates=200))


def train_tiny(pack, out, runs=RUNS):
    """Networks of the real step, small and two epochs old."""
    section = drives.section("train")
    values = section.model_dump()
    values["model"] |= {"embedding": 16, "hidden": 32, "heads": 2, "layers": 1}
    values["engine"] |= {"epochs": 2}
    params = type(section).model_validate(values)
    for run in runs:
        train.run(params, out / run, variant=run, pack=pack, machine_params=machine())
    return out


def cells(train):
    """What the runner hands to a step that reads a matrix."""
    return {path.name: path for path in sorted(train.iterdir()) if path.is_dir()}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    pack = write_pack(root / "pack", {"train": 3, "val": 2, "test": 3}, frames=200)
    train_tiny(pack, root / "train")
    shutil.copytree(root / "train" / RUNS[0], root / "train" / "unfinished", ignore=shutil.ignore_patterns("best.*"))
    flat = evaluated(root / "evaluate", pack=pack, train=cells(root / "train"))
    return root, flat


def copy_with_test_labels(root, to, change):
    """The same pack and the same networks, with other labels in test.h5."""
    shutil.copytree(root / "pack", to / "pack")
    with h5py.File(to / "pack" / "test.h5", "r+") as file:
        file["frames/labels"][:] = change(file["frames/labels"][:])
    return to / "pack"


def dense_labels(pack, task):
    frames = windows.load(pack / "test.h5")
    ends = windows.window_starts(frames.segment, frames.window_frames) + frames.window_frames - 1
    state = "braking" if "brake" in task else "coasting"
    return frames.labels[ends, NAMES.index(task)], frames.labels[ends, NAMES.index(state)]


def test_the_figures_of_the_readme_are_those_of_details(project):
    root, _ = project
    details, figures = read_json(root / "evaluate/details.json"), measured.brake_coast(root)
    rows = dict(figures["rows"])
    assert set(rows) == set(details) and figures["on"].startswith("3 drives held out; positive are ")
    of, row = details[RUNS[0]]["brake_1s"], rows[RUNS[0]]
    assert (row["brake_1s"], row[measured.NOT_YET]) == (of["all"]["pr_auc"], of["not_yet"]["pr_auc"])


def test_metrics_can_be_computed_again_from_the_predictions(project):
    root, _ = project
    files = sorted((root / "evaluate" / "predictions").glob("*.csv"))
    predictions = pd.concat([pd.read_csv(path) for path in files])
    assert len(files) == 3 and len(predictions) == 3 * (200 - 19)  # every window of every test drive
    found = read_json(root / "evaluate" / "details.json")
    for run in RUNS:
        for task in ("brake_1s", "coast_2s"):
            y, now = dense_labels(root / "pack", task)
            p = predictions[f"{run}/{task}"].to_numpy()
            for subset, use in (("all", y >= 0), ("not_yet", (y >= 0) & (now == 0))):
                held = found[run][task][subset]
                assert (held["windows"], held["positives"]) == (use.sum(), y[use].sum())
                assert held["pr_auc"] == pytest.approx(average_precision_score(y[use], p[use]), abs=1e-6)
                assert held["roc_auc"] == pytest.approx(roc_auc_score(y[use], p[use]), abs=1e-6)
                assert held["brier"] == pytest.approx(brier_score_loss(y[use], p[use]), abs=1e-6)
                span = held["intervals"]["pr_auc"]
                assert 0 <= span["low"] <= held["pr_auc"] <= span["high"] <= 1


def shown(evaluated: Path) -> dict:
    """The numbers of evaluate/metrics, by run."""
    return {path.stem: read_json(path) for path in (evaluated / "metrics").glob("*.json")}


def test_baselines_stand_beside_the_runs(project):
    root, flat = project
    found = shown(root / "evaluate")
    assert set(found) == {*RUNS, "prevalence", "persistence"}  # and not the unfinished run
    y, now = dense_labels(root / "pack", "brake_1s")
    assert found["prevalence"]["brake_1s"]["pr_auc"] == pytest.approx(y[y >= 0].mean(), abs=1e-6)
    assert flat["prevalence/brake_1s/roc_auc"] == 0.5
    persistence = average_precision_score(y[y >= 0], now[y >= 0])
    assert flat["persistence/brake_1s/pr_auc"] == pytest.approx(persistence, abs=1e-6)
    # the brake of now says nothing where it is off
    not_yet = found["persistence"]["brake_1s"]
    assert not_yet["pr_auc_not_yet"] == flat["persistence/brake_1s/prevalence_not_yet"]
    assert not_yet["event_recall"] == 0


def test_what_the_camera_adds_is_compared_on_the_same_draws(project):
    root, _ = project
    details = read_json(root / "evaluate" / "details.json")
    over = details[RUNS[0]]["brake_1s"]["all"]["pr_auc_over_telemetry"]
    difference = details[RUNS[0]]["brake_1s"]["all"]["pr_auc"] - details[RUNS[1]]["brake_1s"]["all"]["pr_auc"]
    assert over["difference"] == pytest.approx(difference, abs=2e-6)
    assert over["interval"]["low"] <= over["interval"]["high"]


def test_thresholds_never_see_the_test_labels(project, tmp_path):
    root, _ = project
    rng = np.random.default_rng(0)
    pack = copy_with_test_labels(root, tmp_path, rng.permutation)
    evaluated(tmp_path / "evaluate", pack=pack, train=cells(root / "train"))
    before, after = (shown(folder / "evaluate") for folder in (root, tmp_path))
    assert before[RUNS[0]]["brake_1s"]["pr_auc"] != after[RUNS[0]]["brake_1s"]["pr_auc"]
    assert read_json(root / "evaluate" / "thresholds.json") == read_json(tmp_path / "evaluate" / "thresholds.json")


def test_a_task_without_positives_or_labels_is_null_with_its_reason_and_never_nan(project, tmp_path):
    root, _ = project

    def change(labels):
        labels[:, NAMES.index("brake_1s")] = 0
        labels[:, NAMES.index("brake_2s")] = labels[:, NAMES.index("braking")] = -1
        return labels

    pack = copy_with_test_labels(root, tmp_path, change)
    flat = evaluated(tmp_path / "evaluate", pack=pack, train=cells(root / "train"))
    details = read_json(tmp_path / "evaluate" / "details.json")[RUNS[0]]
    assert details["brake_1s"]["all"]["pr_auc"] is None
    assert details["brake_1s"]["all"]["null_because"] == "no positive among 543 windows"
    assert details["brake_2s"]["all"]["brier"] is None
    assert details["brake_2s"]["all"]["null_because"] == "no window with a known label"
    assert details["brake_1s"]["events"]["null_because"] == "no onset in the test drives"
    assert f"{RUNS[0]}/brake_1s/pr_auc" not in flat and f"{RUNS[0]}/coast_1s/pr_auc" in flat
    for path in (tmp_path / "evaluate").glob("*.json"):
        json.loads(path.read_text(), parse_constant=lambda name, path=path: pytest.fail(f"{name} in {path.name}"))
    assert set(pd.read_csv(tmp_path / "evaluate" / "plots" / "pr.csv")["task"]) == {"coast_1s", "coast_2s"}


def test_numbers_of_mostly_unknown_labels_are_marked_and_the_others_are_not(project, tmp_path, caplog):
    root, _ = project
    coast, now = NAMES.index("coast_1s"), NAMES.index("coasting")

    def change(labels):
        labels[np.arange(len(labels)) % 5 < 3, coast] = -1
        labels[np.arange(len(labels)) % 5 == 4, now] = -1
        return labels

    pack = copy_with_test_labels(root, tmp_path, change)
    flat = evaluated(tmp_path / "evaluate", pack=pack, train=cells(root / "train"))
    details = read_json(tmp_path / "evaluate" / "details.json")
    y, state = dense_labels(pack, "coast_1s")
    for run in (*RUNS, "prevalence", "persistence"):
        held = details[run]["coast_1s"]
        assert held["all"]["unknown"] == (y < 0).sum() and held["all"]["not_meaningful"]
        assert held["all"]["unknown_share"] == pytest.approx((y < 0).mean(), abs=1e-6) and (y < 0).mean() > 0.59
        assert held["not_yet"]["unknown"] == ((state < 0) | (state == 0) & (y < 0)).sum()
        assert not details[run]["brake_1s"]["all"]["not_meaningful"]
        assert details[run]["brake_1s"]["all"]["unknown_share"] == pytest.approx(2 / 181, abs=1e-6)
        assert flat[f"{run}/coast_1s/not_meaningful"] == 1 and flat[f"{run}/brake_1s/not_meaningful"] == 0
        assert flat[f"{run}/coast_1s/unknown_share"] == held["all"]["unknown_share"]
    assert shown(tmp_path / "evaluate")[RUNS[0]]["coast_1s"]["unknown_share"] > 0.59
    assert "coast_1s: the numbers on the test drives are not meaningful: 60." in caplog.text


def test_one_recording_gives_no_interval(project, tmp_path):
    root, _ = project
    pack = write_pack(tmp_path / "pack", {"val": 1, "test": 1}, frames=150)
    evaluated(tmp_path / "evaluate", pack=pack, train=cells(root / "train"))
    held = read_json(tmp_path / "evaluate" / "details.json")[RUNS[0]]["coast_1s"]
    assert held["all"]["pr_auc"] is not None and held["all"]["intervals"]["pr_auc"] is None
    assert held["events"]["intervals"]["recall"] is None


def test_same_input_same_bytes_and_nothing_left_of_other_drives(project, tmp_path):
    root, _ = project
    shutil.copytree(root / "evaluate", tmp_path / "evaluate")
    (tmp_path / "evaluate" / "predictions" / "2020-01-01_gone.csv").write_text("Time\n")
    evaluated(tmp_path / "evaluate", pack=root / "pack", train=cells(root / "train"))
    assert folder_hash(tmp_path / "evaluate") == folder_hash(root / "evaluate")


def test_without_a_trained_run_it_says_what_to_do(project, tmp_path):
    root, _ = project
    with pytest.raises(BadInput, match="run brake_coast-train first"):
        evaluated(tmp_path / "evaluate", pack=root / "pack", train=cells(tmp_path))
