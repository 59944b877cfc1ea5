"""The report's curves: every run side by side, layer by layer, over the time ahead, and open loop against closed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tasks.open_loop_driving.page import results
from tasks.yard.reporting import charts
from tasks.yard.reporting.leaderboard import Dot, Row, panel

LONGEST = 8  # curves in one panel; more are read by nobody


def leaderboard(
    path: Path, runs: Mapping[str, Mapping[str, Any]], names: Sequence[str], columns: Mapping[str, str]
) -> str:
    """A panel a number, a row a run, the 95 % interval over routes where there is one."""

    def draw() -> Figure:
        figure = Figure(figsize=(11, 0.32 * len(names) + 1.1))
        axes = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
        for axis, (key, title) in zip(axes, columns.items(), strict=True):
            rows = []
            for run in names:
                of = runs[run]
                ink = charts.RUNS[0] if of["kind"] == "network" else charts.FAINT
                dots = [] if of.get(key) is None else [Dot(of[key], 6.5)]
                rows.append(Row(results.named(run, of), ink, dots, (of.get("intervals") or {}).get(key)))
            panel(axis, rows, title=title)
            axis.set_xlim(left=0)
        return figure

    return charts.drawn(path, draw)


def layers(path: Path, runs: Mapping[str, Mapping[str, Any]], names: Sequence[str], columns: Mapping[str, str]) -> str:
    """What each layer's plan is worth by itself: does looking again help? `names`: networks with several layers."""

    def draw() -> Figure:
        figure, axes = charts.panels(len(columns))
        for axis, (key, title) in zip(axes, columns.items(), strict=True):
            for place, run in enumerate(names[:LONGEST]):
                _layers_of(axis, runs[run], key, charts.RUNS[place % len(charts.RUNS)], run)
            axis.set(title=title)
        charts.legend(figure, axes)
        return figure

    return charts.drawn(path, draw)


def _layers_of(axis: Axes, run: Mapping[str, Any], key: str, ink: str, label: str) -> None:
    layers = [(name, run["layers"][name]) for name in run["names"]]  # JSON keeps no order of keys
    told = [(name, of) for name, of in layers if of.get(key) is not None]
    places = range(len(told))
    axis.plot(places, [of[key] for _, of in told], "o-", color=ink, linewidth=1.8, markersize=5, label=label)
    for place, (_, of) in zip(places, told, strict=True):
        if span := (of.get("intervals") or {}).get(key):
            axis.vlines(place, span["low"], span["high"], color=ink, linewidth=2.6, alpha=0.3)
    axis.set_xticks(places, [name for name, _ in told])


def horizon(
    path: Path, runs: Mapping[str, Mapping[str, Any]], names: Sequence[str], times: Sequence[float]
) -> str:  # fmt: skip
    """Both conventions over the time ahead: at a time, and the mean of all steps up to it."""

    def draw() -> Figure:
        figure = Figure(figsize=(11, 3.4))
        axes = figure.subplots(1, 2, sharey=True)
        for axis, (key, title) in zip(axes, CONVENTIONS.items(), strict=True):
            for place, run in enumerate(names[:LONGEST]):
                values = [runs[run].get(f"{key}_{seconds:g}s") for seconds in times]
                style = "-" if runs[run]["kind"] == "network" else charts.DASHES["telemetry"]
                ink = charts.RUNS[place % len(charts.RUNS)]
                name = results.named(run, runs[run])
                axis.plot(times, values, marker="o", markersize=4, color=ink, linestyle=style, label=name)
            axis.set(title=title, xlabel="s ahead", ylabel="m")
            axis.set_ylim(bottom=0)
        charts.legend(figure, axes[:1])
        return figure

    return charts.drawn(path, draw)


CONVENTIONS = {"l2_at": "L2 at a time", "l2_mean_to": "L2, mean of the steps up to a time"}


def both_loops(
    path: Path, rows: Sequence[Mapping[str, Any]], names: tuple[str, str], expert: float | None
) -> str:  # fmt: skip
    """Open loop across, closed loop up: `rows` {run, kind, open, closed}; the names of both axes."""

    def draw() -> Figure:
        figure = Figure(figsize=(7.5, 4.4))
        axis = figure.subplots()
        for row in rows:
            ink = charts.RUNS[0] if row["kind"] == "network" else charts.FAINT
            axis.plot(row["open"], row["closed"], "o", color=ink, markersize=8)
            name = results.named(row["run"], row)
            axis.annotate(name, (row["open"], row["closed"]), (7, 4), textcoords="offset points", fontsize=8.5)
        if expert is not None:
            axis.axhline(expert, color=charts.FAINT, linestyle=charts.DASHES["telemetry"])
            axis.annotate("the expert", (0, expert), (4, -11), textcoords="offset points", fontsize=8.5)
        top = max([row["closed"] for row in rows] + ([] if expert is None else [expert]))
        axis.set(xlabel=names[0], ylabel=names[1], ylim=(0, max(1.0, 1.1 * top)))
        axis.set_xlim(0, 1.25 * max(row["open"] for row in rows))
        return figure

    return charts.drawn(path, draw)


def learning(path: Path, histories: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Training loss, and on validation how far the last layer's plan is off and how well it brakes; dot: kept epoch."""

    def draw() -> Figure:
        figure, axes = charts.panels(3, 3.3)
        for place, (run, rows) in enumerate(histories.items()):
            ink = charts.RUNS[place % len(charts.RUNS)]
            known = [(row["epoch"] + 1, row["train"]["loss"]) for row in rows if row["train"].get("loss") is not None]
            if known:
                axes[0].plot(*zip(*known, strict=True), color=ink, linewidth=1.8, label=run)
            for axis, key in zip(axes[1:], ("l2_mean", "brake_f1"), strict=True):
                judged = [row for row in rows if row["val"].get(key) is not None]
                axis.plot([r["epoch"] + 1 for r in judged], [r["val"][key] for r in judged], color=ink, linewidth=1.8)
                if best := [row for row in judged if row["best"]]:
                    axis.plot(best[-1]["epoch"] + 1, best[-1]["val"][key], "o", color=ink, markersize=6)
        axes[0].set(title="training loss", xlabel="epoch", yscale="log")
        axes[1].set(title="L2 on validation, mean of all steps, m", xlabel="epoch")
        axes[2].set(title="brake F1 on validation", xlabel="epoch")
        charts.legend(figure, axes[:1])
        return figure

    return charts.drawn(path, draw)


def terms_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Terms of the loss that a network's history knows, the heaviest first."""
    last = rows[-1]["train"] if rows else {}
    known = [key for key, value in last.items() if key != "loss" and isinstance(value, int | float)]
    return sorted(known, key=lambda key: (-abs(last[key]), key))


def terms(path: Path, rows: Sequence[Mapping[str, Any]]) -> str:
    """Every term of one network's loss, as it goes into the sum."""
    names = terms_of(rows)

    def draw() -> Figure:
        figure, axes = charts.panels(len(names), 1.7)
        for axis, name in zip(axes, names, strict=True):
            known = [(row["epoch"] + 1, row["train"][name]) for row in rows if row["train"].get(name) is not None]
            axis.plot(*zip(*known, strict=True), color=charts.RUNS[0], linewidth=1.6)
            axis.set_title(name, fontsize=8.5)
            axis.set_ylim(bottom=0)
        return figure

    return charts.drawn(path, draw)
