"""The streets of a town as a graph of lanes: a grid with gaps, drawn by a seed.

World metres, x and y on the ground, right-handed, traffic on the right. A crossing with three or four arms has lights;
one with two that do not lie in line is a curve. Streets have one or two lanes each way, may bend like an S, may have
parked cars beside them and a zebra crossing half way, and some are slow. Every lane is a line of points a metre apart.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

LANE_M = 3.5
WALK_M = 3.0  # width of a pavement
BAY_M = (2.2, 6.0)  # width and length of a place to park
STEP_M = 1.0
LIMIT_MPS, SLOW_MPS = 8.0, 4.2  # of a street; of one that is paved in brick
SLOW_SHARE = 0.35
SIDEWAYS_MPS2 = 2.0  # comfortable in a curve
CORNER_M, CURVE_M = 4.5, 14.0  # from the edge of the crossing street to the end of a lane; of a curve
LINE_M = 5.0  # from the stop line to the end of its lane; the crossing for pedestrians lies between
GRID = (4, 3)
SPACING_M = (56.0, 86.0)
MARGIN_M = 34.0  # of the ground around the outermost street
NOWHERE = (-1, -1, -1)
LEFT, RIGHT, STRAIGHT, FOLLOW, CHANGE_LEFT, CHANGE_RIGHT = 1, 2, 3, 4, 5, 6  # CARLA's RoadOption


@dataclass
class Street:
    """What lies between two crossings."""

    a: int
    b: int
    lanes: int  # each way
    middle: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))  # (n, 2) from a to b
    parking: tuple[bool, bool] = (False, False)  # on the right, on the left of the way from a to b
    zebra: int | None = None  # index of `middle`
    slow: bool = False

    @property
    def half_m(self) -> float:
        return self.lanes * LANE_M


@dataclass(frozen=True)
class Lane:
    points: np.ndarray  # (n, 2)
    yaw: np.ndarray  # (n)
    step_m: float  # between two points, about STEP_M
    turn: int  # FOLLOW for that of a street and of a curve; LEFT, RIGHT or STRAIGHT over a crossing
    place: tuple[int, int, int]  # street, direction (0: from a to b), number from the middle; NOWHERE at a crossing
    arm: int  # the light at its end, -1 if there is none
    limit_mps: float = LIMIT_MPS

    @property
    def on_street(self) -> bool:
        return self.place != NOWHERE

    @property
    def length_m(self) -> float:
        return self.step_m * (len(self.points) - 1)

    @property
    def stop_m(self) -> float:
        """Where its stop line is."""
        return self.length_m - LINE_M


@dataclass(frozen=True)
class Zebra:
    ends: np.ndarray  # (2, 2) on the two pavements
    lanes: tuple[tuple[int, float], ...]  # lane and where on it


@dataclass(frozen=True)
class Streets:
    size_m: tuple[float, float]
    nodes: np.ndarray  # (n, 2)
    streets: list[Street]
    lanes: list[Lane]
    after: list[list[int]]  # of every lane, the lanes it leads to
    beside: dict[tuple[int, int, int], int]  # place -> lane
    arms: list[tuple[int, int]]  # node and street of every light
    zebras: list[Zebra]

    def arms_of(self, node: int) -> list[int]:
        return [arm for arm, (at, _) in enumerate(self.arms) if at == node]


def resampled(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Points of a line at even steps of about STEP_M, the headings there, and the step."""
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    count = max(2, round(along[-1] / STEP_M) + 1)
    at = np.linspace(0, along[-1], count)
    even = np.column_stack([np.interp(at, along, points[:, i]) for i in (0, 1)])
    ahead = np.gradient(even, axis=0)
    return even, np.unwrap(np.arctan2(ahead[:, 1], ahead[:, 0])), float(along[-1] / (count - 1))


def beside(points: np.ndarray, left_m: float | np.ndarray) -> np.ndarray:
    """A line that runs `left_m` to the left of another."""
    ahead = np.gradient(points, axis=0)
    ahead /= np.linalg.norm(ahead, axis=1, keepdims=True)
    return points + np.column_stack([-ahead[:, 1], ahead[:, 0]]) * np.reshape(left_m, (-1, 1))


def bow(start: np.ndarray, ahead: np.ndarray, end: np.ndarray, then: np.ndarray) -> np.ndarray:
    """A line from a point and a heading to another, as (n, 2): a cubic that is nearly a quarter of a circle."""
    across = ahead[0] * then[1] - ahead[1] * then[0]
    apart = end - start
    if abs(across) < 0.3:
        reach = (np.linalg.norm(apart) / 3,) * 2
    else:  # to where the two lines meet
        first = (apart[0] * then[1] - apart[1] * then[0]) / across
        second = (ahead[0] * apart[1] - ahead[1] * apart[0]) / across
        reach = (0.5523 * first, 0.5523 * second)
    t = np.linspace(0, 1, 60)[:, None]
    one, two = start + ahead * reach[0], end - then * reach[1]
    return (1 - t) ** 3 * start + 3 * (1 - t) ** 2 * t * one + 3 * (1 - t) * t**2 * two + t**3 * end


def whole(edges: set[tuple[int, int]], count: int) -> bool:
    """Is every crossing reached, and does none have fewer than two arms?"""
    near: dict[int, list[int]] = {node: [] for node in range(count)}
    for a, b in edges:
        near[a].append(b)
        near[b].append(a)
    seen, waiting = {0}, deque([0])
    while waiting:
        for node in near[waiting.popleft()]:
            if node not in seen:
                seen.add(node)
                waiting.append(node)
    return len(seen) == count and min(map(len, near.values())) >= 2


def draw_edges(rng: np.random.Generator) -> set[tuple[int, int]]:
    wide, high = GRID
    edges = {(y * wide + x, y * wide + x + 1) for y in range(high) for x in range(wide - 1)}
    edges |= {(y * wide + x, (y + 1) * wide + x) for y in range(high - 1) for x in range(wide)}
    away = int(rng.integers(1, 4))
    for place in rng.permutation(len(edges)):
        edge = sorted(edges)[place % len(edges)]
        if away and whole(edges - {edge}, wide * high):
            edges.remove(edge)
            away -= 1
    return edges


def lane_counts(rng: np.random.Generator, edges: list[tuple[int, int]], nodes: np.ndarray) -> list[int]:
    """Streets that go on in line, or round a curve, have as many lanes as each other."""
    group = list(range(len(edges)))
    for node in range(len(nodes)):
        here = [i for i, edge in enumerate(edges) if node in edge]
        for i in here:
            for j in here:
                one, other = (nodes[sum(edges[k]) - node] - nodes[node] for k in (i, j))
                in_line = one @ other < -0.9 * np.linalg.norm(one) * np.linalg.norm(other)
                if i < j and (in_line or len(here) == 2):
                    group = [group[i] if g == group[j] else g for g in group]
    wide = {g: int(rng.random() < 0.4) for g in sorted(set(group))}
    return [1 + wide[g] for g in group]


def draw(rng: np.random.Generator) -> Streets:
    steps = [np.concatenate([[0], np.cumsum(rng.uniform(*SPACING_M, count - 1))]) for count in GRID]
    nodes = np.array([(x, y) for y in steps[1] for x in steps[0]]) + MARGIN_M
    edges = sorted(draw_edges(rng))
    counts = lane_counts(rng, edges, nodes)
    streets = [Street(a, b, lanes) for (a, b), lanes in zip(edges, counts, strict=True)]
    arms_at = [[i for i, s in enumerate(streets) if node in (s.a, s.b)] for node in range(len(nodes))]

    def heading(street: int, node: int) -> np.ndarray:
        """From a crossing into one of its streets."""
        apart = nodes[streets[street].a + streets[street].b - node] - nodes[node]
        return apart / np.linalg.norm(apart)

    def trim(node: int) -> float:
        mine = arms_at[node]
        if len(mine) > 2:
            return max(streets[i].half_m for i in mine) + CORNER_M
        return 2.0 if heading(mine[0], node) @ heading(mine[1], node) < -0.9 else CURVE_M

    for i, street in enumerate(streets):
        ahead = heading(i, street.a)
        start, end = nodes[street.a] + ahead * trim(street.a), nodes[street.b] - ahead * trim(street.b)
        long = float(np.linalg.norm(end - start))
        t = np.linspace(0, 1, max(2, round(long) + 1))
        inner = np.clip((t * long - 9) / max(long - 18, 1), 0, 1)  # lanes end straight
        bend = min(6.0, (long - 18) ** 2 / 400) * rng.uniform(-1, 1)  # its curves have 20 m of radius, or more
        bend *= rng.random() < 0.5
        left = np.array([-ahead[1], ahead[0]])
        street.middle = (
            start + t[:, None] * (end - start) + (bend * (1 - np.cos(2 * np.pi * inner)) / 2)[:, None] * left
        )
        if street.lanes == 1:
            right, left_side = rng.random(2) < 0.4
            street.parking = bool(right), bool(left_side)
        street.slow = bool(rng.random() < SLOW_SHARE)
        if rng.random() < 0.7 and long > 32:
            street.zebra = int(len(t) * rng.uniform(0.4, 0.6))

    arms = [(node, i) for node, mine in enumerate(arms_at) if len(mine) > 2 for i in mine]
    lanes: list[Lane] = []
    places: dict[tuple[int, int, int], int] = {}
    for i, street in enumerate(streets):
        for way in (0, 1):
            node = street.b if way == 0 else street.a
            arm = arms.index((node, i)) if (node, i) in arms else -1
            for k in range(street.lanes):
                middle = street.middle if way == 0 else street.middle[::-1]
                places[i, way, k] = len(lanes)
                limit = SLOW_MPS if street.slow else LIMIT_MPS
                line = resampled(beside(middle, -(k + 0.5) * LANE_M))
                lanes.append(Lane(*line, FOLLOW, (i, way, k), arm, limit))
    after: list[list[int]] = [[] for _ in lanes]
    for node, mine in enumerate(arms_at):
        for i in mine:
            for j in mine:
                if i != j:
                    _join(node, i, j, streets, places, lanes, after, len(mine) > 2, heading)
    wide, high = (float(step[-1] + 2 * MARGIN_M) for step in steps)
    found = Streets((wide, high), nodes, streets, lanes, after, places, arms, [])
    found.zebras.extend(zebra(street, number, found) for number, street in enumerate(streets) if street.zebra)
    return found


def _join(node, i, j, streets, places, lanes, after, lit, heading) -> None:
    """The lanes over a crossing from street i to street j: left from the left lane, right from the right one."""
    into, out = -heading(i, node), heading(j, node)
    across = into[0] * out[1] - into[1] * out[0]
    turn = STRAIGHT if abs(across) < 0.5 else LEFT if across > 0 else RIGHT
    mine, theirs = streets[i].lanes, streets[j].lanes
    ways = int(streets[i].b != node), int(streets[j].a != node)
    pairs = [(k, k) for k in range(min(mine, theirs))]
    if lit and turn != STRAIGHT:
        pairs = [(0, 0)] if turn == LEFT else [(mine - 1, theirs - 1)]
    for k, m in pairs:
        one, two = places[i, ways[0], k], places[j, ways[1], m]
        line = bow(lanes[one].points[-1], into, lanes[two].points[0], out)
        after[one].append(len(lanes))
        after.append([two])
        lanes.append(Lane(*resampled(line), turn if lit else FOLLOW, NOWHERE, -1))


def zebra(street: Street, number: int, streets: Streets) -> Zebra:
    widths = [street.half_m + BAY_M[0] * parked + 1.3 for parked in street.parking]
    ends = np.array([beside(street.middle, left)[street.zebra] for left in (widths[1], -widths[0])])
    at = street.middle[street.zebra]
    crossed = []
    for (i, _, _), lane in streets.beside.items():
        if i == number:
            nearest = int(np.linalg.norm(streets.lanes[lane].points - at, axis=1).argmin())
            crossed.append((lane, nearest * streets.lanes[lane].step_m))
    return Zebra(ends, tuple(crossed))


def speeds(yaw: np.ndarray, step_m: float, limit_mps: float | np.ndarray) -> np.ndarray:
    """How fast each point of a line may be driven, m/s: the limit, or what its curve allows."""
    curve = np.abs(np.gradient(yaw)) / step_m
    return np.minimum(limit_mps, np.sqrt(SIDEWAYS_MPS2 / np.maximum(curve, 1e-6)))
