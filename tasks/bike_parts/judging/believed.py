"""How what a network sees is taken, as validation decided: what its probabilities mean, and which boxes are believed.

It is all that a served model needs of known.json. Training imports it with learning/served.py, and is done anew when
it changes: so what fits a calibration, claims changes or makes sentences stands elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit, logit

from tasks.bike_parts.formats.photos import STATES
from tasks.yard.files import read_json
from tasks.yard.step import BadInput

FILE = "known.json"  # beside the weights; all of it is read by judging/known.py
BELIEVED = 0.5  # a part of this score is found, where validation has not said from which on
TINY = 1e-6


@dataclass(frozen=True)
class Calibration:
    temperature: float = 1.0
    bias: tuple[float, ...] = (0.0,) * len(STATES)
    slope: float = 1.0  # of the logit of a score
    offset: float = 0.0

    def score(self, score: np.ndarray) -> np.ndarray:
        """(n) -> (n) probability that the box is on this part."""
        return expit(self.slope * logit(np.clip(score, TINY, 1 - TINY)) + self.offset)

    def __call__(self, states: np.ndarray) -> np.ndarray:
        """(n, 4) probabilities -> (n, 4) calibrated."""
        scores = np.log(np.maximum(states, TINY)) / self.temperature + np.array(self.bias)
        scores = np.exp(scores - scores.max(1, keepdims=True)) if len(scores) else scores
        return scores / scores.sum(1, keepdims=True) if len(scores) else scores

    def told(self) -> dict[str, Any]:
        return {**asdict(self), "bias": list(self.bias)}


def calibration_of(told: Mapping[str, Any]) -> Calibration:
    """From what `told` made."""
    bias = tuple(float(value) for value in told["bias"])
    return Calibration(float(told["temperature"]), bias, float(told["slope"]), float(told["offset"]))


@dataclass(frozen=True)
class Belief:
    """By itself that of weights that come alone: what they say is taken as it is."""

    believe: float = BELIEVED  # score from which on a part is found
    calibration: Calibration = Calibration()
    several: frozenset[int] = frozenset()  # parts of which a photograph may show more than one
    learnt: frozenset[int] = frozenset(range(len(STATES)))  # states that the training photographs show


def another(file: Path, error: Exception) -> BadInput:
    """Than known.json."""
    return BadInput(f"{file}: not what bike_parts keeps beside its weights ({error!r})")


def read(file: Path) -> Belief:
    """Of known.json. Raises `BadInput` where it is another file."""
    try:
        said = read_json(file)
        of = calibration_of(said["calibration"])
        return Belief(float(said["believe"]), of, frozenset(said["several"]), frozenset(said["learnt"]))
    except (KeyError, TypeError, ValueError) as error:
        raise another(file, error) from None


def believed_rows(part: np.ndarray, score: np.ndarray, threshold: float, several: Set[int]) -> np.ndarray:
    """Rows of the boxes (n) of a photograph that are sure enough to be there, by part, the surest first."""
    order = np.lexsort((-score, part))
    order = order[score[order] >= threshold]
    again = np.concatenate([[False], np.diff(part[order]) == 0]) if len(order) else np.zeros(0, bool)
    keep = [not more or int(of) in several for of, more in zip(part[order], again, strict=True)]
    return order[np.array(keep, bool)]
