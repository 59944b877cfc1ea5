"""People of the street and the plaza: how somebody looks, and that look drawn from any side at any moment of a step.

A figure is a skeleton in three dimensions (left, forward, up, in metres) that is projected and clothed part by part
from far to near. Palettes are short on purpose: many people share a colour, and who somebody is lies in the
combination.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from tasks.yard.worlds.canvas import Canvas, Colour, Cutout, Point, darker

TOPS: list[Colour] = [
    (38, 36, 36), (92, 90, 88), (150, 148, 146), (222, 222, 220), (112, 62, 34), (176, 120, 62),
    (44, 40, 156), (62, 104, 54), (70, 132, 196), (110, 70, 120),
]  # fmt: skip
BOTTOMS: list[Colour] = [(34, 32, 32), (96, 62, 40), (140, 104, 76), (96, 94, 92), (88, 124, 150), (60, 74, 66)]
SKINS: list[Colour] = [(186, 206, 236), (150, 178, 220), (110, 142, 190), (74, 100, 146), (46, 62, 96)]
HAIRS: list[Colour] = [(26, 26, 30), (34, 50, 74), (60, 96, 140), (110, 164, 204), (164, 164, 164)]
BAGS: list[Colour] = [(30, 30, 32), (40, 44, 130), (110, 80, 36), (56, 86, 120), (70, 92, 66)]
SHOES: list[Colour] = [(28, 28, 28), (216, 216, 216), (48, 66, 98), (60, 50, 140)]
HAIR_CUTS, HAIR_SHARE = ["short", "long", "bun", "bald", "cap", "hood"], [0.4, 0.26, 0.08, 0.07, 0.11, 0.08]
PATTERNS = ["plain", "across", "along", "checks", "logo", "open"]
PATTERN_SHARE = [0.34, 0.14, 0.09, 0.09, 0.14, 0.2]

HALF_WIDTH_M, ABOVE_M = 0.68, 0.08  # of the canvas around a figure


@dataclass(frozen=True)
class Look:
    """One person: all that stays the same wherever and whenever they are seen."""

    height_m: float
    build: float  # girth, 1 is average
    skin: Colour
    hair: Colour
    hair_cut: str  # short, long, bun, bald, cap, hood
    top: Colour
    second: Colour  # of the pattern, or of the shirt under an open jacket; also the cap
    pattern: str
    long_sleeves: bool
    hem_m: float  # how far the top hangs below the hips
    bottom: Colour
    legs: str  # trousers, shorts, skirt
    shoes: Colour
    bag: str  # none, backpack, shoulder, hand
    bag_colour: Colour
    stride: float  # of the step, 1 is average


def _near(rng: np.random.Generator, colours: list[Colour], spread: float) -> Colour:
    """One of the colours as another dyer would make it."""
    colour = np.array(colours[int(rng.integers(len(colours)))]) + rng.normal(0, spread, 3)
    return tuple(int(value) for value in colour.clip(14, 236))


def draw_look(rng: np.random.Generator) -> Look:
    top, second = rng.choice(len(TOPS), 2, replace=False, p=TOP_SHARE)
    legs = str(rng.choice(["trousers", "shorts", "skirt"], p=[0.72, 0.14, 0.14]))
    return Look(
        height_m=float(np.clip(rng.normal(1.72, 0.08), 1.5, 1.95)),
        build=float(np.clip(rng.normal(1.0, 0.12), 0.78, 1.35)),
        skin=_near(rng, SKINS, 5),
        hair=_near(rng, HAIRS, 4),
        hair_cut=str(rng.choice(HAIR_CUTS, p=HAIR_SHARE)),
        top=_near(rng, [TOPS[top]], 13),
        second=_near(rng, [TOPS[second]], 13),
        pattern=str(rng.choice(PATTERNS, p=PATTERN_SHARE)),
        long_sleeves=bool(rng.random() < 0.6),
        hem_m=float(rng.choice([0.02, 0.08, 0.3], p=[0.5, 0.35, 0.15])),
        bottom=_near(rng, BOTTOMS, 12),
        legs=legs,
        shoes=_near(rng, SHOES, 4),
        bag=str(rng.choice(["none", "backpack", "shoulder", "hand"], p=[0.4, 0.26, 0.18, 0.16])),
        bag_colour=_near(rng, BAGS, 4),
        stride=float(rng.uniform(0.8, 1.15)),
    )


TOP_SHARE = np.array([3, 2, 2, 2.5, 2.5, 2, 2, 1.5, 1.5, 1]) / 20  # dark and plain is what people wear


class Pose:
    """Where the joints of a walking person are. Radians; `angle` 0 faces the camera, +pi/2 walks to the right."""

    def __init__(self, look: Look, angle: float, phase: float) -> None:
        self.h, self.cos, self.sin = look.height_m, math.cos(angle), math.sin(angle)
        swing = 0.44 * look.stride
        thigh, shin = 0.245 * self.h, 0.235 * self.h
        self.legs, reach = {}, []
        for side, sign in (("left", 1), ("right", -1)):
            hip = sign * swing * math.sin(phase)
            knee = hip - (0.1 + 0.75 * max(0.0, sign * math.cos(phase)))
            joints = [(0.0, 0.0), (thigh * math.sin(hip), -thigh * math.cos(hip))]
            joints.append((joints[1][0] + shin * math.sin(knee), joints[1][1] - shin * math.cos(knee)))
            self.legs[side] = joints
            reach.append(joints[2][1])
        self.hip_up = 0.035 * self.h - min(reach)
        self.arms = {}
        for side, sign in (("left", -1), ("right", 1)):
            shoulder = sign * 0.75 * swing * math.sin(phase)
            elbow = shoulder + 0.35
            upper, lower = 0.17 * self.h, 0.16 * self.h
            joints = [(0.0, 0.0), (upper * math.sin(shoulder), -upper * math.cos(shoulder))]
            joints.append((joints[1][0] + lower * math.sin(elbow), joints[1][1] - lower * math.cos(elbow)))
            self.arms[side] = joints
        self.shoulder_up = self.hip_up + 0.305 * self.h
        self.head_up = self.hip_up + 0.425 * self.h

    def at(self, left: float, forward: float, up: float) -> Point:
        return left * self.cos + forward * self.sin, up

    def near(self, left: float, forward: float) -> float:
        """How much nearer to the camera than the middle of the body, in metres."""
        return forward * self.cos - left * self.sin

    def half_width(self, left: float, forward: float) -> float:
        """Half the apparent width of an oval body with these half axes."""
        return math.hypot(left * self.cos, forward * self.sin)


def _leg(canvas: Canvas, pose: Pose, look: Look, side: str, lit: float) -> None:
    left = (0.052 if side == "left" else -0.052) * pose.h
    hip, knee, ankle = (pose.at(left, f, pose.hip_up + u) for f, u in pose.legs[side])
    girth = look.build * pose.h
    forward, up = pose.legs[side][2][0], pose.hip_up + pose.legs[side][2][1]
    toe = pose.at(left, forward + 0.085 * pose.h, max(0.02, up - 0.025 * pose.h))
    heel = pose.at(left, forward - 0.015 * pose.h, max(0.02, up - 0.02 * pose.h))
    cloth = look.bottom if look.legs == "trousers" else look.skin
    canvas.limb(knee, ankle, 0.034 * girth, (0.03 if look.legs == "trousers" else 0.02) * girth, cloth, lit)
    canvas.capsule(heel, toe, 0.022 * pose.h, 0.017 * pose.h, look.shoes)
    canvas.limb(hip, knee, 0.052 * girth, 0.036 * girth, look.skin if look.legs == "skirt" else look.bottom, lit)


def _arm(canvas: Canvas, pose: Pose, look: Look, side: str, lit: float) -> None:
    left = (0.112 if side == "left" else -0.112) * pose.h * (0.6 + 0.4 * look.build)
    shoulder, elbow, hand = (pose.at(left, f, pose.shoulder_up - 0.02 * pose.h + u) for f, u in pose.arms[side])
    girth = (0.5 + 0.5 * look.build) * pose.h
    canvas.limb(elbow, hand, 0.022 * girth, 0.017 * girth, look.top if look.long_sleeves else look.skin, lit)
    canvas.disc(hand, 0.021 * pose.h, look.skin)
    if look.bag == "hand" and side == "right":
        x, y = hand
        high, low, grip = y - 0.05, y - 0.3, y - 0.06
        canvas.poly([(x - 0.13, high), (x + 0.13, high), (x + 0.15, low), (x - 0.15, low)], look.bag_colour)
        handle = [(x - 0.02, y), (x + 0.02, y), (x + 0.08, grip), (x - 0.08, grip)]
        canvas.poly(handle, darker(look.bag_colour, 0.7))
    canvas.limb(shoulder, elbow, 0.031 * girth, 0.024 * girth, look.top, lit)


def _clothe(canvas: Canvas, pose: Pose, look: Look, outline: list[Point]) -> None:
    """The pattern of the top, inside the torso's outline."""
    mask = np.zeros(canvas.image.shape[:2], np.uint8)
    cv2.fillPoly(mask, [canvas.px(outline)], 255, shift=4)
    x, y, w, h = cv2.boundingRect(mask)
    inside = mask[y : y + h, x : x + w] > 0
    region = canvas.image[y : y + h, x : x + w]
    right = (np.arange(x, x + w, dtype=np.float32) + 0.5 - canvas.feet[0])[None, :] / canvas.px_per_m
    up = (canvas.feet[1] - np.arange(y, y + h, dtype=np.float32) - 0.5)[:, None] / canvas.px_per_m
    bands = np.floor(up / 0.075).astype(int) % 2 == 0
    columns = np.floor(right / 0.06 / max(abs(pose.cos), 0.45)).astype(int) % 2 == 0
    anywhere = np.ones((h, w), bool)
    shape = {"across": bands & anywhere, "along": columns & anywhere, "checks": bands ^ columns}.get(look.pattern)
    middle = 0.07 * pose.h * pose.sin  # where the middle of the chest is
    if look.pattern == "open" and pose.cos > -0.15:
        shape = np.abs(right - middle) < 0.042 * pose.h * max(pose.cos, 0.12) + 0.02 * (pose.shoulder_up - up)
    elif look.pattern == "logo" and pose.cos > 0.1:
        shape = ((right - middle) / max(pose.cos, 0.3) / 0.1) ** 2 + ((up - pose.shoulder_up + 0.17) / 0.09) ** 2 < 1
    if shape is not None:
        region[shape & inside] = (*look.second, 255)
    # Round, lit from above: a soft darkening to the sides and folds at the waist.
    half = max(w / 2, 1) / canvas.px_per_m
    centre = (x + w / 2 - canvas.feet[0]) / canvas.px_per_m
    across = 1.06 - 0.32 * np.minimum(np.abs((right - centre) / half), 1) ** 2.5
    shade = np.where(inside, across - 0.12 * (up < pose.hip_up + 0.1), 1.0).astype(np.float32)
    region[:] = cv2.multiply(region, cv2.merge([shade, shade, shade, np.ones_like(shade)]), dtype=cv2.CV_8U)


def _torso(canvas: Canvas, pose: Pose, look: Look) -> None:
    h, girth = pose.h, look.build
    if look.legs == "skirt":
        waist, hem = pose.half_width(0.088 * h * girth, 0.07 * h * girth), pose.half_width(0.125 * h, 0.12 * h)
        top, low = pose.hip_up + 0.04 * h, pose.hip_up - 0.23 * h
        canvas.poly([(-waist, top), (waist, top), (hem, low), (-hem, low)], look.bottom)
    else:
        hips = pose.half_width(0.09 * h * girth, 0.068 * h * girth)
        canvas.box(-hips, pose.hip_up - 0.03 * h, hips, pose.hip_up + 0.05 * h, darker(look.bottom, 0.9))
    shoulders = pose.half_width(0.125 * h * (0.6 + 0.4 * girth), 0.06 * h * girth)
    waist = pose.half_width(0.095 * h * girth, 0.07 * h * girth)
    hem = pose.half_width(0.1 * h * girth, 0.075 * h * girth) * (1 + 0.4 * look.hem_m)
    top, low = pose.shoulder_up, pose.hip_up - look.hem_m
    half = [(0.035 * h, top + 0.03 * h), (0.8 * shoulders, top + 0.015 * h), (shoulders, top - 0.02 * h)]
    half += [(waist, pose.hip_up + 0.09 * h), (hem, low)]
    outline = half + [(-x, y) for x, y in reversed(half)]
    canvas.poly(outline, look.top)
    _clothe(canvas, pose, look, outline)


def _head(canvas: Canvas, pose: Pose, look: Look, lit: float) -> None:
    h, (x, y) = pose.h, pose.at(0, 0.02 * pose.h, pose.head_up)
    wide, high = 0.048 * h, 0.066 * h
    back = -0.022 * h * pose.sin  # hair sits behind the face
    canvas.capsule((x * 0.5, y - 0.1 * h), (x, y - 0.03 * h), 0.027 * h, 0.025 * h, darker(look.skin, 0.8))
    if look.hair_cut == "long" and pose.cos > 0:
        canvas.capsule((x + back, y), (x + back * 1.6, y - 0.1 * h), 0.056 * h, 0.05 * h, look.hair)
    if look.hair_cut == "hood":
        canvas.oval((x + back, y), wide * 1.3, high * 1.2, darker(look.top, 0.85))
    canvas.oval((x, y), wide, high, darker(look.skin, 0.8))
    canvas.oval((x + 0.15 * wide * lit, y), wide * 0.86, high * 0.95, look.skin)
    if pose.cos > 0.25 and canvas.px_per_m > 90:
        for left in (-0.019, 0.019):
            canvas.disc(pose.at(left * h, 0.04 * h, y + 0.005 * h), 0.006 * h, (40, 40, 46))
    if look.hair_cut == "bald":
        return
    colour = look.second if look.hair_cut == "cap" else darker(look.top, 0.85) if look.hair_cut == "hood" else look.hair
    if pose.cos < -0.2:  # from behind there is nothing but hair
        canvas.oval((x, y + 0.004 * h), wide * 1.08, high * 1.05, look.hair if look.hair_cut == "cap" else colour)
    if look.hair_cut != "hood" or pose.cos < -0.2:
        canvas.oval((x + back, y + 0.012 * h), wide * 1.12, high * 0.98, colour, 180, 360)
        if pose.cos < 0.5 and look.hair_cut != "cap":
            canvas.oval((x + 1.4 * back, y), wide * 0.8, high * 0.9, colour)
    if look.hair_cut == "cap":
        canvas.capsule((x, y + 0.02 * h), pose.at(0, 0.1 * h, y + 0.016 * h), 0.011 * h, 0.008 * h, darker(colour, 0.8))
    elif look.hair_cut == "bun":
        canvas.disc(pose.at(0, -0.05 * h, y + 0.055 * h), 0.03 * h, colour)
    elif look.hair_cut == "long" and pose.cos <= 0:
        canvas.capsule((x + back, y), (x + back * 1.6, y - 0.12 * h), 0.054 * h, 0.05 * h, colour)


def _bag(canvas: Canvas, pose: Pose, look: Look) -> None:
    h, colour = pose.h, look.bag_colour
    if look.bag == "backpack":
        middle = pose.at(0, -0.11 * h, 0)[0]
        half = pose.half_width(0.085 * h, 0.05 * h)
        top, low = pose.shoulder_up - 0.01 * h, pose.hip_up + 0.06 * h
        canvas.box(middle - half, low, middle + half, top, darker(colour, 0.75))
        half *= 0.82
        canvas.box(middle - half, low + 0.03, middle + half, top - 0.02, colour)
        canvas.box(middle - half, low + 0.17, middle + half, low + 0.2, darker(colour, 0.6))
    else:
        x, y = pose.at(-0.13 * h, 0.02 * h, pose.hip_up)
        canvas.poly([(x - 0.12, y + 0.1), (x + 0.12, y + 0.1), (x + 0.13, y - 0.12), (x - 0.13, y - 0.12)], colour)
        canvas.box(x - 0.12, y + 0.02, x + 0.12, y + 0.1, darker(colour, 0.75))


def _straps(canvas: Canvas, pose: Pose, look: Look) -> None:
    """What a bag shows on the other side of the body."""
    h = pose.h
    if look.bag == "backpack" and pose.cos > 0.1:
        for left in (-0.06, 0.06):
            top = pose.at(left * h, 0.05 * h, pose.shoulder_up)
            low = pose.at(left * h, 0.06 * h, pose.hip_up + 0.12 * h)
            canvas.capsule(top, low, 0.012 * h, 0.012 * h, look.bag_colour)
    elif look.bag == "shoulder":
        front = 0.06 if pose.cos > 0 else -0.06
        top, low = pose.at(0.07 * h, front * h, pose.shoulder_up), pose.at(-0.1 * h, front * h, pose.hip_up + 0.05 * h)
        canvas.capsule(top, low, 0.009 * h, 0.009 * h, look.bag_colour)


def figure(look: Look, angle: float, phase: float, feet: Point, px_per_m: float, lit: float = 1.0) -> Cutout:
    """Draw somebody whose feet stand at the pixel `feet` (x, y); `lit` is +1 with the light from the right, else -1."""
    canvas = Canvas(feet, px_per_m, HALF_WIDTH_M, look.height_m + ABOVE_M)
    pose = Pose(look, angle, phase)
    # The nearer side is drawn last. Walking to the right one sees the right side.
    far, near = ("left", "right") if pose.sin > 0 else ("right", "left")
    bag_near = pose.near(0, -0.1) > 0 if look.bag == "backpack" else pose.near(-0.13, 0) > -0.03
    carries = look.bag in ("backpack", "shoulder")
    if carries and not bag_near:
        _bag(canvas, pose, look)
    _arm(canvas, pose, look, far, lit)
    _leg(canvas, pose, look, far, lit)
    _leg(canvas, pose, look, near, lit)
    _torso(canvas, pose, look)
    _straps(canvas, pose, look)
    _head(canvas, pose, look, lit)
    if carries and bag_near:
        _bag(canvas, pose, look)
    _arm(canvas, pose, look, near, lit)
    return canvas.done()
