"""What a ranked binary prediction is worth; shared by every line that predicts events.

Pure functions over numpy arrays: `y` (N) of 0 and 1, `p` (N) of scores in [0, 1], unknown labels left out beforehand.
How sure of a number one can be: `replicates` of it over the draws of `bootstrap.resamples`.
A number that the data cannot give (no positives, say) is None, never NaN: NaN is not JSON and hides in means.
"""

from __future__ import annotations

import numpy as np

REPLICATES_AT_ONCE = 2**22  # cells of one (replicates, thresholds) block: 32 MB of float64, however much data


def scores(y: np.ndarray, p: np.ndarray, bins: int = 10) -> dict[str, float | None]:
    """PR-AUC (average precision: sum of recall steps x precision, no interpolation), ROC-AUC, Brier score and ECE."""
    once = replicates(y, p, np.zeros(len(y), int), np.ones((1, 1), int))  # every sample drawn once
    found = {name: float(value[0]) if np.isfinite(value[0]) else None for name, value in once.items()}
    return {**found, "ece": calibration_error(y, p, bins)}


def reliability(y: np.ndarray, p: np.ndarray, bins: int = 10) -> list[dict[str, float]]:
    """Mean score and share of positives of each non-empty one of `bins` equally wide bins; 1.0 is in the last."""
    index = np.clip((np.asarray(p, float) * bins).astype(int), 0, bins - 1)
    count = np.bincount(index, minlength=bins)
    predicted, positive = (np.bincount(index, weights=values, minlength=bins) for values in (p, y))
    return [
        {"mean_predicted": predicted[b] / count[b], "fraction_positive": positive[b] / count[b], "count": int(count[b])}
        for b in np.flatnonzero(count)
    ]


def calibration_error(y: np.ndarray, p: np.ndarray, bins: int = 10) -> float | None:
    """ECE: the mean over samples (so bins weigh by their count) of |share of positives - mean score| of their bin."""
    if not len(y) or not np.isfinite(p).all():
        return None
    rows = reliability(y, p, bins)
    return float(sum(r["count"] * abs(r["fraction_positive"] - r["mean_predicted"]) for r in rows) / len(y))


def _ranked(y: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Order of falling scores; then each distinct score, highest first, and the place of its last sample."""
    order = np.argsort(-p, kind="stable")
    ranked = p[order]
    last = np.flatnonzero(np.append(np.diff(ranked) != 0, True))
    return order, ranked[last], last


def pr_curve(y: np.ndarray, p: np.ndarray, points: int = 200) -> dict[str, np.ndarray]:
    """Recall, precision and threshold at every distinct score, thinned to about `points` evenly spaced in recall."""
    if not len(y) or not y.any():
        return {key: np.empty(0) for key in ("recall", "precision", "threshold")}
    order, threshold, last = _ranked(y, p)
    hits = np.cumsum(y[order])[last]
    recall, precision = hits / hits[-1], hits / (last + 1)
    keep = np.unique(np.append(np.searchsorted(recall, np.linspace(recall[0], 1, points)), len(last) - 1))
    return {"recall": recall[keep], "precision": precision[keep], "threshold": threshold[keep]}


def best_threshold(y: np.ndarray, p: np.ndarray) -> float | None:
    """The score s for which "p >= s" has the highest F1, tried at every distinct score; of equals the highest s."""
    if not len(y) or not y.any():
        return None
    order, threshold, last = _ranked(y, p)
    hits = np.cumsum(y[order])[last]
    f1 = 2 * hits / (last + 1 + hits[-1])  # 2 TP / (alarms + positives)
    return float(threshold[np.argmax(f1)])


def at_threshold(y: np.ndarray, p: np.ndarray, threshold: float | None) -> dict[str, float | int | None]:
    """Confusion, precision, recall and F1 of "p >= threshold"."""
    if threshold is None or not len(y):
        return dict.fromkeys(("tp", "fp", "fn", "tn", "precision", "recall", "f1"))
    alarm, positive = p >= threshold, y == 1
    tp, fp = int(np.sum(alarm & positive)), int(np.sum(alarm & ~positive))
    fn, tn = int(np.sum(~alarm & positive)), int(np.sum(~alarm & ~positive))
    return {
        "tp": tp,
        "fp": fp,
        "fn": fn,
        "tn": tn,
        "precision": tp / (tp + fp) if tp + fp else None,
        "recall": tp / (tp + fn) if tp + fn else None,
        "f1": 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else None,
    }


def replicates(y: np.ndarray, p: np.ndarray, group: np.ndarray, draws: np.ndarray) -> dict[str, np.ndarray]:
    """PR-AUC, ROC-AUC and Brier score of each replicate, (replicates) each; NaN where a draw holds one class only.

    `group` (N) is the column of `draws` that a sample belongs to. A replicate's counts above a threshold are its draws
    times the groups' own counts: one matrix product instead of sorting each replicate anew.
    """
    groups = draws.shape[1]
    if not len(y) or not np.isfinite(p).all():  # NaN has no rank
        return {name: np.full(len(draws), np.nan) for name in ("pr_auc", "roc_auc", "brier")}
    order, _, last = _ranked(y, p)
    member = group[order][None, :] == np.arange(groups)[:, None]
    positives, negatives = (np.cumsum(member & (y[order] == k), axis=1)[:, last].astype(float) for k in (1, 0))
    pr_auc, roc_auc = np.full((2, len(draws)), np.nan)
    step = max(1, REPLICATES_AT_ONCE // len(last))
    with np.errstate(divide="ignore", invalid="ignore"):
        for begin in range(0, len(draws), step):
            part = slice(begin, begin + step)
            tp, fp = draws[part] @ positives, draws[part] @ negatives
            alarms = np.maximum(tp + fp, 1)  # no alarm yet means no hit yet: the precision there has no weight
            gained, lost = np.diff(tp, axis=1, prepend=0), np.diff(fp, axis=1, prepend=0)
            pr_auc[part] = np.sum(gained * tp / alarms, axis=1) / tp[:, -1]
            roc_auc[part] = np.sum(lost * (tp - gained / 2), axis=1) / (tp[:, -1] * fp[:, -1])
        squares = np.bincount(group, weights=(p - y) ** 2, minlength=groups)
        brier = (draws @ squares) / (draws @ np.bincount(group, minlength=groups))
    return {"pr_auc": pr_auc, "roc_auc": roc_auc, "brier": brier}
