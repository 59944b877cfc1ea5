"""Writes the tables of docs/size.md from docs/figures/size.json, which `python -m tests.benchmarks size` measures.

python -m tests.figures.size
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tasks.yard.files import read_if_there
from tasks.yard.reporting.pages import markdown
from tasks.yard.step import BadInput
from tests.benchmarks.size import RESULT, fit, told
from tests.figures import tables

PAGE = Path("docs/size.md")
SIZES = (100, 10_000, 1_000_000)
PICTURES = 600  # of a recording: five minutes at 2 Hz
NODE_CORES, HEAD_GB, NIGHT_H = 16, 16, 8
PUSHED = {
    "first run": "sending all of it to a DVC remote (a folder), the first time",
    "one new recording": "sending one new recording there, a part of the run above",
}
DONE = {"nothing to do": "a run with nothing to do", "one new recording": "a run after one recording has come"}


def shown_s(seconds: float) -> str:
    if seconds < 600:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:,.0f} h"


def costs(found: Mapping[str, Any]) -> str:
    """What the yard costs around the steps, measured and beyond."""
    rows = {n: found["size"][str(n)] for n in sorted(map(int, found["size"]))}
    took = {name: {n: told(row[what]) for n, row in rows.items()} for what, name in DONE.items()}
    for what, name in PUSHED.items():
        if all("push" in row.get(what, {}) for row in rows.values()):
            took[name] = {n: row[what]["push"] for n, row in rows.items()}
    took["`dvc status` of two stages"] = {n: told(row["dvc status"]) for n, row in rows.items()}
    cells = [["seconds of CPU", *(f"{n:,} recordings" for n in rows), "fit", *(f"then at {n:,}" for n in SIZES[1:])]]
    for name, values in took.items():
        base, slope = fit(values)
        beyond = [shown_s(base + slope * n) for n in SIZES[1:]]
        cells.append([name, *(f"{v:.1f}" for v in values.values()), f"{base:.1f} + {1000 * slope:.1f} ms n", *beyond])
    return markdown(cells)


def steps(found: Mapping[str, Any]) -> str:
    """What a recording of `PICTURES` pictures costs in each step."""
    width, height = found["size_px"]
    cells = [["step", f"CPU a recording ({PICTURES} pictures of {width} x {height})", "on disk"]]
    for step, of in found["steps"].items():
        cells.append([step, f"{PICTURES * of['picture_s']:.1f} s", f"{PICTURES * of['picture_bytes'] / 1e6:.1f} MB"])
    return markdown(cells)


def plan(found: Mapping[str, Any]) -> str:
    """The engine and the stores that these costs ask for, and what is too small next."""
    a_recording = sum(PICTURES * of["picture_s"] for of in found["steps"].values())
    bytes_each = sum(PICTURES * of["picture_bytes"] for of in found["steps"].values())
    rows = {n: found["size"][str(n)] for n in sorted(map(int, found["size"]))}
    base, slope = fit({n: told(row["one new recording"]) for n, row in rows.items()})
    memory = fit({int(n): mb for n, mb in found["pack_mb"].items()})
    cells = [["", *(f"{n:,} recordings" for n in SIZES)]]
    first_h = {n: a_recording * n / 3600 for n in SIZES}
    nodes = {n: int(np.ceil(first_h[n] / NIGHT_H / NODE_CORES)) for n in SIZES}
    cells.append(["download to pack of all, the first time, on one core", *(f"{first_h[n]:,.1f} h" for n in SIZES)])
    cells.append([f"nodes of {NODE_CORES} cores for that in {NIGHT_H} h", *(f"{nodes[n]:,}" for n in SIZES)])
    night = "flow, download and label of a night with one new recording"
    cells.append([night, *(shown_s(base + slope * n) for n in SIZES)])
    cells.append(["data and DVC's cache (one copy by links)", *(f"{bytes_each * n / 1e9:,.0f} GB" for n in SIZES)])
    pack_gb = {n: (memory[0] + memory[1] * PICTURES * n) / 1e3 for n in SIZES}
    cells.append(["memory of pack", *(f"{gb:,.1f} GB" for gb in pack_gb.values())])
    engine = {n: "local processes" if nodes[n] <= 1 else f"Ray, {nodes[n]:,} nodes" for n in SIZES}
    cells.append(["engine", *engine.values()])
    team = {n: nodes[n] > 1 or bytes_each * n > 2e12 for n in SIZES}
    cells.append(["store", *("Postgres and S3" if team[n] else "embedded; a folder as DVC remote" for n in SIZES)])
    cells.append(["next limit", *(limit(nodes[n], pack_gb[n], base + slope * n) for n in SIZES)])
    return markdown(cells)


def limit(nodes: int, pack_gb: float, night_s: float) -> str:
    """What is too small first, as the yard is now."""
    if pack_gb > HEAD_GB:
        return (
            f"pack and training hold all frames: more than the {HEAD_GB} GB of a machine; cut the line by season or car"
        )
    if night_s > 3600:
        return "the head looks through all recordings for an hour before it works: several lines, one a fleet"
    if nodes > 1:
        return "the source: one node reads and hashes it; put it where all nodes read"
    return "the time of training, which grows with the windows: `devices`, or a GPU"


def blocks(found: Mapping[str, Any]) -> dict[str, str]:
    return {"costs": costs(found), "steps": steps(found), "plan": plan(found)}


def main() -> int:
    found = read_if_there(RESULT)
    if not found:
        print(f"error: {RESULT}: no such file; `python -m tests.benchmarks size` measures it", file=sys.stderr)
        return 1
    try:
        tables.write(PAGE, blocks(found))
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
