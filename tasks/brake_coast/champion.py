"""The challenge in brake_coast: mean PR-AUC over the tasks that both networks predict, on the test drives as they are
now. Tasks of which too many labels are unknown have no say."""

from __future__ import annotations

from pathlib import Path
from statistics import mean

import numpy as np

from tasks.brake_coast.formats import windows
from tasks.brake_coast.formats.windows import Split
from tasks.brake_coast.judging.runs import is_doubtful, leader, split_name, unknown_share
from tasks.brake_coast.learning import origins
from tasks.brake_coast.learning.inference import load_model, predict
from tasks.brake_coast.learning.scaling import BRAKE
from tasks.brake_coast.params import Line
from tasks.yard.files import read_if_there, read_json
from tasks.yard.metrics import binary, bootstrap
from tasks.yard.params import Reporting
from tasks.yard.step import BadInput
from tasks.yard.tracking.champion import Comparison, Leader, Score, compared
from tasks.yard.training.learnt import unseen

CONSTANT = "prevalence"  # a network without its camera is no bar: of a source without one it sees all there is
PERSISTENCE = "persistence"  # knows the brake of now: a bar for networks that are told it, pack.brake_signal


def challenger(data: Path) -> Leader | None:
    """The run that validation likes best; a blind one is no product."""
    path = data / "evaluate" / "details.json"
    details = read_json(path) if path.exists() else {}
    run = leader(details) if details else None
    if run is None or split_name(run)[1]:
        return None
    told = BRAKE in read_if_there(data / "pack" / "dataset_config.json").get("telemetry_features", [])
    scores: dict[str, dict[str, float | None]] = {}
    for split, key in (("validation", "validation"), ("test", "all")):
        sound = [
            task
            for task, of in details[run].items()
            if not of[key].get("not_meaningful") and of[key]["pr_auc"] is not None
        ]
        scores[split] = {
            name: mean(details[name][task][key]["pr_auc"] for task in sound) if sound else None
            for name in (run, CONSTANT, *([PERSISTENCE] if told else []))
        }
    return Leader(run, "mean PR-AUC", scores)


def compare(challenger: Path, champion: Path, data: Path, section: Line, reporting: Reporting) -> Comparison:
    """Raises `BadInput` if the champion cannot take the data of today, or predicts other tasks, or no number would be
    meaningful, or too few drives are left that neither has learnt from."""
    test, of = Split(windows.load(data / "pack" / "test.h5")), section.evaluate
    networks = {path: load_model(path) for path in (challenger, champion)}
    tasks = [task for task in networks[challenger][1]["tasks"] if task in networks[champion][1]["tasks"]]
    if not tasks:
        raise BadInput("they predict different tasks")
    config = read_json(data / "pack" / "dataset_config.json")
    drives = origins.items(test.frames, config.get("splits", {}).get("test", {}))
    configs = {"the champion": networks[champion][1], "the challenger": networks[challenger][1]}
    new = unseen(drives, configs, "test drives", apart=round(1000 * section.download.guard_s))
    use = new.kept[test.frames.recording[test.ends]]
    starts = test.starts[use]
    labels = {task: test.labels(task)[use] for task in tasks}
    counts = {task: {"windows": int((y >= 0).sum()), "unknown": int((y < 0).sum())} for task, y in labels.items()}
    sound = [task for task in tasks if not is_doubtful(counts[task])]
    if not sound:
        shares = ", ".join(f"{100 * unknown_share(**of):.1f} % of {task}" for task, of in counts.items())
        raise BadInput(f"not meaningful on these test drives: of the labels {shares} are unknown")
    tasks = sound
    numbers, group = np.unique(test.frames.recording[test.ends][use], return_inverse=True)
    draws = bootstrap.resamples(len(numbers), reporting.bootstrap_replicates, reporting.bootstrap_seed)

    def score(checkpoint: Path) -> Score:
        model, config = networks[checkpoint]
        probabilities = predict(model, test.frames, starts, of.batch).astype(float)
        areas, replicates = [], []
        for task in tasks:
            known = labels[task] >= 0
            y, p = labels[task][known], probabilities[known, config["tasks"].index(task)]
            areas.append(binary.scores(y, p)["pr_auc"])
            if areas[-1] is None:
                raise BadInput("the test drives have no positive of a task")
            replicates.append(binary.replicates(y, p, group[known], draws)["pr_auc"])
        metric = f"mean PR-AUC of {', '.join(tasks)}"
        names = [test.frames.recordings[number] for number in numbers]
        return Score(metric, float(np.mean(areas)), np.mean(replicates, axis=0), names)

    return compared(score, challenger, champion, new.words)
