"""What a yard costs that holds many recordings of many pictures: `python -m tests.benchmarks size`; or, of other sizes,
`python -m tests.benchmarks.size 16 64`; or a part of it, which leaves the others in the file as they are,
`python -m tests.benchmarks.size yards|steps|pack`.

For each number of recordings of `PICTURES` pictures, brake_coast up to `label` in a copy of this checkout, with a DVC
remote beside it, by what the flow's door does around the steps and by the steps themselves: the first time, with
nothing to do, and after one recording has come. Seconds of CPU, so that a busy machine tells the same; what does not
grow with the yard (imports, Prefect's server, MLflow) is left out. The last lines fit a + b n to each. Then the steps
on pictures of a usual size, and the memory of pack. `python -m tests.figures.size` writes docs/size.md from all of it.

Writes docs/figures/size.json
"""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tasks.yard.files import read_if_there, write_json
from tests.faults.yards import small
from tests.flows.conftest import Yard
from tests.tasks.brake_coast import drives, scenes
from tests.tasks.brake_coast.drives import START_MS, drive

PICTURES = 100
RECORDINGS = (16, 64, 256, 1024)
STAGES = ("code", "brake_coast-download", "brake_coast-label")
ALONE = "from tests.benchmarks.size import run; run()"
RESULT = Path("docs/figures/size.json")
DAY_MS = 86_400_000
STAGE_RECORDINGS, STAGE_PICTURES, SIZE_PX = 3, 60, (640, 192)
PARTS = ("yards", "steps", "pack")
PACKED = (64, 256)  # recordings of 600 rows


def write_recording(source: Path, index: int, pictures: int) -> None:
    """A drive of half seconds in the native layout, one small picture a row; days apart from the others."""
    folder = source / f"drive_{index:05d}"
    folder.mkdir(parents=True)
    table = drive(pictures, seed=index, start_ms=START_MS + index * DAY_MS)
    table.to_csv(folder / "telemetry.csv", index=False)
    rng = np.random.default_rng(index)
    for name in table["Time"]:
        cv2.imwrite(str(folder / f"{name}.jpg"), rng.integers(0, 255, (16, 24, 3), np.uint8))


def most_mb() -> float:
    """The most memory that this program has had: `ru_maxrss` has that of the process which started it too."""
    said = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(re.search(r"^VmHWM:\s+(\d+) kB$", said, re.M)[1]) / 1e3


def cpu_s() -> float:
    now = os.times()
    return now.user + now.system + now.children_user + now.children_system


def run() -> None:
    """What `flows run --until label` does, in this process and without Prefect and MLflow; prints {part: seconds}."""
    from flows.graph import Graph
    from tasks.yard import runner
    from tasks.yard.step import Context

    took: dict[str, float] = {}

    @contextmanager
    def part(what: str) -> Iterator[None]:
        began, began_s = cpu_s(), time.perf_counter()
        yield
        took[what] = took.get(what, 0.0) + cpu_s() - began
        took[f"{what}, clock"] = took.get(f"{what}, clock", 0.0) + time.perf_counter() - began_s

    with part("graph"):
        graph = Graph("brake_coast")
    with part("pull"):
        graph.pull()
    with part("why"):
        [graph.why(name) for name in STAGES]
    for name in STAGES:
        with part("why"):
            reasons = graph.why(name)
        if reasons:
            with graph.claimed(name):
                with part(f"step {name}"):
                    runner.run(name, Context())
                with part(f"record {name}"):
                    graph.record(name)
    with part("push"):
        graph.push()
    took["most memory, MB"] = most_mb()
    print(json.dumps(took))


def parts(yard: Yard) -> dict[str, float]:
    # Not `Yard.call`, which waits for four minutes: the first run of many recordings takes more.
    command = [sys.executable, "-c", ALONE]
    done = subprocess.run(command, cwd=yard.root, env=yard.environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def status_s(yard: Yard) -> float:
    """CPU seconds of `dvc status`, its imports among them."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert yard.dvc("status", *STAGES[1:]).returncode == 0
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    return now.ru_utime + now.ru_stime - before.ru_utime - before.ru_stime


def measure(count: int, pictures: int, folder: Path) -> dict[str, dict[str, float]]:
    """{what is done: {part: seconds}}"""
    yard = small("brake_coast", folder / "yard")
    source = folder / "source"
    for index in range(count):
        write_recording(source, index, pictures)
    yard.dvc("remote", "add", "-d", "beside", str(folder / "remote"))
    yard.edit("params.yaml", "source: synth://highway?recordings=8&minutes=1&seed=0", f"source: {source}")
    found = {"first run": parts(yard), "nothing to do": parts(yard), "dvc status": {"dvc status": status_s(yard)}}
    write_recording(source, count, pictures)
    return {**found, "one new recording": parts(yard)}


def stages(folder: Path) -> dict[str, dict[str, float]]:
    """{step: {"picture_s" or "row_s": seconds of CPU, and bytes}} of a few recordings of `SIZE_PX`."""
    from tasks.brake_coast import annotate, download, label, pack

    source, weights = folder / "source", scenes.write_weights(folder / "own.pt")  # untrained: as fast as trained
    for index in range(STAGE_RECORDINGS):
        drawn = scenes.write_recording(folder / "drawn", f"drive_{index}", STAGE_PICTURES, SIZE_PX)
        table = drives.drive(STAGE_PICTURES, seed=index, start_ms=START_MS + index * DAY_MS)
        place = source / f"drive_{index}"
        place.mkdir(parents=True)
        table.to_csv(place / "telemetry.csv", index=False)
        for time_, path in zip(table["Time"], sorted(drawn.glob("*.jpg")), strict=True):
            path.rename(place / f"{time_}.jpg")
    out = {step: folder / step for step in ("download", "annotate", "label", "pack")}
    asked = {
        "download": {"source": str(source)},
        "annotate": {"weights": str(weights), "device": "cpu", "roi": []},
    }
    calls: dict[str, Callable[[], object]] = {
        "download": lambda: download.run(drives.section("download", **asked["download"]), out["download"]),
        "annotate": lambda: annotate.run(
            drives.section("annotate", **asked["annotate"]), out["annotate"], download=out["download"],
            train_detector=folder,
        ),
        "label": lambda: label.run(drives.section("label"), out["label"], download=out["download"]),
        "pack": lambda: pack.run(
            drives.section("pack"), out["pack"], download=out["download"], annotate=out["annotate"], label=out["label"]
        ),
    }  # fmt: skip
    found, pictures = {}, STAGE_RECORDINGS * STAGE_PICTURES
    for step, call in calls.items():
        began = cpu_s()
        call()
        size_b = sum(path.stat().st_size for path in out[step].rglob("*") if path.is_file())
        found[step] = {"picture_s": (cpu_s() - began) / pictures, "picture_bytes": size_b / pictures}
    return found


def pack_memory(recordings: int, folder: Path) -> float:
    """The most memory of pack over so many recordings of 600 rows, in MB beyond that of its imports."""
    from tasks.brake_coast import label

    for index in range(recordings):
        table = drives.drive(600, seed=index, start_ms=START_MS + index * DAY_MS)
        drives.write_drive(folder / "download", f"drive_{index:05d}", table, annotate=folder / "annotate", seed=index)
    label.run(drives.section("label"), folder / "label", download=folder / "download")
    command = [sys.executable, "-c", f"from tests.benchmarks.size import packed; packed({str(folder)!r})"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def packed(folder: str) -> None:
    from tasks.brake_coast import pack

    before = most_mb()
    read = {step: Path(folder, step) for step in ("download", "annotate", "label")}
    pack.run(drives.section("pack"), Path(folder, "pack"), **read)
    print(most_mb() - before)


def told(took: dict[str, float]) -> float:
    return sum(seconds for part, seconds in took.items() if not part.endswith(("clock", "MB")))


def fit(values: Mapping[int, float]) -> tuple[float, float]:
    """(a, b) of a + b n, by least squares."""
    slope, base = np.polyfit(list(values), list(values.values()), 1)
    return float(base), float(slope)


def fits(rows: dict[int, dict[str, dict[str, float]]]) -> Iterator[str]:
    for what in ("nothing to do", "dvc status", "one new recording"):
        base, slope = fit({count: told(row[what]) for count, row in rows.items()})
        at = {count: base + slope * count for count in (1_000, 10_000)}
        yield (
            f"{what}: {base:.2f} s + {slope * 1000:.2f} ms a recording; if it goes on like that, "
            + ", ".join(f"{seconds:.0f} s at {count:,}" for count, seconds in at.items())
        )


def main(
    tiny: bool = False, counts: Sequence[int] = RECORDINGS, pictures: int = PICTURES, wanted: Collection[str] = PARTS
) -> None:
    """The tiny form has steps alone: yards of three and four recordings take a minute and a half to make and say
    nothing."""
    found: dict[str, Any] = {"size_px": SIZE_PX}
    if "yards" in wanted and not tiny:
        rows: dict[int, dict[str, dict[str, float]]] = {}
        for count in counts:
            with tempfile.TemporaryDirectory() as folder:
                rows[count] = measure(count, pictures, Path(folder))
            said = ", ".join(f"{what} {told(took):.1f} s" for what, took in rows[count].items())
            print(f"{count} recordings of {pictures} pictures: {said} of CPU", flush=True)
        print(*fits(rows), sep="\n")
        found |= {"pictures": pictures, "size": {str(count): row for count, row in rows.items()}}
    if "steps" in wanted:
        with tempfile.TemporaryDirectory() as folder:
            found["steps"] = stages(Path(folder))
        each = (f"{step} {1000 * of['picture_s']:.1f} ms" for step, of in found["steps"].items())
        print(", ".join(each), "of CPU a picture")
    if "pack" in wanted and not tiny:
        found["pack_mb"] = {}
        for count in PACKED:
            with tempfile.TemporaryDirectory() as folder:
                found["pack_mb"][str(600 * count)] = pack_memory(count, Path(folder))
        print("pack: " + ", ".join(f"{mb:.0f} MB for {int(rows):,} rows" for rows, mb in found["pack_mb"].items()))
    if not tiny:
        write_json(RESULT, read_if_there(RESULT) | found)


if __name__ == "__main__":
    words = sys.argv[1:]
    sizes, parts_named = [int(text) for text in words if text.isdigit()], [text for text in words if not text.isdigit()]
    if unknown := set(parts_named) - set(PARTS):
        sys.exit(f"error: {', '.join(sorted(unknown))}: no part of it; there are {', '.join(PARTS)}, and numbers")
    main(counts=sizes or RECORDINGS, wanted=parts_named or PARTS)
