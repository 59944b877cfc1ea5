"""history.jsonl, one line an epoch, and its picture curves.png.

Both are rewritten whole from the checkpoint's own list, so that after a resume they hold each epoch once.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.ticker import MaxNLocator

from tasks.yard.files import write_text
from tasks.yard.reporting import charts

if TYPE_CHECKING:  # a report reads a history without torch
    from matplotlib.figure import Figure
    from torch import nn


def write(out: Path, history: list[dict]) -> None:
    write_text(out / "history.jsonl", "".join(json.dumps(row, allow_nan=False) + "\n" for row in history))


def read(path: Path) -> list[dict]:
    """Of a history.jsonl; nothing if there is none."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def summary(history: list[dict], model: nn.Module, uncounted: str | None = None) -> dict[str, float]:
    """What a train step returns: the validation scores of the kept epoch, which one that is, and the network's size.

    `uncounted`: a part of the network that is not used after training.
    """
    best = [row for row in history if row["best"]][-1]
    scores = {f"val/{name}": value for name, value in best["val"].items() if value is not None}
    used = [p for name, p in model.named_parameters() if uncounted is None or not name.startswith(f"{uncounted}.")]
    return {
        **scores,
        "best_epoch": best["epoch"],
        "epochs": len(history),
        "parameters": sum(p.numel() for p in used),
    }


def _series(history: list[dict], part: str) -> dict[str, tuple[list, list]]:
    """name -> (epochs, values) of what is a number, under `train` or `val`."""
    found: dict[str, tuple[list, list]] = {}
    for row in history:
        for name, value in row[part].items():
            if value is not None:
                epochs, values = found.setdefault(name, ([], []))
                epochs.append(row["epoch"] + 1)
                values.append(value)
    return found


def draw(out: Path, history: list[dict], title: str) -> None:
    """Losses of training, scores of validation, learning rate; the kept epoch is marked."""
    charts.save(out / "curves.png", lambda: _figure(history, title))


def _figure(history: list[dict], title: str) -> Figure:
    best = max((row for row in history if row["best"]), key=lambda row: row["epoch"], default=None)
    heading = f"{title}: epoch {best['epoch'] + 1} is kept" if best else title
    training, validation = _series(history, "train"), _series(history, "val")
    names = max(len(training) + ("loss" in validation), len(validation))
    figure, (losses, scores, rate) = charts.side_by_side((13, 3.8), names, heading)
    for name, (epochs, values) in training.items():
        losses.plot(epochs, values, label=f"train {name}", lw=2.5 if name == "loss" else 1.2)
    if "loss" in validation:
        losses.plot(*validation.pop("loss"), label="val loss", lw=2.5, color="black", ls="--")
    for name, (epochs, values) in validation.items():
        scores.plot(epochs, values, label=name, lw=2.5 if name == "score" else 1.2)
    rate.plot([row["epoch"] + 1 for row in history], [row["learning_rate"] for row in history])
    for axes, label in ((losses, "loss"), (scores, "validation"), (rate, "learning rate at the epoch's end")):
        axes.set_xlabel("epoch")
        axes.set_title(label, y=1.0)
        axes.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))
        if best:
            axes.axvline(best["epoch"] + 1, color="grey", ls=":")
        charts.legend_below(axes)
    losses.set_yscale("log")
    for axes in (scores, rate):
        axes.locator_params(axis="y", nbins=5)  # numbers and their lines take longer to draw than the curves
    return figure
