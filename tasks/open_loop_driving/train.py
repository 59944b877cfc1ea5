"""Train one network to plan as the expert drives.

Reads    pack/: windows of training and validation; teacher/: the expert's maps
Writes   train/<network>/best.pt, last.pt (and .json beside each), history.jsonl and curves.png
Alone    python -m tasks open_loop_driving-train@<network>

A killed run goes on where it stopped. best.pt is the epoch with the best score on validation: minus TCP's, L1 of
waypoints + throttle + 5 x steer + brake, of the last layer. Every term of the loss is a curve of its own. Where the
source lacks what the network needs, untrained.json says so, and nothing else is written; where some routes lack it,
the network does without them.

Every term is a mean over moments, and the small networks' norms know one moment: micro-batches and processes take the
steps of one. The batch norms of ResNets are of all rows of all processes, but of one micro-batch.
"""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from models.open_loop_driving import losses, variants
from models.open_loop_driving.factory import build
from tasks.open_loop_driving.formats.plans import BRAKE, Plans, control
from tasks.open_loop_driving.learning import network as trained
from tasks.open_loop_driving.learning import served, suited, trainable, untrained
from tasks.open_loop_driving.learning.augment import light
from tasks.open_loop_driving.learning.batches import MEAN, STD, TOLD, Rows, assembled
from tasks.open_loop_driving.learning.drives import Drives
from tasks.open_loop_driving.params import Train
from tasks.yard.files import digest, file_hash
from tasks.yard.params import Machine
from tasks.yard.step import BadInput, Context
from tasks.yard.training import engine, history
from tasks.yard.training.across import processes, with_common_statistics
from tasks.yard.training.learnt import Item, learnt_from
from tasks.yard.training.sampling import drawn, shuffled
from tasks.yard.training.sections import Engine

log = logging.getLogger(__name__)
BATCH = 32  # moments judged at once
KEY_M = 3.0  # that the car is elsewhere at the end of a plan than if it had gone on as before: a whole key frame
MADE = ("best.pt", "best.json", "last.pt", "last.json", "history.jsonl", "curves.png")
GROUPS = {
    "plan": ("waypoints", "control", "control ahead"), "heads": ("speed", "value", "features"),
    "imitation": ("map 21", "map 10", "map 4", "map 2", "refined map", "refined vector", "taught ahead", "taught map",
                  "taught vector"),
    "taught": ("taught waypoints", "taught controls"), "classes": ("classes",), "depth": ("depth",),
}  # fmt: skip


def f1(said: np.ndarray, true: np.ndarray) -> float | None:
    both, either = int((said & true).sum()), int(said.sum() + true.sum())
    return 2 * both / either if either else None


def scores_of(plans: Plans, rows: Rows) -> dict[str, float | None]:
    """Of validation: L2 as the mean over all steps, of every layer; brake F1; and TCP's score, higher is better."""
    wanted = rows.wanted(rows.windows, np.zeros(len(rows), bool))
    way = wanted["waypoints"].cpu().numpy()
    apart = np.linalg.norm(plans.waypoints - way, axis=-1).mean((1, 2))
    tcp, braking = float(np.abs(plans.waypoints[-1] - way).mean()), None
    known = rows.controlled[rows.windows]
    if known.any():
        truth = control(wanted["alpha"].cpu().numpy(), wanted["beta"].cpu().numpy())[known, 0]
        found = control(plans.alpha, plans.beta)[-1, known, 0]
        off = np.abs(found - truth).mean(0)
        tcp += float(off[0] + 5 * off[1] + off[2])
        braking = f1(found[:, 2] > BRAKE, truth[:, 2] > BRAKE)
    layers = {f"l2_mean_layer_{k}": float(value) for k, value in enumerate(apart)} if len(apart) > 1 else {}
    return {"score": -tcp, "l2_mean": float(apart[-1]), "brake_f1": braking, **layers}


def untouched(found: Any) -> Any:
    """0 that hangs on all that a network gives: several processes wait for a gradient of every weight, also of heads
    for which this source has nothing to learn from."""
    if isinstance(found, Tensor):
        return 0.0 * found.float().sum()
    if isinstance(found, dict | list | tuple):
        return sum((untouched(one) for one in (found.values() if isinstance(found, dict) else found)), start=0.0)
    return 0.0


def say_untold(name: str, rows: Rows) -> None:
    """On the console, what a source lacks and the network does without."""
    if absent := [what for what in TOLD if what not in rows.told]:
        log.warning("%s is not told of %s: not every route of the source has it", name, " and ".join(absent))
    if not rows.controlled.any():
        log.warning("%s learns no pedals and no wheel: the source does not tell what its driver did", name)


class Judge:
    def __init__(self, rows: Rows | None, where: Path):
        self.rows = rows
        if rows is None:
            log.warning("%s: validation has no moment to judge: the last epoch is kept", where)

    def __call__(self, model: nn.Module) -> dict[str, float | None]:
        if self.rows is None:
            return {"score": None}
        try:
            return scores_of(trained.plans_of(model, self.rows, BATCH), self.rows)
        except BadInput as error:
            raise engine.Diverged(str(error)) from None


class Order:
    """An epoch draws as many windows as there are, key frames more often, cut to whole batches; without a weight of
    them, all in another order."""

    def __init__(self, surprise_m: np.ndarray, keyframes: float, of: Engine):
        """`surprise_m` (windows): how far off it is to go on as before."""
        self.of, self.ids = of, torch.arange(len(surprise_m))
        share = torch.from_numpy(np.minimum(surprise_m / KEY_M, 1))
        self.weights = 1 + (keyframes - 1) * share if keyframes > 1 else None

    def __call__(self, epoch: int) -> Tensor:
        if self.weights is None:
            rows = shuffled(self.ids, self.of.seed, epoch)
        else:
            rows = drawn(self.ids, self.weights, self.of.seed, epoch)
        return rows[: len(rows) // self.of.batch * self.of.batch]


def made(params: Train, name: str, step_s: float) -> nn.Module:
    """The untrained network. Raises `BadInput` if weights it is to start from cannot be had."""
    torch.manual_seed(params.engine.seed)
    try:
        return build(name, params.steps, step_s, params.pretrained)
    except (URLError, OSError) as error:
        raise BadInput(
            f"{name}: the ImageNet weights cannot be fetched ({error}); put torchvision's file into "
            f"{torch.hub.get_dir()}/checkpoints, or set open_loop_driving.train.pretrained to false"
        ) from None


def training_rows(
    params: Train, machine: Machine, name: str, pack: Path, teacher: Path, fabric: Fabric
) -> tuple[Rows, Rows | None]:
    """Of training and of validation, as far as they have what the network needs. Raises `BadInput` where no batch can
    be made of them."""
    of = trainable.routes(params, machine, name, pack, fabric.world_size)
    rows = Rows(of.train, name, of.cameras, params.steps, teacher, True, fabric.device, of.told)
    if not of.val.routes:
        return rows, None
    return rows, Rows(of.val, name, of.cameras, params.steps, device=fabric.device, told=of.told)


def prepare(
    params: Train, machine: Machine, name: str, pack: Path, teacher: Path, code: str, fabric: Fabric
) -> engine.Job:
    """Data, network, loss and judge, as the engine wants them. `params`: what `section_of` gave."""
    rows, judged = training_rows(params, machine, name, pack, teacher, fabric)
    step_s = 1 / rows.drives.rate_hz
    model = with_common_statistics(made(params, name, step_s))
    first = rows.drives.attrs[0]["cameras"]
    sees = "rgb" in rows.needs
    config = {
        "network": {"name": name, "steps": params.steps, "step_s": step_s, "pretrained": False},
        "cameras": {camera: first[camera] for camera in rows.cameras} if sees else {},
        "told": rows.told, "mean": list(MEAN), "std": list(STD), "rate_hz": rows.drives.rate_hz,
        "learnt": learnt_from(Item((route,)) for of in (rows, judged) if of is not None for route in of.drives.routes),
    }  # fmt: skip
    depths = variants.sizes_of(name).depths if name.startswith("thinktwice") else None
    weight = {term: getattr(params.loss, group) for group, terms in GROUPS.items() for term in terms}
    forcing = name.startswith("thinktwice") and params.loss.taught > 0
    say_untold(name, rows)

    def loss(model: nn.Module, ids: Tensor) -> dict[str, Tensor]:
        mirror = torch.rand(len(ids), device=ids.device) < params.augment.mirror
        batch = rows(ids, mirror)
        raw = batch.raw
        if raw.images is not None:
            raw = raw.changed(images=light(raw.images, params.augment))
        truth = {"truth": losses.truth_of(batch.target)} if forcing else {}
        found = model(**assembled(raw, name), **truth)
        terms = losses.all_terms(found, batch.target, depths)
        if processes() > 1:
            terms["waypoints"] = terms["waypoints"] + untouched(found)
        return {term: weight[term] * value for term, value in terms.items() if weight[term]}

    return engine.Job(
        name=name,
        model=model,
        loss=loss,
        order=Order(rows.surprise_m(), params.keyframes, params.engine),
        evaluate=Judge(judged, pack / "manifest.json"),
        config=config,
        fingerprint=fingerprint(params, machine, name, rows, judged, teacher, code),
        evaluate_every=params.evaluate_every,
    )


def fingerprint(
    params: Train, machine: Machine, name: str, rows: Rows, judged: Rows | None, teacher: Path, code: str
) -> str:
    files = [*rows.drives.paths, *(judged.drives.paths if judged is not None else [])]
    beside = [teacher / f"{route}.h5" for route in rows.drives.routes] if rows.features is not None else []
    hashes = [(path.name, file_hash(path)) for path in (*files, *beside) if path.exists()]
    return digest(name, params.model_dump(mode="json", exclude={"networks"}), machine.model_dump(), hashes, code)


def run(
    params: Train, out: Path, ctx: Context = Context(), *, network: str, pack: Path, teacher: Path,
    machine_params: Machine,
) -> dict[str, float]:  # fmt: skip
    """Returns the validation scores of the kept epoch, and which one that is; nothing where the source lacks what the
    network needs (learning/untrained.py)."""
    out.mkdir(parents=True, exist_ok=True)
    if why := untrained.reason(pack, network, params.cameras):
        untrained.clear(out, MADE)
        untrained.say(out, network, why, "is not trained")
        return {}
    untrained.clear(out, [untrained.FILE])
    whole = Drives(pack, suited.EVERY)
    suited.say(whole, network, suited.eyes(whole, network, params.cameras))
    section = trainable.section_of(params, network)
    job_for = partial(prepare, section, machine_params, network, pack, teacher, ctx.code)
    model, rows = engine.fit(job_for, section.engine, machine_params, section.optimizer, out, ctx)
    return history.summary(rows, model)


def served_model(out: Path, item: str, data: Path) -> tuple[str, Path, dict[str, np.ndarray]] | None:
    """For MLflow: the module that loads the network, its file, and an example of its inputs; None of one that is not
    trained."""
    if not (out / "best.pt").exists():
        return None
    return served.__name__, out / "best.pt", served.example(out / "best.pt")
