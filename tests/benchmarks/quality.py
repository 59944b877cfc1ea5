"""The original system's network, loss and settings against ours, on the same windows: `python -m tests.benchmarks
quality`.

Needs a finished run of brake_coast (`make demo`). The other side is the original's simple_concat_transformer: boxes as
they are and their plain mean, focal loss, AdamW at 5e-5 after 8 epochs of warm-up, cut on plateaus, batch 256, the
epoch with the least validation loss kept. Three seeds each.

    python -m tests.benchmarks quality                      quick: that side has our epochs and windows, some 100 steps
                                                            at a rate made for thousands
    ORIGINAL=published python -m tests.benchmarks quality   its published budget: every window, 100 epochs; hours

A ratio is to be quoted from the second only.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from models.brake_coast.losses import focal
from tasks.brake_coast import train
from tasks.brake_coast.formats import windows
from tasks.brake_coast.judging.runs import state_of
from tasks.brake_coast.learning.inference import Windows, load_model, predict
from tasks.brake_coast.params import Train
from tasks.yard.metrics import binary, bootstrap
from tasks.yard.step import Context
from tests.benchmarks._packs import on_pack
from tests.benchmarks.train import Plain
from tests.tasks.yard.shared import machine

BATCH, WARM_EPOCHS = 256, 8
TASKS = ("brake_1s", "coast_1s")
PUBLISHED = os.environ.get("ORIGINAL") == "published"
PUBLISHED_EPOCHS = 100
OURS = ("simple_concat_lstm-telemetry", "simple_concat_lstm", "simple_concat_transformer")


class Split:
    def __init__(self, pack: Path, name: str, stride: int, tasks: list[str]):
        self.frames = windows.load(pack / f"{name}.h5")
        self.starts = windows.window_starts(self.frames.segment, self.frames.window_frames, stride)
        self.labels = self.frames.labels[self.starts + self.frames.window_frames - 1]
        self.targets = torch.from_numpy(self.labels[:, [self.frames.label_names.index(task) for task in tasks]])
        self.inputs = Windows(self.frames, self.frames.window_frames)(torch.from_numpy(self.starts))


def logits_of(model: nn.Module, split: Split) -> Tensor:
    model.eval()
    with torch.no_grad():
        parts = zip(*(x.split(512) for x in split.inputs), strict=True)
        return torch.cat([model(*part) for part in parts])


def original(params: Train, seed: int, splits: dict[str, Split]) -> np.ndarray:
    """Probabilities (N, tasks) of the test windows."""
    torch.manual_seed(seed)
    model = Plain("transformer", len(params.tasks))
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5, weight_decay=1.125e-5)
    plateau = ReduceLROnPlateau(optimizer, factor=0.85, patience=6, min_lr=5e-7)
    weight, alpha, gamma = (
        torch.tensor([getattr(t, name) for t in params.tasks]) for name in ("weight", "alpha", "gamma")
    )
    known, data, val = torch.ones(len(params.tasks)), splits["train"], splits["val"]
    least, best = float("inf"), None
    for epoch in range(PUBLISHED_EPOCHS if PUBLISHED else params.engine.epochs):
        if epoch < WARM_EPOCHS:
            for group in optimizer.param_groups:
                group["lr"] = 2.5e-6 + 4.75e-5 * (epoch + 1) / WARM_EPOCHS
        model.train()
        for ids in torch.randperm(len(data.starts)).split(BATCH):
            loss = (weight * focal(model(*(x[ids] for x in data.inputs)), data.targets[ids], alpha, gamma, known)).sum()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        judged = float((weight * focal(logits_of(model, val), val.targets, alpha, gamma, known)).sum())
        plateau.step(judged)
        if judged < least:
            least, best = judged, {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(best)
    return torch.sigmoid(logits_of(model, splits["test"])).numpy()


def ours(params: Train, variant: str, seed: int, pack: Path, splits: dict[str, Split]) -> np.ndarray:
    params = params.model_copy(update={"engine": params.engine.model_copy(update={"seed": seed})})
    with tempfile.TemporaryDirectory() as out:
        train.run(params, Path(out), Context(), variant=variant, pack=pack, machine_params=machine(accelerator="auto"))
        test = splits["test"]
        return predict(load_model(Path(out) / "best.pt")[0], test.frames, test.starts)


def main(tiny: bool = False) -> None:
    on_pack(compare, tiny)


def compare(params: Train, pack: Path, seeds: tuple[int, ...]) -> None:
    stride, tasks = windows.load(pack / "train.h5").window_stride, [task.name for task in params.tasks]
    strides = {"train": 1 if PUBLISHED else stride, "val": 1, "test": 1}
    splits = {name: Split(pack, name, step, tasks) for name, step in strides.items()}
    test = splits["test"]
    group = np.unique(test.frames.recording[test.starts], return_inverse=True)[1]
    draws = bootstrap.resamples(len(np.unique(group)), 1000, 0)
    sides = {"the original": lambda seed: original(params, seed, splits)}
    sides |= {variant: lambda seed, v=variant: ours(params, v, seed, pack, splits) for variant in OURS}
    budget = "its published budget" if PUBLISHED else "quick: not its published budget, no ratio to quote"
    epochs, windows_ = PUBLISHED_EPOCHS if PUBLISHED else params.engine.epochs, len(splits["train"].starts)
    print(f"PR-AUC on test, seeds {seeds}; the original: {epochs} epochs of {windows_} windows ({budget})", flush=True)
    base: dict[tuple[str, str], float] = {}
    for name, side in sides.items():
        scores = [side(seed).astype(float) for seed in seeds]
        for task in (task for task in TASKS if task in tasks):
            column, state = tasks.index(task), state_of(task)
            y, now = test.targets[:, column].numpy(), test.labels[:, test.frames.label_names.index(state)]
            for subset, use in (("all windows", y >= 0), (f"not yet {state}", (y >= 0) & (now == 0))):
                areas = [binary.scores(y[use], p[use, column])["pr_auc"] for p in scores]
                drawn = binary.replicates(y[use], scores[0][use, column], group[use], draws)["pr_auc"]
                spread, middle = bootstrap.interval(drawn), median(areas)
                base.setdefault((task, subset), middle)
                each = " ".join(f"{area:.3f}" for area in areas)
                print(
                    f"{name:29s} {task} {subset:16s} median {middle:.3f} ({each}; seed 0 over drives "
                    f"{spread['low']:.3f}..{spread['high']:.3f})   {middle / base[task, subset]:4.2f} x   "
                    f"prevalence {y[use].mean():.3f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
