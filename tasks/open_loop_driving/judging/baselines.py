"""What plans without a look at anything: it goes on as it went, or as the driver usually goes at this command. Pure.

A network that is not clearly better has learnt nothing from what it sees: ego state alone is known to win much of the
open-loop distance (the debate on AD-MLP). The blind MLP, which is trained, is a network: `blind`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.open_loop_driving.formats.plans import betas
from tasks.open_loop_driving.judging.moments import Moments

FEWEST_MOMENTS = 5  # with a command; fewer: the mean of all
WHAT = {
    "constant_velocity": "goes on as it went over the last step; no pedal, wheel straight",
    "mean_path": "the mean way and controls of the driver in training at this command",
}


@dataclass(frozen=True)
class Guess:
    waypoints: np.ndarray  # (k, steps, 2)
    alpha: np.ndarray | None  # (k, 2) at t; None where training has no controls
    beta: np.ndarray | None


def constant_velocity(moments: Moments) -> Guess:
    """The velocity is that over the last step: displacement from where the car was then."""
    steps = np.arange(1, moments.waypoints.shape[1] + 1)
    nothing = np.zeros(len(moments))
    return Guess(-moments.before[:, None] * steps[:, None], *betas(nothing, nothing))


def mean_path(train: Moments, moments: Moments) -> Guess | None:
    """None if there is nothing to learn from."""
    if not len(train):
        return None
    waypoints = np.empty_like(moments.waypoints)
    means = np.full((len(moments), 2), np.nan)
    pedals = np.stack([train.control[:, 0] - train.control[:, 2], train.control[:, 1]], axis=-1)
    known = np.isfinite(pedals).all(1)
    for command in np.unique(moments.command):
        alike = train.command == command
        alike = alike if alike.sum() >= FEWEST_MOMENTS else np.ones(len(train), bool)
        mine = moments.command == command
        waypoints[mine] = train.waypoints[alike].mean(0)
        if (alike & known).any():
            means[mine] = pedals[alike & known].mean(0)
    if not np.isfinite(means).all():
        return Guess(waypoints, None, None)
    return Guess(waypoints, *betas(*means.T))


def guesses(train: Moments, moments: Moments) -> dict[str, Guess]:
    found = {"constant_velocity": constant_velocity(moments), "mean_path": mean_path(train, moments)}
    return {name: guess for name, guess in found.items() if guess is not None}
