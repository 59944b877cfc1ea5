"""Every benchmark goes through, on so little that its figures mean nothing. What they print is no test's business."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.__main__ import LONG, TAKES_MIN

ROOT = Path(__file__).parents[1]
RATIO = r"\d ?x\b"  # as in "2.4 x"
EXPECTED = dict.fromkeys([*TAKES_MIN, "bike_parts", "coco", "joint", "open_loop_driving", "quality", "tune"], RATIO) | {
    "gpu": "needs one|TFLOP/s",
    "overhead": "needs a whole flow",
    "rates": r"3 Hz against 4 Hz +brake_1s +median 0\.\d+",
    "size": r"pack \d.* of CPU a picture",
    "ray": rf"{RATIO}|needs Ray",
}


def run(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "tests.benchmarks", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}  # tests run side by side
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


def test_make_bench_knows_every_benchmark_and_stays_below_25_minutes():
    there = {path.stem for path in (ROOT / "tests/benchmarks").glob("*.py") if not path.stem.startswith("_")}
    assert there == {*TAKES_MIN, *LONG} and not {*TAKES_MIN} & {*LONG}
    assert sum(TAKES_MIN.values()) < 25


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.cluster) if n == "ray" else n for n in sorted(EXPECTED)]
)
def test_each_goes_through(name, capsys):
    """In this process, as one by one under `python -m tests.benchmarks`: imports take longest."""
    importlib.import_module(f"tests.benchmarks.{name}").main(tiny=True)
    said = capsys.readouterr().out
    assert re.search(EXPECTED[name], said), said


@pytest.mark.slow
def test_one_that_fails_is_named_and_does_not_stop_the_others(tmp_path):
    """Where there is no params.yaml `joint` fails; `overhead` reads none of it."""
    found = run("--tiny", "joint", "overhead", cwd=tmp_path)
    assert found.returncode == 1 and "failed: joint" in found.stderr
    assert re.search(r"-- joint: \d+ s", found.stdout) and "needs a whole flow" in found.stdout
