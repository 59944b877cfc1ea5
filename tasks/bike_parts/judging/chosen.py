"""What epochs and networks are chosen by: AP50 of the parts that are there, and macro-F1 of states on matches.

Training asks this of an epoch on validation; the step evaluate, which judges in full, asks it of networks.
"""

from __future__ import annotations

import numpy as np

from tasks.bike_parts.formats.detections import Detections, judgeable
from tasks.bike_parts.formats.photos import ABSENT, Photos
from tasks.bike_parts.judging import drawn_ap, matching, states


def score_of(ap50: float | None, macro_f1: float | None) -> float | None:
    """The mean of the two; AP50 alone where no state is labelled."""
    return ap50 if ap50 is None or macro_f1 is None else (ap50 + macro_f1) / 2


def scored(photos: Photos, found: Detections) -> dict[str, float | None]:
    """None where there is nothing to find, or no state to tell."""
    found = judgeable(photos, found)
    near, there = matching.near(photos, found), photos.state != ABSENT
    hit = matching.one_to_one(near, found.presence, there) >= 0
    true = np.bincount(photos.part[there] - 1, minlength=len(photos.parts))[:, None]
    once, group = np.ones((1, 1)), np.zeros(len(hit), int)
    (ap50,) = drawn_ap.replicates(found.presence, hit, found.part, group, true, once)
    taken = matching.one_to_one(near, found.score)
    got = taken >= 0
    told = states.of_pairs(photos.state[taken[got]], found.states[got].argmax(1), photos.state)
    of_boxes, f1 = (float(ap50) if there.any() else None), told["macro_f1"]
    return {
        "score": score_of(of_boxes, f1), "ap50": of_boxes, "state_macro_f1": f1, "state_accuracy": told["accuracy"]
    }  # fmt: skip
