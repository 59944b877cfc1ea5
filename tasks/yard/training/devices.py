"""A training on several devices of this machine, `yard.machine.devices` of them, as torchrun by hand would do it."""

from __future__ import annotations

import os
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tasks.yard.params import Machine
from tasks.yard.step import BadInput, Context
from tasks.yard.training import torchrun

KEY = "yard.machine.devices"


def wants_company(machine: Machine) -> bool:
    """Are several processes wanted, and nobody has started them yet?"""
    joined = int(os.environ.get("WORLD_SIZE") or os.environ.get("SLURM_NTASKS") or 1) > 1
    if machine.devices == 1 or joined or "WORLD_SIZE" in os.environ:
        return False
    found = torch.cuda.device_count() if machine.accelerator in ("auto", "cuda") else 0
    if found and found < machine.devices:
        raise BadInput(f"{KEY} = {machine.devices}: this machine has {found} GPUs; set it to at most that")
    if machine.accelerator == "mps":
        raise BadInput(f"{KEY} = {machine.devices}: a Mac has one device; set it to 1")
    return True


def fit(work: tuple[Any, ...], processes: int, progress: Callable[..., Any]) -> None:
    """`engine.fit` with these arguments, as far as they are there before the context, in so many processes."""
    with tempfile.TemporaryDirectory(prefix="trainyard-") as folder:
        told = Path(folder, "told")
        told.write_bytes(pickle.dumps(work))
        torchrun.launch(__name__, told, processes, progress)


def take_part(told: Path) -> None:
    from tasks.yard.training import engine

    prepare, params, machine, optimizer, out, until = pickle.loads(told.read_bytes())

    def work(progress: Callable[..., Any]) -> None:
        engine.fit(prepare, params, machine, optimizer, out, Context(progress=progress), until)

    torchrun.part(told, work, (BadInput, engine.Diverged))
