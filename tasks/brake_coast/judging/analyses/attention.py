"""What a run looks at: which of the window's frames, and which box, on windows it predicted correctly and on negatives.

Writes   attention.json         per run the weights below, and the runs left out with the reason
         attention_time.png     the last frame's attention over the window's frames: a row a run, a column a layer
         attention_boxes.png    the weight of each box on a few frames before a braking: a row a run

Over time: every layer of a transformer decoder, and the attention encoder's look over time, each from the last frame,
on whose state the heads stand. Over the last frame's boxes: the Pool of the concat fusion; the telemetry's question of
cross_attention; the questions of query, weighed as telemetry weighs their answers. All are recomputed from the layers'
inputs, which hooks hand over, so that the networks themselves keep their fused kernels. A weight says what was looked
at, not what it was worth.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from models.brake_coast.factory import Network
from models.brake_coast.layers import Attention, Pool
from models.brake_coast.variants import parse
from tasks.brake_coast.judging.analyses import pictures
from tasks.brake_coast.judging.analyses.inputs import Inputs, car_ahead
from tasks.brake_coast.judging.runs import family, state_of
from tasks.brake_coast.learning.inference import Windows, load_model
from tasks.brake_coast.params import Analyse
from tasks.yard.files import write_json
from tasks.yard.metrics.rounding import rounded
from tasks.yard.params import Reporting
from tasks.yard.reporting import charts
from tasks.yard.reporting.charts import save

GROUPS = {"true positives": pictures.CAUGHT, "negatives": charts.FAINT}


def attention_weights(layer: Attention, query: Tensor, keys: Tensor, keep: Tensor | None = None) -> Tensor:
    """(N, heads, Q, K), what `layer(query, keys, keep)` weighs its values by."""
    q, k = (
        x.unflatten(-1, (layer.heads, -1)).transpose(1, 2)
        for x in (layer.query(query), layer.key_value(keys).chunk(2, -1)[0])
    )
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    return (scores if keep is None else scores.masked_fill(~keep[:, None, None], -torch.inf)).softmax(-1)


@contextmanager
def watched(network: Network) -> Iterator[dict[str, tuple[nn.Module, tuple]]]:
    """Inside, a forward pass leaves {name: (layer, its inputs)} of every attention and pool."""
    seen: dict[str, tuple[nn.Module, tuple]] = {}

    def note(name: str):
        return lambda layer, inputs: seen.__setitem__(name, (layer, inputs))

    layers = [(name, layer) for name, layer in network.named_modules() if isinstance(layer, (Attention, Pool))]
    hooks = [layer.register_forward_pre_hook(note(name)) for name, layer in layers]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


@dataclass(frozen=True)
class Looks:
    """Of N windows: where the last frame looks in time, and which boxes of the last frame count."""

    time: dict[str, np.ndarray] = field(default_factory=dict)  # layer -> (N, heads, T)
    boxes: np.ndarray | None = None  # (N, S)
    no_object: np.ndarray | None = None  # (N), what the "no object" token takes from the boxes


@torch.inference_mode()
def looks(network: Network, inputs: tuple[Tensor, Tensor, Tensor]) -> Looks:
    """telemetry (N, T, F), boxes (N, T, S, 6), mask (N, T, S) -> their weights; see the module's docstring."""
    windows, frames = inputs[2].shape[:2]
    with watched(network) as seen:
        network(*inputs)
    time = {}
    for name, (layer, args) in seen.items():
        if name == "encoder.over_time" or name.startswith("decoder."):
            title = "encoder" if name.startswith("encoder") else f"decoder {int(name.split('.')[2]) + 1}"
            time[title] = attention_weights(layer, args[0][:, -1:], args[1])[:, :, 0].numpy()
    if network.modality == "telemetry":
        return Looks(time)
    last = torch.arange(windows) * frames + frames - 1  # rows of the layers that see frame by frame

    def of_last(name: str) -> Tensor:
        """(N, Q, K), mean over heads."""
        layer, args = seen[name]
        return attention_weights(layer, *(x[last] for x in args)).mean(1)

    if "fusion.pool" in seen:
        layer, args = seen["fusion.pool"]
        return Looks(time, layer.shares(*args)[:, -1].numpy())
    asked = of_last("fusion.ask.attend")
    if "fusion.weigh" in seen:
        asked = of_last("fusion.weigh") @ asked
    return Looks(time, asked[:, 0, 1:].numpy(), asked[:, 0, 0].numpy())


def chosen(inputs: Inputs, run: str, windows: int) -> tuple[str | None, dict[str, np.ndarray]]:
    """The first task of the run with true positives on the test drives, and of each group at most so many starts,
    evenly spaced; the first task's negatives alone if it never was right."""
    first = None
    for task, found in inputs.details[run].items():
        y, p = inputs.test.labels(task), inputs.probabilities(run, task)
        hit = (y == 1) & (p >= (np.inf if found["threshold"] is None else found["threshold"]))
        groups = {"true positives": np.flatnonzero(hit), "negatives": np.flatnonzero(y == 0)}
        spaced = {
            name: rows[np.linspace(0, len(rows) - 1, min(windows, len(rows))).astype(int)]
            for name, rows in groups.items()
        }
        starts = {name: inputs.test.starts[rows] for name, rows in spaced.items() if len(rows)}
        first = first or (task, starts)
        if hit.any():
            return task, starts
    return first


def summed_up(look: Looks, boxes: np.ndarray, mask: np.ndarray) -> dict:
    """Numbers of one group: weights over time, and of windows with at least two boxes what the car ahead gets.

    boxes (N, S, 6), mask (N, S) of the last frames.
    """
    found: dict = {"windows": len(mask), "time": {name: w.mean(0).tolist() for name, w in look.time.items()}}
    if look.boxes is not None:
        ahead = car_ahead(boxes, mask)
        use = (ahead >= 0) & (mask.sum(1) > 1)
        share = look.boxes / np.maximum(look.boxes.sum(1, keepdims=True), 1e-12)  # among the boxes
        entropy = -(share * np.log(np.maximum(share, 1e-12))).sum(1)
        found["boxes"] = {
            "windows": int(use.sum()),  # with a car ahead among at least two boxes
            "car_ahead": float(share[use, ahead[use]].mean()) if use.any() else None,
            "even_share": float((1 / mask.sum(1)[use]).mean()) if use.any() else None,
            "boxes_that_count": float(np.exp(entropy[use]).mean()) if use.any() else None,
            "no_object": float(look.no_object.mean()) if look.no_object is not None and len(mask) else None,
        }
    return found


def watched_run(inputs: Inputs, run: str, network: Network, gather: Windows, windows: int) -> dict | None:
    """What a run looks at, None for one without anything to show."""
    if parse(run).decoder == "lstm" and parse(run).encoder == "simple" and network.modality == "telemetry":
        return None
    task, groups = chosen(inputs, run, windows)
    frames = inputs.test.frames
    found: dict = {"task": task, "groups": {}}
    for name, starts in groups.items():
        last = starts + frames.window_frames - 1
        look = looks(network, gather(torch.from_numpy(starts)))
        found["groups"][name] = summed_up(look, frames.detections[last], frames.detection_masks[last])
    return found


def time_picture(found: dict[str, dict], step_s: float) -> Figure:
    """Thin lines are heads, thick ones their mean; dotted: the same weight on every frame."""
    layers_of = {run: list(next(iter(of["groups"].values()))["time"]) for run, of in found.items()}
    columns = max(map(len, layers_of.values()))
    figure = Figure(figsize=(max(3.6 * columns, 7.0), 2.1 * len(found) + 0.5))
    grid = figure.subplots(len(found), columns, squeeze=False, sharex=True)
    for row, (run, of) in enumerate(found.items()):
        axes, layers = grid[row], layers_of[run]
        for spare in axes[len(layers) :]:
            spare.set_visible(False)
        for axis, layer in zip(axes, layers, strict=False):
            for name, group in sorted(of["groups"].items()):
                heads = np.array(group["time"][layer])
                t_s = step_s * (np.arange(heads.shape[1]) - heads.shape[1] + 1)
                axis.plot(t_s, heads.T, color=GROUPS[name], linewidth=0.6, alpha=0.45)
                axis.plot(t_s, heads.mean(0), color=GROUPS[name], linewidth=2.2, label=name)
            axis.axhline(1 / heads.shape[1], color=charts.FAINT, linestyle=charts.DASHES["detections"], linewidth=1)
            counts = ", ".join(f"{group['windows']} {name}" for name, group in of["groups"].items())
            axis.set_title(f"{run}, {layer}\n{of['task']}: {counts}", fontsize=8)
            axis.set_ylim(bottom=0)
            if axis is axes[0]:
                axis.set_ylabel("weight")
            axis.tick_params(labelbottom=True)
            if row == len(found) - 1:
                axis.set_xlabel("s from the last frame")
    charts.legend(figure, list(grid.flat))
    return figure


def telling_windows(inputs: Inputs, count: int) -> np.ndarray:
    """Starts of windows for the picture: with an image, a car ahead among at least two boxes, and if there are such the
    state to come in the shortest horizon but not yet there; evenly spaced."""
    test, frames = inputs.test, inputs.test.frames
    ends, mask = test.ends, frames.detection_masks[test.ends]
    usable = (mask.sum(1) > 1) & (car_ahead(frames.detections[ends], mask) >= 0) & frames.image_ok[ends]
    tasks = sorted(inputs.details[inputs.leader], key=lambda task: (family(task) != "brake", task))
    soon = [usable & (test.labels(task) == 1) & (test.labels(state_of(task)) == 0) for task in tasks]
    rows = np.flatnonzero(next((rows for rows in soon if rows.any()), usable))
    rows = np.array([row for row in rows if inputs.image(ends[row]) and inputs.roi_px(ends[row])], int)
    return test.starts[rows[np.unique(np.linspace(0, len(rows) - 1, count).round().astype(int))]] if len(rows) else rows


def boxes_picture(inputs: Inputs, shown: dict[str, Looks], starts: np.ndarray) -> Figure:
    """A row a run, a column a frame: the larger a box's weight, the thicker and the more opaque it is."""
    frames = inputs.test.frames
    ends = starts + frames.window_frames - 1
    roi = inputs.roi_px(ends[0])
    height = 11 / len(ends) * roi[3] / roi[2] + 0.28
    figure = Figure(figsize=(11, height * len(shown) + 0.1))
    grid = figure.subplots(len(shown), len(ends), squeeze=False)
    for axes, (run, look) in zip(grid, shown.items(), strict=True):
        for column, (axis, end) in enumerate(zip(axes, ends, strict=True)):
            mask = frames.detection_masks[end]
            boxes, weights = frames.detections[end][mask, 1:5], look.boxes[column][mask]
            drawn = [
                {"edgecolor": pictures.BOX, "linewidth": 0.9 + 4 * float(w), "alpha": 0.35 + 0.65 * float(w)}
                for w in weights
            ]
            x, y, w, h = inputs.roi_px(end)
            pictures.frame(axis, inputs.image(end), (x, y, w, h), boxes, drawn, cropped=True)
            width, height_px = axis.get_xlim()[1], axis.get_ylim()[0]
            written = [k for k in np.argsort(boxes[:, 0]) if weights[k] >= 0.05]
            for place, k in enumerate(written):  # above and below in turn: neighbours would cover each other's numbers
                (x1, y1, _, y2), weight = boxes[k], weights[k]
                side = ("bottom", y1) if place % 2 == 0 else ("top", y2)
                at = {"xy": (x1 * width, side[1] * height_px), "va": side[0], "fontsize": 7, "color": "white"}
                axis.annotate(
                    f"{weight:.2f}", **at, bbox={"facecolor": "black", "alpha": 0.55, "pad": 0.8, "linewidth": 0}
                )
            nothing = "" if look.no_object is None else f"no object {look.no_object[column]:.2f}"
            axis.set_title(run if column == 0 else "", fontsize=8, loc="left")
            axis.set_title(nothing, fontsize=7, loc="right", fontweight="normal")
    return figure


def make(params: Analyse, reporting: Reporting, out: Path, inputs: Inputs) -> dict[str, float]:
    frames = inputs.test.frames
    gather = Windows(frames, frames.window_frames)
    starts = telling_windows(inputs, params.attention.frames)
    found, left_out, on_boxes = {}, {}, {}
    for run in inputs.runs:
        network, _ = load_model(inputs.checkpoint(run))
        of = watched_run(inputs, run, network, gather, params.attention.windows)
        if of is None:
            left_out[run] = "an LSTM over telemetry, with the simple encoder: it weighs neither frames nor boxes"
            continue
        found[run] = of
        if len(starts) and (look := looks(network, gather(torch.from_numpy(starts)))).boxes is not None:
            on_boxes[run] = look
    over_time = {run: of for run, of in found.items() if any(group["time"] for group in of["groups"].values())}
    if over_time:
        step_s = float(np.median(np.diff(frames.t_ms))) / 1000
        save(out / "attention_time.png", lambda: time_picture(over_time, step_s))
    if on_boxes:
        save(out / "attention_boxes.png", lambda: boxes_picture(inputs, on_boxes, starts))
    write_json(out / "attention.json", rounded({"runs": found, "left_out": left_out}))
    return {
        f"{run}/{name.replace(' ', '_')}/car_ahead": value
        for run, of in found.items()
        for name, group in of["groups"].items()
        if (value := group.get("boxes", {}).get("car_ahead")) is not None
    }
