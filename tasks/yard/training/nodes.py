"""A training whose processes are on nodes of the Ray cluster: each place there is a torchrun of one process, and they
meet at the address of the first. They read and write in this checkout, so that it has to be one disk."""

from __future__ import annotations

import contextlib
import logging
import shutil
import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tasks.yard import cluster
from tasks.yard.training import torchrun

log = logging.getLogger(__name__)
TRIES = 3  # in all, if nodes or processes are lost; each goes on from the last checkpoint
TELL_S = 0.5  # between two writes of what the first process tells: on a shared disk each costs a step's time


def launch(module: str, told: Path, places: int, gpus: bool, progress: Callable[..., Any]) -> None:
    """As `torchrun.launch`, in so many places of the cluster."""
    for left in reversed(range(TRIES)):
        heard = told.with_name(f"heard-{left}")
        heard.touch()
        drawing = torchrun.Drawing(progress)
        with heard.open(encoding="utf-8") as lines:
            draw = partial(_draw, lines.read, drawing, [""])
            try:
                cluster.together(__name__, "take_place", (module, str(told), str(heard)), places, gpus, draw)
                return
            except cluster.Lost as error:
                if not left:
                    raise
                log.warning("%s; the training goes on from its last checkpoint", error)
                time.sleep(cluster.LOST_S)
            finally:
                drawing.close()


def _draw(read: Callable[[], str], drawing: torchrun.Drawing, begun: list[str]) -> None:
    *whole, begun[0] = (begun[0] + read()).split("\n")
    for line in whole:
        with contextlib.suppress(ValueError):  # cut off with its writer
            drawing.takes(line)


def take_place(number: int, places: int, address: str, port: int, module: str, told: str, heard: str) -> None:
    """On a node: the process of this number."""
    mine = Path(f"{told}.{number}")  # what it refuses lies beside, apart from what the others do
    shutil.copyfile(told, mine)
    waiting: list[str] = []
    written_at = 0.0

    def write() -> None:
        nonlocal written_at
        with Path(heard).open("a", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in waiting)
        waiting.clear()
        written_at = time.monotonic()

    def say(line: str) -> None:
        waiting.append(line)
        if time.monotonic() - written_at > TELL_S:
            write()

    joins = f"--nnodes={places}", f"--node_rank={number}", f"--master_addr={address}", f"--master_port={port}"
    try:
        torchrun.launch(module, mine, 1, partial(torchrun.Telling, say), joins)
    except torchrun.Killed:
        raise cluster.Lost(f"a process of the training, on {socket.gethostname()}, was killed") from None
    finally:
        if waiting:
            write()
