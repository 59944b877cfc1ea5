"""What each run costs: parameters, multiply-accumulates of a window, latency of one window, and the size of its file.

Writes   cost.json    per run the numbers of `costs`, and the machine they were measured on
         cost.png     latency and MACs of every run, and PR-AUC over latency

Latencies differ from one measurement to the next, so these two files are not the same bytes again for the same input.
MACs are those of a window with every slot filled, the most there can be; latency is that of real test windows, one at
a time on one thread, the runs in turn, so that whatever else the machine does meets all of them alike.
"""

from __future__ import annotations

import platform
import time
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from models.brake_coast.factory import Network, build
from tasks.brake_coast.judging.analyses.inputs import Inputs
from tasks.brake_coast.judging.runs import split_name
from tasks.brake_coast.learning.inference import Windows, load_model
from tasks.brake_coast.page import charts
from tasks.brake_coast.params import Analyse
from tasks.yard.files import write_json
from tasks.yard.metrics.rounding import rounded
from tasks.yard.params import Reporting
from tasks.yard.reporting.charts import save

WARM_UP = 10  # windows: the first calls allocate


def macs(network: Network, slots: int) -> int:
    """Multiply-accumulates of one window with every slot filled.

    On torch's meta device: no LSTM hides there in a fused kernel unknown to the counter, and nothing is computed.
    """
    c = network.config
    window = (1, c.window)
    with torch.device("meta"):
        inputs = (
            torch.empty(*window, c.telemetry_dim),
            torch.empty(*window, slots, 6),
            torch.empty(*window, slots, dtype=torch.bool),
        )
        twin = build(c).eval()
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        twin(*inputs)
    return counter.get_total_flops() // 2


@torch.inference_mode()
def latencies_ms(networks: dict[str, Network], windows: list[tuple[Tensor, ...]]) -> dict[str, np.ndarray]:
    """{run: (len(windows))}: each window through each network in turn, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for network in networks.values():
            for window in windows[:WARM_UP]:
                network(*window)
        took: dict[str, list[float]] = {run: [] for run in networks}
        for window in windows:
            for run, network in networks.items():
                began = time.perf_counter()
                network(*window)
                took[run].append(1000 * (time.perf_counter() - began))
    finally:
        torch.set_num_threads(threads)
    return {run: np.array(values) for run, values in took.items()}


def costs(inputs: Inputs, windows: int) -> dict[str, dict[str, float]]:
    """Per run: parameters, macs, latency_ms_p50, latency_ms_p95, checkpoint_bytes."""
    frames, starts = inputs.test.frames, inputs.test.starts
    networks = {run: load_model(inputs.checkpoint(run))[0] for run in inputs.runs}
    gather = Windows(frames, frames.window_frames)
    chosen = starts[np.linspace(0, len(starts) - 1, windows).astype(int)]  # evenly over the drives
    took = latencies_ms(networks, [gather(torch.tensor([start])) for start in chosen.tolist()])
    found = {}
    for run, network in networks.items():
        p50, p95 = np.quantile(took[run], [0.5, 0.95])
        found[run] = {
            "parameters": sum(p.numel() for p in network.parameters()),
            "macs": macs(network, frames.detections.shape[1]),
            "latency_ms_p50": float(p50),
            "latency_ms_p95": float(p95),
            "checkpoint_bytes": inputs.checkpoint(run).stat().st_size,
        }
    return found


def picture(found: dict[str, dict], inputs: Inputs) -> Figure:
    runs, looks = list(found), charts.looks(list(found))
    figure = Figure(figsize=(11, max(3.0, 0.32 * len(runs) + 1.1)))
    axes = figure.subplots(1, 3, width_ratios=(1, 1, 1.1))
    for y, run in enumerate(reversed(runs)):
        cost, colour = found[run], looks[run]["color"]
        dot = {
            "marker": "o",
            "color": colour,
            "markersize": 6,
            "markerfacecolor": "none" if split_name(run)[1] else colour,
        }
        axes[0].hlines(y, cost["latency_ms_p50"], cost["latency_ms_p95"], color=colour, linewidth=2.4, alpha=0.45)
        axes[0].plot(cost["latency_ms_p50"], y, **dot)
        axes[1].barh(y, cost["macs"] / 1e6, color=colour, height=0.55)
        axes[1].text(cost["macs"] / 1e6, y, f" {cost['parameters'] / 1e3:,.0f} k", va="center", fontsize=7.5)
        areas = [of["all"]["pr_auc"] for of in inputs.details[run].values() if of["all"]["pr_auc"] is not None]
        if areas:
            axes[2].plot(cost["latency_ms_p50"], np.mean(areas), **dot)
    axes[0].set(title="latency of one window", xlabel="ms, p50 (dot) to p95; one thread", ylim=(-0.6, len(runs) - 0.4))
    axes[0].set_yticks(range(len(runs)), list(reversed(runs)), fontsize=8)
    axes[1].set(title="work", xlabel="million MACs a window; written: parameters", ylim=(-0.6, len(runs) - 0.4))
    axes[1].set_yticks([])
    axes[1].margins(x=0.18)
    axes[2].set(title="worth", xlabel="ms, p50; hollow: blind", ylabel="mean PR-AUC over tasks, test")
    axes[0].set_xlim(left=0)
    axes[2].set_xlim(0, 1.15 * max(cost["latency_ms_p50"] for cost in found.values()))
    return figure


def make(params: Analyse, reporting: Reporting, out: Path, inputs: Inputs) -> dict[str, float]:
    found = costs(inputs, params.cost.windows)
    machine = {"machine": platform.machine(), "torch": torch.__version__, "threads": 1, "windows": params.cost.windows}
    save(out / "cost.png", lambda: picture(found, inputs))
    write_json(out / "cost.json", rounded({"measured_on": machine, "runs": found}))
    return {f"{run}/{name}": value for run, of in found.items() for name, value in of.items()}
