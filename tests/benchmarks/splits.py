"""Which groups train, validate and test: the search, and what else looks over all recordings of a source:
`python -m tests.benchmarks splits`.

The named alternative is the search that stood here before: every pair of groups at once, whole assignments in one
array. Its memory grows with the third power of the groups, so that it runs up to 129 of them only. Errors are those of
`tasks/brake_coast/learning/splits.py`, of the same random counts; memory is what Python and numpy allocated at most.
"""

from __future__ import annotations

import tempfile
import time
import tracemalloc
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median

import numpy as np

from tasks.bike_parts.learning import stratified
from tasks.bike_parts.params import Split as Bikes
from tasks.brake_coast.importers import drives as brake_coast
from tasks.brake_coast.learning import pedal, splits
from tasks.brake_coast.learning.belonging import same_frames
from tasks.brake_coast.learning.features import Drive
from tasks.ground_plane.importers import units as ground_plane
from tasks.open_loop_driving.learning import splits as routes
from tasks.open_loop_driving.params import Pack as Routes
from tasks.person_search.importers import units as person_search
from tasks.yard.applying import quiet
from tasks.yard.layouts import groups as names
from tasks.yard.sources import units
from tests import sections
from tests.tasks.brake_coast import drives

GROUPS = (16, 129, 1_000, 10_000)
SEEDS = 3
SHARES = (0.64, 0.18, 0.18)
LARGEST_OF_PAIRS = 129
RECORDINGS = (16, 256, 4_096)


def counts(groups: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Windows, positives and known labels of four tasks, as drives of different lengths and drivers have them."""
    rng = np.random.default_rng(seed)
    windows = rng.integers(50, 2000, groups)
    known = (windows[:, None] * rng.uniform(0.8, 1, (groups, 4))).astype(int)
    return windows, (known * rng.beta(1, 12, (groups, 4))).astype(int), known


class Pairs(splits.Search):
    """Steepest descent over all moves and all swaps, each neighbour a whole assignment."""

    def local(self, seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        starts = [rng.choice(3, size=len(self.counts), p=self.shares) for _ in range(splits.RESTARTS)]
        return min(map(self.descend, starts), key=lambda end: (self.score(end), tuple(end)))

    def descend(self, assignment: np.ndarray) -> np.ndarray:
        groups = len(assignment)
        moves = np.arange(2 * groups)
        left, right = np.triu_indices(groups, 1)
        swaps = np.arange(len(left))
        score = self.score(assignment)
        while True:
            moved = np.repeat(assignment[None], 2 * groups, axis=0)
            moved[moves, moves % groups] = np.concatenate([assignment + 1, assignment + 2]) % 3
            swapped = np.repeat(assignment[None], len(left), axis=0)
            swapped[swaps, left], swapped[swaps, right] = assignment[right], assignment[left]
            near = np.concatenate([moved, swapped])
            scores = self.scores(self.sums(near, self.counts))
            best = int(scores.argmin())
            if scores[best] >= score - 1e-12:
                return assignment
            assignment, score = near[best], scores[best]


def searched(kind: type[splits.Search], groups: int, seed: int) -> tuple[float, float]:
    """(error, CPU seconds)."""
    search = kind(np.column_stack(counts(groups, seed)), np.array(SHARES), np.zeros((3, 9)))
    begin = time.process_time()
    error = search.score(search.local(seed))
    return error, time.process_time() - begin


def peak_mb(work: Callable[[], object]) -> float:
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def search(sizes: tuple[int, ...]) -> None:
    print(f"{'groups':>8}  {'search':12}{'CPU s':>8}{'peak MB':>9}   error: median (worst) of {SEEDS} seeds")
    for count in sizes:
        needed = {}
        for kind, title in ((splits.Search, "ours"), (Pairs, "all pairs")):
            if kind is Pairs and count > LARGEST_OF_PAIRS:
                print(f"{count:8}  {title:12}{'-':>8}{'-':>9}   grows with the third power")
                continue
            runs = [searched(kind, count, seed) for seed in range(SEEDS)]
            errors, seconds = zip(*runs, strict=True)
            needed[kind] = median(seconds)
            memory = peak_mb(lambda kind=kind, count=count: searched(kind, count, 0))
            print(
                f"{count:8}  {title:12}{needed[kind]:8.2f}{memory:9.1f}   {median(errors):.5f} ({max(errors):.5f})"
                + (f"   {needed[Pairs] / needed[splits.Search]:5.1f} x" if kind is Pairs else "")
            )


def cut_drives(count: int, copies: bool) -> list[Drive]:
    """Of 60 frames each, all different or all the same."""
    found = []
    for number in range(count):
        telemetry = np.random.default_rng(0 if copies else number).random((60, 4)) + 1
        t_ms = np.arange(60) * 500 + (0 if copies else number) * 10**7
        empty = np.zeros((60, 0))
        found.append(Drive(f"{number}", f"{number}", telemetry, empty, empty, empty, t_ms, empty, empty, {}, []))
    return found


def write(root: Path, *files: str) -> None:
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("names: [person]\ntrain: images/train\n" if path.suffix == ".yaml" else "Time,SPEED\n")


def native(root: Path, count: int) -> None:
    write(root, *(f"d-{number:05}/telemetry.csv" for number in range(count)))


def yolo(root: Path, count: int) -> None:
    write(root, *(f"s{n:05}/{file}" for n in range(count) for file in ("data.yaml", "images/train/a.jpg")))


def cameras(root: Path, count: int) -> None:
    write(root, *(f"cameras/c{number}/0.jpg" for number in range(count)))


def marmot(root: Path, count: int) -> None:
    inner = "0-calibration/calibs/cam1.json", "1-annotation/labels/train/a_0.json", "1-annotation/train/cam1/cam1_0.png"
    write(root, *(f"m{number:05}/{file}" for number in range(count) for file in inner))


def of_folder(make: Callable[[Path, int], None], look: Callable[[Path], object]) -> Callable[[int], float]:
    def seconds(count: int) -> float:
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder), count)
            begin = time.process_time()
            look(Path(folder))
            return time.process_time() - begin

    return seconds


def of_names(count: int) -> float:
    first = datetime(2025, 1, 1)
    films = [(first + timedelta(minutes=10 * n)).strftime("%Y%m%d_%H%M%S_NF") for n in range(count)]
    begin = time.process_time()
    names.groups(films)
    names.runs(films)
    return time.process_time() - begin


def of_drives(copies: bool) -> Callable[[int], float]:
    def seconds(count: int) -> float:
        cut = cut_drives(count, copies)
        begin = time.process_time()
        same_frames(cut, 20)
        return time.process_time() - begin

    return seconds


def of_pedals(count: int) -> float:
    """Drives of 120 replies; half of them show no rest."""
    rng = np.random.default_rng(0)
    codes = np.clip(rng.normal(40, 8, (count, 120)), 17, 100)
    codes[::2, :20] = 16.08
    found = [pedal.Drive("one folder", [str(number)], mine) for number, mine in enumerate(codes.round(1))]
    params = drives.section("label")
    begin = time.process_time()
    with quiet("tasks"):
        pedal.of_drives(found, params)
    return time.process_time() - begin


STATES = (0.7, 0.06, 0.15, 0.09)  # of a part: intact, damaged, missing, covered


def of_rides(count: int) -> float:
    """Two photographs of each bike, with 22 parts in four states."""
    params = Bikes.model_validate(sections.values("bike_parts", "split"))
    states = np.random.default_rng(0).multinomial(2, STATES, (count, 22)).reshape(count, -1)
    shares = np.array([1 - params.shares.val - params.shares.test, params.shares.val, params.shares.test])
    begin = time.process_time()
    stratified.deal(states, np.full(count, 2), np.full(count, -1), shares, params.seed, params.swaps)
    return time.process_time() - begin


def of_routes(count: int) -> float:
    """Of 60 frames in eight towns."""
    params = Routes.model_validate(sections.values("open_loop_driving", "pack"))
    names = [f"r{number:05}" for number in range(count)]
    begin = time.process_time()
    parts, _ = routes.parts_of({name: range(60) for name in names}, params)
    of, _ = routes.split_routes({name: f"Town{n % 8:02}" for n, name in enumerate(names)}, parts, {}, params)
    routes.chosen({name: (f"Town{n % 8:02}", 60) for n, name in enumerate(names)}, of, params)
    return time.process_time() - begin


def passed_over(root: Path) -> object:
    return units.passed_over(root, ground_plane.known_in(ground_plane.plan(root, str(root))))


LOOKS: dict[str, Callable[[int], float]] = {
    "brake_coast: drives of a source": of_folder(
        native, lambda root: brake_coast.plan(root, drives.section("download"))
    ),
    "brake_coast: copies among different drives": of_drives(copies=False),
    "brake_coast: copies among copies": of_drives(copies=True),
    "brake_coast: where pedals rest": of_pedals,
    "person_search: data sets of a source": of_folder(yolo, lambda root: person_search.plan(root, str(root), set())),
    "person_search: cameras of a source": of_folder(cameras, lambda root: person_search.plan(root, str(root), set())),
    "ground_plane: sequences, files passed over": of_folder(marmot, passed_over),
    "bike_parts: bikes dealt out to splits": of_rides,
    "open_loop_driving: routes of towns": of_routes,
    "all lines: groups and runs by name": of_names,
}


def main(tiny: bool = False) -> None:
    search(GROUPS[:1] if tiny else GROUPS)
    sizes = RECORDINGS[:1] if tiny else RECORDINGS
    print(f"\nCPU s of looking over so many recordings{'':4}" + "".join(f"{count:>9,}" for count in sizes))
    for title, seconds in LOOKS.items():
        print(f"{title:44}" + "".join(f"{seconds(count):9.3f}" for count in sizes), flush=True)


if __name__ == "__main__":
    main()
