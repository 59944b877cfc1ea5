"""A training whose processes are on nodes of the Ray cluster: each place there is a torchrun of one process, and they
meet at the address of the first. They read and write in this checkout, so that it has to be one disk."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tasks.yard import cluster
from tasks.yard.training import torchrun

log = logging.getLogger(__name__)
TRIES = 3  # as often as a node or a process is lost; each goes on from the last checkpoint


def launch(module: str, told: Path, places: int, gpus: bool, progress: Callable[..., Any]) -> None:
    """As `torchrun.launch`, in so many places of the cluster."""
    heard = told.with_name("heard")
    heard.touch()
    drawing = torchrun.Drawing(progress)
    with heard.open(encoding="utf-8") as lines:
        begun = ""

        def draw() -> None:
            nonlocal begun
            *whole, begun = (begun + lines.read()).split("\n")
            for line in whole:
                drawing.takes(line)

        try:
            for left in reversed(range(TRIES)):
                try:
                    cluster.together(__name__, "take_place", (module, str(told), str(heard)), places, gpus, draw)
                    break
                except cluster.Lost as error:
                    if not left:
                        raise
                    log.warning("%s; the training goes on from its last checkpoint", error)
                    time.sleep(cluster.LOST_S)
        finally:
            drawing.close()


def take_place(number: int, places: int, address: str, port: int, module: str, told: str, heard: str) -> None:
    """On a node: the process of this number."""
    mine = Path(f"{told}.{number}")  # what it refuses lies beside, apart from what the others do
    shutil.copyfile(told, mine)

    def say(line: str) -> None:
        with Path(heard).open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    joins = f"--nnodes={places}", f"--node_rank={number}", f"--master_addr={address}", f"--master_port={port}"
    torchrun.launch(module, mine, 1, partial(torchrun.Telling, say), joins)
