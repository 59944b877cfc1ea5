"""Moments of a kind: by command, and by what the driver then did. Pure.

Situations are told by the way that was driven, for every source has that; the first that fits counts:
    stands    stands and stays
    starts    stands and then goes
    brakes    is at least BRAKES_MPS2 slower at the end of the way than now, a second of it
    turns     ends at least TURNS_RAD off the direction it came in
    cruises   none of these
"""

from __future__ import annotations

import numpy as np

from tasks.open_loop_driving.judging.collisions import headings
from tasks.open_loop_driving.judging.moments import Moments

COMMANDS = {1: "left", 2: "right", 3: "straight", 4: "follow", 5: "change left", 6: "change right"}
STANDS_MPS, STAYS_M, BRAKES_MPS2, TURNS_RAD = 0.5, 0.5, 1.0, 0.26


def situations(moments: Moments, rate_hz: float) -> dict[str, np.ndarray]:
    """{name: (k) bool}; each moment is in one."""
    way = np.diff(moments.waypoints, axis=1, prepend=np.zeros((len(moments), 1, 2)))
    steps = np.hypot(way[..., 0], way[..., 1])
    now = np.where(np.isfinite(moments.speed), moments.speed, np.hypot(*moments.before.T) * rate_hz)
    seconds = steps.shape[1] / rate_hz
    stands = now < STANDS_MPS
    tests = {
        "stands": stands & (steps.sum(1) < STAYS_M),
        "starts": stands,
        "brakes": now - steps[:, -1] * rate_hz > BRAKES_MPS2 * seconds,
        "turns": np.abs(headings(moments.waypoints)[:, -1]) > TURNS_RAD,
        "cruises": np.ones(len(moments), bool),
    }
    found, left = {}, np.ones(len(moments), bool)
    for name, test in tests.items():
        found[name] = left & test
        left = left & ~test
    if np.isfinite(moments.should_brake).any():  # beside the others: what a light, a car or a walker made it do
        found["must brake"] = moments.should_brake == 1
    return found


def commands(moments: Moments) -> dict[str, np.ndarray]:
    found = {name: moments.command == number for number, name in COMMANDS.items()}
    return found | {"none": ~np.isin(moments.command, list(COMMANDS))}
