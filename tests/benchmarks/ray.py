"""What it costs to send work to Ray, against this machine's own processes: tasks a second, seconds a recording."""

from __future__ import annotations

import importlib.util
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median

from tasks.brake_coast import label
from tasks.yard.ray_address import VARIABLE
from tasks.yard.step import Context, cores
from tasks.yard.workers import processes
from tests.tasks.brake_coast import drives

ROWS, DRIVES, TASKS, REPEATS = 3000, 12, 400, 3
STARTS = 4  # on a busy machine Ray's own start fails now and then


def nothing(item: int) -> int:
    return item


def tasks(count: int) -> float:
    names = [str(number) for number in range(count)]
    begin = time.perf_counter()
    assert len(list(processes(nothing, range(count), names=names))) == count
    return time.perf_counter() - begin


def recordings(download: Path) -> float:
    with tempfile.TemporaryDirectory() as out:
        begin = time.perf_counter()
        label.run(drives.section("label"), Path(out), Context(map=processes), download=download)
        return time.perf_counter() - begin


def on_ray(address: str, work) -> float:
    os.environ[VARIABLE] = address
    try:
        return work()
    finally:
        del os.environ[VARIABLE]


@contextmanager
def cluster(apart: bool) -> Iterator[str]:
    """The address of one with as many workers as there would be processes: those of the driver's node, or of one of its
    own beside it, with an object store of its own and no worker where the driver is."""
    import ray
    from ray.cluster_utils import Cluster

    os.environ.setdefault("RAY_worker_niceness", "0")
    node = {"num_cpus": cores(), "object_store_memory": 80_000_000}
    for left in reversed(range(STARTS)):
        try:
            made = Cluster(initialize_head=True, head_node_args={**node, "num_cpus": 0} if apart else node)
            if apart:
                made.add_node(**node)
            break
        except Exception:
            if not left:
                raise
            time.sleep(2)
    try:
        yield made.address
    finally:
        ray.shutdown()
        made.shutdown()


def main(tiny: bool = False) -> None:
    if importlib.util.find_spec("ray") is None:
        print("needs Ray: requirements/cluster.in")
        return
    rows, count, many, repeats = (60, 3, 8, 1) if tiny else (ROWS, DRIVES, TASKS, REPEATS)
    os.environ.pop(VARIABLE, None)
    with tempfile.TemporaryDirectory() as download:
        for number in range(count):
            drives.write_drive(Path(download), f"drive-{number}", drives.drive(rows))
        for apart, place in ((False, "Ray on this machine"), (True, "Ray with a node of its own")):
            with cluster(apart) as address:
                for name, work, units in (
                    ("tasks that do nothing", partial(tasks, many), many),
                    ("labels of a recording", partial(recordings, Path(download)), count),
                ):
                    on_ray(address, work)  # its workers have imported by then; our own processes begin each time
                    times = [(work(), on_ray(address, work)) for _ in range(repeats)]
                    here, there = (median(column) / units for column in zip(*times, strict=True))
                    print(
                        f"{name}   {cores()} processes {1 / here:7,.0f}/s, {here:.4f} s each   "
                        f"{place} {1 / there:7,.0f}/s, {there:.4f} s each   Ray {here / there:.2f} x as fast"
                    )


if __name__ == "__main__":
    main()
