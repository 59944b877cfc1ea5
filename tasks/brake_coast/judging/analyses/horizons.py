"""How far ahead does each run see: PR-AUC of its heads against the labels of 1 to 5 s, beside the baselines.

Writes   horizons.json    {"labels": counts and baselines by subset, "runs": {run: {head: {label: {subset: PR-AUC}}}},
                          "lines": {run: {label: the head of the picture, its PR-AUC and interval by subset}}}
         horizons.png     a line a run, a column a kind of label, all windows above those not yet braking or coasting

A head is scored on every label of its family: one trained for brake_1s also against brake_5s and brake_onset_3s. A
line of the picture takes for each horizon the head trained nearest to it: it says what the run can do, not what one
head can.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from tasks.brake_coast.judging.analyses.inputs import Inputs, horizon_s
from tasks.brake_coast.judging.runs import SUBSETS, family, is_doubtful, state_of, unknown_share
from tasks.brake_coast.judging.scores import baseline_scores, why_null
from tasks.brake_coast.page import charts
from tasks.brake_coast.params import Analyse
from tasks.yard.files import write_json
from tasks.yard.metrics import binary, bootstrap
from tasks.yard.metrics.rounding import rounded
from tasks.yard.params import Reporting
from tasks.yard.reporting.charts import save

KINDS = ("brake", "brake_onset", "coast")
TITLES = {"all": "all windows", "not_yet": "not yet"}


def kind_of(label: str) -> str:
    """'brake_onset_3s' -> 'brake_onset'."""
    return label.rpartition("_")[0]


def nearest_head(heads: list[str], label: str) -> str | None:
    """The head of the label's family trained nearest to it: in horizon (of equals the shorter), then in kind."""
    mine = [head for head in heads if family(head) == family(label)]
    at = horizon_s(label)
    return min(
        mine,
        key=lambda head: (abs(horizon_s(head) - at), horizon_s(head), kind_of(head) != kind_of(label)),
        default=None,
    )


class Judge:
    """The test labels of one name, on all windows and on those not yet doing it, and what scores are worth by them."""

    def __init__(self, inputs: Inputs, label: str, replicates: int, seed: int):
        test = inputs.test
        y, now = test.labels(label), test.labels(state_of(label))
        self.use = {"all": y >= 0, "not_yet": (y >= 0) & (now == 0)}
        self.unknown = {"all": int((y < 0).sum()), "not_yet": int(((now < 0) | (now == 0) & (y < 0)).sum())}
        self.y = {subset: y[use] for subset, use in self.use.items()}
        recordings, self.group = np.unique(test.frames.recording[test.ends], return_inverse=True)
        self.draws = bootstrap.resamples(len(recordings), replicates, seed)
        persistence = baseline_scores(label, inputs.val, test)["persistence"]["test"]
        self.persistence = self.pr_auc(persistence)

    def pr_auc(self, p: np.ndarray) -> dict[str, float | None]:
        return {subset: binary.scores(self.y[subset], p[use])["pr_auc"] for subset, use in self.use.items()}

    def interval(self, p: np.ndarray, subset: str) -> dict | None:
        y, use = self.y[subset], self.use[subset]
        drawn = binary.replicates(y, p[use], self.group[use], self.draws)["pr_auc"]
        return bootstrap.spread(drawn, len(np.unique(self.group[use])))

    def counts(self, subset: str) -> dict:
        y, unknown = self.y[subset], self.unknown[subset]
        return {
            "windows": len(y),
            "unknown": unknown,
            "unknown_share": unknown_share(len(y), unknown),
            "not_meaningful": is_doubtful({"windows": len(y), "unknown": unknown}),
            "positives": int(y.sum()),
            "prevalence": float(y.mean()) if len(y) else None,
            "persistence": self.persistence[subset],
            "null_because": why_null(len(y), int(y.sum())),
        }


def picture(found: dict, looks: dict[str, dict], leader: str) -> Figure:
    kinds = [kind for kind in KINDS if any(kind_of(label) == kind for of in found["lines"].values() for label in of)]
    figure = Figure(figsize=(3.4 * len(kinds) + 0.8, 6.2))
    grid = figure.subplots(len(SUBSETS), len(kinds), squeeze=False, sharex=True)
    for row, subset in enumerate(SUBSETS):
        for axis, kind in zip(grid[row], kinds, strict=True):
            labels = [label for label in found["labels"] if kind_of(label) == kind]
            ahead_s = [horizon_s(label) for label in labels]
            for name, dashes in (("prevalence", charts.DASHES["detections"]), ("persistence", "-")):
                values = np.array([found["labels"][label][subset][name] for label in labels], float)
                axis.plot(ahead_s, values, color=charts.FAINT, linestyle=dashes, linewidth=1.2, label=name)
            for run, of in found["lines"].items():
                at = [label for label in labels if label in of]
                values = np.array([of[label][subset]["pr_auc"] for label in at], float)
                axis.plot([horizon_s(label) for label in at], values, marker="o", markersize=4, label=run, **looks[run])
                if run == leader:
                    spans = [of[label][subset]["interval"] or {"low": np.nan, "high": np.nan} for label in at]
                    low, high = (np.array([span[end] for span in spans], float) for end in ("low", "high"))
                    axis.fill_between(
                        [horizon_s(label) for label in at],
                        low,
                        high,
                        color=looks[run]["color"],
                        alpha=0.13,
                        linewidth=0,
                    )
            trained = sorted(
                {horizon_s(of[label]["head"]) for of in found["lines"].values() for label in of if label in labels}
            )
            doubtful = [str(horizon_s(label)) for label in labels if found["labels"][label][subset]["not_meaningful"]]
            said = f"\n(!) {', '.join(doubtful)} s: mostly unknown" if doubtful else ""
            axis.set(title=f"{kind.replace('_', ' ')}, {TITLES[subset]}{said}", ylabel="PR-AUC", xticks=ahead_s)
            axis.set_ylim(bottom=0)
            if row == len(grid) - 1:
                axis.set_xlabel(f"horizon in s; heads trained for {', '.join(map(str, trained))} s")
    charts.legend(figure, list(grid.flat))
    return figure


def make(params: Analyse, reporting: Reporting, out: Path, inputs: Inputs) -> dict[str, float]:
    names = [name for name in inputs.test.frames.label_names if kind_of(name) in KINDS]
    heads = {run: list(inputs.details[run]) for run in inputs.runs}
    names = [name for name in names if any(family(head) == family(name) for of in heads.values() for head in of)]
    draws = (params.horizons.replicates, reporting.bootstrap_seed)
    judges = {name: Judge(inputs, name, *draws) for name in names}
    labels = {name: {subset: judge.counts(subset) for subset in SUBSETS} for name, judge in judges.items()}
    runs = {
        run: {
            head: {
                name: judge.pr_auc(inputs.probabilities(run, head))
                for name, judge in judges.items()
                if family(name) == family(head)
            }
            for head in of
        }
        for run, of in heads.items()
    }
    lines: dict[str, dict[str, dict]] = {}
    for run, of in runs.items():
        lines[run] = {}
        for name, judge in judges.items():
            if head := nearest_head(list(of), name):
                p = inputs.probabilities(run, head)
                drawn = {s: {"pr_auc": of[head][name][s], "interval": judge.interval(p, s)} for s in SUBSETS}
                lines[run][name] = {"head": head, **drawn}
    if any(of["all"]["positives"] for of in labels.values()):
        figure = {"labels": labels, "lines": lines}
        save(out / "horizons.png", lambda: picture(figure, charts.looks(inputs.runs), inputs.leader))
    write_json(out / "horizons.json", rounded({"labels": labels, "runs": runs, "lines": lines}))
    return {
        f"{name}/pr_auc{'' if subset == 'all' else '_not_yet'}": value
        for name, of in lines[inputs.leader].items()
        for subset in SUBSETS
        if (value := of[subset]["pr_auc"]) is not None
    }
