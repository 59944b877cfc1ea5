"""The challenge in brake_coast: mean PR-AUC over the tasks that both networks predict, on the test drives as they are
now. Tasks of which too many labels are unknown have no say."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tasks.brake_coast.formats import windows
from tasks.brake_coast.formats.windows import Split
from tasks.brake_coast.judging.runs import is_doubtful, leader, split_name, unknown_share
from tasks.brake_coast.learning.inference import load_model, predict
from tasks.brake_coast.params import Line
from tasks.yard.files import read_json
from tasks.yard.metrics import binary, bootstrap
from tasks.yard.params import Reporting
from tasks.yard.step import BadInput
from tasks.yard.tracking.champion import Comparison, Score, compared


def challenger(data: Path) -> str | None:
    """The run that validation likes best; a blind one is no product."""
    details = data / "evaluate" / "details.json"
    run = leader(read_json(details)) if details.exists() else None
    return None if run is None or split_name(run)[1] else run


def compare(challenger: Path, champion: Path, data: Path, section: Line, reporting: Reporting) -> Comparison:
    """Raises `BadInput` if the champion cannot take the data of today, or predicts other tasks, or no number would be
    meaningful."""
    test, of = Split(windows.load(data / "pack" / "test.h5")), section.evaluate
    networks = {path: load_model(path) for path in (challenger, champion)}
    tasks = [task for task in networks[challenger][1]["tasks"] if task in networks[champion][1]["tasks"]]
    if not tasks:
        raise BadInput("they predict different tasks")
    labels = {task: test.labels(task) for task in tasks}
    counts = {task: {"windows": int((y >= 0).sum()), "unknown": int((y < 0).sum())} for task, y in labels.items()}
    sound = [task for task in tasks if not is_doubtful(counts[task])]
    if not sound:
        shares = ", ".join(f"{100 * unknown_share(**of):.1f} % of {task}" for task, of in counts.items())
        raise BadInput(f"not meaningful on these test drives: of the labels {shares} are unknown")
    tasks = sound
    group = np.unique(test.frames.recording[test.ends], return_inverse=True)[1]
    recordings = int(group.max()) + 1
    draws = bootstrap.resamples(recordings, reporting.bootstrap_replicates, reporting.bootstrap_seed)

    def score(checkpoint: Path) -> Score:
        model, config = networks[checkpoint]
        probabilities = predict(model, test.frames, test.starts, of.batch).astype(float)
        areas, replicates = [], []
        for task in tasks:
            known = test.labels(task) >= 0
            y, p = test.labels(task)[known], probabilities[known, config["tasks"].index(task)]
            areas.append(binary.scores(y, p)["pr_auc"])
            if areas[-1] is None:
                raise BadInput("the test drives have no positive of a task")
            replicates.append(binary.replicates(y, p, group[known], draws)["pr_auc"])
        metric = f"mean PR-AUC of {', '.join(tasks)}"
        return Score(metric, float(np.mean(areas)), np.mean(replicates, axis=0), recordings)

    return compared(score, challenger, champion)
