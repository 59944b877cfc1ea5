"""Train one re-identification network: images of a person near each other, those of others far away.

Reads `pack`'s train.h5, val.h5 and dataset_config.json. Writes best.pt, last.pt (and .json beside each), history.jsonl
and curves.png, one folder a network; a killed run goes on where it stopped. best.pt is the epoch with the highest mAP
on the validation identities, which training never sees. With `weights`, start.pt is the network before the first step.

    python -m tasks person_search-train@<network>

The loss is the label-smoothed softmax over the training identities and the batch-hard triplet on the embedding. With
several processes, or norms, a batch is one: its triplets and its batch statistics are those of all its rows. With
micro-batches (engine.accumulate) both are of a micro-batch.
"""

from __future__ import annotations

import logging
import math
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from models.person_search.factory import HEAD, backbone, build
from models.person_search.losses import combined
from tasks.person_search.formats import crops
from tasks.person_search.judging.ranking import rank
from tasks.person_search.learning import embed, sampler, weights
from tasks.person_search.learning.augment import augment
from tasks.person_search.params import Train
from tasks.yard.files import digest, file_hash, read_json
from tasks.yard.params import Machine
from tasks.yard.step import BadInput, Context
from tasks.yard.training import checkpoint, engine, history
from tasks.yard.training.across import gathered, with_common_statistics
from tasks.yard.training.learnt import Item, learnt_from
from tasks.yard.training.sampling import shuffled

log = logging.getLogger(__name__)
EVALUATION_BATCH = 256
COLLAPSED = 0.01  # so near, as a share, to the triplet loss of a network that gives one vector to everyone


def people(split: crops.Split, params: Train, processes: int, where: Path) -> Tensor:
    """The identity of each training crop, (N) int64. Raises `BadInput` where no batch can be made of them."""
    identity, batch, images = torch.from_numpy(split.identity).long(), params.engine.batch, params.images_per_identity
    found = torch.unique(identity)
    if len(found) < 2 or found[0] < 0:
        raise BadInput(f"{where}: {len(found)} identities to train on, at least 2 are needed; add people to the source")
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
    tested = dataset["identities"].get("test", [])
    if known := [who for who in tested if who in before]:
        told = f"{len(known)} of the {len(tested)} test people"
        log.warning("%s has learnt from %s: scores on test say too much", params.weights, told)
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


def write_start(params: Train, job: engine.Job, out: Path) -> None:
    """What training started from, in the form of best.pt, where it was given; one of an earlier run goes."""
    if params.weights is None:
        for name in ("start.pt", "start.json"):
            (out / name).unlink(missing_ok=True)
        return
    about = {"weights": params.weights, "sha256": file_hash(Path(params.weights)), "config": job.config}
    checkpoint.save(out, "start", {"model": job.model.state_dict(), "config": job.config}, about)


def run(
    params: Train, out: Path, ctx: Context = Context(), *, network: str, pack: Path, machine_params: Machine
) -> dict[str, float]:
    """Returns the validation scores of the kept epoch, and which one that is."""

    def job_for(fabric: Fabric) -> engine.Job:
        job = prepare(params, machine_params, network, pack, ctx.code, fabric)
        if fabric.is_global_zero:
            write_start(params, job, out)
        return job

    model, rows = engine.fit(job_for, params.engine, machine_params, params.optimizer, out, ctx)
    triplet = rows[-1]["train"].get("triplet")
    of_one_point = params.loss.triplet * (params.loss.margin or math.log(2))
    if triplet is not None and abs(triplet / of_one_point - 1) < COLLAPSED:
        log.warning(
            "%s: the triplet loss ended at %.3g, as if all images had the same vector; "
            "lower person_search.train.optimizer.learning_rate", network, triplet
        )  # fmt: skip
    return history.summary(rows, model, uncounted=HEAD)


def served_model(out: Path, item: str) -> tuple[str, Path, np.ndarray]:
    """For MLflow: the module that loads the network, its file, and an example of its input."""
    config = embed.load_network(out / "best.pt")[1]
    return embed.__name__, out / "best.pt", np.zeros((1, config["height_px"], config["width_px"], 3), np.uint8)
