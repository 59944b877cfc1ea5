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


def started() -> int:
    """How many processes share a training, as torchrun tells each of them, or srun in its step: outside of one
    SLURM_NTASKS is that of the allocation, where nobody has started the others."""
    in_step = "SLURM_STEP_NUM_TASKS" in os.environ
    return int(os.environ.get("WORLD_SIZE") or (in_step and os.environ.get("SLURM_NTASKS")) or 1)


def wants_company(machine: Machine) -> bool:
    """Are several processes wanted, and nobody has started them yet?"""
    if machine.devices == 1 or started() > 1 or "WORLD_SIZE" in os.environ:
        return False
    if machine.accelerator == "mps":
        raise BadInput(f"{KEY} = {machine.devices}: a Mac has one device; set it to 1")
    return True


def fit(work: tuple[Any, ...], machine: Machine, out: Path, progress: Callable[..., Any]) -> None:
    """`engine.fit` with these arguments, as far as they are there before the context, in so many processes. `out` is
    what they train."""
    count, away = machine.devices, kind_away(machine)
    with _folder(out, shared=away is not None) as folder:
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


def kind_away(machine: Machine) -> str | None:
    """What of the cluster's the training goes to: "GPU", or "CPU" if no GPU is wanted and this machine has fewer cores;
    None if it stays. Raises `BadInput` for too few GPUs."""
    wants_gpus = machine.accelerator in ("auto", "cuda")
    found = torch.cuda.device_count() if wants_gpus else 0
    if found >= machine.devices:
        return None
    if cluster_told():
        from tasks.yard import cluster

        there = cluster.places()
        if wants_gpus and there["GPU"] >= machine.devices:
            return "GPU"
        if not found and machine.accelerator != "cuda" and cores() < machine.devices <= there["CPU"]:
            return "CPU"
    if found or machine.accelerator == "cuda":
        raise BadInput(f"{KEY} = {machine.devices}: this machine has {found} GPUs; set it to at most that")
    return None


def take_part(told: Path) -> None:
    from tasks.yard.training import engine

    prepare, params, machine, optimizer, out, until = pickle.loads(told.read_bytes())

    def work(progress: Callable[..., Any]) -> None:
        engine.fit(prepare, params, machine, optimizer, out, Context(progress=progress), until)

    torchrun.part(told, work, (BadInput, engine.Diverged))
