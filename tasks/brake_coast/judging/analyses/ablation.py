"""What each part is worth: PR-AUC of every trained variant, seeing all, or blind to the camera or to telemetry.

Writes   ablation.json    {subset: {task: {variant: {modality: PR-AUC, interval, paired differences to blind ones}}}}
         ablation.md      the same as tables, cells that were not trained left blank
         ablation.png     the same as a picture
All numbers are evaluate's.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from tasks.brake_coast.judging.analyses.inputs import Inputs
from tasks.brake_coast.judging.runs import BLIND, SUBSETS, split_name
from tasks.brake_coast.params import Analyse
from tasks.yard.files import write_json, write_text
from tasks.yard.metrics.rounding import rounded
from tasks.yard.params import Reporting
from tasks.yard.reporting.charts import save

MODALITIES = ("all", *BLIND)
TITLES = {"all": "all test windows", "not_yet": "windows not yet braking (brake tasks) or coasting (coast tasks)"}


def cells(details: dict, runs: list[str], task: str, subset: str) -> dict[str, dict[str, dict]]:
    """{variant: {modality: cell}} of the runs that were trained for the task."""
    table: dict[str, dict[str, dict]] = {}
    for run in runs:
        base, blind = split_name(run)
        if task in details[run]:
            found = details[run][task][subset]
            over = {f"over_{name}": found[key] for name in BLIND if found.get(key := f"pr_auc_over_{name}")}
            cell = {"pr_auc": found["pr_auc"], "interval": found["intervals"]["pr_auc"], **over}
            cell |= {"not_meaningful": True} if found["not_meaningful"] else {}
            table.setdefault(base, {})[blind or "all"] = cell
    return {base: {name: row[name] for name in MODALITIES if name in row} for base, row in sorted(table.items())}


def shown(cell: dict | None, between: str = " ") -> str:
    """'0.385 (0.31 to 0.46)', '-' where it cannot be judged, blank where it was not trained; '(!)': not meaningful."""
    if cell is None or cell["pr_auc"] is None:
        return "" if cell is None else "-"
    span = cell["interval"]
    return (
        f"{cell['pr_auc']:.3f}"
        + (" (!)" if cell.get("not_meaningful") else "")
        + (f"{between}({span['low']:.2f} to {span['high']:.2f})" if span else "")
    )


def markdown(found: dict, details: dict) -> str:
    text = ["# Variant x modality: PR-AUC on the test drives (95 % interval over drives)", ""]
    for subset, tasks in found.items():
        for task, table in tasks.items():
            of = details["prevalence"][task][subset]
            prevalence = "-" if of["prevalence"] is None else f"{of['prevalence']:.3f}"
            share = "-" if of["unknown_share"] is None else f"{100 * of['unknown_share']:.1f} %"
            doubtful = " (!): what is known is no sample of the drives" if of["not_meaningful"] else ""
            text += [
                f"## {task}, {TITLES[subset]}",
                "",
                f"{of['positives']} of {of['windows']} positive; prevalence {prevalence}; unknown {share}{doubtful}",
                "",
            ]
            text += ["| variant | all | telemetry only | detections only |", "| --- | --- | --- | --- |"]
            text += [
                f"| {' | '.join([base, *(shown(row.get(name)) for name in MODALITIES)])} |"
                for base, row in table.items()
            ]
            text.append("")
    return "\n".join(text)


def picture(found: dict) -> Figure:
    """A column a task, a block a subset; the darker a cell, the higher above the other cells of its panel."""
    tasks = list(dict.fromkeys(task for of in found.values() for task in of))
    variants = max(len(table) for of in found.values() for table in of.values())
    figure = Figure(figsize=(2.6 * len(tasks) + 2.2, len(found) * (0.42 * variants + 0.75) + 0.2))
    grid = figure.subplots(len(found), len(tasks), squeeze=False, sharey=True)
    for row_of, (subset, of) in enumerate(found.items()):
        for axis, task in zip(grid[row_of], tasks, strict=True):
            table = of[task]
            values = np.array([[(row.get(m) or {}).get("pr_auc") for m in MODALITIES] for row in table.values()], float)
            low, high = (np.nanmin(values), np.nanmax(values)) if np.isfinite(values).any() else (0, 1)
            axis.imshow(
                values,
                cmap="Blues",
                vmin=low - 0.3 * (high - low) - 1e-6,
                vmax=high + (high - low) + 1e-6,
                aspect="auto",
            )
            for y, row in enumerate(table.values()):
                for x, name in enumerate(MODALITIES):
                    axis.text(x, y, shown(row.get(name), "\n"), ha="center", va="center", fontsize=7)
            axis.set_title(task if row_of == 0 else "")
            axis.set_xticks(range(3), ["all", "telemetry", "detections"], fontsize=8)
            axis.set_yticks(range(len(table)), list(table), fontsize=8)
            axis.grid(visible=False)
        grid[row_of][0].set_ylabel(f"{subset.replace('_', ' ')}", fontsize=9)
    return figure


def make(params: Analyse, reporting: Reporting, out: Path, inputs: Inputs) -> dict[str, float]:
    tasks = list(dict.fromkeys(task for run in inputs.runs for task in inputs.details[run]))
    found = {s: {task: cells(inputs.details, inputs.runs, task, s) for task in tasks} for s in SUBSETS}
    save(out / "ablation.png", lambda: picture(found))
    write_text(out / "ablation.md", markdown(found, inputs.details))
    write_json(out / "ablation.json", rounded(found))
    trained = {split_name(run)[0] for run in inputs.runs}
    return {"variants": len(trained), "cells_trained": len(inputs.runs), "cells": len(trained) * len(MODALITIES)}
