"""The empty street in front of one camera: sky, houses, ground, and the furniture that can hide a person.

A pinhole camera over flat ground: X is metres to the right, Y metres up, Z metres ahead. Everything is drawn once for a
camera and a session; frames copy it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from tasks.yard.worlds.canvas import Canvas, Colour, Cutout, darker
from tasks.yard.worlds.houses import jitter, pick, poster, wall

WIDTH_PX, HEIGHT_PX = 320, 192
FINE = 2  # the backdrop is drawn at twice the size and averaged
GROUNDS: list[Colour] = [(140, 144, 148), (118, 120, 124), (128, 142, 156), (150, 160, 166), (106, 116, 128)]
PAINTS: list[Colour] = [(46, 44, 42), (112, 108, 104), (214, 214, 212), (96, 52, 30), (40, 36, 126), (70, 84, 48)]


@dataclass(frozen=True)
class View:
    """How a camera hangs: focal length and horizon in pixels of the frame, height over the ground in metres."""

    focal_px: float
    horizon_px: float
    height_m: float

    def px_per_m(self, z_m: float) -> float:
        return self.focal_px / z_m

    def point(self, x_m: float, y_m: float, z_m: float) -> tuple[float, float]:
        scale = self.focal_px / z_m
        return WIDTH_PX / 2 + x_m * scale, self.horizon_px + (self.height_m - y_m) * scale

    def depth_m(self, row_px: float) -> float:
        """Distance of the ground that this row shows."""
        return self.focal_px * self.height_m / (row_px - self.horizon_px)


@dataclass(frozen=True)
class Light:
    """The weather of a session."""

    name: str
    sky: tuple[Colour, Colour]  # top, at the horizon
    shadow: float  # how much of the light a shadow takes
    lean: float  # how far to the right a shadow falls, in heights of what throws it
    length: float  # how far towards the camera
    lit: float  # +1: the light comes from the right


def draw_light(rng: np.random.Generator) -> Light:
    name = str(rng.choice(["sun", "overcast", "evening"], p=[0.5, 0.35, 0.15]))
    sky, shadow = {
        "sun": (((216, 164, 112), (236, 226, 212)), 0.42),
        "overcast": (((196, 190, 186), (220, 216, 212)), 0.2),
        "evening": (((150, 110, 92), (150, 186, 226)), 0.3),
    }[name]
    lean = float(rng.uniform(0.25, 0.8) * rng.choice([-1, 1]))
    return Light(name, sky, shadow, lean, float(rng.uniform(0.05, 0.28)), -float(np.sign(lean)))


@dataclass(frozen=True)
class Thing:
    """A piece of street furniture, ready to be pasted."""

    kind: str
    z_m: float
    cutout: Cutout


@dataclass(frozen=True)
class Scene:
    backdrop: np.ndarray  # (192, 320, 3) BGR uint8, without the furniture
    things: tuple[Thing, ...]  # from far to near
    half_room_m: float  # people walk at |X| below this
    depth_m: float  # and nearer than this


def _onto(picture: np.ndarray, texture: np.ndarray, quad: list[tuple[float, float]]) -> None:
    """Warp a texture to the four corners, from its top left clockwise."""
    h, w = texture.shape[:2]
    source = np.array([[0, 0], [w, 0], [w, h], [0, h]], np.float32)
    matrix = cv2.getPerspectiveTransform(source, (np.array(quad) * FINE).astype(np.float32))
    size = picture.shape[1::-1]
    flat = cv2.warpPerspective(texture, matrix, size, flags=cv2.INTER_AREA)
    mask = cv2.warpPerspective(np.full((h, w), 255, np.uint8), matrix, size, flags=cv2.INTER_NEAREST)
    picture[mask > 0] = flat[mask > 0]


def _ground(picture: np.ndarray, view: View, rng: np.random.Generator, road: tuple[str, float, float] | None) -> None:
    """Paving with joints, and a road along ("x") or across ("z") from so many to so many metres."""
    first = int(view.horizon_px * FINE) + 2
    rows = (np.arange(first, picture.shape[0]) + 0.5) / FINE
    z = view.depth_m(rows)[:, None].astype(np.float32)
    x = ((np.arange(picture.shape[1]) + 0.5) / FINE - WIDTH_PX / 2)[None, :].astype(np.float32) * z / view.focal_px
    base = np.array(pick(rng, GROUNDS), np.float32)
    slab, fade = float(rng.choice([0.6, 0.9, 1.4])), np.clip(1.3 - z / 16, 0, 1)
    joints = np.minimum((x / slab + 0.5 * (np.floor(z / slab) % 2)) % 1, (z / slab) % 1) < 0.035 + 0.002 * z
    tone = 1 - 0.16 * fade * joints + 0.05 * fade * (np.sin(np.floor(x / slab) * 12.9 + np.floor(z / slab) * 78.2))
    coarse = rng.normal(0, 0.035, (9, 14)).astype(np.float32)
    blotches = cv2.resize(coarse, tone.shape[::-1], interpolation=cv2.INTER_CUBIC)
    ground = base * (tone + blotches)[..., None]
    if road is not None:
        axis, low, high = road
        place, along = (x, z) if axis == "x" else (z, x)
        on_road = (place > low) & (place < high)
        asphalt = np.array(jitter(rng, (92, 90, 88), 5), np.float32) * (1 + 2 * blotches)[..., None]
        ground = np.where(on_road[..., None], asphalt, ground)
        kerb = (np.abs(place - low) < 0.12) | (np.abs(place - high) < 0.12)
        ground = np.where(kerb[..., None], np.float32(188), ground)
        line = (np.abs(place - (low + high) / 2) < 0.07) & (along % 3 < 1.6)
        stripes = on_road & (place % 1.0 < 0.5) & (np.abs(along - (9 if axis == "x" else 1.5)) < 1.3)
        ground = np.where((line | stripes)[..., None], np.float32(214), ground)
    picture[first:] = ground.clip(0, 255)


def backdrop(rng: np.random.Generator, view: View, light: Light, along: bool) -> tuple[np.ndarray, float, float]:
    """The picture of the empty street, half the room that people have, and how deep it is. `along`: a street seen
    lengthwise between two rows of houses; otherwise a square or pavement with houses at its far side."""
    picture = np.zeros((HEIGHT_PX * FINE, WIDTH_PX * FINE, 3), np.uint8)
    top, low = (np.array(colour, np.float32) for colour in light.sky)
    ramp = np.linspace(0, 1, picture.shape[0], dtype=np.float32)[:, None, None]
    picture[:] = (top * (1 - ramp) + low * ramp).astype(np.uint8)
    high = float(rng.uniform(8, 13))
    if along:
        room = float(rng.uniform(3.2, 4.5))
        road = ("x", room, room + 5.0) if rng.random() < 0.6 else None
        right = room + (7.0 if road else 1.5)
        _ground(picture, view, rng, road)
        point = view.point
        end = [point(x, up, 42) for x, up in ((-25, high), (25, high), (25, 0), (-25, 0))]
        _onto(picture, wall(rng, 50, high), end)
        for x, ends in ((-room - 1.0, (2.5, 42.0)), (right, (42.0, 2.5))):
            quad = [point(x, up, z) for up, z in ((high, ends[0]), (high, ends[1]), (0, ends[1]), (0, ends[0]))]
            _onto(picture, wall(rng, 39.5, high), quad)
        depth = 22.0
    else:
        depth, room = float(rng.uniform(11, 16)), 9.0
        road = ("z", depth + 1.0, depth + 6.0) if rng.random() < 0.5 else None
        far = depth + (8.0 if road else 1.5)
        _ground(picture, view, rng, road)
        half = 0.65 * far * WIDTH_PX / view.focal_px
        quad = [view.point(x, up, far) for x, up in ((-half, high), (half, high), (half, 0), (-half, 0))]
        _onto(picture, wall(rng, 2 * half, high), quad)
    return cv2.resize(picture, (WIDTH_PX, HEIGHT_PX), interpolation=cv2.INTER_AREA), room, depth


def _bin(canvas: Canvas, rng: np.random.Generator, light: Light) -> None:
    colour = pick(rng, [(70, 88, 60), (76, 76, 78), (110, 80, 50)])
    canvas.box(-0.28, 0, 0.28, 0.95, darker(colour, 0.75))
    canvas.box(-0.28 + 0.1 * (light.lit > 0), 0.02, 0.18 + 0.1 * (light.lit > 0), 0.93, colour)
    canvas.box(-0.32, 0.92, 0.32, 1.05, darker(colour, 0.55))


def _lamp(canvas: Canvas, rng: np.random.Generator, light: Light) -> None:
    canvas.limb((0, 0), (0, 5.5), 0.09, 0.06, (78, 82, 80), light.lit)
    canvas.limb((0, 0), (0, 0.5), 0.14, 0.13, (70, 74, 72), light.lit)


def _sign(canvas: Canvas, rng: np.random.Generator, light: Light) -> None:
    canvas.limb((0, 0), (0, 2.4), 0.045, 0.04, (150, 150, 150), light.lit)
    canvas.disc((0, 2.4), 0.32, (60, 50, 190) if rng.random() < 0.5 else (170, 90, 30))
    canvas.disc((0, 2.4), 0.24, (224, 224, 224))


def _bollard(canvas: Canvas, rng: np.random.Generator, light: Light) -> None:
    canvas.limb((0, 0), (0, 0.85), 0.1, 0.09, (90, 92, 96), light.lit)
    canvas.box(-0.09, 0.68, 0.09, 0.76, (210, 212, 214))


def _bench(canvas: Canvas, rng: np.random.Generator, light: Light) -> None:
    wood = jitter(rng, (62, 92, 128))
    for x in (-0.7, 0.7):
        canvas.box(x - 0.04, 0, x + 0.04, 0.85, (60, 60, 62))
    for up in (0.4, 0.6, 0.74):
        canvas.box(-0.85, up, 0.85, up + 0.1, wood)
    canvas.box(-0.88, 0.36, 0.88, 0.44, darker(wood, 0.8))


def _planter(canvas: Canvas, rng: np.random.Generator, light: Light) -> None:
    canvas.box(-0.55, 0, 0.55, 0.5, jitter(rng, (130, 138, 146)))
    canvas.box(-0.58, 0.44, 0.58, 0.52, (104, 110, 116))
    for _ in range(26):
        green = jitter(rng, (58, 112, 74), 14)
        leaf = float(rng.uniform(-0.5, 0.5)), float(rng.uniform(0.55, 1.0))
        canvas.disc(leaf, float(rng.uniform(0.08, 0.17)), green)


def _tree(canvas: Canvas, rng: np.random.Generator, light: Light) -> None:
    canvas.limb((0, 0), (0.05, 3.2), 0.15, 0.1, (58, 74, 92), light.lit)
    for _ in range(60):
        turn, reach = rng.uniform(0, 6.28), 1.2 * np.sqrt(rng.random())
        tone = 0.8 + 0.3 * (np.cos(turn) * light.lit * 0.5 + np.sin(turn)) * reach / 1.2
        green = darker(jitter(rng, (60, 116, 84), 9), float(tone))
        leaf = float(reach * np.cos(turn)), 3.9 + float(reach * np.sin(turn))
        canvas.disc(leaf, float(rng.uniform(0.2, 0.4)), green)


def _board(canvas: Canvas, rng: np.random.Generator, light: Light) -> None:
    """An advertisement with a person on it."""
    for x in (-0.4, 0.4):
        canvas.box(x - 0.04, 0, x + 0.04, 0.5, (60, 60, 60))
    print_ = poster(rng, max(8, int(1.6 * canvas.px_per_m)))
    left, top = canvas.pixel((-print_.shape[1] / 2 / canvas.px_per_m, 2.0))
    region = canvas.image[top // 16 : top // 16 + print_.shape[0], left // 16 : left // 16 + print_.shape[1]]
    region[..., :3], region[..., 3] = print_[: region.shape[0], : region.shape[1]], 255


def _car(canvas: Canvas, rng: np.random.Generator, light: Light) -> None:
    paint, turn = pick(rng, PAINTS), float(rng.choice([-1, 1]))

    def shape(points, colour) -> None:
        canvas.poly([(turn * x, y) for x, y in points], colour)

    shape([(-1.5, 0.85), (-1.05, 1.42), (0.5, 1.44), (1.15, 0.9)], darker(paint, 0.95))
    shape([(-2.15, 0.3), (-2.1, 0.85), (-1.5, 0.95), (1.15, 0.92), (2.0, 0.78), (2.15, 0.3)], paint)
    shape([(-2.15, 0.3), (-2.13, 0.5), (2.13, 0.5), (2.15, 0.3)], darker(paint, 0.7))
    shape([(-1.3, 0.92), (-0.98, 1.34), (-0.3, 1.36), (-0.3, 0.92)], (72, 62, 54))
    shape([(-0.2, 0.92), (-0.2, 1.36), (0.45, 1.36), (0.98, 0.92)], (72, 62, 54))
    for x in (-1.3, 1.35):
        canvas.disc((turn * x, 0.33), 0.33, (26, 26, 26))
        canvas.disc((turn * x, 0.33), 0.19, (140, 140, 142))


# kind: (how it is drawn, half its width in m, its height in m, how often)
FURNITURE = {
    "bin": (_bin, 0.4, 1.1, 3),
    "lamp": (_lamp, 0.3, 5.6, 2),
    "sign": (_sign, 0.5, 2.8, 2),
    "bollard": (_bollard, 0.2, 1.0, 3),
    "bench": (_bench, 1.0, 0.9, 2),
    "planter": (_planter, 0.8, 1.3, 2),
    "tree": (_tree, 1.8, 5.6, 1.5),
    "board": (_board, 0.7, 2.1, 2),
    "car": (_car, 2.3, 1.6, 1.5),
}


def furniture(rng: np.random.Generator, view: View, light: Light, half_room_m: float, depth_m: float) -> list[Thing]:
    """Some pieces at random places, the wide ones not in the way of the camera."""
    kinds, share = list(FURNITURE), np.array([entry[3] for entry in FURNITURE.values()])
    things = []
    for kind in rng.choice(kinds, int(rng.integers(6, 10)), p=share / share.sum()):
        draw, half_width, height, _ = FURNITURE[kind]
        near = 4.5 if kind in ("bollard", "bin", "sign", "lamp") else 6.5
        z = float(rng.uniform(near, min(depth_m, 14.0)))
        half = min(half_room_m, 0.5 * WIDTH_PX * z / view.focal_px)
        x = float(rng.uniform(-half, half))
        canvas = Canvas(view.point(x, 0, z)[:2], view.px_per_m(z), half_width, height)
        draw(canvas, rng, light)
        things.append(Thing(str(kind), z, canvas.done()))
    return sorted(things, key=lambda thing: -thing.z_m)


def draw_scene(rng: np.random.Generator, view: View, light: Light, along: bool) -> Scene:
    picture, half_room, depth = backdrop(rng, view, light, along)
    return Scene(picture, tuple(furniture(rng, view, light, half_room, depth)), half_room, depth)
