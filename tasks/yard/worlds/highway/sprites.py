"""Flat pictures of vehicles, drawn once and warped into every frame: rear with lamps off and lit, side, shadow.

A sprite is a list of ever smaller copies (a mip pyramid) of one premultiplied BGRA picture, so that a distant car is an
average of its pixels and not a random few of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, lru_cache

import cv2
import numpy as np

from tasks.yard.worlds.highway.traffic import CAR, HEIGHT_M, LENGTH_M, TRUCK, VAN, WIDTH_M

PX_PER_M = 90
SMALLEST_PX = 6
Sprite = list[np.ndarray]
PAINTS = [  # BGR, as often as people buy them
    (46, 44, 42), (46, 44, 42), (112, 108, 104), (150, 148, 146), (214, 214, 212), (226, 226, 224),
    (120, 66, 32), (96, 52, 30), (36, 32, 130), (70, 84, 48), (66, 92, 118), (180, 190, 196),
]  # fmt: skip
TARPAULINS = [
    (214, 212, 208), (198, 196, 190), (150, 84, 40), (60, 60, 158), (78, 128, 66), (196, 170, 60), (120, 120, 122),
]  # fmt: skip
GLASS, RUBBER, TRIM = (62, 52, 44), (24, 24, 24), (40, 40, 40)
LAMP_OFF, LAMP_ON, LAMP_CORE = (34, 26, 120), (48, 40, 255), (170, 170, 255)


def pyramid(bgr: np.ndarray, alpha: np.ndarray) -> Sprite:
    """Premultiplied BGRA at full, half, quarter ... size."""
    share = alpha / np.float32(255)
    colours = [channel * share for channel in cv2.split(bgr.astype(np.float32))]
    levels = [cv2.merge([*colours, alpha]).clip(0, 255).astype(np.uint8)]
    while min(levels[-1].shape[:2]) >= 2 * SMALLEST_PX:
        h, w = levels[-1].shape[:2]
        levels.append(cv2.resize(levels[-1], (w // 2, h // 2), interpolation=cv2.INTER_AREA))
    return levels


def paste(
    picture: np.ndarray,
    sprite: Sprite,
    quad: np.ndarray,
    haze: float,
    haze_bgr: np.ndarray,
    *,
    from_share: float = 0.0,
) -> None:
    """Warp a sprite to the corners `quad` (from top left clockwise) and blend it in; haze mixes its colour away.

    `from_share` leaves out that share of the sprite's left side.
    """
    height, width = picture.shape[:2]
    xs, ys = quad.T.tolist()
    left, top, right, bottom = min(xs), min(ys), max(xs), max(ys)
    x1, y1 = max(int(left) - 1, 0), max(int(top) - 1, 0)
    x2, y2 = min(int(right) + 2, width), min(int(bottom) + 2, height)
    if x1 >= x2 or y1 >= y2:
        return
    wanted = max(right - left, bottom - top, 1.0)
    level = sprite[min(max(int(math.log2(max(sprite[0].shape[:2]) / wanted)), 0), len(sprite) - 1)]
    h, w = level.shape[:2]
    start = from_share * w
    # A picture's corner lies half a pixel before the centre of its first pixel.
    corners = np.array([[start, 0], [w, 0], [w, h], [start, h]], np.float32) - 0.5
    matrix = cv2.getPerspectiveTransform(corners, (quad - (x1 + 0.5, y1 + 0.5)).astype(np.float32))
    patch = cv2.warpPerspective(level, matrix, (x2 - x1, y2 - y1), flags=cv2.INTER_LINEAR, borderValue=0)
    region = picture[y1:y2, x1:x2]
    left_of_it = cv2.cvtColor(cv2.bitwise_not(cv2.extractChannel(patch, 3)), cv2.COLOR_GRAY2BGR)  # of 255
    behind = cv2.multiply(region, left_of_it, scale=1 / 255)
    cv2.add(behind, hazy(patch, haze, haze_bgr), dst=region)


def hazy(patch: np.ndarray, haze: float, haze_bgr: np.ndarray) -> np.ndarray:
    """The colours of premultiplied BGRA, mixed with haze."""
    if haze == 0:
        return cv2.cvtColor(patch, cv2.COLOR_BGRA2BGR)
    mix = np.zeros((3, 4))
    mix[0, 0] = mix[1, 1] = mix[2, 2] = 1 - haze
    mix[:, 3] = haze / 255 * haze_bgr.astype(float)
    return cv2.transform(patch, mix)


def glow(picture: np.ndarray, rear: np.ndarray, lit: bool, strength: float, *, wet: bool, high: bool) -> None:
    """Light that lamps shed in dusk and rain: a red halo, and a streak on a wet road."""
    (x1, y1), (x2, y2) = rear[0], rear[2]
    size = x2 - x1
    if not 8 < size < 260:
        return
    reach = int(size * (0.55 if lit else 0.3)) | 1
    lamp_y = y1 + (0.52 if high else 0.86) * (y2 - y1)
    red = strength * (150 if lit else 55)
    for lamp_x in (x1 + 0.14 * size, x2 - 0.14 * size):
        add_blob(picture, lamp_x, lamp_y, reach, reach, red)
        if wet:
            add_blob(picture, lamp_x, y2 + 0.5 * size, max(reach // 2, 3), int(size * 1.2) | 1, 0.5 * red)


@cache
def fading(size: int) -> np.ndarray:
    """From nothing over 1 in the middle to nothing."""
    return np.maximum(1 - np.abs(np.linspace(-1, 1, size, dtype=np.float32)), 0) ** 2


def add_blob(picture: np.ndarray, x: float, y: float, w: int, h: int, red: float) -> None:
    left, top = int(x) - w // 2, int(y) - h // 2
    x1, y1, x2, y2 = max(left, 0), max(top, 0), min(left + w, picture.shape[1]), min(top + h, picture.shape[0])
    if x1 >= x2 or y1 >= y2:
        return
    across, along = fading(w)[x1 - left : x2 - left], fading(h)[y1 - top : y2 - top]
    light = np.outer(along, across)[..., None] * np.array([0.25, 0.3, 1.0], np.float32) * red
    region = picture[y1:y2, x1:x2]
    region[:] = np.minimum(region + light, 255)


@dataclass(frozen=True)
class Look:
    rear: Sprite
    rear_lit: Sprite
    side: Sprite
    shadow: Sprite


class Canvas:
    """Draws in metres from the top left, at four times the resolution that is kept."""

    def __init__(self, width_m: float, height_m: float) -> None:
        self.size = (int(width_m * PX_PER_M), int(height_m * PX_PER_M))
        self.scale = 2 * PX_PER_M
        shape = (2 * self.size[1], 2 * self.size[0])
        self.bgr, self.alpha = np.zeros((*shape, 3), np.uint8), np.zeros(shape, np.uint8)

    def poly(self, points, colour, solid: bool = True) -> None:
        corners = np.round(np.array(points) * self.scale).astype(np.int32)
        cv2.fillPoly(self.bgr, [corners], colour)
        if solid:
            cv2.fillPoly(self.alpha, [corners], 255)

    def symmetric(self, left, colour) -> None:
        """A shape given by its left half, from the bottom up."""
        width = self.bgr.shape[1] / self.scale
        self.poly([*left, *((width - x, y) for x, y in reversed(left))], colour)

    def box(self, x1, y1, x2, y2, colour, solid: bool = True) -> None:
        self.poly([(x1, y1), (x2, y1), (x2, y2), (x1, y2)], colour, solid)

    def disc(self, x, y, radius, colour) -> None:
        centre = (round(x * self.scale), round(y * self.scale))
        cv2.circle(self.bgr, centre, round(radius * self.scale), colour, -1)
        cv2.circle(self.alpha, centre, round(radius * self.scale), 255, -1)

    def shade(self, top: float, bottom: float) -> None:
        """Light comes from above."""
        ramp = np.linspace(top, bottom, self.bgr.shape[0], dtype=np.float32)[:, None, None]
        self.bgr = (self.bgr * ramp).clip(0, 255).astype(np.uint8)

    def done(self, ambient: np.ndarray, lamps: Canvas | None = None) -> Sprite:
        """Dimmed by the daylight there is; `lamps` shine by themselves."""
        levels = np.arange(256, dtype=np.float32)[:, None] * ambient  # looked up: an image times a colour is slow
        bgr = cv2.LUT(self.bgr, levels[None])
        if lamps is not None:
            lit = np.nonzero(lamps.alpha)
            bgr[lit] = np.maximum(bgr[lit], lamps.bgr[lit])
        flat = bgr, self.alpha.astype(np.float32)
        small = [cv2.resize(a, self.size, interpolation=cv2.INTER_AREA) for a in flat]
        return pyramid(*small)


def lamps(width: float, height: float, kind: int, lit: bool, shape: int) -> Canvas:
    canvas = Canvas(width, height)
    on = LAMP_ON if lit else LAMP_OFF
    if kind == CAR:
        y, tall, wide = 0.6, (0.13, 0.17, 0.22)[shape], (0.42, 0.34, 0.26)[shape]
    elif kind == VAN:
        y, tall, wide = 1.25, 0.5, 0.14
    else:
        y, tall, wide = 3.02, 0.14, 0.44
    inset = 0.05
    for x in (inset, width - inset - wide):
        canvas.box(x, y, x + wide, y + tall, on)
        if lit:
            canvas.box(x + 0.2 * wide, y + 0.2 * tall, x + 0.8 * wide, y + 0.8 * tall, LAMP_CORE)
    if lit and kind != TRUCK:
        top = 0.09 if kind == CAR else 0.04
        canvas.box(width / 2 - 0.2, top, width / 2 + 0.2, top + 0.05, LAMP_CORE)
    return canvas


def car_rear(paint, shape: int) -> Canvas:
    w, h = WIDTH_M[CAR], HEIGHT_M[CAR]
    canvas = Canvas(w, h)
    dark = tuple(int(c * 0.72) for c in paint)
    canvas.box(0.1, h - 0.34, 0.33, h, RUBBER)
    canvas.box(w - 0.33, h - 0.34, w - 0.1, h, RUBBER)
    roof, waist = (0.30, 0.24, 0.20)[shape], 0.10
    canvas.symmetric([(waist, 0.6), (roof - 0.02, 0.08), (roof + 0.1, 0.0)], paint)
    canvas.symmetric([(0.08, 1.28), (0, 1.1), (0, 0.66), (0.06, 0.52)], paint)
    canvas.symmetric([(waist + 0.13, 0.52), (roof + 0.08, 0.1)], GLASS)
    canvas.poly([(waist + 0.2, 0.5), (roof + 0.12, 0.14), (w * 0.42, 0.14), (w * 0.34, 0.5)], (96, 88, 80), False)
    canvas.shade(1.12, 0.78)
    canvas.symmetric([(0.08, 1.3), (0.02, 1.02)], dark)
    canvas.box(0.3, 1.17, w - 0.3, 1.3, TRIM)
    canvas.box(0.08, 1.0, w - 0.08, 1.02, TRIM)
    canvas.box(w / 2 - 0.26, 0.84, w / 2 + 0.26, 0.95, (206, 212, 212))
    canvas.box(w / 2 - 0.2, 0.875, w / 2 + 0.2, 0.915, (60, 60, 60))
    return canvas


def van_rear(paint) -> Canvas:
    w, h = WIDTH_M[VAN], HEIGHT_M[VAN]
    canvas = Canvas(w, h)
    canvas.box(0.1, h - 0.4, 0.36, h, RUBBER)
    canvas.box(w - 0.36, h - 0.4, w - 0.1, h, RUBBER)
    canvas.symmetric([(0, h - 0.22), (0, 0.5), (0.1, 0.08), (0.24, 0)], paint)
    canvas.box(0.2, 0.4, w / 2 - 0.06, 1.05, GLASS)
    canvas.box(w / 2 + 0.06, 0.4, w - 0.2, 1.05, GLASS)
    canvas.shade(1.1, 0.8)
    canvas.box(w / 2 - 0.01, 0.1, w / 2 + 0.01, h - 0.4, TRIM)
    canvas.box(0, h - 0.42, w, h - 0.2, TRIM)
    canvas.box(w / 2 - 0.6, 1.45, w / 2 - 0.1, 1.56, (206, 212, 212))
    return canvas


def truck_rear(paint) -> Canvas:
    w, h = WIDTH_M[TRUCK], HEIGHT_M[TRUCK]
    canvas = Canvas(w, h)
    for x in (0.12, w - 0.72):
        canvas.box(x, h - 0.8, x + 0.6, h, RUBBER)
    canvas.box(0.3, h - 0.75, w - 0.3, h - 0.3, (34, 34, 34))
    canvas.box(0, 0, w, h - 0.85, paint)
    canvas.shade(1.05, 0.85)
    frame = tuple(int(c * 0.55) for c in paint)
    for x1, x2 in ((0, 0.06), (w - 0.06, w), (w / 2 - 0.03, w / 2 + 0.03)):
        canvas.box(x1, 0, x2, h - 0.85, frame)
    for x in (0.5, 0.9, w - 0.92, w - 0.52):
        canvas.box(x, 0.12, x + 0.025, h - 0.9, (120, 120, 120))
    canvas.box(0, 0, w, 0.09, frame)
    canvas.box(0, h - 0.9, w, h - 0.58, (56, 56, 58))
    canvas.box(0.1, h - 0.5, w - 0.1, h - 0.4, (150, 150, 152))
    canvas.box(w / 2 - 0.26, h - 0.74, w / 2 + 0.26, h - 0.62, (206, 212, 212))
    return canvas


def side(kind: int, paint) -> Canvas:
    """Seen from the left lane's driver: the rear is at the left of the picture."""
    long, h = LENGTH_M[kind], HEIGHT_M[kind]
    canvas = Canvas(long, h)
    if kind == TRUCK:
        canvas.box(0.2, h - 1.1, long - 0.2, h - 0.5, (46, 46, 48))
        canvas.box(0, 0, long - 2.6, h - 0.85, paint)
        canvas.shade(1.0, 0.86)
        for x in np.arange(0.0, long - 2.6, 1.2):
            canvas.box(x, 0.1, x + 0.03, h - 0.85, tuple(int(c * 0.8) for c in paint))
        cab = long - 2.3
        canvas.poly([(cab, 0.2), (long - 0.3, 0.35), (long, 1.6), (long, h - 0.5), (cab, h - 0.5)], (92, 70, 56))
        canvas.box(long - 1.5, 1.0, long - 0.4, 1.8, GLASS)
        wheels, radius = (1.2, 2.5, 3.8, long - 3.4, long - 1.4), 0.5
    elif kind == VAN:
        nose = [(long - 1.9, 0), (long - 1.1, 0.95), (long - 0.1, 1.25), (long, h - 0.3)]
        canvas.poly([(0, h - 0.3), (0, 0.2), (0.2, 0), *nose], paint)
        canvas.shade(1.0, 0.8)
        canvas.poly([(long - 2.9, 0.35), (long - 2.0, 0.35), (long - 1.4, 1.0), (long - 2.9, 1.0)], GLASS)
        wheels, radius = (0.95, long - 1.0), 0.36
    else:
        canvas.poly([(0.25, 0.5), (0.75, 0.02), (2.3, 0.0), (3.2, 0.52)], paint)
        nose = [(3.2, 0.5), (long - 0.2, 0.66), (long, 1.0), (long, 1.28)]
        canvas.poly([(0, 1.28), (0, 0.62), (0.2, 0.48), *nose], paint)
        canvas.shade(1.02, 0.76)
        canvas.poly([(0.55, 0.5), (0.85, 0.12), (1.55, 0.1), (1.55, 0.5)], GLASS)
        canvas.poly([(1.65, 0.5), (1.65, 0.1), (2.25, 0.1), (2.95, 0.52)], GLASS)
        canvas.box(1.58, 0.5, 1.61, 1.2, TRIM)
        canvas.box(0.5, 1.2, long - 0.5, 1.32, TRIM)
        wheels, radius = (0.85, long - 0.85), 0.33
    for x in wheels:
        canvas.disc(x, h - radius, radius, RUBBER)
        canvas.disc(x, h - radius, 0.6 * radius, (110, 110, 112))
    return canvas


def shadow(ambient: np.ndarray) -> Sprite:
    """A soft dark patch; deepest in daylight."""
    ramp = np.clip(1.25 - np.abs(np.linspace(-1.25, 1.25, 64, dtype=np.float32)), 0, 0.3) / 0.3
    alpha = np.outer(ramp, ramp) * (110 + 90 * float(ambient.mean()))
    return pyramid(np.full((64, 64, 3), 14, np.uint8), alpha)


@lru_cache(maxsize=128)  # drives in one light share looks: to draw one takes as long as two to six frames
def bodies(
    kind: int, paint: tuple[int, int, int], shape: int, ambient: tuple[float, ...]
) -> tuple[Sprite, Sprite, Sprite]:
    """Rear with lamps off and on, and side, by daylight `ambient`."""
    body = car_rear(paint, shape) if kind == CAR else van_rear(paint) if kind == VAN else truck_rear(paint)
    light, size = np.array(ambient, np.float32), (WIDTH_M[kind], HEIGHT_M[kind])
    off, on = (body.done(light, lamps(*size, kind, lit, shape)) for lit in (False, True))
    return off, on, side(kind, paint).done(light * 0.85)


class Wardrobe:
    """The looks of one drive's vehicles: a vehicle keeps its own for as long as it is around."""

    def __init__(self, rng: np.random.Generator, ambient: np.ndarray) -> None:
        self.ambient = tuple(ambient.tolist())
        self.choice = rng.integers(0, 2**31, 4096)
        self.shadow = shadow(ambient)

    def look(self, vehicle: int, kind: int) -> Look:
        pick = int(self.choice[vehicle % len(self.choice)])
        paints = TARPAULINS if kind == TRUCK else PAINTS
        paint, shape = paints[pick % len(paints)], (pick // 64) % 3 if kind == CAR else 0
        rear, lit, side_on = bodies(kind, paint, shape, self.ambient)
        return Look(rear, lit, side_on, self.shadow)
