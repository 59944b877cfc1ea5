"""The training engine: a model, a loss of named terms, an order of rows and a judge in; the best checkpoint out.

Writes under `out`:

    best.pt, best.json     the weights that validation liked best, and the line's config: enough to rebuild the model
    last.pt, last.json     everything to go on from: a run killed at any step ends with the bits of an uninterrupted one
    history.jsonl          one line an epoch: losses, validation scores, learning rate
    curves.png             the same as a picture

Data that fits stays on the device: the loss is handed row ids and gathers them. The host waits for the device once a
step, to see that the gradient is finite. Under torchrun or SLURM every process takes its share of each batch. Parts of
a model may stand still, for the first epochs or for ever.
"""

from __future__ import annotations

import copy
import ctypes
import gc
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment
from torch import Tensor, nn

from tasks.yard.params import Machine
from tasks.yard.step import BadInput, Context
from tasks.yard.training import checkpoint, devices, history, optimizers
from tasks.yard.training.accelerator import cpu_has_bf16
from tasks.yard.training.across import gathered
from tasks.yard.training.cuda_graph import StepGraph
from tasks.yard.training.sampling import seed_of
from tasks.yard.training.schedule import share_of_peak
from tasks.yard.training.sections import Engine, Optimizer

log = logging.getLogger(__name__)
logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it announces its precision on stderr each time
NORM = "gradient norm"
AGREE_EVERY = 16  # steps: a small message, beside the gradients of each step
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
PRECISION = {"32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


class Diverged(RuntimeError):
    """The loss or its gradient stayed infinite or NaN."""


@dataclass(frozen=True)
class Still:
    """Parts of a model that do not move: neither their weights nor their batch statistics."""

    modules: tuple[str, ...]  # names as in `model.get_submodule`
    epochs: int | None  # the first so many, and from then on they move; None: for ever

    def at(self, epoch: int) -> bool:
        return self.epochs is None or epoch < self.epochs


@dataclass(frozen=True)
class Job:
    """What a line brings to the engine."""

    name: str
    model: nn.Module
    loss: Callable[[nn.Module, Tensor], dict[str, Tensor]]  # (model, row ids) -> terms, each a mean over these rows
    order: Callable[[int], Tensor]  # epoch -> row ids as they are used; depends on nothing but the epoch
    evaluate: Callable[[nn.Module], dict[str, float | None]]  # has "score": higher is better, None: cannot tell
    config: dict[str, Any]  # JSON-able; stands in every checkpoint
    fingerprint: str  # of data, params and code: a checkpoint with another one is not resumed
    block: int = 1  # so many rows of the order stay together in one process and one micro-batch
    evaluate_every: int = 1  # epochs; the last one is judged in any case
    still: Still | None = None


@dataclass
class Progress:
    """Where training stands: with the weights, all that a resumed run has to know."""

    epoch: int = 0
    batch: int = 0  # steps of this epoch already taken
    step: int = 0  # steps taken in all: the seed of dropout
    stale: int = 0  # epochs since the best one
    cuts: int = 0  # plateaus met
    cut_epoch: int = 0  # of the last cut
    bad_steps: int = 0  # in a row
    best: float | None = None
    finished: bool = False
    rows: int = 0  # in the sums
    sums: dict[str, Tensor] = field(default_factory=dict)  # term -> sum over this epoch's rows, on the device
    history: list[dict] = field(default_factory=list)


def keep_freed_memory() -> None:
    """glibc gives the memory of each step's tensors back to the system, which clears it again for the next: much of a
    small network's step on a CPU. Tensors of up to 32 MB are kept at hand; other C libraries are left alone."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 32 << 20)
        mallopt(M_TRIM_THRESHOLD, 1 << 30)


def start(params: Engine, machine: Machine) -> Fabric:
    """The device, the precision and the processes; under torchrun or SLURM this one joins the others."""
    world, by_torchrun = devices.started(), "WORLD_SIZE" in os.environ
    allocated = os.environ.get("SLURM_NTASKS", "1")
    if not by_torchrun and world == 1 and allocated != "1":
        log.info("SLURM has allocated %s tasks, and no srun has started this training as one: it is alone", allocated)
    nodes = int(os.environ.get("SLURM_NNODES", 1)) if world > 1 and not by_torchrun else 1
    nodes = max(nodes, world // int(os.environ.get("LOCAL_WORLD_SIZE", world)))
    keep_freed_memory()
    torch.set_num_threads(params.threads)  # sums are split by thread: another number of them, other last bits
    fabric = Fabric(
        accelerator=machine.accelerator,
        devices=world // nodes,
        num_nodes=nodes,
        strategy="ddp" if world > 1 else "auto",
        # Else it would ask SLURM_NTASKS itself.
        plugins=[LightningEnvironment()] if world == 1 and not by_torchrun else None,
        precision=PRECISION[machine.precision],
    )
    if fabric.device.type == "cpu" and machine.precision == "bf16" and not cpu_has_bf16():
        raise BadInput("yard.machine.precision = bf16: this machine has no GPU, and its CPU no bf16; set it to '32'")
    fabric.launch()
    return fabric


def seed_device(device: torch.device, seed: int) -> None:
    """As `torch.manual_seed`, but not for kinds of devices that are not there. For each of those that one keeps the
    call, with a text of the whole stack, in case it comes: they pile up with the steps."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed_all(seed)
    elif device.type != "cpu":
        getattr(torch, device.type).manual_seed(seed)


@contextmanager
def repeatable(machine: Machine) -> Iterator[None]:
    """Torch's global random state and switches, put back afterwards: steps of other stages may share this process.

    Deterministic algorithms would fill all memory with NaN before it is written, against reads of what nobody wrote:
    that is for finding such a read, not for every step of every night.
    """
    random, filled = torch.get_rng_state(), torch.utils.deterministic.fill_uninitialized_memory
    switches = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(machine.deterministic)
    torch.utils.deterministic.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.utils.deterministic.fill_uninitialized_memory = filled
        torch.set_rng_state(random)
        torch.use_deterministic_algorithms(switches[0], warn_only=switches[1])


def fit(
    prepare: Callable[[Fabric], Job],
    params: Engine,
    machine: Machine,
    optimizer: Optimizer,
    out: Path,
    ctx: Context,
    until: int | None = None,
) -> tuple[nn.Module, list[dict]]:
    """Train, or go on where a killed run stopped, or find that all is done. Returns the network and its history, one
    dict an epoch.

    `prepare` makes the job for a device and its processes; what it draws at random is put back as all else is. It can
    be pickled, for machines with several `devices`.
    `until` stops after so many epochs in all and leaves a run that the next call takes up: the schedule is that of
    `params.epochs` all the same, so that pieces end with the bits of a run in one go.
    """
    if devices.wants_company(machine):
        devices.fit((prepare, params, machine, optimizer, out, until), machine, out, ctx.progress)
        if machine.accelerator == "cuda" and not torch.cuda.is_available():  # the nodes have some
            machine = machine.model_copy(update={"accelerator": "auto"})
        ctx = replace(ctx, progress=Context().progress)  # all is done: what follows reads what they made
    fabric = start(params, machine)
    with repeatable(machine):
        job = prepare(fabric)
        trainer = Trainer(fabric, job, params, machine, optimizer, out, ctx)
        return job.model, trainer.run(params.epochs if until is None else until)


class Trainer:
    def __init__(
        self,
        fabric: Fabric,
        job: Job,
        params: Engine,
        machine: Machine,
        optimizer: Optimizer,
        out: Path,
        ctx: Context,
    ):
        self.fabric, self.job, self.params, self.machine = fabric, job, params, machine
        self.rate, self.out, self.ctx = optimizer, out, ctx
        self.raw = job.model.to(fabric.device)
        self.parts = [self.raw.get_submodule(name) for name in job.still.modules] if job.still else []
        if job.still and job.still.epochs is None:
            self.let_move(False)  # for ever: the optimizer never hears of them
        self.averaged = copy.deepcopy(self.raw).requires_grad_(False) if params.ema_decay else None
        graphed = machine.cuda_graph and fabric.device.type == "cuda"
        if graphed and (machine.precision == "fp16" or params.accumulate > 1 or fabric.world_size > 1):
            raise BadInput(
                "yard.machine.cuda_graph is for one process, accumulate 1 and precision 32 or bf16; set it to false"
            )
        fused = machine.precision != "fp16"  # a fused one unscales by itself, which leaves nothing to clip by
        self.bare = optimizers.build(optimizer, self.raw, fused, graphed)  # torch's, and as fabric has wrapped it:
        self.optimizer = fabric.setup_optimizers(self.bare)
        self.graphed = graphed
        self.graph: StepGraph | None = None
        self.model: nn.Module | None = None  # as fabric has wrapped it, for what moves now
        self.wrapped_still: bool | None = None  # whether the parts stood still then
        self.at = Progress()
        self.saved_at = time.monotonic()

    def run(self, until: int) -> list[dict]:
        self.resume()
        at, job, params = self.at, self.job, self.params
        total = sum(self.steps_in(job.order(epoch)) for epoch in range(params.epochs))
        with self.ctx.progress(total=total, initial=at.step, desc=job.name, unit="step") as bar:
            while not at.finished and at.epoch < until:
                ids = job.order(at.epoch)
                steps = self.steps_in(ids)
                ids = ids.to(self.fabric.device)
                self.set_moving()
                for batch in range(at.batch, steps):
                    self.set_rate(batch / steps)
                    self.step(ids[batch * params.batch : (batch + 1) * params.batch])
                    at.batch, at.step = batch + 1, at.step + 1
                    bar.update()
                    if at.batch < steps and self.is_time_to_save():
                        self.save_last()
                self.end_epoch()
                bar.set_postfix(epoch=at.epoch, score=at.best)
        if self.fabric.is_global_zero:
            history.write(self.out, at.history)
            history.draw(self.out, at.history, job.name)
        return at.history

    def is_time_to_save(self) -> bool:
        """Within an epoch. Several processes agree on it, every so many steps: each brings its own sums."""
        pause_s = self.machine.checkpoint_every_s
        if pause_s is None:
            return False
        due = time.monotonic() - self.saved_at >= pause_s
        if self.fabric.world_size == 1:
            return due
        if self.at.batch % AGREE_EVERY:
            return False
        return bool(self.fabric.all_reduce(torch.tensor(float(due), device=self.fabric.device), reduce_op="sum"))

    def let_move(self, move: bool) -> None:
        for part in self.parts:
            part.requires_grad_(move)

    def set_moving(self) -> None:
        """Make the model ready to train: what stands still in this epoch has no gradient and keeps its statistics."""
        still = self.job.still is not None and self.job.still.at(self.at.epoch)
        if self.wrapped_still != still:  # before the first epoch, and before the one from which on the parts move
            self.wrap(still)
        self.model.train()
        for part in self.parts if still else ():
            part.eval()

    def wrap(self, still: bool) -> None:
        """Anew what knows which weights had a gradient when it was made: DDP, a compiled model, a graph of launches."""
        if self.model is not None:
            self.model = None
            gc.collect()  # a reducer of DDP that is no longer used must not hear of gradients
        self.let_move(not still)
        self.model = self.fabric.setup_module(torch.compile(self.raw) if self.machine.compile else self.raw)
        if self.graphed:
            self.graph = StepGraph(self.learn, self.params.batch, self.fabric.device)
        self.wrapped_still = still

    def share(self, ids: Tensor) -> list[Tensor]:
        """Of a global batch the rows of this process, by micro-batch; blocks of rows stay whole."""
        rank, world = self.fabric.global_rank, self.fabric.world_size
        blocks = ids.view(-1, self.job.block)[rank::world]
        return [part.flatten() for part in blocks.tensor_split(self.params.accumulate) if len(part)]

    def steps_in(self, ids: Tensor) -> int:
        return -(-len(ids) // self.params.batch)

    def set_rate(self, share_of_epoch: float) -> None:
        epoch = self.at.epoch + share_of_epoch
        share = share_of_peak(self.rate, self.at.step, epoch, self.params.epochs, self.at.cuts)
        rate = self.rate.learning_rate * share
        for group in self.bare.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate

    def step(self, ids: Tensor) -> None:
        """One optimizer step on the global batch `ids`."""
        at, rank = self.at, self.fabric.global_rank
        seed_device(self.fabric.device, seed_of(self.params.seed, at.step, rank))
        sums = self.graph(ids) if self.graph is not None and len(ids) == self.params.batch else self.learn(ids)
        sums, rows = dict(sums), sum(map(len, self.share(ids)))
        norm = sums.pop(NORM)
        if not bool(norm.isfinite()):  # the one place where the host waits
            self.bad_step(sums, rows, norm)
            return
        at.bad_steps = 0
        at.rows += rows
        for name, value in sums.items():
            at.sums[name] = at.sums.get(name, 0) + value
        if self.averaged is not None:
            self.average()

    def average(self) -> None:
        """The averaged weights and batch statistics a step nearer to the latest; what only counts is copied."""
        pairs = [
            (averaged, latest)
            for tensors in ("parameters", "buffers")
            for averaged, latest in zip(getattr(self.averaged, tensors)(), getattr(self.raw, tensors)(), strict=True)
        ]
        numbers = [pair for pair in pairs if pair[0].is_floating_point()]
        torch._foreach_lerp_([a for a, _ in numbers], [b.detach() for _, b in numbers], 1 - self.params.ema_decay)
        for averaged, latest in pairs:
            if not averaged.is_floating_point():
                averaged.copy_(latest)

    def learn(self, ids: Tensor) -> dict[str, Tensor]:
        """Gradient and update. Returns each term's sum over the rows of this process, and as NORM the gradient's."""
        sums = self.gradient(ids)
        return {**sums, NORM: self.update()}

    def gradient(self, ids: Tensor) -> dict[str, Tensor]:
        """That of the mean loss over the global batch; returns each term's sum over the rows of this process.

        The gradients of all processes are averaged in the last backward pass, so that each weighs its rows `world`
        times. One for which no rows are left has to take part as well: with rows of others, which weigh nothing.
        """
        micro_batches = [(rows, len(rows)) for rows in self.share(ids)] or [(ids[: self.job.block], 0)]
        sums: dict[str, Tensor] = {}
        for i, (rows, weight) in enumerate(micro_batches):
            with self.fabric.no_backward_sync(self.model, enabled=i < len(micro_batches) - 1):
                terms = self.job.loss(self.model, rows)
                self.fabric.backward(sum(terms.values()) * (weight * self.fabric.world_size / len(ids)))
            for name, term in terms.items():
                sums[name] = sums.get(name, 0) + term.detach() * weight
        return sums

    def update(self) -> Tensor:
        """Clip and step, unless the gradient is not finite. Returns its norm before it was clipped."""
        limit = self.params.clip_norm or float("inf")
        norm = self.fabric.clip_gradients(self.model, self.optimizer, max_norm=limit, error_if_nonfinite=False)
        if self.machine.precision != "fp16":  # fp16's scaler leaves a bad step out by itself, and learns from it
            self.bare.grad_scale, self.bare.found_inf = None, (~norm.isfinite()).float()  # and so does the fused kernel
        self.optimizer.step()
        self.optimizer.zero_grad()
        return norm.detach()

    def bad_step(self, sums: dict[str, Tensor], rows: int, norm: Tensor) -> None:
        self.at.bad_steps += 1
        values = {name: float(value) / max(rows, 1) for name, value in sums.items()}
        bad = [f"{name} = {value}" for name, value in values.items() if value - value != 0]
        why = f"loss terms that are not finite: {', '.join(bad)}" if bad else f"every loss term is finite: {values}"
        message = f"{self.job.name}, step {self.at.step}: gradient norm {float(norm)}; {why}"
        if self.at.bad_steps >= self.machine.max_bad_steps:
            raise Diverged(
                f"{message}; that is {self.at.bad_steps} steps in a row: lower optimizer.learning_rate, "
                "set yard.machine.precision to 32, or look for NaN in the data"
            )
        log.warning("%s; step left out", message)

    def end_epoch(self) -> None:
        at, params = self.at, self.params
        judged = self.averaged if self.averaged is not None else self.raw
        judged.eval()
        judged_now = (at.epoch + 1) % self.job.evaluate_every == 0 or at.epoch + 1 == params.epochs
        scores: dict[str, float | None] = {}
        if judged_now:
            with torch.no_grad(), self.fabric.autocast():
                scores = self.job.evaluate(judged)
            bad = [name for name, value in scores.items() if isinstance(value, float) and not isfinite(value)]
            said = f"{self.job.name}, epoch {at.epoch + 1}: on validation {', '.join(bad)} not finite"
            if "score" in bad:
                raise Diverged(f"{said}: lower optimizer.learning_rate, or look for NaN in the data")
            if bad:
                log.warning("%s", said)
                scores |= dict.fromkeys(bad)
        train = {name: self.mean_over_processes(value) for name, value in at.sums.items()}
        score = scores.get("score")
        better = judged_now and (at.best is None or (score is not None and score > at.best))  # None: nobody could judge
        at.history.append({
            "epoch": at.epoch, "step": at.step, "best": better, "learning_rate": float(self.bare.param_groups[0]["lr"]),
            "train": {"loss": sum(train.values()), **train} if train else {}, "val": scores,
        })  # fmt: skip
        at.stale = 0 if better else at.stale + 1
        if min(at.stale, at.epoch - at.cut_epoch) >= self.rate.plateau_patience:
            at.cuts, at.cut_epoch = at.cuts + 1, at.epoch
        at.epoch, at.batch, at.rows, at.sums = at.epoch + 1, 0, 0, {}
        out_of_patience = judged_now and params.patience is not None and at.stale >= params.patience
        at.finished = at.epoch == params.epochs or out_of_patience
        if better:
            at.best = score
            state = {"model": judged.state_dict(), "config": self.job.config, "epoch": at.epoch - 1, "scores": scores}
            self.save("best", state, {"epoch": at.epoch - 1, "step": at.step, "scores": scores})
        self.save_last()
        if self.fabric.is_global_zero:
            history.write(self.out, at.history)

    def mean_over_processes(self, total: Tensor) -> float:
        both = torch.stack([total.double().cpu(), torch.tensor(float(self.at.rows), dtype=torch.float64)])
        total, rows = self.fabric.all_reduce(both.to(self.fabric.device), reduce_op="sum").tolist()
        return total / rows

    def save_last(self) -> None:
        state: dict[str, Any] = {
            "model": self.raw.state_dict(), "optimizer": self.bare.state_dict(),
            "average": self.averaged.state_dict() if self.averaged is not None else None,
            "precision": self.fabric.strategy.precision.state_dict(),
            "progress": {**vars(self.at)}, "fingerprint": self.job.fingerprint, "config": self.job.config,
        }  # fmt: skip
        if self.fabric.world_size > 1 and self.at.sums:
            state["shares"] = self.shares()
        plain = {name: value for name, value in vars(self.at).items() if name not in ("sums", "history")}
        self.save("last", state, {**plain, "scores": self.at.history[-1]["val"] if self.at.history else None})
        self.saved_at = time.monotonic()

    def shares(self) -> Tensor:
        """(processes, terms + 1): the sums of each, and its rows."""
        values = [value.double() for value in self.at.sums.values()]
        own = torch.stack([*values, torch.tensor(float(self.at.rows), dtype=torch.float64, device=self.fabric.device)])
        return gathered(own[None]).cpu()

    def save(self, name: str, state: dict, readable: dict) -> None:
        if self.fabric.is_global_zero:
            about = {"seed": self.params.seed, "fingerprint": self.job.fingerprint, "config": self.job.config}
            checkpoint.save(self.out, name, state, {**readable, **about})

    def resume(self) -> None:
        state = checkpoint.resumable(self.out / "last.pt", self.job.fingerprint)
        self.fabric.barrier()  # nobody deletes what another process has yet to read
        if state is None:
            if self.fabric.is_global_zero:
                for name in ("best.pt", "best.json", "last.pt", "last.json", "history.jsonl", "curves.png"):
                    (self.out / name).unlink(missing_ok=True)
            return
        self.raw.load_state_dict(state["model"])
        self.bare.load_state_dict(state["optimizer"])
        if self.averaged is not None:
            self.averaged.load_state_dict(state["average"])
        self.fabric.strategy.precision.load_state_dict(state["precision"])
        self.at = Progress(**state["progress"])
        if self.fabric.world_size > 1 and self.at.sums and len(state.get("shares", ())) == self.fabric.world_size:
            *own, rows = state["shares"][self.fabric.global_rank]
            sums = zip(self.at.sums.items(), own, strict=True)
            self.at.sums, self.at.rows = {name: share.to(first.dtype) for (name, first), share in sums}, int(rows)
        self.at.sums = {name: value.to(self.fabric.device) for name, value in self.at.sums.items()}
        if not self.at.finished:
            log.info("%s: going on at epoch %d, step %d", self.job.name, self.at.epoch, self.at.step)
