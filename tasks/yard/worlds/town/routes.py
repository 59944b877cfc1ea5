"""A route through a town: a line of points a metre apart, what a navigator says on it, and what it passes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.yard.worlds.town.streets import CHANGE_LEFT, CHANGE_RIGHT, STEP_M, Streets, resampled, speeds
from tasks.yard.worlds.town.tracks import Tracks

BRAKE_MPS2 = 1.8  # before a curve
FIRST_M, CHANGE_M = 14.0, (12.0, 22.0)  # into the first lane; where a change of lanes begins, and how long it is
SPARSE_M = 50.0  # between two points that a navigator gives, at most
REACHED_M, FAR_REACHED_M = 4.0, 7.5  # then the next one is given (TCP's route planners)


@dataclass(frozen=True)
class Route:
    points: np.ndarray  # (n, 2)
    yaw: np.ndarray  # (n)
    limit: np.ndarray  # (n) m/s
    command: np.ndarray  # (n)
    nodes: np.ndarray  # rows of the points that a navigator gives
    stops: tuple[tuple[float, int, int], ...]  # metres to a stop line, its arm, the lane behind the crossing
    zebras: tuple[tuple[float, int, int], ...]  # metres to a zebra crossing, which, the lane that it crosses
    changes: tuple[tuple[float, int, float], ...]  # metres to a change of lanes, the other lane, where on it

    @property
    def length_m(self) -> float:
        return STEP_M * (len(self.points) - 1)

    def node_after(self, row: float, reached_m: float) -> int:
        """The row of the next point given by a navigator for whom one is reached at this distance."""
        later = self.nodes[self.nodes - row > reached_m]
        return int(later[0]) if len(later) else len(self.points) - 1


def draw(streets: Streets, tracks: Tracks, rng: np.random.Generator, length_m: float) -> Route:
    """At least so long, and from there on to a place on a street."""
    lanes = streets.lanes
    first = [i for i in range(len(lanes)) if lanes[i].on_street and lanes[i].length_m > 36]
    lane, at = int(rng.choice(first)), FIRST_M
    pieces, commands, zebras, changes, done = [], [], [], [], 0.0
    stops: list[tuple[float, int, int]] = []

    def add(line: np.ndarray, command: int, limit: float) -> None:
        nonlocal done
        pieces.append(line)
        commands.append((done, command, limit))
        done += float(np.linalg.norm(np.diff(line, axis=0), axis=1).sum())

    def drive(lane: int, start: float, end: float) -> None:
        rows = np.arange(round(start / lanes[lane].step_m), round(end / lanes[lane].step_m) + 1)
        if tracks.zebra[lane] >= 0 and start <= tracks.zebra_m[lane] < end:
            zebras.append((done + tracks.zebra_m[lane] - start, int(tracks.zebra[lane]), lane))
        if lanes[lane].arm >= 0 and start <= lanes[lane].stop_m < end:
            stops.append((done + lanes[lane].stop_m - start, lanes[lane].arm, -1))
        add(lanes[lane].points[rows], lanes[lane].turn, lanes[lane].limit_mps)

    turns: list[int] = []
    while True:
        street, way, number = lanes[lane].place
        beside = [streets.beside[street, way, k] for k in range(streets.streets[street].lanes)]
        room = lanes[lane].length_m - at > CHANGE_M[0] + CHANGE_M[1] + 14
        ways = [(one, over) for one in (beside if room else [lane]) for over in streets.after[one]]
        # Turns that have come less often so far come first.
        weight = np.array([1.0 / (1 + turns.count(lanes[over].turn)) ** 2 for _, over in ways])
        goes_on, over = ways[int(rng.choice(len(ways), p=weight / weight.sum()))]
        if goes_on != lane:
            begin = max(at, CHANGE_M[0])
            end = begin + CHANGE_M[1]
            drive(lane, at, begin)
            share = end / lanes[lane].length_m
            at = share * lanes[goes_on].length_m
            t = np.linspace(0, 1, 25)
            side = 3 * t**2 - 2 * t**3
            one, _ = tracks.pose(np.full(25, lane), begin + t * (end - begin))
            start = begin / lanes[lane].length_m * lanes[goes_on].length_m
            other, _ = tracks.pose(np.full(25, goes_on), start + t * (at - start))
            changes.append((done, goes_on, start))
            zebra = tracks.zebra_m[goes_on]
            if tracks.zebra[goes_on] >= 0 and start <= zebra < at:
                zebras.append((done + zebra - start, int(tracks.zebra[goes_on]), goes_on))
            left = streets.lanes[goes_on].place[2] < number
            add(one + side[:, None] * (other - one), CHANGE_LEFT if left else CHANGE_RIGHT, lanes[lane].limit_mps)
            lane = goes_on
        if done >= length_m:
            break
        drive(lane, at, lanes[lane].length_m)
        if stops and stops[-1][2] < 0:
            stops[-1] = (*stops[-1][:2], streets.after[over][0])
        turns.append(lanes[over].turn)
        add(lanes[over].points, lanes[over].turn, lanes[over].limit_mps)
        lane, at = streets.after[over][0], 0.0
        if done >= length_m and lanes[lane].length_m > 18:
            drive(lane, 0.0, 14.0)
            break
    line = np.concatenate([piece if i == 0 else piece[1:] for i, piece in enumerate(pieces)])
    line = line[np.append(True, np.linalg.norm(np.diff(line, axis=0), axis=1) > 1e-3)]
    points, yaw, step = resampled(line)
    begins = np.array([entry[0] for entry in commands])
    piece = np.searchsorted(begins, np.arange(len(points)) * step + 1e-6, side="right") - 1
    command, limits = (np.array([entry[i] for entry in commands]) for i in (1, 2))
    command = command[piece]
    limit = speeds(yaw, step, limits[piece])
    for row in range(len(limit) - 2, -1, -1):
        limit[row] = min(limit[row], np.sqrt(limit[row + 1] ** 2 + 2 * BRAKE_MPS2 * step))
    nodes = [0]
    for row in range(1, len(points)):
        if command[row] != command[row - 1] or row - nodes[-1] >= SPARSE_M:
            nodes.append(row)
    nodes.append(len(points) - 1)
    return Route(
        points,
        yaw,
        limit,
        command,
        np.array(nodes),
        tuple((a, b, c) for a, b, c in stops if c >= 0),
        tuple(zebras),
        tuple(changes),
    )
