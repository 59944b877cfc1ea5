"""One run's scores for one task against the truth, and the same for the baselines that nobody trained.

Pure: arrays in, numbers out. `evaluate` reads and writes the files.
"""

from __future__ import annotations

import numpy as np

from tasks.brake_coast.formats.windows import Split
from tasks.brake_coast.judging import events
from tasks.brake_coast.judging.runs import SUBSETS, is_doubtful, state_of, unknown_share
from tasks.brake_coast.params import Evaluate
from tasks.yard.metrics import binary, bootstrap


def baseline_scores(task: str, val: Split, test: Split) -> dict[str, dict[str, np.ndarray]]:
    """{baseline: {split: scores}}. Prevalence: the validation rate, always. Persistence: it goes on as it is now."""
    known = val.labels(task)[val.labels(task) >= 0]
    rate = float(known.mean()) if len(known) else 0.5
    splits = {"val": val, "test": test}
    now = {name: split.labels(state_of(task)) for name, split in splits.items()}
    return {
        "prevalence": {name: np.full(len(split.starts), rate) for name, split in splits.items()},
        "persistence": {name: np.where(state >= 0, state, rate) for name, state in now.items()},
    }


def why_null(windows: int, positives: int) -> str | None:
    if not windows:
        return "no window with a known label"
    if not positives:
        return f"no positive among {windows} windows"
    return f"no negative among {windows} windows" if positives == windows else None


def judged(
    params: Evaluate, test: Split, task: str, p: np.ndarray, threshold: float | None, draws: np.ndarray
) -> tuple[dict, dict[str, np.ndarray]]:
    """Everything that one run's test scores (N) say about one task, and its PR-AUC replicates per subset."""
    y, now = test.labels(task), test.labels(state_of(task))
    group = np.unique(test.frames.recording[test.ends], return_inverse=True)[1]
    # Where the state of now is unknown, a window may be one of those not yet in it.
    chosen = {"all": np.full(len(y), True), "not_yet": now == 0}
    unknown = {"all": y < 0, "not_yet": (now < 0) | (now == 0) & (y < 0)}
    details, replicates = {}, {}
    for subset in SUBSETS:
        use = chosen[subset] & (y >= 0)
        counts = {"windows": int(use.sum()), "positives": int(y[use].sum()), "unknown": int(unknown[subset].sum())}
        recordings = len(np.unique(group[use]))
        draw = binary.replicates(y[use], p[use], group[use], draws)
        replicates[subset] = draw["pr_auc"]
        details[subset] = {
            **counts,
            "unknown_share": unknown_share(counts["windows"], counts["unknown"]),
            "not_meaningful": is_doubtful(counts),
            "recordings": recordings,
            "prevalence": float(y[use].mean()) if use.any() else None,
            **binary.scores(y[use], p[use], params.calibration_bins),
            **binary.at_threshold(y[use], p[use], threshold),
            "intervals": {name: bootstrap.spread(values, recordings) for name, values in draw.items()},
            "reliability": binary.reliability(y[use], p[use], params.calibration_bins),
            "null_because": why_null(counts["windows"], counts["positives"]),
        }
    details["events"] = judged_events(params, test, task, p, threshold, draws)
    return details, replicates


def judged_events(
    params: Evaluate, test: Split, task: str, p: np.ndarray, threshold: float | None, draws: np.ndarray
) -> dict:
    """Onsets and alarms over the test drives, as `events` defines them."""
    if threshold is None:
        return {"null_because": "no threshold: validation has no positive"}
    frames = test.frames
    state = frames.labels[:, frames.label_names.index(state_of(task))]
    score = np.full(len(frames.t_ms), np.nan)
    score[test.ends] = p
    tallies = []
    for recording in np.unique(frames.recording[test.ends]):
        rows = frames.recording == recording
        drive = events.Drive(frames.t_ms[rows], frames.segment[rows], state[rows], score[rows])
        tallies.append(events.tally(drive, threshold, refractory_s=params.refractory_s, max_lead_s=params.max_lead_s))
    total = events.summary(tallies)
    counted = np.array([[t.recalled, t.events, t.false_alarms, t.judged_hours] for t in tallies])
    recalled, onsets, false_alarms, hours = (draws @ counted).T
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = {"recall": recalled / onsets, "false_alarms_per_hour": false_alarms / hours}
    intervals = {name: bootstrap.spread(values, len(tallies)) for name, values in ratios.items()}
    return {**total, "intervals": intervals, "null_because": None if total["events"] else "no onset in the test drives"}


def lead(details: dict, drawn: dict, ours: tuple[str, str], other: tuple[str, str], subset: str) -> dict | None:
    """By how much a run's PR-AUC is above a blind run's; the interval is a paired one, over the same draws."""
    a, b = (details[name][task][subset] for name, task in (ours, other))
    replicates = drawn[ours][subset], drawn[other][subset]
    return bootstrap.lead(a["pr_auc"], b["pr_auc"], *replicates, a["recordings"])
