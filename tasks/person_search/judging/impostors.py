"""From which similarity on somebody is said to be found, if few searches for people who are not there may end so? Pure.

A search takes the best of all detections, so that it errs far more often than a pair does: of 1,207 detections one in a
hundred is 12. So the errors of whole searches are counted: searches for people of validation, each with that person
taken out of the whole index, leave the highest similarity of each (calibration.py).

Another size of the index: of n detections instead of n0 the highest is below t with probability F(t) ^ (n / n0), which
holds where there are more people, and is careful where there are more frames of the same ones. Beyond the highest of m
searches, of which one in m + 1 is still higher (Davison and Hinkley 1997, 4.2), an exponential tail goes on with the
mean excess of the upper quarter. A cosine ends at 1 and such a tail does not, so that it is rather too careful.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

FEWEST = 20  # searches that say something: one in 20 is 5 %
TAIL = 0.25  # of the searches, the highest
LEAST_SCALE = 1e-6  # of equal ones


@dataclass(frozen=True)
class Impostors:
    """What searches for people who are not there have found."""

    best: Sequence[float]  # the highest similarity of each, rising
    people: int  # for whom they were
    detections: float  # that each looked through, the mean

    def share(self, similarity: float, detections: int) -> float:
        """Of the searches for somebody who is not there, those that find something at least so similar."""
        return 1 - (1 - self._above(similarity)) ** (detections / self.detections)

    def threshold(self, rate: float, detections: int) -> tuple[float, bool]:
        """(the lowest similarity that at most this share of such searches reaches, is it beyond all that was seen)."""
        count, wanted = len(self.best), -math.expm1(math.log1p(-rate) * self.detections / max(detections, 1))
        accepted = math.floor(wanted * (count + 1) + 1e-9) - 1
        if accepted >= count:
            return -1.0, False
        refused = self.best[count - 1 - max(accepted, 0)]  # the highest that is
        level = float(np.nextafter(np.float32(refused), np.float32(2)))
        if accepted >= 0:
            return level, False
        return max(level, min(1.0, self.best[-1] - self._scale * math.log(wanted * (count + 1)))), True

    def _above(self, similarity: float) -> float:
        """The share at the size of the index that was calibrated on."""
        count = len(self.best)
        accepted = count - bisect_left(self.best, similarity)
        beyond = math.exp(-max(similarity - self.best[-1], 0) / self._scale) if not accepted else 1
        return min(1.0, (accepted + 1) / (count + 1) * beyond)

    @cached_property
    def _scale(self) -> float:
        """The mean excess of the highest over those below them."""
        high = max(2, math.ceil(TAIL * len(self.best)))
        return max(LEAST_SCALE, float(np.mean(self.best[-high:])) - self.best[-high])
