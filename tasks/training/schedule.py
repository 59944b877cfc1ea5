"""The learning rate as a share of its peak: a function of how far training is, so that a resumed run needs no state."""

from __future__ import annotations

import math

from tasks.training.sections import Optimizer

RISE = 0.3  # share of a one-cycle run spent rising, and where it starts and ends (Smith & Topin 2017, fast.ai's values)
ONE_CYCLE_START, ONE_CYCLE_END = 1 / 25, 1e-5


def _cosine(begin: float, end: float, done: float) -> float:
    return end + (begin - end) * (1 + math.cos(math.pi * done)) / 2


def share_of_peak(params: Optimizer, step: int, done: float, cuts: int) -> float:
    """`step` counts optimizer steps from 0, `done` in [0, 1] is the share of all epochs, `cuts` the plateaus met."""
    if params.schedule == "one_cycle":
        if done < RISE:
            return _cosine(ONE_CYCLE_START, 1, done / RISE)
        return _cosine(1, ONE_CYCLE_END, (done - RISE) / (1 - RISE))
    warm = min(1.0, (step + 1) / params.warmup_steps) if params.warmup_steps else 1.0
    if params.schedule == "cosine":
        return warm * _cosine(1, params.final_share, done)
    if params.schedule == "plateau":
        return warm * max(params.plateau_factor**cuts, params.final_share)
    return warm
