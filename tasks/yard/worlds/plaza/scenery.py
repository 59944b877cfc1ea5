"""What stands still in one scene: ground, walls around it, pillars and kiosks on it, the poles of the cameras, the sky;
and what a ray meets first of it.

Textures are made once a scene and looked up by place in the world, so that all cameras see the same square.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from tasks.yard.worlds import houses
from tasks.yard.worlds.canvas import Colour
from tasks.yard.worlds.plaza.crowd import CLEAR_M, Thing
from tasks.yard.worlds.plaza.rig import CENTRE, PLANE

GROUND_PX_PER_M = 24
REACH_M = 11.0  # of the ground's texture from the middle of the square: to the furthest wall
FAR_M = np.float32(1e3)
BLUR_PX = (0.0, 1.6, 4.0, 10.0)  # of the ground's texture, by how much of it a pixel covers
SKIES: dict[str, tuple[Colour, Colour]] = {
    "sun": ((216, 164, 112), (236, 226, 212)), "overcast": ((196, 190, 186), (220, 216, 212)),
    "evening": ((150, 110, 92), (150, 186, 226)), "lamps": ((70, 62, 58), (96, 88, 84)),
}  # fmt: skip
GROUNDS: list[Colour] = [
    (140, 144, 148), (104, 106, 110), (128, 142, 156), (150, 160, 166), (96, 108, 122), (92, 104, 136), (108, 128, 112),
]  # fmt: skip
PAINTS: list[Colour] = [(60, 52, 150), (140, 84, 40), (66, 104, 52), (50, 150, 196), (70, 70, 74), (196, 200, 202)]


Rays = tuple[np.ndarray, np.ndarray, np.ndarray]  # x, y, z of each, (n) float32


@dataclass(frozen=True)
class Light:
    name: str
    ambient: float  # of everything
    direction: tuple[float, float]  # in which shadows fall
    length: float  # of a shadow, in heights of what throws it
    shadow: float  # how much of the light a shadow takes
    tint: tuple[float, float, float]


@dataclass(frozen=True)
class Scenery:
    light: Light
    grounds: tuple[np.ndarray, ...]  # one picture of it from above for each of BLUR_PX; row 0 is the smallest Y
    walls: tuple[np.ndarray, ...]  # seen from inside, at X low, X high, Y low, Y high
    bounds: tuple[float, float, float, float]  # of the walls: X low, X high, Y low, Y high
    wall_m: float  # their height
    things: tuple[Thing, ...]  # on the square
    poles: tuple[Thing, ...]  # of the cameras
    colours: tuple[tuple[Colour, Colour], ...]  # of things


def draw_light(rng: np.random.Generator) -> Light:
    name = str(rng.choice(list(SKIES), p=[0.35, 0.3, 0.15, 0.2]))
    angle = rng.uniform(0, 2 * math.pi)
    ambient, length, shadow, tint = {
        "sun": (1.08, (0.4, 1.1), 0.42, (0.97, 1.0, 1.04)),
        "overcast": (0.95, (0.1, 0.3), 0.2, (1.03, 1.0, 0.98)),
        "evening": (0.9, (0.9, 1.5), 0.3, (0.88, 0.97, 1.08)),
        "lamps": (0.88, (0.3, 0.8), 0.28, (0.9, 1.0, 1.02)),
    }[name]
    towards = float(np.cos(angle)), float(np.sin(angle))
    return Light(name, ambient * float(rng.uniform(0.92, 1.06)), towards, float(rng.uniform(*length)), shadow, tint)


def _pick(rng: np.random.Generator, colours: list[Colour], spread: float = 8) -> np.ndarray:
    return (np.array(colours[int(rng.integers(len(colours)))]) + rng.normal(0, spread, 3)).clip(12, 240)


def ground(rng: np.random.Generator) -> np.ndarray:
    """From above, (n, n, 3) BGR uint8: slabs, setts, boards, checks or asphalt, with stains, lines and covers."""
    count = int(2 * REACH_M * GROUND_PX_PER_M)
    axis = ((np.arange(count) + 0.5) / GROUND_PX_PER_M - REACH_M).astype(np.float32)
    turn = rng.choice([0.0, 0.0, math.pi / 4, float(rng.uniform(0, 3.14))])
    x = axis[None] * np.float32(math.cos(turn)) + axis[:, None] * np.float32(math.sin(turn))
    y = axis[:, None] * np.float32(math.cos(turn)) - axis[None] * np.float32(math.sin(turn))
    kind = str(rng.choice(["slabs", "setts", "boards", "checks", "asphalt"], p=[0.3, 0.2, 0.15, 0.2, 0.15]))
    wide, long, joint = {
        "slabs": (float(rng.choice([0.6, 0.9, 1.3])), 0.6, 0.03), "setts": (0.22, 0.22, 0.035),
        "boards": (2.4, 0.18, 0.015), "checks": (0.8, 0.8, 0.02), "asphalt": (4.0, 4.0, 0.02),
    }[kind]  # fmt: skip
    row = np.floor(y / long)
    column = np.floor(x / wide + (0.0 if kind == "checks" else 0.5) * (row % 2))
    # A tone of its own for each stone, by a hash of its row and column.
    own = np.sin(column * 12.9898 + row * 78.233) * 43758.547
    tone = 1 + {"asphalt": 0.0, "checks": 0.02}.get(kind, 0.07) * ((own - np.floor(own)) - 0.5) * 2
    across, along = (x / wide + (0.0 if kind == "checks" else 0.5) * (row % 2)) % 1 * wide, y % long
    tone = tone * np.where((across < joint) | (along < joint), 0.78, 1.0)
    if kind == "checks":
        tone = tone * np.where((row + column) % 2 == 0, 1.0, float(rng.uniform(0.68, 0.9)))
    for cells, spread in ((8, 0.05), (34, 0.035)):
        coarse = rng.normal(0, spread, (cells, cells)).astype(np.float32)
        tone = tone * (1 + cv2.resize(coarse, (count, count), interpolation=cv2.INTER_CUBIC))
    tone = tone + rng.normal(0, 0.03, (count, count)).astype(np.float32)
    picture = (tone[..., None] * _pick(rng, GROUNDS, 5)).clip(0, 255).astype(np.uint8)

    def px(*metres: float) -> tuple[int, ...]:
        return tuple(round((value + REACH_M) * GROUND_PX_PER_M * 16) for value in metres)

    for _ in range(int(rng.integers(1, 5))):  # painted lines and bands of another stone, right across
        angle, off, half = rng.uniform(0, math.pi), rng.uniform(-4, 4), rng.choice([0.05, 0.06, 0.4])
        n, t = np.array([math.cos(angle), math.sin(angle)]), np.array([-math.sin(angle), math.cos(angle)])
        corners = [n * (off + a * half) + t * b * 40 for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
        layer = picture.copy()
        cv2.fillConvexPoly(layer, np.array([px(*corner) for corner in corners]), _pick(rng, PAINTS).tolist(), shift=4)
        share = float(rng.uniform(0.25, 0.7))
        picture = cv2.addWeighted(layer, share, picture, 1 - share, 0)
    for _ in range(int(rng.integers(4, 12))):  # covers of drains, stains
        centre, radius = px(*rng.uniform(-6, 6, 2)), int(rng.uniform(0.12, 0.5) * GROUND_PX_PER_M * 16)
        layer = picture.copy()
        cv2.circle(layer, centre, radius, _pick(rng, [(48, 50, 54), (90, 96, 100)]).tolist(), -1, shift=4)
        share = float(rng.uniform(0.15, 0.6))
        picture = cv2.addWeighted(layer, share, picture, 1 - share, 0)
    return picture


def plain_wall(rng: np.random.Generator, wide_m: float, high_m: float) -> np.ndarray:
    """A painted or panelled wall with a skirting, doors and pictures, BGR at WALL_PX_PER_M."""
    scale = houses.WALL_PX_PER_M
    picture = np.zeros((int(high_m * scale), int(wide_m * scale), 3), np.uint8)
    base = _pick(rng, houses.WALLS, 12)
    picture[:] = base
    panel = float(rng.choice([0.9, 1.5, 2.4]))
    for left in np.arange(0, wide_m, panel):
        at = int(left * scale)
        tone = 1 + 0.06 * rng.standard_normal()
        picture[:, at : at + int(panel * scale)] = (base * tone).clip(0, 255)
        picture[:, at : at + 2] = base * 0.7
    picture[int(-1.0 * scale) :] = (picture[int(-1.0 * scale) :] * rng.uniform(0.6, 0.9)).astype(np.uint8)
    picture[int(-0.15 * scale) :] = base * 0.45
    left = float(rng.uniform(0.5, 2))
    while left < wide_m - 1.5:
        wide, tall = (0.95, 2.1) if rng.random() < 0.35 else (float(rng.uniform(0.6, 1.6)), 0.0)
        low, top = (0.0, tall) if tall else (1.0, float(rng.uniform(1.7, 2.4)))
        rows = slice(int((high_m - top) * scale), int((high_m - low) * scale))
        columns = slice(int(left * scale), int((left + wide) * scale))
        picture[rows, columns] = _pick(rng, PAINTS)
        picture[rows, columns][4:-4, 4:-4] = _pick(rng, PAINTS, 25)
        left += wide + float(rng.uniform(0.6, 3))
    return picture


def draw_things(rng: np.random.Generator) -> list[Thing]:
    """A few pillars, sometimes a kiosk, with room for two to pass between them."""
    things: list[Thing] = []
    kinds = ["pillar"] * int(rng.integers(1, 4)) + ["kiosk"] * int(rng.random() < 0.6)
    for kind in reversed(kinds):
        for _ in range(50):
            xy = rng.uniform(1.2, np.array(PLANE.size_m) - 1.2)
            if kind == "kiosk":
                half = rng.uniform(0.3, 0.5, 2)
                thing = Thing(tuple(xy), float(np.hypot(*half)), float(rng.uniform(1.5, 2.3)), tuple(half))
            else:
                thing = Thing(tuple(xy), float(rng.uniform(0.1, 0.22)), float(rng.uniform(2.2, 3.4)))
            room = 2 * CLEAR_M + 0.8
            if all(math.dist(xy, o.xy_m) > thing.radius_m + o.radius_m + room for o in things):
                things.append(thing)
                break
    return things


def draw(rng: np.random.Generator, things: list[Thing], eyes: list[np.ndarray]) -> Scenery:
    """`eyes`: (3) of each camera; their poles stand a hand behind them."""
    light = draw_light(rng)
    beyond = rng.uniform(2.6, 6.5, 4)
    low, high = CENTRE - 4, CENTRE + 4
    bounds = (low[0] - beyond[0], high[0] + beyond[1], low[1] - beyond[2], high[1] + beyond[3])
    indoors = light.name == "lamps"
    wall_m = 4.0 if indoors else float(rng.uniform(6, 8))
    spans = [bounds[3] - bounds[2]] * 2 + [bounds[1] - bounds[0]] * 2
    walls = []
    for span in spans:
        make = plain_wall if indoors or rng.random() < 0.35 else houses.wall
        walls.append(cv2.GaussianBlur(make(rng, span, wall_m), (0, 0), 0.7))
    picture = ground(rng)
    grounds = tuple(cv2.GaussianBlur(picture, (0, 0), blur) if blur else picture for blur in BLUR_PX)
    poles = []
    for eye in eyes:
        out = (eye[:2] - CENTRE) / np.linalg.norm(eye[:2] - CENTRE)
        poles.append(Thing(tuple(eye[:2] + 0.15 * out), 0.05, float(eye[2]) + 0.2))
    colours = tuple(tuple(tuple(_pick(rng, PAINTS + GROUNDS, 12)) for _ in range(2)) for _ in things)
    return Scenery(light, grounds, tuple(walls), bounds, wall_m, tuple(things), tuple(poles), colours)


@dataclass(frozen=True)
class Backdrop:
    """The empty scene, for each ray of a camera (rows, columns)."""

    picture: np.ndarray  # (rows, columns, 3) uint8 BGR
    depth: np.ndarray  # float32: how far along the camera's axis; FAR_M: sky
    ground: np.ndarray  # (rows, columns, 2) float32: X, Y where the ray meets the ground, FAR_M where it does not


def shade(ground: np.ndarray, xy: tuple[float, float], light: Light, height_m: float, radius_m: float) -> np.ndarray:
    """Share of light (rows, columns) that is left on the ground (rows, columns, 2) around something that stands there:
    dark at its foot, and soft away from the light."""
    dx, dy = ground[..., 0] - np.float32(xy[0]), ground[..., 1] - np.float32(xy[1])
    cos, sin = light.direction
    long = light.length * height_m
    along = np.clip(dx * np.float32(cos) + dy * np.float32(sin), 0, np.float32(long))
    off = np.sqrt((dx - along * np.float32(cos)) ** 2 + (dy - along * np.float32(sin)) ** 2)
    soft = radius_m + 0.06 + 0.25 * along  # wider and paler further off
    cast = np.clip(1.5 - 1.5 * off / soft, 0, 1) * (1 - 0.6 * along / max(long, 1e-6))
    foot = np.clip(1.4 - np.sqrt(dx * dx + dy * dy) / (radius_m + 0.15), 0, 1)
    return (1 - light.shadow * cast) * (1 - 0.7 * light.shadow * foot)


def _look(texture: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    u, v = (np.ascontiguousarray(axis, np.float32).reshape(1, -1) for axis in (u, v))
    # remap takes no more than 32767 columns at once
    parts = [
        cv2.remap(texture, u[:, i : i + 16384], v[:, i : i + 16384], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        for i in range(0, u.shape[1], 16384)
    ]
    return np.concatenate(parts, 1)[0].astype(np.float32) if parts else np.empty((0, 3), np.float32)


def _cylinder(eye: np.ndarray, rays: Rays, thing: Thing) -> np.ndarray:
    """How far along each ray the first point on an upright cylinder is; FAR_M where there is none."""
    x, y, z = rays
    ox, oy = eye[0] - np.float32(thing.xy_m[0]), eye[1] - np.float32(thing.xy_m[1])
    a = x * x + y * y
    b = ox * x + oy * y
    inside = b * b - a * (ox * ox + oy * oy - np.float32(thing.radius_m**2))
    far = np.where(inside > 0, (-b - np.sqrt(np.maximum(inside, 0))) / np.maximum(a, np.float32(1e-9)), FAR_M)
    up = eye[2] + far * z
    return np.where((far > 0.05) & (up > 0) & (up < thing.height_m), far, FAR_M)


def _box(eye: np.ndarray, rays: Rays, thing: Thing) -> tuple[np.ndarray, np.ndarray]:
    """The same of a box, and which axis its face looks along."""
    half = np.array([*thing.half_m, thing.height_m / 2], np.float32)
    off = np.array([*thing.xy_m, thing.height_m / 2], np.float32) - eye
    near, far = [], []
    for ray, middle, side in zip(rays, off, half, strict=True):
        with np.errstate(divide="ignore"):
            a, b = (middle - side) / ray, (middle + side) / ray
        near.append(np.minimum(a, b))
        far.append(np.maximum(a, b))
    near = np.stack(near)
    first = near.max(0)
    return np.where((first < np.minimum.reduce(far)) & (first > 0.05), first, FAR_M), near.argmax(0)


def backdrop(scenery: Scenery, rotation: np.ndarray, eye: np.ndarray, flat: np.ndarray, own: int) -> Backdrop:
    """What the camera number `own` (from 0) at `eye` sees along `flat` (rows, columns, 2): x / z, y / z of its rays."""
    shape, light, eye = flat.shape[:2], scenery.light, eye.astype(np.float32)
    rays = tuple(axis.ravel() for axis in cv2.split(cv2.transform(flat, rotation.T)))
    x, y, z = rays
    length = np.sqrt(x * x + y * y + z * z)
    with np.errstate(divide="ignore"):
        down = np.where(z < -1e-6, -eye[2] / z, FAR_M)
        sides = [(np.float32(b) - eye[k // 2]) / rays[k // 2] for k, b in enumerate(scenery.bounds)]
    sides = np.stack([np.where(side > 0, side, FAR_M) for side in sides])
    side, wall = sides.min(0), sides.argmin(0)
    up = eye[2] + side * z
    depth = np.minimum(down, np.where((up < scenery.wall_m) & (up >= 0), side, FAR_M))
    on_ground = (down <= depth) & (down < FAR_M)

    def met(here: np.ndarray, far: np.ndarray) -> np.ndarray:
        """(n, 3): the places in the world where the rays `here` end, `far` along them."""
        return np.stack([at + far[here] * ray[here] for at, ray in zip(eye, rays, strict=True)], -1)

    top, low = (np.array(colour, np.float32) for colour in SKIES[light.name])
    rise = np.clip(z / length * 2, 0, 1)[:, None]
    colour = top * rise + low * (1 - rise)
    for k, texture in enumerate(scenery.walls):
        here = (depth < FAR_M) & ~on_ground & (wall == k)
        at = met(here, side)
        facing = 0.86 + 0.14 * (light.direction[k // 2] * (1, -1)[k % 2])
        u = (at[:, 1 - k // 2] - scenery.bounds[2 - 2 * (k // 2)]) * houses.WALL_PX_PER_M
        colour[here] = facing * _look(texture, u, (scenery.wall_m - at[:, 2]) * houses.WALL_PX_PER_M)

    place = np.full((len(z), 2), FAR_M, np.float32)
    place[on_ground] = met(on_ground, down)[:, :2]
    # Metres of ground that a pixel covers, along the ray: depth step times slant.
    step = abs(float(flat[0, 1, 0] - flat[0, 0, 0]))
    cover = step * GROUND_PX_PER_M * down * length / np.maximum(-z, 1e-3)
    level = np.searchsorted(np.array([1.6, 4.0, 9.0], np.float32), cover)
    for k, texture in enumerate(scenery.grounds):
        here = on_ground & (level == k)
        u, v = ((place[here] - CENTRE + REACH_M) * GROUND_PX_PER_M - 0.5).T
        colour[here] = _look(texture, u, v)
    grounded = place[on_ground]
    lit = np.ones(len(grounded), np.float32)
    for thing in (*scenery.things, *scenery.poles):
        lit *= shade(grounded, thing.xy_m, light, thing.height_m, thing.radius_m)
    for k, bound in enumerate(scenery.bounds):  # it is darker along the walls
        lit *= np.clip(0.75 + 0.35 * np.abs(grounded[:, k // 2] - np.float32(bound)), 0, 1)
    colour[on_ground] *= lit[:, None]

    sun = np.array(light.direction)
    for thing, (first, second) in zip(scenery.things, scenery.colours, strict=True):
        far, axis = (_cylinder(eye, rays, thing), None) if thing.half_m is None else _box(eye, rays, thing)
        here = far < depth
        at = met(here, far)
        if axis is None:
            normal = (at[:, :2] - thing.xy_m) / thing.radius_m
            bright = 0.85 - 0.25 * (normal @ sun)
            band = (at[:, 2] < 0.25) | (np.abs(at[:, 2] - 1.5) < 0.12)
        else:
            side_of = np.sign(at - [*thing.xy_m, 0])
            face = axis[here]
            bright = np.choose(face, [0.8 - 0.2 * side_of[:, 0] * sun[0], 0.8 - 0.2 * side_of[:, 1] * sun[1], 1.05])
            band = ((at[:, 2] * 4) % 1 < 0.12) | (np.abs(at[:, 2] - 0.95) < 0.05) | (at[:, 2] > thing.height_m - 0.25)
        colour[here] = np.where(band[:, None], second, first) * bright[:, None]
        depth, on_ground, place[here] = np.minimum(depth, far), on_ground & ~here, FAR_M
    for k, pole in enumerate(scenery.poles):
        if k == own:
            continue
        far = _cylinder(eye, rays, pole)
        here = far < depth
        at = met(here, far)
        bright = 0.8 - 0.25 * ((at[:, :2] - pole.xy_m) / pole.radius_m @ sun)
        colour[here] = bright[:, None] * np.array([[92, 94, 96]]) * np.where(at[:, 2:] > pole.height_m - 0.25, 0.4, 1)
        depth, place[here] = np.minimum(depth, far), FAR_M
    colour = colour * np.array(light.tint, np.float32) * light.ambient
    return Backdrop(
        colour.clip(0, 255).astype(np.uint8).reshape(*shape, 3), depth.astype(np.float32).reshape(shape),
        place.reshape(*shape, 2),
    )  # fmt: skip
