"""Which moments of the held-out routes are shown as stills: best, worst, and where looking again changed most."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

MOVES_M = 4.0  # that the expert goes within the horizon: a plan for a car that stands is right for free
APART = 8  # rows of a route between two stills of one kind: four seconds
EACH = 2
KINDS = {
    "worst": "the last layer's waypoints are farthest off",
    "middle": "half of all moments are better",
    "best": f"the last layer's waypoints are nearest, of moments in which the expert goes {MOVES_M:g} m or more",
    "helped": "looking again made it better by most",
    "hurt": "looking again made it worse by most",
}


@dataclass(frozen=True)
class Case:
    kind: str
    route: str
    row: int  # of the route's plans
    last_m: float  # mean distance of the waypoints up to the horizon
    coarse_m: float

    @property
    def says(self) -> str:
        first = "" if self.kind == "middle" else f", the coarse plan {self.coarse_m:.2f} m"
        return f"{self.last_m:.2f} m off on average{first}"


@dataclass(frozen=True)
class Judged:
    """Of one route, k moments."""

    last_m: np.ndarray  # (k)
    coarse_m: np.ndarray
    gone_m: np.ndarray  # how far the expert goes


def picked(routes: Mapping[str, Judged]) -> list[Case]:
    """At most EACH of a kind, not close to each other on one route; `helped` and `hurt` only where layers differ."""
    names = [name for name, of in routes.items() for _ in of.last_m]
    rows = [row for of in routes.values() for row in range(len(of.last_m))]
    if not names:
        return []
    last, coarse, gone = (
        np.concatenate([getattr(of, key) for of in routes.values()]) for key in ("last_m", "coarse_m", "gone_m")
    )
    gain, moves = coarse - last, gone >= MOVES_M
    half = np.argsort(np.abs(last - np.median(last)), kind="stable")
    orders = {
        "worst": np.argsort(-last, kind="stable"), "middle": half[:1],
        "best": [i for i in np.argsort(last, kind="stable") if moves[i]],
        "helped": [i for i in np.argsort(-gain, kind="stable") if gain[i] > 0],
        "hurt": [i for i in np.argsort(gain, kind="stable") if gain[i] < 0],
    }  # fmt: skip
    found: list[Case] = []
    for kind, order in orders.items():
        mine: list[Case] = []
        for i in order:
            if len(mine) == EACH:
                break
            if any(one.route == names[i] and abs(one.row - rows[i]) < APART for one in mine):
                continue
            mine.append(Case(kind, names[i], rows[i], float(last[i]), float(coarse[i])))
        found += mine
    return found
