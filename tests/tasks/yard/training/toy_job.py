"""A tiny job for the engine: is a sum positive?"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from tasks.yard.params import Machine
from tasks.yard.step import Context
from tasks.yard.training import engine
from tasks.yard.training.across import with_common_statistics
from tasks.yard.training.sampling import shuffled
from tasks.yard.training.sections import Engine, Optimizer

ENGINE = {
    "seed": 3, "epochs": 4, "batch": 16, "accumulate": 1, "threads": 1, "clip_norm": 1.0, "patience": None,
    "ema_decay": 0.0,
}  # fmt: skip
MACHINE = {
    "accelerator": "cpu", "devices": 1, "precision": "32", "compile": False, "cuda_graph": False, "deterministic": True,
    "checkpoint_every_s": None, "max_bad_steps": 3,
}  # fmt: skip
OPTIMIZER = {
    "kind": "adamw", "learning_rate": 0.01, "weight_decay": 0.01, "momentum": 0.9, "beta2": 0.999, "nesterov": False,
    "schedule": "cosine", "warmup_steps": 3, "final_share": 0.1, "plateau_factor": 0.5, "plateau_patience": 1,
    "step_epochs": 2, "step_factor": 0.1, "restart_epochs": 2,
}  # fmt: skip
ROWS = 90  # at batch 16: five full steps an epoch and one of 10 rows


def fit(
    out: Path, *, dropout=0.2, kill_at=None, bad_from=None, bad_until=10**9, score=None, fingerprint="toy",
    still=None, norm=False, evaluate_every=1, until=None, **settings
) -> list[dict]:  # fmt: skip
    """Train in `out`. `kill_at`: the call of the loss that ends in kill -9; `bad_from`: a term is NaN from there to
    `bad_until`.

    `still`: the first layer (and with `norm` its batch norm) stands still for so many epochs, "ever" for all.
    """
    params = Engine(**{key: settings.get(key, value) for key, value in ENGINE.items()})
    machine = Machine(**{key: settings.get(key, value) for key, value in MACHINE.items()})
    optimizer = Optimizer(**{key: settings.get(key, value) for key, value in OPTIMIZER.items()})
    calls, epochs = iter(range(10**9)), iter(range(10**9))

    def prepare(fabric):
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(ROWS, 6, generator=generator)
        y = torch.stack([x[:, :3].sum(1) > 0, x[:, 3:].sum(1) > 0], dim=1).float()
        x, y = x.to(fabric.device), y.to(fabric.device)

        def loss(model, ids):
            call = next(calls)
            if call == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            terms = F.binary_cross_entropy_with_logits(model(x[ids]), y[ids], reduction="none").mean(0)
            bad = bad_from is not None and bad_from <= call < bad_until
            return {"left": terms[0], "right": terms[1] * (float("nan") if bad else 1)}

        def evaluate(model):
            value = F.binary_cross_entropy_with_logits(model(x), y).item()
            return {"loss": value, "score": score(next(epochs)) if score else -value}

        torch.manual_seed(0)
        body = nn.Sequential(nn.Linear(6, 32, bias=False), nn.BatchNorm1d(32)) if norm else nn.Linear(6, 32)
        model = with_common_statistics(nn.Sequential(body, nn.ReLU(), nn.Dropout(dropout), nn.Linear(32, 2)))
        return engine.Job(
            name="toy", model=model, loss=loss, order=lambda epoch: shuffled(torch.arange(ROWS), params.seed, epoch),
            evaluate=evaluate, config={"width": 32}, fingerprint=fingerprint, evaluate_every=evaluate_every,
            still=engine.Still(("0",), None if still == "ever" else still) if still else None,
        )  # fmt: skip

    return engine.fit(prepare, params, machine, optimizer, out, Context(), until)[1]
