"""Train one re-identification network: images of a person near each other, those of others far away.

Reads `pack`'s train.h5, val.h5 and dataset_config.json. Writes best.pt, last.pt (and .json beside each), history.jsonl
and curves.png, one folder a network; a killed run goes on where it stopped. best.pt is the epoch with the highest mAP
on the validation identities, which training never sees. With `weights`, start.pt is the network before the first step.
Where there is nobody to train on, the `weights` become best.pt as they are: to search for people takes no training.

    python -m tasks person_search-train@<network>

The loss is the label-smoothed softmax over the training identities and the batch-hard triplet on the embedding. With
several processes, or norms, a batch is one: its triplets and its batch statistics are those of all its rows. With
micro-batches (engine.accumulate) both are of a micro-batch.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from models.person_search.factory import HEAD, backbone, build
from models.person_search.losses import combined
from tasks.person_search.formats import crops
from tasks.person_search.judging.ranking import rank
from tasks.person_search.learning import sampler, served, weights
from tasks.person_search.learning.augment import augment
from tasks.person_search.params import Train
from tasks.yard.files import digest, file_hash, read_json
from tasks.yard.params import Machine
from tasks.yard.step import BadInput, Context
from tasks.yard.training import checkpoint, engine, history
from tasks.yard.training.across import gathered, with_common_statistics
from tasks.yard.training.learnt import Item, Learnt, learnt_from
from tasks.yard.training.sampling import shuffled

log = logging.getLogger(__name__)
EVALUATION_BATCH = 256
STALE = ("last.pt", "last.json", "start.pt", "start.json", "history.jsonl", "curves.png")  # of an earlier training
COLLAPSED = 0.01  # so near, as a share, to the triplet loss of a network that gives one vector to everyone


def people(split: crops.Split, params: Train, processes: int, where: Path) -> Tensor:
    """The identity of each training crop, (N) int64. Raises `BadInput` where no batch can be made of them."""
    identity, batch, images = torch.from_numpy(split.identity).long(), params.engine.batch, params.images_per_identity
    found = torch.unique(identity)
    if len(found) < 2 or found[0] < 0:
        given = "" if len(found) else ", or set person_search.train.weights to a network that others have trained"
        raise BadInput(
            f"{where}: {len(found)} identities to train on, at least 2 are needed; add people to the source{given}"
        )
    if images is None:
        if len(identity) < batch:
            raise BadInput(f"{where}: {len(identity)} crops fill no batch; lower person_search.train.engine.batch")
        parts = batch
    else:
        parts = batch // images
        if len(found) < parts:
            raise BadInput(
                f"{where}: {len(found)} identities, and a batch of {batch} with {images} images each wants {parts}; "
                f"lower person_search.train.engine.batch to {len(found) * images} or less"
            )
    if parts % (processes * params.engine.accumulate):
        raise BadInput(
            f"person_search.train.engine.batch: {parts} {'identities' if images else 'crops'} a batch cannot be shared "
            f"evenly by {processes} processes x {params.engine.accumulate} micro-batches"
        )
    return identity


class Order:
    """Rows of an epoch: P x K batches, or all rows shuffled and cut to whole batches."""

    def __init__(self, identity: Tensor, params: Train):
        self.identity, self.params = identity, params

    def __call__(self, epoch: int) -> Tensor:
        seed, batch, images = self.params.engine.seed, self.params.engine.batch, self.params.images_per_identity
        if images is not None:
            return sampler.order(self.identity, batch // images, images, seed, epoch)
        rows = shuffled(torch.arange(len(self.identity)), seed, epoch)
        return rows[: len(rows) // batch * batch]


class Judge:
    """mAP, mINP and CMC of the validation queries in the validation gallery, by cosine."""

    def __init__(self, split: crops.Split, device: torch.device, where: Path):
        self.split, self.gather = split, crops.Crops(split.images, device)
        self.query, self.gallery = (np.flatnonzero(split.role == role) for role in (crops.QUERY, crops.GALLERY))
        self.batches = torch.arange(len(split.images), device=device).split(EVALUATION_BATCH)
        if not len(self.query) or not len(self.gallery):
            log.warning("%s: no queries, or nothing to find them in: the last epoch is kept", where)

    def __call__(self, network: nn.Module) -> dict[str, float | None]:
        if not len(self.query) or not len(self.gallery):
            return {"score": None}
        parts = [network(crops.normalised(self.gather(rows))).float() for rows in self.batches]
        vectors = torch.cat(parts).cpu().numpy()
        if not np.isfinite(vectors).all():
            raise engine.Diverged("embeddings hold NaN or infinity: lower person_search.train.optimizer.learning_rate")
        q, g, who, where = self.query, self.gallery, self.split.identity, self.split.camera
        ranking = rank(vectors[q], vectors[g], who[q], where[q], who[g], where[g])
        if not ranking.queries:
            return {"score": None}
        found = {"mAP": ranking.map, "mINP": ranking.minp, "rank1": ranking.cmc[1], "rank5": ranking.cmc[5]}
        return {"score": ranking.map, **found}


def still(network: nn.Module, params: Train) -> engine.Still | None:
    """What of the network is not trained: all but the head, for a while or for ever; the head, if no loss sees it."""
    if params.freeze_backbone or params.fixbase_epochs:
        return engine.Still(backbone(network), None if params.freeze_backbone else params.fixbase_epochs)
    return None if params.loss.softmax else engine.Still((HEAD,), None)


def prepare(params: Train, machine: Machine, network: str, pack: Path, code: str, fabric: Fabric) -> engine.Job:
    """Data on the device, network, loss and judge, as the engine wants them."""
    train, val = (crops.load(pack / f"{split}.h5") for split in ("train", "val"))
    identity = people(train, params, fabric.world_size, pack / "train.h5")
    gather, labels = crops.Crops(train.images, fabric.device), identity.to(fabric.device)
    made = {"name": network, "identities": int(identity.max()) + 1, "embedding": params.embedding}
    torch.manual_seed(params.engine.seed)
    model = build(**made)
    dataset = read_json(pack / "dataset_config.json")
    before = {}
    if params.weights is not None:
        weights.load_into(model, Path(params.weights))
        before = weights.learnt_before(Path(params.weights))
    say_known(params, dataset, before)
    model = with_common_statistics(model.to(memory_format=torch.channels_last))
    of = params.loss

    def loss(model: nn.Module, rows: Tensor) -> dict[str, Tensor]:
        logits, vectors = model(crops.normalised(augment(gather(rows), params.augment)))
        return combined(
            logits, vectors, labels[rows], softmax_weight=of.softmax, triplet_weight=of.triplet,
            label_smoothing=of.label_smoothing, margin=of.margin, everyone=gathered,
        )  # fmt: skip

    files = [file_hash(pack / name) for name in ("train.h5", "val.h5", "dataset_config.json")]
    files += [file_hash(Path(params.weights))] if params.weights is not None else []
    return engine.Job(
        name=network,
        model=model,
        loss=loss,
        order=Order(identity, params),
        evaluate=Judge(val, fabric.device, pack / "val.h5"),
        config={
            "network": made, "height_px": train.images.shape[1], "width_px": train.images.shape[2],
            "mean": list(crops.MEAN), "std": list(crops.STD), "datasets": dataset["datasets"],
            "learnt": learnt_from(
                (Item((who,)) for split in ("train", "val") for who in dataset["identities"][split]), before
            ),
        },
        fingerprint=digest(
            network, params.model_dump(mode="json", exclude={"networks"}), machine.model_dump(), files, code
        ),
        block=params.images_per_identity or 1,
        evaluate_every=params.evaluate_every,
        still=still(model, params),
    )  # fmt: skip


def say_known(params: Train, dataset: Mapping[str, Any], before: Learnt) -> None:
    """Are there people to be tested on whom the given weights know?"""
    tested = dataset["identities"].get("test", [])
    if known := [who for who in tested if who in before]:
        told = f"{len(known)} of the {len(tested)} test people"
        log.warning("%s has learnt from %s: scores on test say too much", params.weights, told)


def hand_over(params: Train, network: str, dataset: Mapping[str, Any], out: Path) -> dict[str, float]:
    """The given weights become best.pt; nothing of an earlier training stays beside them.

    Raises `BadInput` if they are of another network, or take crops of another size than there are to judge them by.
    """
    path = Path(params.weights)
    try:
        state = weights.as_they_are(path, {"name": network, "embedding": params.embedding})
    except BadInput as error:
        raise BadInput(f"{error}; person_search.train.networks asks for {network}") from None
    sizes = {name: state["config"][name] for name in ("height_px", "width_px")}
    if not dataset["empty"] and any(dataset[name] != size for name, size in sizes.items()):
        fix = " and ".join(f"person_search.pack.{name} = {size}" for name, size in sizes.items())
        raise BadInput(
            f"{path}: takes crops of {sizes['height_px']}x{sizes['width_px']} px, pack's are "
            f"{dataset['height_px']}x{dataset['width_px']}; set {fix}"
        )
    say_known(params, dataset, state["config"]["learnt"])
    for stale in STALE:
        (out / stale).unlink(missing_ok=True)
    reason = dataset["empty"] or dataset["missing"]["train"]
    about = {"weights": params.weights, "sha256": file_hash(path), "config": state["config"], "handed_over": reason}
    checkpoint.save(out, "best", state, about)
    log.warning("%s becomes %s as it is: %s", params.weights, network, reason)
    return {"epochs": 0, "parameters": sum(v.numel() for k, v in state["model"].items() if not k.startswith(HEAD))}


def write_start(params: Train, job: engine.Job, out: Path) -> None:
    """What training started from, in the form of best.pt, where it was given; one of an earlier run goes."""
    if params.weights is None:
        for name in ("start.pt", "start.json"):
            (out / name).unlink(missing_ok=True)
        return
    about = {"weights": params.weights, "sha256": file_hash(Path(params.weights)), "config": job.config}
    checkpoint.save(out, "start", {"model": job.model.state_dict(), "config": job.config}, about)


def begun(
    params: Train, machine: Machine, network: str, pack: Path, code: str, out: Path, fabric: Fabric
) -> engine.Job:
    job = prepare(params, machine, network, pack, code, fabric)
    if fabric.is_global_zero:
        write_start(params, job, out)
    return job


def run(
    params: Train, out: Path, ctx: Context = Context(), *, network: str, pack: Path, machine_params: Machine
) -> dict[str, float]:
    """Returns the validation scores of the kept epoch, and which one that is."""
    dataset = read_json(pack / "dataset_config.json")
    if params.weights is not None and not dataset["identities"]["train"]:
        return hand_over(params, network, dataset, out)
    job_for = partial(begun, params, machine_params, network, pack, ctx.code, out)
    model, rows = engine.fit(job_for, params.engine, machine_params, params.optimizer, out, ctx)
    triplet = rows[-1]["train"].get("triplet")
    of_one_point = params.loss.triplet * (params.loss.margin or math.log(2))
    if triplet is not None and abs(triplet / of_one_point - 1) < COLLAPSED:
        log.warning(
            "%s: the triplet loss ended at %.3g, as if all images had the same vector; "
            "lower person_search.train.optimizer.learning_rate", network, triplet
        )  # fmt: skip
    return history.summary(rows, model, uncounted=HEAD)


def served_model(out: Path, item: str, data: Path) -> tuple[str, Path, dict[str, np.ndarray]]:
    """For MLflow: the module that loads the network, its file, and an example of its inputs from `data`."""
    return served.__name__, out / "best.pt", served.example(out / "best.pt", data / "pack")
