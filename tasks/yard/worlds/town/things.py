"""What stands still in a town: houses, trees, posts with lights over the lanes, and parked cars."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.yard.worlds.town import boxes
from tasks.yard.worlds.town.boxes import Boxes
from tasks.yard.worlds.town.cars import SIZES_M
from tasks.yard.worlds.town.streets import BAY_M, LANE_M, WALK_M, Streets, beside

HEAD_M = (0.35, 0.8, 1.75)  # depth, width, height of a light
HEAD_BASE_M = 3.3
ARM_M = 5.15  # height of the bar that lights hang from
FACADES = 6  # pictures of houses that a town has
CAR_COLOURS = np.array([
    (40, 40, 170), (150, 60, 30), (60, 60, 62), (190, 192, 192), (226, 226, 226), (90, 120, 60), (40, 150, 200),
    (130, 130, 134),
])  # fmt: skip


@dataclass(frozen=True)
class Things:
    houses: Boxes
    facades: np.ndarray  # (n) which picture is on each house
    trunks: Boxes
    crowns: Boxes
    posts: Boxes  # and the bars
    heads: Boxes  # of lights: each looks against its yaw
    arms: np.ndarray  # (n) the arm that each light is for
    parked: Boxes

    @property
    def solid(self) -> Boxes:
        """What a car can run into, parked ones apart."""
        return boxes.together(self.houses, self.trunks, self.posts[self.posts.base < 1])


def draw(streets: Streets, rng: np.random.Generator) -> Things:
    ways = np.concatenate([lane.points for lane in streets.lanes])
    heads, arms, posts = _lights(streets)
    houses = _houses(streets, rng, ways)
    planted: list[tuple] = []
    left: list[tuple] = []
    for street in streets.streets:
        lit = [any(node == at for at, _ in streets.arms) for node in (street.a, street.b)]
        for side in (0, 1):
            out, sign = street.half_m + BAY_M[0] * street.parking[side], 2 * side - 1
            long = len(street.middle)
            line = beside(street.middle, sign * (out + WALK_M - 0.4))
            for row in range(int(rng.integers(4, 14)), long - 4, int(rng.integers(11, 20))):
                if row > 14 * lit[0] and row < long - 14 * lit[1] and rng.random() < 0.7:
                    planted.append((*line[row], rng.uniform(2.6, 3.4), rng.uniform(1.8, 2.6)))
            if street.parking[side]:
                line = beside(street.middle, sign * (street.half_m + BAY_M[0] / 2))
                ahead = np.gradient(street.middle, axis=0)
                for row in bays(street, lit):
                    if rng.random() < 0.55:
                        yaw = np.arctan2(*ahead[row][::-1]) + (np.pi if side else 0.0) + rng.normal(0, 0.02)
                        kind = int(rng.choice(3, p=[0.8, 0.2, 0.0]))
                        left.append((*line[row], yaw, *SIZES_M[kind], int(rng.integers(len(CAR_COLOURS)))))
    trees, parked = np.array(planted).reshape(-1, 4), np.array(left).reshape(-1, 7)
    green = rng.uniform((30, 80, 40), (60, 120, 80), (len(trees), 3))
    up, across = trees[:, 2], trees[:, 3]
    trunk, crown = np.column_stack([0 * up + 0.3, 0 * up + 0.3, up]), np.column_stack([across, across, 1.1 * across])
    colours = CAR_COLOURS[parked[:, 6].astype(int)]
    return Things(
        houses,
        rng.integers(0, FACADES, len(houses)),
        boxes.boxes(trees[:, :2], 0.3, trunk, 0, boxes.VEGETATION, (44, 60, 78)),
        boxes.boxes(trees[:, :2], rng.uniform(0, 1.5, len(trees)), crown, up, boxes.VEGETATION, green),
        posts,
        heads,
        arms,
        boxes.boxes(parked[:, :2], parked[:, 2], parked[:, 3:6], 0, boxes.VEHICLE, colours),
    )


def bays(street, lit: list[bool]) -> list[int]:
    """Rows of a street's middle that have a place to park beside them: none near lights or the zebra crossing."""
    first, last = (12 if lit[0] else 5), len(street.middle) - (15 if lit[1] else 5)
    zebra = street.zebra
    return [row for row in range(first, last, int(BAY_M[1])) if zebra is None or abs(row - zebra) > 9]


def _lights(streets: Streets) -> tuple[Boxes, np.ndarray, Boxes]:
    heads, arms, posts = [], [], []
    for lane in streets.lanes:
        if lane.arm >= 0:
            ahead = np.array([np.cos(lane.yaw[-1]), np.sin(lane.yaw[-1])])
            right = np.array([ahead[1], -ahead[0]])
            street = streets.streets[lane.place[0]]
            heads.append((*(lane.points[-1] + 0.9 * right), lane.yaw[-1]))
            arms.append(lane.arm)
            if lane.place[2] == street.lanes - 1:
                reach = street.half_m + 0.7
                side = lane.points[-1] + right * (LANE_M / 2 + 0.7)
                posts.append((*side, lane.yaw[-1], 0.2, 0.2, ARM_M + 0.1, 0.0))
                posts.append((*(side - right * reach / 2), lane.yaw[-1], 0.14, reach, 0.14, ARM_M))
    found, post = np.array(heads).reshape(-1, 3), np.array(posts).reshape(-1, 7)
    return (
        boxes.boxes(found[:, :2], found[:, 2], HEAD_M, HEAD_BASE_M, boxes.TRAFFIC_LIGHT, (30, 34, 34)),
        np.array(arms, int),
        boxes.boxes(post[:, :2], post[:, 2], post[:, 3:6], post[:, 6], boxes.POLE, (92, 94, 96)),
    )


def _houses(streets: Streets, rng: np.random.Generator, ways: np.ndarray) -> Boxes:
    found = boxes.boxes(np.zeros((0, 2)), 0, (1, 1, 1))
    clear = LANE_M / 2 + WALK_M - 0.2
    for street in streets.streets:
        for side in (0, 1):
            ahead = np.gradient(street.middle, axis=0)
            row = float(rng.uniform(-12, 0))
            while row < len(street.middle) + 6:
                wide, deep, high = rng.uniform(9, 16), rng.uniform(8, 11), rng.uniform(6, 13)
                at = int(np.clip(row + wide / 2, 0, len(street.middle) - 1))
                yaw = np.arctan2(*ahead[at][::-1])
                beyond = row + wide / 2 - at
                out = street.half_m + BAY_M[0] * street.parking[side] + WALK_M + rng.uniform(0.2, 2.5) + deep / 2
                along, left = np.array([np.cos(yaw), np.sin(yaw)]), np.array([-np.sin(yaw), np.cos(yaw)])
                middle = street.middle[at] + along * beyond + left * out * (2 * side - 1)
                one = boxes.boxes(middle, yaw, (wide, deep, high), 0, boxes.BUILDING)
                local = (ways - middle) @ np.column_stack([along, left])
                on_way = (np.abs(local) < np.array([wide, deep]) / 2 + clear).all(1).any()
                if not on_way and not overlap_any(one, found) and rng.random() < 0.88:
                    found = boxes.together(found, one)
                row += wide + (rng.uniform(0, 6) if rng.random() < 0.3 else 0.2)
    return found


def overlap_any(one: Boxes, others: Boxes) -> bool:
    near = np.linalg.norm(others.xy - one.xy, axis=1) < 24
    return bool(boxes.overlap(one, others[near]).any())
