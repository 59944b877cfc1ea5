"""From which similarity on two images are taken for one person: calibrated on validation, checked on test.

    found = calibrate(pairs(query, gallery, ...), far_target=0.001)        # of validation
    at_threshold(pairs(...), found["at_far"]["threshold"])                 # of test

A pair is accepted if its similarity is at least the threshold. FAR, the false-accept rate: share of the pairs of two
people that are accepted. FRR, the false-reject rate: share of the pairs of one person that are not. Only pairs from two
cameras of one data set count: within one camera the picture itself is alike, across data sets it never is. What the
pairs cannot give is None, with the reason.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from tasks.person_search.judging import ranking

# A rate is called measured from 10 expected false accepts on: counts of 10 spread by about a third (Poisson), and the
# pairs share images, which makes it worse. So a FAR of 1e-4 takes 100,000 pairs of two people.
FALSE_ACCEPTS_NEEDED = 10


@dataclass(frozen=True)
class Pairs:
    """Similarities of cross-camera pairs, rising; float32, higher is more alike."""

    same: np.ndarray  # (S) of one person
    different: np.ndarray  # (D) of two; a distractor is not the query's person

    def far(self, threshold: float) -> float:
        below = int(np.searchsorted(self.different, np.float32(threshold)))
        return (len(self.different) - below) / len(self.different)

    def frr(self, threshold: float) -> float:
        return int(np.searchsorted(self.same, np.float32(threshold))) / len(self.same)


def pairs(
    query: np.ndarray,
    gallery: np.ndarray,
    query_ids: np.ndarray,
    query_cameras: np.ndarray,
    gallery_ids: np.ndarray,
    gallery_cameras: np.ndarray,
) -> Pairs:
    """Cosine similarities of all pairs of a query and an item that two cameras saw; a query of nobody has none."""
    same, different = [np.empty(0, np.float32)], [np.empty(0, np.float32)]
    query_ids, query_cameras, gallery_ids, gallery_cameras = map(
        np.asarray, (query_ids, query_cameras, gallery_ids, gallery_cameras)
    )
    for rows, distance in ranking.distance_blocks(query, gallery, "cosine"):
        similarity = np.subtract(1, distance, out=distance)
        known = query_ids[rows, None] >= 0
        crossing = known & (query_cameras[rows, None] != gallery_cameras)
        one = query_ids[rows, None] == gallery_ids
        same.append(similarity[crossing & one])
        different.append(similarity[crossing & ~one])
    return Pairs(np.sort(np.concatenate(same)), np.sort(np.concatenate(different)))


def together(parts: Iterable[Pairs]) -> Pairs:
    """The pairs of several data sets, without those across two: nobody is in two, and to tell their pictures apart is
    easy."""
    held, none = list(parts), np.empty(0, np.float32)
    if len(held) == 1:
        return held[0]  # of a large gallery a copy is a gigabyte
    same = np.concatenate([none, *(of.same for of in held)])
    return Pairs(np.sort(same), np.sort(np.concatenate([none, *(of.different for of in held)])))


def calibrate(of: Pairs, far_target: float) -> dict:
    """The numbers of one set of pairs:

    eer        {threshold, far, frr, eer}: where the two rates meet; eer is their mean there
    at_far     {threshold, far, frr}: the lowest threshold whose FAR is at most `far_target`; None with too few pairs
    pairs_needed  pairs of two people that `far_target` takes
    null_because  why something is None
    """
    counts = {"same_pairs": len(of.same), "different_pairs": len(of.different)}
    needed = int(np.ceil(FALSE_ACCEPTS_NEEDED / far_target - 1e-9))
    found = {**counts, "far_target": far_target, "pairs_needed": needed, "eer": None, "at_far": None}
    if not len(of.same) or not len(of.different):
        which = "one person" if not len(of.same) else "two people"
        return {**found, "null_because": f"no cross-camera pair of {which}"}
    found["eer"] = equal_error(of)
    if len(of.different) < needed:
        few = f"{len(of.different)} pairs of two people: a false-accept rate of {far_target:g} takes {needed}"
        return {**found, "null_because": few}
    threshold = lowest_threshold(of, far_target)
    found["at_far"] = {"threshold": threshold, "far": of.far(threshold), "frr": of.frr(threshold)}
    return {**found, "null_because": None}


def lowest_threshold(of: Pairs, far: float) -> float:
    """Just above the highest similarity that may no longer be accepted."""
    accepted = int(np.floor(far * len(of.different) + 1e-9))
    if accepted >= len(of.different):
        return float(of.different[0])
    return float(np.nextafter(of.different[-1 - accepted], np.float32(np.inf)))


def equal_error(of: Pairs) -> dict[str, float]:
    """Where FAR and FRR are nearest to each other, among all similarities of pairs; of equals the lowest threshold.

    FRR - FAR never falls with the threshold, so that bisection finds its sign change.
    """
    candidates = []
    for values in (of.same, of.different):
        after = bisect_left(values, 0, key=lambda t: of.frr(t) - of.far(t))
        candidates += [float(values[i]) for i in (after - 1, after) if 0 <= i < len(values)]
    threshold = min(sorted(candidates), key=lambda t: abs(of.frr(t) - of.far(t)))
    far, frr = of.far(threshold), of.frr(threshold)
    return {"threshold": threshold, "far": far, "frr": frr, "eer": (far + frr) / 2}


def at_threshold(of: Pairs, threshold: float | None) -> dict[str, float | int | None]:
    """FAR and FRR of other pairs at a threshold that they did not choose."""
    counts = {"threshold": threshold, "same_pairs": len(of.same), "different_pairs": len(of.different)}
    far = of.far(threshold) if threshold is not None and len(of.different) else None
    frr = of.frr(threshold) if threshold is not None and len(of.same) else None
    return {**counts, "far": far, "frr": frr}


def curve(of: Pairs, points: int = 200) -> dict[str, list[float]]:
    """FAR and FRR over evenly spaced thresholds from the lowest to the highest similarity; empty without pairs."""
    if not len(of.same) or not len(of.different):
        return {"threshold": [], "far": [], "frr": []}
    low, high = min(of.same[0], of.different[0]), max(of.same[-1], of.different[-1])
    thresholds = [float(t) for t in np.linspace(low, high, points, dtype=np.float32)]
    return {"threshold": thresholds, "far": [of.far(t) for t in thresholds], "frr": [of.frr(t) for t in thresholds]}
