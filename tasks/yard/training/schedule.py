"""The learning rate as a share of its peak: a function of how far training is, so that a resumed run needs no state."""

from __future__ import annotations

import math

from tasks.yard.training.sections import Optimizer

RISE = 0.3  # share of a one-cycle run spent rising, and where it starts and ends (Smith & Topin 2017, fast.ai's values)
ONE_CYCLE_START, ONE_CYCLE_END = 1 / 25, 1e-5


def _cosine(begin: float, end: float, done: float) -> float:
    return end + (begin - end) * (1 + math.cos(math.pi * done)) / 2


def share_of_peak(params: Optimizer, step: int, epoch: float, epochs: int, cuts: int) -> float:
    """`step` counts optimizer steps from 0; `epoch` of `epochs` are done, with parts of one; `cuts`: plateaus met."""
    done = epoch / epochs
    if params.schedule == "one_cycle":
        if done < RISE:
            return _cosine(ONE_CYCLE_START, 1, done / RISE)
        return _cosine(1, ONE_CYCLE_END, (done - RISE) / (1 - RISE))
    warm = min(1.0, (step + 1) / params.warmup_steps) if params.warmup_steps else 1.0
    if params.schedule == "cosine":
        return warm * _cosine(1, params.final_share, done)
    if params.schedule == "cosine_restarts":
        return warm * _cosine(1, params.final_share, epoch % params.restart_epochs / params.restart_epochs)
    if params.schedule == "plateau":
        return warm * max(params.plateau_factor**cuts, params.final_share)
    if params.schedule == "step":
        at = params.step_epochs
        made = sum(epoch >= cut for cut in at) if isinstance(at, list) else int(epoch) // at
        return warm * params.step_factor**made
    return warm
