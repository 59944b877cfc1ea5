"""Labels per second, against the straightforward loop over rows: `python -m tests.benchmarks.label`."""

from __future__ import annotations

import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median

import pandas as pd

from tasks.brake_coast import label
from tasks.brake_coast.formats import recording
from tasks.brake_coast.learning.pedal import pedals
from tasks.brake_coast.params import Label
from tests.tasks.brake_coast import drives

ROWS = 3000
REPEATS = 5


def row_loop(folder: Path, out: Path) -> None:
    """As the seed's script works: rows for time, `df.iloc` for every cell (its third column, brake force, is left
    out)."""
    rows = pd.read_csv(folder / "telemetry.csv")
    columns: dict[str, list] = {"Time": rows["Time"].tolist()}
    for h in label.HORIZONS_S:
        cells = {name: [] for name in (f"brake_{h}s", f"coast_{h}s", f"acc_pos_{h}s")}
        for i in range(len(rows)):
            j = i + 2 * h
            ahead = j < len(rows)
            cells[f"brake_{h}s"].append(bool(rows.iloc[j]["BRAKE_SIGNAL"]) if ahead else False)
            cells[f"coast_{h}s"].append(rows.iloc[j]["ACCELERATOR_POS_D"] < 7.5 if ahead else False)
            cells[f"acc_pos_{h}s"].append(rows.iloc[j]["ACCELERATOR_POS_D"] if ahead else 0.0)
        columns |= cells
    pd.DataFrame(columns).to_csv(out / "future_labels.csv", index=False)


def labelled(folder: Path, out: Path, params: Label) -> None:
    """As the stage does it: first the rest of the car's pedal, then the labels."""
    label.label_recording((folder, pedals({folder.name: folder}, params)[folder.name]), out, params=params)


def seconds(work) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def main(tiny: bool = False) -> None:
    count, repeats = (60, 1) if tiny else (ROWS, REPEATS)
    with tempfile.TemporaryDirectory() as scratch:
        folder, out = Path(scratch) / "drive-1", Path(scratch) / "out"
        out.mkdir()
        drives.write_drive(Path(scratch), "drive-1", drives.drive(count))
        params = drives.section("label")
        ours = partial(labelled, folder, out, params)
        loop = partial(row_loop, folder, out)
        pedal = pedals({folder.name: folder}, params)[folder.name]
        bare = partial(label.labels, recording.read_telemetry(folder).rows, pedal, params)
        ours()
        times = [(seconds(ours), seconds(loop), seconds(bare)) for _ in range(repeats)]
    fast, slow, inner = (count / median(column) for column in zip(*times, strict=True))
    print(f"labels, csv to csv     {fast:10,.0f} rows/s   df.iloc loop {slow:10,.0f} rows/s   {fast / slow:6.1f} x")
    print(f"labels, without files  {inner:10,.0f} rows/s")


if __name__ == "__main__":
    main()
