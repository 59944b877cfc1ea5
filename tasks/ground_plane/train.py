"""Train one network to see people on the ground from all cameras at once.

Reads    pack/ (scenes.py): the labelled frames of training and validation
Writes   train/<network>/best.pt, last.pt (and .json beside each), history.jsonl and curves.png
Alone    python -m tasks ground_plane-train@<network>

A killed run goes on where it stopped. best.pt is the epoch with the highest MODA on validation, over all its frames and
at the threshold that suits it best; that threshold stands in its scores, the decoding in its config.

The loss is a mean over frames of what each costs by itself. With a `small` encoder, whose norms know one image,
micro-batches and processes take the steps of one; the batch norms of ResNets are of all rows of all processes, but of
one micro-batch.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from urllib.error import URLError

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from models.ground_plane.factory import build
from models.ground_plane.losses import LOSSES
from tasks.ground_plane.formats import scenes
from tasks.ground_plane.formats.scenes import Scene
from tasks.ground_plane.judging import matching
from tasks.ground_plane.learning import network, served
from tasks.ground_plane.learning.augment import Example, augment
from tasks.ground_plane.learning.batches import MEAN, STD, Frames, constant
from tasks.ground_plane.learning.peaks import FLOOR, peaks
from tasks.ground_plane.learning.targets import heatmaps
from tasks.ground_plane.params import Decode, Loss, Train
from tasks.yard.files import digest, file_hash
from tasks.yard.params import Machine
from tasks.yard.step import BadInput, Context
from tasks.yard.training import engine, history
from tasks.yard.training.across import with_common_statistics
from tasks.yard.training.learnt import learnt_from
from tasks.yard.training.sampling import shuffled

log = logging.getLogger(__name__)
Work = Sequence[tuple[Scene, int]]  # scene, place in its frames


class Judge:
    """MODA, MODP, precision and recall over the frames of validation, at the threshold with the best MODA."""

    def __init__(self, work: Work, config: dict, device: torch.device, where: Path):
        self.work, self.config, self.device = work, config, device
        self.decode = Decode.model_validate(config["decode"])
        self.people = [matching.people_of(scene, row) for scene, row in work]
        for scene in {scene.name: scene for scene, _ in work}.values():
            network.fits(config, scene)
        if not any(map(len, self.people)):
            log.warning("%s: validation has nobody to find: the last epoch is kept", where)

    def found(self, model: nn.Module) -> list[matching.Frame]:
        """Of each frame what is found, how sure it is, and who is there."""
        frames = []
        for scene in {scene.name: scene for scene, _ in self.work}.values():
            mine = [i for i, (of, _) in enumerate(self.work) if of is scene]
            scores = network.maps(model, self.config, scene, [self.work[i][1] for i in mine], self.device)
            if not np.isfinite(scores).all():
                raise engine.Diverged("maps hold NaN: lower ground_plane.train.optimizer.learning_rate")
            for i, one in zip(mine, scores, strict=True):
                frames.append((*peaks(one, scene.mask, scene.cell_m, self.decode, FLOOR), self.people[i]))
        return frames

    def __call__(self, model: nn.Module) -> dict[str, float | None]:
        if not any(map(len, self.people)):
            return {"score": None, "threshold": None, **dict.fromkeys(matching.METRICS)}
        frames = self.found(model)
        threshold = matching.best_threshold(frames, self.decode.match_m, FLOOR)
        threshold = 1.0 if threshold is None else threshold  # nothing was found that could be kept
        total = sum(matching.counts_at(frames, threshold, self.decode.match_m), matching.Counts())
        scores = total.metrics(self.decode.match_m)
        return {"score": scores["moda"], **scores, "threshold": threshold}


class Order:
    """All frames of an epoch in another order, cut to whole batches."""

    def __init__(self, rows: int, params: Train):
        self.rows, self.params = rows, params.engine

    def __call__(self, epoch: int) -> Tensor:
        rows = shuffled(torch.arange(self.rows), self.params.seed, epoch)
        return rows[: self.rows // self.params.batch * self.params.batch]


def terms(found: dict[str, Tensor | None], example: Example, targets: Tensor, of: Loss) -> dict[str, Tensor]:
    """The ground's loss where somebody looks; that of the feet in each view, inside its region, if it has a weight."""
    cost = LOSSES[of.kind]
    lost = {"ground": cost(found["ground"], targets, example.visible.any(1))}
    if of.views:
        logits = found["views"]
        shape = logits.shape[-2:]
        places = (example.feet + 1) / 2 * constant((shape[1], shape[0]), logits.device)
        inside = (example.feet.abs() <= 1).all(-1)
        wanted = heatmaps(places.flatten(0, 1), inside.flatten(0, 1), tuple(shape), of.radius_cells)
        mask = example.visible.flatten(2).any(2)[..., None, None].expand(logits.shape)
        if example.regions is not None:
            mask = mask & (torch.nn.functional.interpolate(example.regions.float(), shape) > 0.5)
        share = 1 if of.kind == "focal" else logits.shape[1]  # focal is per person already, the original's per view
        lost["views"] = of.views / share * cost(logits, wanted.view_as(logits), mask)
    return lost


def made(params: Train, name: str, views: int) -> nn.Module:
    """The untrained network. Raises `BadInput` if weights it is to start from cannot be had."""
    torch.manual_seed(params.engine.seed)
    try:
        return build(name, views, params.pretrained, feet=params.loss.views > 0)
    except (URLError, OSError) as error:
        raise BadInput(
            f"{name}: the ImageNet weights cannot be fetched ({error}); put torchvision's file into "
            f"{torch.hub.get_dir()}/checkpoints, or set ground_plane.train.pretrained to false"
        ) from None


def training_frames(
    held: Sequence[Scene], params: Train, machine: Machine, name: str, fabric: Fabric, pack: Path
) -> Frames:
    """Raises `BadInput` where no batch can be made of them."""
    work, batch = scenes.of_split(held, "train"), params.engine.batch
    if not work:
        raise BadInput(
            f"{pack / 'scenes.json'}: holds no labelled frame to train on, only {', '.join(one.name for one in held)}; "
            "check_data says which sequences were left out, and why"
        )
    if len(work) < batch:
        raise BadInput(
            f"{pack / 'scenes.json'}: {len(work)} labelled frames to train on fill no batch; add some, or lower "
            "ground_plane.train.engine.batch"
        )
    if batch % (fabric.world_size * params.engine.accumulate):
        raise BadInput(
            f"ground_plane.train.engine.batch: {batch} frames cannot be shared evenly by {fabric.world_size} processes "
            f"x {params.engine.accumulate} micro-batches"
        )
    cameras = sorted({len(scene.views) for scene, _ in work})
    if name.endswith("-concat") and len(cameras) > 1:
        log.warning("%s: scenes have %d to %d cameras; missing ones are seen as nothing", name, cameras[0], cameras[-1])
    frames = Frames(work, fabric.device)
    if machine.cuda_graph and frames.held is None:
        raise BadInput("yard.machine.cuda_graph: the images are too many to be held on the device; set it to false")
    return frames


def prepare(params: Train, machine: Machine, name: str, pack: Path, code: str, fabric: Fabric) -> engine.Job:
    """Data on the device, network, loss and judge, as the engine wants them."""
    held = scenes.load(pack)
    frames = training_frames(held, params, machine, name, fabric, pack)
    model = with_common_statistics(made(params, name, frames.views))
    grid, cell_m = held[0].grid, held[0].cell_m
    height, width = frames.image_size
    config = {
        "network": {"name": name, "views": frames.views, "pretrained": False, "feet": params.loss.views > 0},
        "height_px": height, "width_px": width, "mean": list(MEAN), "std": list(STD), "grid": list(grid),
        "cell_m": cell_m, "decode": params.decode.model_dump(), "learnt": learnt_from(scenes.parts(held)),
    }  # fmt: skip

    def loss(model: nn.Module, rows: Tensor) -> dict[str, Tensor]:
        batch = frames(rows)
        example = augment(batch, params.augment)
        places = (example.people + batch.size[:, None] / 2) / cell_m
        targets = heatmaps(places, example.real, grid, params.loss.radius_cells)
        found = model(example.images, example.sampling, example.visible)
        return terms(found, example, targets, params.loss)

    work = scenes.of_split(held, "val")
    folders = sorted({view.path.parent for scene in held for view in scene.views})
    files = [file_hash(path / part) for path in folders for part in ("frames.h5", "camera.json")]
    return engine.Job(
        name=name,
        model=model,
        loss=loss,
        order=Order(len(frames), params),
        evaluate=Judge(work, config, fabric.device, pack / "scenes.json"),
        config=config,
        fingerprint=digest(
            name,
            params.model_dump(mode="json", exclude={"networks"}),
            machine.model_dump(),
            files,
            file_hash(pack / "scenes.json"),
            code,
        ),
        evaluate_every=params.evaluate_every,
    )


def run(
    params: Train, out: Path, ctx: Context = Context(), *, network: str, pack: Path, machine_params: Machine
) -> dict[str, float]:
    """Returns the validation scores of the kept epoch, and which one that is."""
    job_for = partial(prepare, params, machine_params, network, pack, ctx.code)
    model, rows = engine.fit(job_for, params.engine, machine_params, params.optimizer, out, ctx)
    return history.summary(rows, model)


def served_model(out: Path, item: str, data: Path) -> tuple[str, Path, dict[str, np.ndarray]]:
    """For MLflow: the module that loads the network, its file, and an example of its inputs from `data`."""
    return served.__name__, out / "best.pt", served.example(data / "pack")
