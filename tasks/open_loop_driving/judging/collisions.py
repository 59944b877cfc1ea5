"""Does a planned way meet somebody? Oriented boxes: the car along its way, all others as labelled at that moment."""

from __future__ import annotations

from typing import Any

import numpy as np

from tasks.open_loop_driving.formats.frames import CAR_M
from tasks.open_loop_driving.judging.moments import Moments

STILL_M = 0.1  # a step shorter than this tells no direction: the car points as before


def headings(waypoints: np.ndarray) -> np.ndarray:
    """(..., steps, 2) from the origin, which points ahead -> (..., steps) radians to the left, along each step."""
    steps = np.diff(waypoints, axis=-2, prepend=np.zeros((*waypoints.shape[:-2], 1, 2)))
    found = np.arctan2(steps[..., 1], steps[..., 0])
    tells = np.hypot(steps[..., 0], steps[..., 1]) >= STILL_M
    last = np.zeros(found.shape[:-1])
    for i in range(found.shape[-1]):
        last = np.where(tells[..., i], found[..., i], last)
        found[..., i] = last
    return found


def overlap(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(n) bool: pairs of rectangles (n, 5) x, y, yaw, length, width that share ground, by separating axes."""
    dx, dy = other[:, 0] - one[:, 0], other[:, 1] - one[:, 1]
    apart = np.zeros(len(one), bool)
    for yaw in (one[:, 2], one[:, 2] + np.pi / 2, other[:, 2], other[:, 2] + np.pi / 2):
        reach = sum(
            np.abs(np.cos(box[:, 2] - yaw)) * box[:, 3] / 2 + np.abs(np.sin(box[:, 2] - yaw)) * box[:, 4] / 2
            for box in (one, other)
        )
        apart |= np.abs(dx * np.cos(yaw) + dy * np.sin(yaw)) >= reach
    return ~apart


def hits(waypoints: np.ndarray, moments: Moments) -> np.ndarray:
    """(k, steps, 2) -> (k, steps) bool: does the car at that step meet anybody as they are then?"""
    found = np.zeros(waypoints.shape[:2], bool)
    if len(moments.agents):
        moment, step = moments.agents_of.T
        yaw = headings(waypoints)[moment, step]
        ahead = np.column_stack([np.cos(yaw), np.sin(yaw)]) * moments.centre_m[moment, None]
        middle = waypoints[moment, step] + ahead
        car = np.column_stack([middle, yaw, np.tile(CAR_M, (len(yaw), 1))])
        met = overlap(car, moments.agents)
        np.logical_or.at(found, (moment[met], step[met]), True)
    return found


def rates(plan: np.ndarray, truth: np.ndarray, known: np.ndarray) -> dict[str, Any]:
    """Two `hits`, and (k) bool of the moments whose agents are known -> counts and shares of moments.

    unmasked: of all moments; masked: without those in which the driver's own way, so drawn, meets somebody (the labels
    or the drawing are wrong there). up_to: at this step or an earlier one.
    """
    clean = known & ~truth.any(1)
    found: dict[str, Any] = {}
    for name, kept in (("unmasked", known), ("masked", clean)):
        mine, count = plan[kept], int(kept.sum())
        counts = [int(n) for n in mine.sum(0)]
        up_to = [int(n) for n in np.logical_or.accumulate(mine, axis=1).sum(0)]
        found[name] = {
            "moments": count, "at": counts, "up_to": up_to,
            "rate_at": [n / count for n in counts] if count else None,
            "rate_up_to": [n / count for n in up_to] if count else None,
        }  # fmt: skip
    return found | {"of_the_driver": int((known & truth.any(1)).sum())}
