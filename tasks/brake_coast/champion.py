"""The challenge in brake_coast: mean PR-AUC over the tasks that both networks foretell, on the test drives as they
are now."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tasks.brake_coast.formats import windows
from tasks.brake_coast.judging.judge import Split
from tasks.brake_coast.judging.runs import leader, split_name
from tasks.brake_coast.learning.inference import load_model, predict
from tasks.brake_coast.params import Line
from tasks.yard.files import read_json
from tasks.yard.metrics import binary as metrics
from tasks.yard.params import Reporting
from tasks.yard.step import BadInput
from tasks.yard.tracking.champion import Comparison


def challenger(data: Path) -> str | None:
    """The run that validation likes best; a blind one is no product."""
    details = data / "evaluate" / "details.json"
    run = leader(read_json(details)) if details.exists() else None
    return None if run is None or split_name(run)[1] else run


def compare(challenger: Path, champion: Path, data: Path, section: Line, reporting: Reporting) -> Comparison:
    """Raises `BadInput` if the champion cannot take the data of today, or foretells other tasks."""
    test = Split(windows.load(data / "pack" / "test.h5"))
    networks = [load_model(path) for path in (challenger, champion)]
    tasks = [task for task in networks[0][1]["tasks"] if task in networks[1][1]["tasks"]]
    if not tasks:
        raise BadInput("they foretell different tasks")
    group = np.unique(test.frames.recording[test.ends], return_inverse=True)[1]
    of = section.evaluate
    draws = metrics.resamples(int(group.max()) + 1, reporting.bootstrap_replicates, reporting.bootstrap_seed)
    areas, replicates = [], []
    for model, config in networks:
        p = predict(model, test.frames, test.starts, of.batch).astype(float)
        columns = {task: p[:, config["tasks"].index(task)] for task in tasks}
        known = {task: test.labels(task) >= 0 for task in tasks}
        once = [metrics.scores(test.labels(t)[known[t]], columns[t][known[t]])["pr_auc"] for t in tasks]
        if None in once:
            raise BadInput("the test drives have no positive of a task")
        areas.append(float(np.mean(once)))
        drawn = [
            metrics.bootstrap(test.labels(t)[known[t]], columns[t][known[t]], group[known[t]], draws) for t in tasks
        ]
        replicates.append(np.mean([values["pr_auc"] for values in drawn], axis=0))
    spread = metrics.interval(replicates[0] - replicates[1]) if draws.shape[1] > 1 else None
    low, high = (spread["low"], spread["high"]) if spread else (None, None)
    return Comparison(f"mean PR-AUC of {', '.join(tasks)}", *areas, low, high)
