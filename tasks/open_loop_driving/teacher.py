"""The privileged network: from the masks of what surrounds the car to what the expert does, and the maps on the way.

Reads    pack/: bev, control and supervision/ of training and validation to learn, bev of all routes to write
Writes   teacher/best.pt, last.pt (and .json beside each), history.jsonl, curves.png
         teacher/<route>.h5 (learning/features.py): of every frame what the network says, and its maps
         teacher/teacher.json: which routes have them, which do not and why
Alone    python -m tasks open_loop_driving-teacher

Maps are divided by their root mean square over training, so that an error of 1 means the same on every level. A route
whose source brings the expert's own maps, of the sizes that are wanted, keeps those; one that lacks masks, pedals,
command or target point has none: networks that see then learn from the plan alone. What the stage train would refuse
for every network is refused here, before minutes are spent on teaching.
"""

from __future__ import annotations

import logging
from collections import Counter
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from models.open_loop_driving.factory import SPEED_MPS, TARGET_M
from models.open_loop_driving.losses import kl
from models.open_loop_driving.teacher import Teacher, shrunk
from models.open_loop_driving.variants import COMMANDS, SIZES, Sizes, sizes_of
from tasks.open_loop_driving.formats import pack as packed
from tasks.open_loop_driving.formats.plans import VERSION, betas
from tasks.open_loop_driving.learning import trainable, untrained
from tasks.open_loop_driving.learning.batches import SWAPPED, other_sizes
from tasks.open_loop_driving.learning.drives import Drives
from tasks.open_loop_driving.learning.features import MIRRORED, NAMES, PLAIN, channels, own
from tasks.open_loop_driving.params import Line
from tasks.open_loop_driving.params import Teacher as Params
from tasks.yard.files import digest, file_hash, replacing, write_json
from tasks.yard.params import Machine
from tasks.yard.step import BadInput, Context
from tasks.yard.training import checkpoint, engine, history
from tasks.yard.training.across import with_common_statistics
from tasks.yard.training.sampling import shuffled

log = logging.getLogger(__name__)
NEEDED = {
    "masks": {"bev"}, "pedals": {"control", "supervision/alpha"}, "command": {"command"}, "target point": {"target"},
}  # fmt: skip
OWN = "brings the expert's own maps"
VALUE = 0.05  # weight of the value beside the actions
BLOCK = 128


class Frames:
    """Masks and state of all frames of some routes, as bytes of 64 x 64 in memory."""

    def __init__(self, drives: Drives, device: torch.device) -> None:
        read = drives.rows(["bev"])
        blocks = [np.arange(a, min(a + BLOCK, len(drives))) for a in range(0, len(drives), BLOCK)]
        self.masks = torch.cat([as_bytes(shrunk(as_shares(read(block)))) for block in blocks]).to(device)
        command = drives.column("command").astype(np.int64)
        self.command = torch.from_numpy(command).to(device)
        self.speed = torch.from_numpy(drives.column("speed_ms").astype(np.float32)).to(device)
        self.target = torch.from_numpy(drives.column("target").astype(np.float32)).to(device)
        control = drives.column("control", width=(3,))
        made = betas(control[:, 0] - control[:, 2], control[:, 1])
        own = drives.column("supervision/alpha"), drives.column("supervision/beta")
        known = drives.has("supervision/alpha")[drives.route_of][:, None]
        both = [np.where(known & np.isfinite(mine).reshape(len(mine), -1).all(1)[:, None],
                         mine if mine.ndim == 2 else np.zeros_like(of), of)
                for mine, of in zip(own, made, strict=True)]  # fmt: skip
        self.alpha, self.beta = (torch.from_numpy(of.astype(np.float32)).to(device) for of in both)
        value = drives.column("supervision/value")
        self.value = torch.from_numpy(np.nan_to_num(value).astype(np.float32)).to(device)
        self.valued = torch.from_numpy(np.isfinite(value).astype(np.float32)).to(device)

    def inputs(self, ids: Tensor, mirror: Tensor | bool) -> tuple[Tensor, Tensor]:
        """Masks (n, 15, 64, 64) and state (n, 9), of all or of `mirror` (n) bool as a mirror shows them."""
        masks = self.masks[ids].float() / packed.FULL
        mirror = torch.as_tensor(mirror, device=masks.device).expand(len(ids))
        masks = torch.where(mirror[:, None, None, None], masks.flip(-1), masks)
        swapped = torch.tensor(SWAPPED, device=masks.device)[self.command[ids]]
        command = torch.where(mirror, swapped, self.command[ids])
        side = torch.stack([torch.ones_like(self.speed[ids]), 1 - 2 * mirror.float()], 1)
        told = nn.functional.one_hot(command - 1, COMMANDS).float()
        return masks, torch.cat([self.speed[ids, None] / SPEED_MPS, self.target[ids] * side / TARGET_M, told], 1)


def as_shares(masks: np.ndarray) -> Tensor:
    return torch.from_numpy(masks).float() / packed.FULL


def as_bytes(masks: Tensor) -> Tensor:
    return (masks * packed.FULL).round().to(torch.uint8)


def terms(found: dict, frames: Frames, ids: Tensor, mirror: Tensor | None) -> dict[str, Tensor]:
    alpha, beta = frames.alpha[ids], frames.beta[ids]
    if mirror is not None:
        steer_a, steer_b = alpha[:, 1], beta[:, 1]
        alpha = torch.stack([alpha[:, 0], torch.where(mirror, steer_b, steer_a)], 1)
        beta = torch.stack([beta[:, 0], torch.where(mirror, steer_a, steer_b)], 1)
    apart = kl(alpha, beta, found["alpha"], found["beta"]).mean()
    cost = nn.functional.smooth_l1_loss(found["value"], frames.value[ids], reduction="none")
    return {"action": apart, "value": VALUE * (cost * frames.valued[ids]).mean()}


def left_out(drives: Drives, sizes: Sizes) -> dict[str, str]:
    """{route: why} of those that have what the teacher would make, or lack what it needs."""
    found = {}
    for route, path, of in zip(drives.routes, drives.paths, drives.attrs, strict=True):
        with h5py.File(path) as file:
            maps = own(file)
            fits = bool(maps) and channels(maps) == (*sizes.bev, sizes.vector)
        lacks = [word for word, columns in NEEDED.items() if not of["has"] & columns]
        if fits:
            found[route] = OWN
        elif lacks:
            others = " and maps of other sizes" if maps else ""
            found[route] = f"has no {', no '.join(lacks)}{others}"
    return found


def taught(pack: Path, splits: tuple[str, ...], sizes: Sizes) -> Drives:
    """The routes that the teacher learns from, or writes maps of."""
    drives = Drives(pack, splits)
    without = left_out(drives, sizes)
    return drives.only(np.array([route not in without for route in drives.routes], bool))


def prepare(params: Params, machine: Machine, pack: Path, code: str, fabric: Fabric) -> engine.Job:
    sizes = SIZES[params.sizes]
    learn, held = taught(pack, ("train",), sizes), taught(pack, ("val",), sizes)
    rows = Frames(learn, fabric.device)
    judged = Frames(held, fabric.device) if len(held) else None
    torch.manual_seed(params.engine.seed)
    model = with_common_statistics(Teacher(sizes.bev, sizes.vector))
    if len(learn) < params.engine.batch:
        raise BadInput(
            f"{pack}: {len(learn)} frames with masks fill no batch; lower open_loop_driving.teacher.engine.batch"
        )

    def loss(model: nn.Module, ids: Tensor) -> dict[str, Tensor]:
        mirror = torch.rand(len(ids), device=ids.device) < params.mirror
        return terms(model(*rows.inputs(ids, mirror)), rows, ids, mirror)

    def order(epoch: int) -> Tensor:
        ids = shuffled(torch.arange(len(learn)), params.engine.seed, epoch)
        return ids[: len(ids) // params.engine.batch * params.engine.batch]

    def evaluate(model: nn.Module) -> dict[str, float | None]:
        if judged is None:
            return {"score": None, "action": None, "value": None}
        total, count = {"action": 0.0, "value": 0.0}, 0
        for ids in torch.arange(len(held)).split(BLOCK):
            lost = terms(model(*judged.inputs(ids, False)), judged, ids, None)
            total = {name: total[name] + float(lost[name]) * len(ids) for name in total}
            count += len(ids)
        found = {name: value / count for name, value in total.items()}
        return {"score": -found["action"], **found}

    return engine.Job(
        name="teacher", model=model, loss=loss, order=order, evaluate=evaluate,
        config={"teacher": {"bev": list(sizes.bev), "vector": sizes.vector}},
        fingerprint=digest(params.model_dump(mode="json"), machine.model_dump(), [file_hash(p) for p in learn.paths],
                           [file_hash(p) for p in held.paths], code),
    )  # fmt: skip


@torch.inference_mode()
def thoughts(model: Teacher, frames: Frames, ids: Tensor) -> dict[str, np.ndarray]:
    """All columns of a route's file, before the maps are scaled."""
    columns: dict[str, list[np.ndarray]] = {}
    for kind in (PLAIN, MIRRORED):
        for part in ids.split(BLOCK):
            found = model(*frames.inputs(part, kind == MIRRORED))
            of = dict(zip((f"{kind}/{name}" for name in NAMES), (*found["maps"], found["vector"]), strict=True))
            if kind == PLAIN:
                of |= {name: found[name] for name in ("alpha", "beta", "value")}
            for name, value in of.items():
                columns.setdefault(name, []).append(value.float().cpu().numpy())
    return {name: np.concatenate(parts) for name, parts in columns.items()}


def write_route(path: Path, columns: dict[str, np.ndarray], scale: dict[str, float]) -> None:
    with replacing(path) as temporary, h5py.File(temporary, "w", libver=VERSION) as file:
        for name, values in columns.items():
            of = scale.get(name.split("/")[-1]) if "/" in name else None
            stored = values.astype(np.float32) if of is None else (values / of).astype(np.float16)
            file.create_dataset(name, data=stored)  # see pack.write


def refuse_in_vain(line: Line, out: Path, *, pack: Path, machine_params: Machine) -> None:
    """Before anything is trained, in the words of the stage train: raises `BadInput` where it would refuse its networks
    and have nothing to train; says it of those beside others."""
    untaught, refused = {}, {}
    for name in line.train.networks:
        section = trainable.section_of(line.train, name)
        try:
            if why := untrained.reason(pack, name, section.cameras):
                untaught[name] = f"{name}: is not trained: {why}"
                continue
            learn = trainable.routes(section, machine_params, name, pack, machine_params.devices).train
            if name.startswith("thinktwice") and not fits(line.teacher, learn, name):
                raise other_sizes(out, name)
        except BadInput as error:
            refused[name] = str(error)
    if refused and len(refused) + len(untaught) == len(line.train.networks):
        raise BadInput("\n".join(dict.fromkeys(refused.values())))
    for said in (untaught | refused).values():
        log.warning("%s", said)


def fits(params: Params, learn: Drives, name: str) -> bool:
    """Will a route that the network learns from have maps of its sizes, if one has any that the teacher wrote?"""
    mine, sizes = sizes_of(name), SIZES[params.sizes]
    if (mine.bev, mine.vector) == (sizes.bev, sizes.vector):
        return True
    own_maps = [why for why in left_out(learn, mine).values() if why == OWN]
    teaches = len(taught(learn.pack, ("train",), sizes)) and set(learn.routes) - left_out(learn, sizes).keys()
    return bool(own_maps) or not teaches


def run(
    params: Params, out: Path, ctx: Context = Context(), *, pack: Path, machine_params: Machine
) -> dict[str, float]:
    """Returns the scores of the kept epoch, and how many routes have the expert's maps."""
    every = ("train", "val", "test")
    sizes, whole = SIZES[params.sizes], Drives(pack, every)
    drives, without = taught(pack, every, sizes), left_out(whole, sizes)
    learns = bool(len(taught(pack, ("train",), sizes)))
    out.mkdir(parents=True, exist_ok=True)
    for path in out.glob("*.h5"):
        if not learns or path.stem not in drives.routes:
            path.unlink()
    if not learns:
        why = Counter(without[route] for route in Drives(pack, ("train",)).routes)
        said = "; ".join(f"{reason}: {count}" for reason, count in why.most_common()) or "there is none"
        log.warning("no training route is for the teacher (%s): networks learn from what there is", said)
        untaught = dict.fromkeys(whole.routes, "nobody taught the teacher: no training route can")
        write_json(out / "teacher.json", {"routes": [], "without": untaught | without})
        return {"routes": 0}
    job_for = partial(prepare, params, machine_params, pack, ctx.code)
    fitted, rows = engine.fit(job_for, params.engine, machine_params, params.optimizer, out, ctx)
    state = checkpoint.load(out / "best.pt")
    model = Teacher(**state["config"]["teacher"]).eval()
    model.load_state_dict(state["model"])
    frames = Frames(drives, torch.device("cpu"))
    parts = [torch.arange(a, b) for a, b in zip(drives.first, drives.first[1:], strict=False)]
    columns = [thoughts(model, frames, part) for part in parts]
    learnt = [of for of, said in zip(columns, drives.said, strict=True) if said["split"] == "train"]
    scale = {
        name: float(np.sqrt(np.mean([np.square(of[f"{PLAIN}/{name}"]).mean() for of in learnt]))) or 1.0
        for name in NAMES
    }
    for route, of in zip(drives.routes, columns, strict=True):
        write_route(out / f"{route}.h5", of, scale)
    write_json(out / "teacher.json", {"routes": drives.routes, "without": without, "scale": scale})
    return {**history.summary(rows, fitted), "routes": len(drives.routes)}
