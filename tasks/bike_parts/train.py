"""Train one network to find the parts of a bike and to tell the state of each.

Reads    split/{train,val}_coco.json and the photographs in download/
Writes   train/<network>/best.pt, last.pt (and .json beside each), history.jsonl and curves.png
Alone    python -m tasks bike_parts-train@<network>

A killed run goes on where it stopped. best.pt is the epoch with the highest mean of AP50 and macro-F1 of states on
validation. Beside them stands the loss of validation: boxes are drawn as in training, by one seed, and norms and
dropout are as in use. An absent part has the box where it would be, and is learnt as a box whose state is absent.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from models.bike_parts.closer import Close
from models.bike_parts.factory import States, Use, build
from tasks.bike_parts.formats import photos as photos_of
from tasks.bike_parts.formats.detections import gathered
from tasks.bike_parts.formats.photos import Photos
from tasks.bike_parts.judging.chosen import scored
from tasks.bike_parts.learning import network as networks
from tasks.bike_parts.learning import served, start
from tasks.bike_parts.learning.augment import augment
from tasks.bike_parts.learning.balance import balance
from tasks.bike_parts.learning.batches import Photographs, normalised
from tasks.bike_parts.params import Train
from tasks.yard.files import digest, file_hash
from tasks.yard.params import Machine
from tasks.yard.step import BadInput, Context
from tasks.yard.training import engine, history
from tasks.yard.training.across import with_common_statistics
from tasks.yard.training.learnt import Item, learnt_from
from tasks.yard.training.sampling import seed_of, shuffled

log = logging.getLogger(__name__)


class Judge:
    """AP50, macro-F1 of states and the loss over the photographs of validation."""

    def __init__(self, photos: Photos, held: Photographs, params: Train, where: Path):
        self.photos, self.held, self.seed = photos, held, params.engine.seed
        self.size = networks.CPU_PHOTOS if held.device.type == "cpu" else networks.GPU_PHOTOS
        if not len(photos.part):
            log.warning("%s: validation has nothing to find: the last epoch is kept", where)

    def __call__(self, model: nn.Module) -> dict[str, float | None]:
        found, losses = [], []
        rows = torch.arange(len(self.held))
        for number, ids in enumerate(rows.split(self.size)):
            batch = self.held(ids.to(self.held.device))
            images, sizes = normalised(batch.pictures), [tuple(size) for size in batch.sizes.tolist()]
            listed, features = model.listed(images, sizes), model.backbone(images)
            told = model.found(listed, features)
            with torch.random.fork_rng(devices=[]), model.judged():
                torch.manual_seed(seed_of(self.seed, number))
                losses.append(sum(model.lost(listed, features, batch.targets()).values()) * len(ids))
            for row, one in zip(ids.tolist(), told, strict=True):
                photo = self.photos.photos[row]
                found.append(networks.told(one, self.held.factor(photo.height, photo.width)))
        if not all(np.isfinite(of.score).all() and np.isfinite(of.box).all() for of in found):
            raise engine.Diverged("boxes hold NaN: lower bike_parts.train.optimizer.learning_rate")
        loss = float(torch.stack(losses).sum()) / len(rows) if losses else None
        ids = np.array([photo.id for photo in self.photos.photos], np.int64)
        return {**scored(self.photos, gathered(ids, found)), "loss": loss}


class Order:
    """All photographs of an epoch in another order, cut to whole batches."""

    def __init__(self, rows: int, params: Train):
        self.rows, self.params = rows, params.engine

    def __call__(self, epoch: int) -> Tensor:
        rows = shuffled(torch.arange(self.rows), self.params.seed, epoch)
        return rows[: self.rows // self.params.batch * self.params.batch]


def made(params: Train, name: str, parts: Sequence[str], states: np.ndarray) -> tuple[nn.Module, dict]:
    """The network before its first step, and what a checkpoint says of it."""
    torch.manual_seed(params.engine.seed)
    of = params.states
    told = {
        "knows": of.knows, "dropout": of.dropout, "weight": of.weight, "gamma": of.gamma, "true_boxes": of.true_boxes,
    }  # fmt: skip
    before, fill = start.of(params.weights, name, parts)
    settled = States(**told, class_weights=balance(states, of.balance))
    close = None if params.close is None else Close(**params.close.model_dump())
    model = build(name, len(parts), settled, Use(**used(params)), before, close)
    fill(model)
    return model, {"name": name, "before": before, "states": told, "close": close and asdict(close)}


def used(params: Train) -> dict:
    return {"floor": params.keep.floor, "nms": params.keep.nms, "most": params.keep.max_detections}


def training_photographs(photos: Photos, params: Train, download: Path, fabric: Fabric, where: Path) -> Photographs:
    """Raises `BadInput` where no batch can be made of them."""
    count, batch = len(photos.photos), params.engine.batch
    if not len(photos.part):
        raise BadInput(f"{where}: holds no part to learn; check_data says what was left out, and why")
    if count < batch:
        raise BadInput(
            f"{where}: {count} photographs to train on fill no batch; add some, or lower bike_parts.train.engine.batch"
        )
    if batch % (fabric.world_size * params.engine.accumulate):
        raise BadInput(
            f"bike_parts.train.engine.batch: {batch} photographs cannot be shared evenly by {fabric.world_size} "
            f"processes x {params.engine.accumulate} micro-batches"
        )
    held = Photographs(photos, download, (params.canvas.height_px, params.canvas.width_px), fabric.device)
    if held.too_small:
        log.warning("%s: %d boxes are less than 1 px on the canvas and are not learnt", where, held.too_small)
    return held


def prepare(
    params: Train, machine: Machine, name: str, download: Path, split: Path, code: str, fabric: Fabric
) -> engine.Job:
    """Data on the device, network, loss and judge, as the engine wants them."""
    if machine.cuda_graph:
        raise BadInput("yard.machine.cuda_graph: every photograph has another number of boxes; set it to false")
    train, val = (photos_of.read(split, part) for part in ("train", "val"))
    held = training_photographs(train, params, download, fabric, photos_of.path_of(split, "train"))
    model, about = made(params, name, train.parts, train.state)
    model = with_common_statistics(model)
    learnt = [Item((photo.name, photo.group)) for photo in (*train.photos, *val.photos)]
    config = {
        "network": about, "parts": train.parts, "canvas": params.canvas.model_dump(), "keep": used(params),
        "learnt": learnt_from(learnt),
    }  # fmt: skip

    def loss(model: nn.Module, rows: Tensor) -> dict[str, Tensor]:
        batch = augment(held(rows), params.augment)
        return model(normalised(batch.pictures), None, batch.targets())

    files = [photos_of.path_of(split, part) for part in ("train", "val")]
    pictures = sorted(download / photo.name for photo in (*train.photos, *val.photos))
    looked = Photographs(val, download, held.canvas, fabric.device)
    return engine.Job(
        name=name,
        model=model,
        loss=loss,
        order=Order(len(held), params),
        evaluate=Judge(val, looked, params, photos_of.path_of(split, "val")),
        config=config,
        fingerprint=digest(
            name,
            params.model_dump(mode="json", exclude={"networks"}),
            machine.model_dump(),
            [file_hash(path) for path in (*files, *pictures, *start.files(params.weights))],
            code,
        ),
        evaluate_every=params.evaluate_every,
    )


def run(
    params: Train, out: Path, ctx: Context = Context(), *, network: str, download: Path, split: Path,
    machine_params: Machine,
) -> dict[str, float]:  # fmt: skip
    """Returns the validation scores of the kept epoch, and which one that is."""
    job_for = partial(prepare, params, machine_params, network, download, split, ctx.code)
    model, rows = engine.fit(job_for, params.engine, machine_params, params.optimizer, out, ctx)
    return history.summary(rows, model)


def served_model(out: Path, item: str, data: Path) -> tuple[str, Path, dict[str, np.ndarray]]:
    """For MLflow: the module that loads the network, its file, and an example of its inputs from `data`."""
    return served.__name__, out / "best.pt", served.example(data / "download", data / "split")
