"""What a run is worth on some frames, and how sure of that one can be. Pure: counts in, numbers out.

The intervals are of whole scenes drawn with replacement, for frames of one are alike; of whole frames where there is
one scene, which is rather too narrow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

import numpy as np

from tasks.ground_plane.judging import matching
from tasks.ground_plane.judging.controls import Frames
from tasks.ground_plane.judging.matching import METRICS, Counts
from tasks.yard.metrics import bootstrap
from tasks.yard.params import Reporting


def independent(counts: Sequence[Counts], frames: Frames) -> dict[str, Counts]:
    """What is drawn for an interval, by name: each scene, or each frame where all are of one scene."""
    of: dict[str, Counts] = {}
    for one, (scene, _) in zip(counts, frames, strict=True):
        of[scene.name] = of.get(scene.name, Counts()) + one
    if len(of) > 1:
        return of
    return {f"{scene.name}/{scene.frames[row]}": one for one, (scene, row) in zip(counts, frames, strict=True)}


def replicates(counts: Sequence[Counts], match_m: float, reporting: Reporting) -> dict[str, np.ndarray]:
    """{metric: (replicates)} of `independent` counts, drawn with replacement; NaN where a draw leaves it undefined."""
    draws = bootstrap.resamples(len(counts), reporting.bootstrap_replicates, reporting.bootstrap_seed)
    return matching.rates(*(draws @ np.array([astuple(one) for one in counts])).T, match_m)


def intervals(counts: Sequence[Counts], match_m: float, reporting: Reporting) -> dict[str, dict | None]:
    """95 % percentile interval of each metric; None for fewer than two `independent` counts."""
    if len(counts) < 2:
        return dict.fromkeys(METRICS)
    return {name: bootstrap.interval(values) for name, values in replicates(counts, match_m, reporting).items()}


def numbers(counts: Sequence[Counts], frames: Frames, match_m: float, reporting: Reporting) -> dict[str, Any]:
    """What details.json says of one run on some frames."""
    whole, drawn = sum(counts, Counts()), list(independent(counts, frames).values())
    people = whole.tp + whole.fn
    why = None if people else f"nobody in {len(counts)} frames" if counts else "no labelled frame"
    return {
        **whole.metrics(match_m), "tp": whole.tp, "fp": whole.fp, "fn": whole.fn, "frames": len(counts),
        "people": people, "intervals": intervals(drawn, match_m, reporting), "null_because": why,
    }  # fmt: skip


def unjudged(counts: int, why: str) -> dict[str, Any]:
    return {**dict.fromkeys((*METRICS, "tp", "fp", "fn", "people", "intervals")), "frames": counts, "null_because": why}
