"""Which photographs are of one ride, and how often a change between them is found, and claimed where there is none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tasks.bike_parts.formats.detections import Detections, Oracle, Second
from tasks.bike_parts.formats.photos import STATES, Photos
from tasks.bike_parts.importers.inspected import turn_of
from tasks.bike_parts.judging import changes
from tasks.bike_parts.judging.believed import Calibration
from tasks.bike_parts.judging.judge import Judge
from tasks.bike_parts.judging.runs import Run
from tasks.bike_parts.judging.verdicts import Again, Seen
from tasks.yard.metrics import bootstrap
from tasks.yard.metrics.binary import calibration_error, reliability
from tasks.yard.params import Reporting

NEVER, RAW = "never", "states_as_told"
WHAT = {
    NEVER: "claims nothing",
    RAW: "claims what is told intact before and damaged or absent after, each photograph by itself",
}
TRUE_BOXES, TRUE_AFTER = "true_boxes", "true_states_after"
BOUNDS = {
    TRUE_BOXES: "limit: every box true, its state as the network tells it",
    TRUE_AFTER: "limit: after the ride every state true, before it as told",
}
SURE = 0.999  # probability of a state that is true
Pairs = list[tuple[int, int]]


def pairs_of(photos: Photos) -> Pairs:
    """(id before, id after) of photographs called <name>_before and <name>_after, in one folder and of one bike."""
    sides: dict[tuple[str, str], dict[str, list[int]]] = {}
    for photo in photos.photos:
        if turn := turn_of(photo.name):
            sides.setdefault((turn[0], photo.group), {}).setdefault(turn[1], []).append(photo.id)
    return [(of["before"][0], of["after"][0]) for of in sides.values() if [*map(len, of.values())] == [1, 1]]


def seen_in(found: Detections, photo: int) -> Seen:
    rows = found.image == photo
    return Seen(found.part[rows], found.box[rows], found.score[rows], found.states[rows])


def again_in(second: Second | None, photo: int) -> Again | None:
    """The second look at a photograph; None where there was none."""
    rows = second.image == photo if second is not None else np.zeros(0, bool)
    return Again(seen_in(second, photo), second.off[rows]) if second is not None and rows.any() else None


def looks(found: Detections, second: Second | None, pair: tuple[int, int]) -> tuple[list[Seen], list[Again] | None]:
    """At the two photographs of a ride."""
    again = [of for photo in pair if (of := again_in(second, photo)) is not None]
    return [seen_in(found, photo) for photo in pair], again if len(again) == len(pair) else None


def probabilities(found: Detections, second: Second | None, pairs: Pairs, judge: Judge) -> np.ndarray:
    """(pairs, K) that the part is worse, as inspect has it."""
    p = [judge.worse(*looks(found, second, pair)) for pair in pairs]
    return np.array(p, float).reshape(-1, len(judge.parts))


def truth(photos: Photos, pairs: Pairs) -> np.ndarray:
    """(pairs, K) 1 the part is worse after the ride, 0 it is not, -1 not labelled.

    0 too where it is covered in one of the photographs: what cannot be seen cannot be claimed.
    """
    states = changes.truths(photos, pairs)
    return np.where((states >= 0).all(-1), changes.is_worse(states) == 1, -1).astype(int)


def as_told(found: Detections, pairs: Pairs, parts: int) -> np.ndarray:
    """(pairs, K) 1.0 where the states told of the surest box of each part, in each photograph, say that it is worse."""
    states = np.full((len(pairs), parts, 2), -1)
    for row, pair in enumerate(pairs):
        for side, photo in enumerate(pair):
            seen = seen_in(found, photo)
            order = np.argsort(seen.score, kind="stable")
            states[row, seen.part[order] - 1, side] = seen.states[order].argmax(1)
    return (changes.is_worse(states) == 1).astype(float)


def labels_of(photos: Photos, oracle: Oracle) -> np.ndarray:
    """Rows of the true boxes, in the order of `oracle`."""
    order = np.argsort(photos.id)
    return order[np.searchsorted(photos.id[order], oracle.annotation)]


def with_true_boxes(photos: Photos, oracle: Oracle, pairs: Pairs, judge: Judge, calibrated: Calibration) -> np.ndarray:
    """(pairs, K) that the part is worse, from what the network says of the true boxes."""
    states: dict[int, np.ndarray] = {}
    rows, of_rows = labels_of(photos, oracle), calibrated(oracle.states)
    for photo in {photo for pair in pairs for photo in pair}:
        mine = photos.photo[rows] == photo
        states[photo] = np.tile(judge.rides.share, (len(judge.parts), 1))
        states[photo][photos.part[rows[mine]] - 1] = of_rows[mine]
    p = [changes.worse(states[before], states[after], judge.rides) for before, after in pairs]
    return np.array(p, float).reshape(-1, len(judge.parts))


def with_true_states_after(run: Run, pairs: Pairs, judge: Judge) -> np.ndarray:
    """The same from what is seen before the ride, and from the labels after it."""
    true, p = changes.truths(run.of.photos, pairs)[..., 1], []
    for pair, after in zip(pairs, true, strict=True):
        before, told = judge.states(*looks(run.found, run.again, pair))
        sure = SURE * np.eye(len(STATES))[after] + (1 - SURE) * judge.rides.share
        p.append(changes.worse(before, np.where(after[:, None] >= 0, sure, told), judge.rides))
    return np.array(p, float).reshape(-1, len(judge.parts))


def judged(
    p: np.ndarray, true: np.ndarray, claim: float | None, groups: Sequence[str], reporting: Reporting
) -> dict[str, Any]:
    """Claims of (pairs, K) probabilities, from `claim` on, against the truth; groups (pairs): the bike of each.
    Pairs of which nothing is labelled do not count."""
    rows = changes.labelled(true)
    why = None if rows.any() else "no pair whose states are labelled" if len(p) else "no pair of photographs"
    p, true, groups = p[rows], true[rows], np.array(groups)[rows]
    if why or claim is None:
        return {
            "pairs": len(p), **dict.fromkeys(("recall", "false_a_pair", "precision", "ece", "intervals")),
            "null_because": why or "no threshold: no pair on validation whose states are labelled",
        }  # fmt: skip
    told = changes.judged(p, true, claim)
    names, number = np.unique(groups, return_inverse=True)
    draws = bootstrap.resamples(len(names), reporting.bootstrap_replicates, reporting.bootstrap_seed)
    claimed, worse, known = p >= claim, true == 1, true >= 0
    each = ((claimed & worse).sum(1), worse.sum(1), (claimed & ~worse & known).sum(1), np.ones(len(p)))
    hits, real, wrong, drawn = (draws @ np.bincount(number, of, len(names)) for of in each)
    with np.errstate(invalid="ignore"):
        spans = {"recall": hits / real, "false_a_pair": wrong / drawn}
    return told | {
        "intervals": {name: bootstrap.spread(values, len(names)) for name, values in spans.items()},
        "reliability": reliability(true[known], p[known]), "ece": calibration_error(true[known], p[known]),
        "null_because": None if told["changes"] else "nothing got worse in any of these rides",
    }  # fmt: skip
