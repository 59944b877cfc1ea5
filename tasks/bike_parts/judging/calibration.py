"""Probabilities that mean what they say: as often right as they claim, on validation.

A head that was trained with weights for rare states says them too often, and one that was trained for long is too sure.
Both are undone by the scores s = log p: softmax(s / temperature + bias), the temperature and a bias for each state
fitted to the states of validation (temperature and bias of Guo et al., ICML 2017, "vector scaling" with one scale). The
score of a box becomes the probability that it is this part by Platt's line through its logit.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit

from tasks.bike_parts.formats.photos import STATES
from tasks.bike_parts.judging.believed import TINY, Calibration

FEW = 30  # labelled states; fewer fit nothing
TIGHT = 5.0  # of the squares of what is changed, beside the sum over labels: a state that is rare is not ruled out


def fitted(score: np.ndarray, hit: np.ndarray, states: np.ndarray, true: np.ndarray) -> Calibration:
    """From scores of boxes (m) and whether they are on their part (m); states (n, 4) of those that are and their true
    states (n), -1 where nobody knows."""
    slope, offset = line(score, hit)
    temperature, bias = scale(states, true)
    return Calibration(temperature, bias, slope, offset)


def line(score: np.ndarray, hit: np.ndarray) -> tuple[float, float]:
    """Slope and offset of the logit."""
    if min(hit.sum(), (~hit).sum()) < FEW / 3:
        return 1.0, 0.0
    tight = TIGHT / len(score)
    at, sign = logit(np.clip(score, TINY, 1 - TINY)), np.where(hit, 1.0, -1.0)

    def lost(values: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (values[0] * at + values[1])
        over = -sign * expit(-margin)
        slope = np.array([(over * at).mean(), over.mean()]) + 2 * tight * (values - [1, 0])
        return np.logaddexp(0, -margin).mean() + tight * ((values - [1, 0]) ** 2).sum(), slope

    best = minimize(lost, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B").x
    return round(float(best[0]), 4), round(float(best[1]), 4)


def scale(states: np.ndarray, true: np.ndarray) -> tuple[float, tuple[float, ...]]:
    """Temperature and bias."""
    known = true >= 0
    states, true = np.log(np.maximum(states[known], TINY)), true[known]
    if len(true) < FEW:
        return 1.0, Calibration.bias
    tight = TIGHT / len(true)

    def lost(values: np.ndarray) -> tuple[float, np.ndarray]:
        factor, bias = np.exp(values[0]), values[1:]
        scores = factor * states + bias
        scores -= scores.max(1, keepdims=True)
        p = np.exp(scores)
        p /= p.sum(1, keepdims=True)
        rows = np.arange(len(true))
        over = p.copy()
        over[rows, true] -= 1
        slope = np.concatenate([[(over * states).sum() / len(true) * factor], over.mean(0)])
        return -np.log(p[rows, true] + TINY).mean() + tight * (values**2).sum(), slope + 2 * tight * values

    best = minimize(lost, np.zeros(1 + len(STATES)), jac=True, method="L-BFGS-B").x
    return round(float(np.exp(-best[0])), 4), tuple(round(float(value), 4) for value in best[1:])
