"""Which routes of a pack train a network, or why none do: asked by train, and by teacher before it trains for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tasks.open_loop_driving.formats import pack as packed
from tasks.open_loop_driving.learning import suited
from tasks.open_loop_driving.learning.batches import told_of
from tasks.open_loop_driving.learning.drives import Drives
from tasks.open_loop_driving.params import Train
from tasks.yard.params import Machine
from tasks.yard.step import BadInput

BLIND_RATE = 2e-3


@dataclass(frozen=True)
class Routes:
    """Those of training and of validation that a network can use, and what of them it is to see and be told."""

    train: Drives
    val: Drives
    cameras: list[str]
    told: list[str]


def section_of(params: Train, name: str) -> Train:
    """The blind network has its own epochs and rate."""
    if name != "blind":
        return params
    own = {"epochs": params.blind_epochs, "accumulate": 1}
    return params.model_copy(
        update={
            "engine": params.engine.model_copy(update=own),
            "optimizer": params.optimizer.model_copy(update={"learning_rate": BLIND_RATE}),
        }
    )


def routes(params: Train, machine: Machine, name: str, pack: Path, processes: int) -> Routes:
    """`params`: what `section_of` gave. Raises `BadInput` where no batch can be made of them."""
    if machine.cuda_graph:
        raise BadInput("yard.machine.cuda_graph: this line's moments have sweeps of any length; set it to false")
    whole, manifest = Drives(pack, suited.EVERY), pack / packed.MANIFEST
    if params.steps > (reach := packed.manifest(pack)["horizon"]):
        raise BadInput(
            f"{manifest}: windows reach {reach} steps ahead, and open_loop_driving.train.steps = {params.steps}; raise "
            "open_loop_driving.pack.horizon"
        )
    if why := suited.unsuited(whole, name, params.cameras):
        raise BadInput(f"{manifest}: {name} cannot be trained: {why}")
    cameras = suited.eyes(whole, name, params.cameras)
    learn, held = (suited.suited(Drives(pack, (split,)), name, cameras) for split in ("train", "val"))
    if not learn.routes:
        raise BadInput(f"{manifest}: no route to train on; check_data says which were left out, and why")
    batch, accumulate = params.engine.batch, params.engine.accumulate
    if len(learn.windows) < batch:
        raise BadInput(
            f"{manifest}: {len(learn.windows)} moments to train on fill no batch; add routes, or lower "
            "open_loop_driving.train.engine.batch"
        )
    if batch % (processes * accumulate):
        raise BadInput(
            f"open_loop_driving.train.engine.batch: {batch} moments cannot be shared evenly by {processes} "
            f"processes x {accumulate} micro-batches"
        )
    return Routes(learn, held, cameras, told_of(suited.suited(whole, name, cameras)))
