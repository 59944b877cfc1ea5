"""A training on several devices, `yard.machine.devices` of them: of this machine, as torchrun by hand would do it, or
of nodes of the cluster that TRAINYARD_RAY names, if this machine has fewer."""

from __future__ import annotations

import logging
import os
import pickle
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from tasks.yard.files import digest
from tasks.yard.params import Machine
from tasks.yard.ray_address import told as cluster_told
from tasks.yard.step import BadInput, Context, cores
from tasks.yard.training import torchrun

log = logging.getLogger(__name__)
KEY = "yard.machine.devices"
SHARED = Path(".trainyard")  # in the checkout, which nodes share


def wants_company(machine: Machine) -> bool:
    """Are several processes wanted, and nobody has started them yet?"""
    joined = int(os.environ.get("WORLD_SIZE") or os.environ.get("SLURM_NTASKS") or 1) > 1
    if machine.devices == 1 or joined or "WORLD_SIZE" in os.environ:
        return False
    if machine.accelerator == "mps":
        raise BadInput(f"{KEY} = {machine.devices}: a Mac has one device; set it to 1")
    return True


def fit(work: tuple[Any, ...], machine: Machine, progress: Callable[..., Any]) -> None:
    """`engine.fit` with these arguments, as far as they are there before the context, in so many processes."""
    count = machine.devices
    found = torch.cuda.device_count() if machine.accelerator in ("auto", "cuda") else 0
    away = kind_away(machine, found) if count > (found or cores()) and cluster_told() else None
    if found and found < count and away is None:
        raise BadInput(f"{KEY} = {count}: this machine has {found} GPUs; set it to at most that")
    with _folder(work[4], shared=away is not None) as folder:
        told = Path(folder, "told")
        told.write_bytes(pickle.dumps(work))
        if away:
            from tasks.yard.training import nodes  # Ray, which takes a second to import

            log.info("this training goes to %d %ss of Ray at %s", count, away, cluster_told())
            nodes.launch(__name__, told, count, away == "GPU", progress)
        else:
            torchrun.launch(__name__, told, count, progress)


@contextmanager
def _folder(out: Path, shared: bool) -> Iterator[Path]:
    """For what the processes are told; in the checkout it has the name of what is trained, so that who takes up the
    training of a driver that was killed clears it away."""
    if not shared:
        with tempfile.TemporaryDirectory(prefix="trainyard-") as name:
            yield Path(name)
        return
    folder = SHARED / f"training-{digest(str(out))}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def kind_away(machine: Machine, found: int) -> str | None:
    """What the cluster has enough of for such a training: "GPU", or "CPU" where this machine has no GPU either."""
    from tasks.yard import cluster

    there = cluster.places()
    if machine.accelerator in ("auto", "cuda") and there["GPU"] >= machine.devices:
        return "GPU"
    wants_gpus = found or machine.accelerator == "cuda"
    return "CPU" if not wants_gpus and there["CPU"] >= machine.devices else None


def take_part(told: Path) -> None:
    from tasks.yard.training import engine

    prepare, params, machine, optimizer, out, until = pickle.loads(told.read_bytes())

    def work(progress: Callable[..., Any]) -> None:
        engine.fit(prepare, params, machine, optimizer, out, Context(progress=progress), until)

    torchrun.part(told, work, (BadInput, engine.Diverged))
