"""A long table is read without a multiple of itself in memory, and one that is too large is named."""

from __future__ import annotations

import tracemalloc

import pytest

from tasks.brake_coast.formats import tables
from tasks.yard.step import BadInput

ROWS = 24_000
NAMES = ["Time", "Speed", "RPM"]


@pytest.mark.slow
def test_a_long_table_takes_little_memory_and_keeps_the_place_of_its_damaged_rows(tmp_path):
    path = tmp_path / "telemetry.csv"
    lines = [
        f"2025-04-03_12-{i // 60 % 60:02d}-{i % 60:02d}.{i % 1000:03d},{i % 130}.5,{i % 6000}" for i in range(ROWS)
    ]
    lines[ROWS - 5] = "2025-04-03_13-00-00.000,1,2,3"
    path.write_text("\n".join(["Time,Speed,RPM", *lines]) + "\n2025-04-03_13")
    tracemalloc.start()
    read = tables.read_table(path, NAMES, "Time")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * path.stat().st_size  # 20 times as lists of cells
    assert len(read.cells) == ROWS + 1 and read.damaged == 2  # a row with too many cells, and the one cut off
    assert read.cells["Time"][ROWS - 5] == read.cells["Time"][ROWS] == tables.DAMAGED
    assert read.cells.iloc[12_001].tolist() == lines[12_001].split(",")


def test_of_columns_that_nobody_asks_for_nothing_is_kept(tmp_path):
    path = tmp_path / "log.csv"
    others = ",".join(f"SENSOR_{n}" for n in range(60))
    lines = [f"{i},{i % 130},{','.join(f'{i * n % 997}.25' for n in range(60))},{i % 6000}" for i in range(1_500)]
    path.write_text("\n".join([f"Time,Speed,{others},RPM", *lines, "1,2,3\0"]))
    sizes = {}
    for alone in (False, True):
        read = tables.read_table(path, NAMES, "Time", alone=alone)
        sizes[alone] = read.cells.memory_usage(deep=True).sum()  # of text, which Arrow keeps, tracemalloc knows nothing
    assert (
        list(read.cells) == NAMES
        and len(read.names) == 63
        and read.cells.iloc[1_000].tolist() == ["1000", "90", "1000"]
    )
    assert sizes[True] < sizes[False] / 5


def test_a_table_that_is_too_large_is_named(tmp_path, monkeypatch):
    path = tmp_path / "telemetry.csv"
    path.write_text("Time,Speed,RPM\n" + "2025-04-03_12-00-00,1,2\n" * 100)
    monkeypatch.setattr(tables, "MOST_MB", 0.001)
    with pytest.raises(BadInput, match=r"telemetry\.csv: 0 MB in one table; split it"):
        tables.read_table(path, NAMES, "Time")
