"""Train one network: will the driver brake, or coast, in 1..2 s?

Reads `pack`'s train.h5, val.h5 and dataset_config.json. Writes best.pt, last.pt (and .json beside each), history.jsonl
and curves.png, one folder a variant; a killed run goes on where it stopped. best.pt is the epoch with the highest
PR-AUC on every second validation window, the mean over tasks by their weights.

    python -m tasks brake_coast-train@simple_concat_lstm
"""

from __future__ import annotations

import logging
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from models.brake_coast import losses
from models.brake_coast.factory import Config, build
from tasks.brake_coast.formats import windows
from tasks.brake_coast.judging.runs import is_doubtful, split_name, unknown_share
from tasks.brake_coast.learning import origins, served
from tasks.brake_coast.learning.inference import Windows
from tasks.brake_coast.params import Augment, Task, Train
from tasks.yard.files import digest, file_hash, read_json
from tasks.yard.metrics import binary
from tasks.yard.params import Machine
from tasks.yard.step import BadInput, Context
from tasks.yard.training import engine, history
from tasks.yard.training.learnt import learnt_from
from tasks.yard.training.sampling import drawn, seed_of, shuffled

log = logging.getLogger(__name__)
EVALUATION_BATCH = 512
JUDGED_STRIDE = 2  # neighbours share 19 of 20 frames, and judging all of them takes long beside training
SCALE_WINDOWS = 2000  # enough to learn the inputs' scales from
# Of dataset_config.json: what turns telemetry and detections into inputs, and so belongs into the checkpoint.
DATA_KEYS = ("telemetry_features", "telemetry_ranges", "detection_features", "detection_order", "max_detections")


def unknown_shares(pack: Path, tasks: list[str]) -> dict[str, float]:
    """Of each task the share of the validation windows whose label is unknown; beside its PR-AUC, for MLflow."""
    val = windows.Split(windows.load(pack / "val.h5"))
    found = {}
    for task in tasks:
        y = val.labels(task)
        of = {"windows": int((y >= 0).sum()), "unknown": int((y < 0).sum())}
        if len(y):
            found |= {f"{task}/unknown_share": float(unknown_share(**of)), f"{task}/not_meaningful": is_doubtful(of)}
    return found


def trainable(frames: windows.Frames, targets: np.ndarray, tasks: list[Task], where: Path) -> list[Task]:
    """The tasks with a known label at the ends of the training windows; the others are left out, with a warning."""
    kept, names = [], frames.label_names
    for task in tasks:
        if task.name not in names:
            raise BadInput(f"brake_coast.train.tasks: no label {task.name!r} in {where}; it has {', '.join(names)}")
        if (frames.labels[targets, names.index(task.name)] >= 0).any():
            kept.append(task)
        else:
            log.warning("%s: no known label of %s in the training split: this task is left out", where, task.name)
    if not kept:
        raise BadInput(f"{where}: no known label of any task to train ({', '.join(task.name for task in tasks)})")
    return kept


def augment(
    telemetry: Tensor, boxes: Tensor, mask: Tensor, params: Augment, speed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Left-right flip and speed jitter per window, detections lost per box; `speed` is the column of the speed."""
    rows, device = len(telemetry), telemetry.device
    if params.flip:
        x1, x2 = boxes[..., 1], boxes[..., 3]
        flip = (torch.rand(rows, 1, 1, device=device) < params.flip) & mask
        flipped = torch.stack([boxes[..., 0], 1 - x2, boxes[..., 2], 1 - x1, *boxes[..., 4:].unbind(-1)], dim=-1)
        boxes = torch.where(flip[..., None], flipped, boxes)
    if params.detection_dropout:
        mask = mask & (torch.rand(mask.shape, device=device) >= params.detection_dropout)
    if params.speed_jitter:
        factor = 1 + params.speed_jitter * (2 * torch.rand(rows, 1, device=device) - 1)
        telemetry = telemetry.clone()
        telemetry[..., speed] = (telemetry[..., speed] * factor).clamp_(max=1)
    return telemetry, boxes, mask


class Order:
    """Window starts of an epoch: every `stride`-th from a shift of 0..stride-1 drawn by (seed, epoch), shuffled."""

    def __init__(self, frames: windows.Frames, labels: np.ndarray, params: Train):
        self.params, self.stride = params, frames.window_stride
        dense = windows.window_starts(frames.segment, frames.window_frames)
        first = np.searchsorted(frames.segment, frames.segment[dense])
        self.dense, self.phase = torch.from_numpy(dense), torch.from_numpy((dense - first) % self.stride)
        positive = (labels[dense + frames.window_frames - 1] == 1).any(axis=1)
        goes_on = positive[1:] & positive[:-1] & (first[1:] == first[:-1])
        event = np.cumsum(np.r_[True, ~goes_on])  # windows in a row that predict the same
        self.positive, self.event = torch.from_numpy(positive), torch.from_numpy(event)

    def __call__(self, epoch: int) -> Tensor:
        seed, shift = self.params.engine.seed, 0
        if self.params.augment.random_shift:
            shift = seed_of(seed, epoch, 1) % self.stride
        chosen = self.phase == shift
        if not chosen.any():  # every segment is too short for this shift
            chosen = self.phase == 0
        starts, positive = self.dense[chosen], self.positive[chosen]
        share = self.params.augment.positive_share
        if share is None or positive.all() or not positive.any():
            return shuffled(starts, seed, epoch)
        part = 1 / positive.sum()
        if self.params.augment.balance_by == "event":
            _, event, windows_of = self.event[chosen][positive].unique(return_inverse=True, return_counts=True)
            part = torch.zeros(len(starts))
            part[positive] = 1 / windows_of[event] / len(windows_of)
        weights = torch.where(positive, share * part, (1 - share) / (~positive).sum())
        return drawn(starts, weights, seed, epoch)


class Loss:
    """One weighted term a task, from logits (B, K) and labels (B, K) of 1, 0 and -1 (unknown)."""

    def __init__(self, params: Train, tasks: list[Task], labels: np.ndarray, device: torch.device):
        known = labels >= 0
        prior = np.clip((labels == 1).sum(0) / known.sum(0), 1 / len(labels), 1 - 1 / len(labels))
        odds = (1 - prior) / prior

        def vector(values) -> Tensor:
            return torch.tensor(np.asarray(values, np.float32), device=device)

        self.names, self.kind = [task.name for task in tasks], params.loss.kind
        self.known_share, self.weight = vector(known.mean(0)), vector([task.weight for task in tasks])
        self.alpha, self.gamma = vector([task.alpha for task in tasks]), vector([task.gamma for task in tasks])
        self.positive_weight = vector(odds**params.loss.positive_weight_power)

    def __call__(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        if self.kind == "focal":
            terms = losses.focal(logits, labels, self.alpha, self.gamma, self.known_share)
        else:
            terms = losses.prior_corrected_bce(logits, labels, self.positive_weight, self.known_share)
        return dict(zip(self.names, (terms * self.weight).unbind(), strict=True))


def judged(
    logits: np.ndarray, labels: np.ndarray, loss: dict[str, Tensor], tasks: list[Task]
) -> dict[str, float | None]:
    """PR-AUC a task, and `score`: their weighted mean over tasks with positives, or minus the loss if none has any."""
    found, total, weight = {}, 0.0, 0.0
    for k, task in enumerate(tasks):
        known = labels[:, k] >= 0
        found[f"{task.name}/pr_auc"] = area = binary.scores(labels[known, k], logits[known, k])["pr_auc"]
        if area is not None:
            total, weight = total + task.weight * area, weight + task.weight
    found["loss"] = float(sum(loss.values())) if (labels >= 0).any() else None
    found["score"] = total / weight if weight else None if found["loss"] is None else -found["loss"]
    return found


def prepare(params: Train, machine: Machine, variant: str, pack: Path, code: str, fabric: Fabric) -> engine.Job:
    """Data on the device, network, loss and judge, as the engine wants them."""
    train, val = (windows.load(pack / f"{split}.h5") for split in ("train", "val"))
    last, device = train.window_frames - 1, fabric.device
    train_starts = windows.window_starts(train.segment, train.window_frames, train.window_stride)
    val_starts = windows.window_starts(val.segment, train.window_frames, JUDGED_STRIDE)
    if not len(train_starts):
        raise BadInput(f"{pack}/train.h5: no gap-free run of {train.window_frames} frames to train on; add recordings")
    if not len(val_starts):
        log.warning("%s: no window to judge by: the last epoch is kept", pack / "val.h5")
    tasks = trainable(train, train_starts + last, params.tasks, pack / "train.h5")
    columns = [train.label_names.index(task.name) for task in tasks]
    known = train.labels[train_starts + last][:, columns]
    priors = (known == 1).sum(0) / (known >= 0).sum(0)

    network = Config(
        variant=variant,
        priors={task.name: float(prior) for task, prior in zip(tasks, priors, strict=True)},
        telemetry_dim=train.telemetry.shape[1],
        window=train.window_frames,
        **params.model.model_dump(),
    )
    dataset = read_json(pack / "dataset_config.json")
    data = {key: dataset[key] for key in DATA_KEYS}
    held = dataset.get("splits", {})
    seen = [*origins.items(train, held.get("train", {})), *origins.items(val, held.get("val", {}))]
    loss_of = Loss(params, tasks, known, device)
    gather, val_gather = (Windows(frames, train.window_frames, device) for frames in (train, val))
    labels = torch.from_numpy(train.labels[:, columns]).to(device)
    val_labels = val.labels[val_starts + last][:, columns]
    val_targets = torch.from_numpy(val_labels).to(device)
    val_batches = torch.from_numpy(val_starts).to(device).split(EVALUATION_BATCH) if len(val_starts) else ()
    speed = train.telemetry_features.index("SPEED")

    def loss(model: nn.Module, starts: Tensor) -> dict[str, Tensor]:
        return loss_of(model(*augment(*gather(starts), params.augment, speed)), labels[starts + last])

    def evaluate(model: nn.Module) -> dict[str, float | None]:
        scores = [model(*val_gather(batch)).float() for batch in val_batches]
        logits = torch.cat([torch.empty(0, len(tasks), device=device), *scores])
        return judged(logits.cpu().numpy(), val_labels, loss_of(logits, val_targets), tasks)

    files = [file_hash(pack / name) for name in ("train.h5", "val.h5", "dataset_config.json")]
    torch.manual_seed(params.engine.seed)
    model = build(network)
    some = train_starts[:: -(-len(train_starts) // SCALE_WINDOWS)]
    model.fit_scales(*gather(torch.from_numpy(some).to(device)))
    return engine.Job(
        name=variant,
        model=model,
        loss=loss,
        order=Order(train, train.labels[:, columns], params),
        evaluate=evaluate,
        config={
            "network": asdict(network),
            "tasks": list(network.priors),
            "loss": params.loss.kind,
            "data": data,
            "learnt": learnt_from(seen),
        },
        fingerprint=digest(
            variant, params.model_dump(mode="json", exclude={"variants"}), machine.model_dump(), files, code
        ),
    )


def run(
    params: Train, out: Path, ctx: Context = Context(), *, variant: str, pack: Path, machine_params: Machine
) -> dict[str, float]:
    """Returns the validation scores of the kept epoch, and which one that is."""
    job_for = partial(prepare, params, machine_params, variant, pack, ctx.code)
    model, rows = engine.fit(job_for, params.engine, machine_params, params.optimizer, out, ctx)
    shares = unknown_shares(pack, list(model.config.priors))
    for task in (name.partition("/")[0] for name, value in shares.items() if value is True):
        said = f"{100 * shares[f'{task}/unknown_share']:.1f} % of its validation labels are unknown"
        log.warning("%s: its score is not meaningful: %s", task, said)
    return history.summary(rows, model) | {key: float(value) for key, value in shares.items()}


def served_model(out: Path, item: str, data: Path) -> tuple[str, Path, dict[str, np.ndarray]] | None:
    """For MLflow: the module that loads the model, its file, and an example of its inputs; a blind one is no
    product."""
    if split_name(item)[1]:
        return None
    return served.__name__, out / "best.pt", served.example(out / "best.pt")
