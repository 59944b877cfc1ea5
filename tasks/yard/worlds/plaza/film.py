"""What one camera films: people between the things of the scene, through its lens, onto its sensor.

Every sample of the picture, FINE x FINE a pixel, is a ray through the bent lens. A person is a drawing that stands
upright on the ground, turned to the camera, and is looked up where a ray meets it: so what is filmed obeys the
calibration to a small part of a pixel, and nothing is bent afterwards.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np

from tasks.yard.geometry.lens import Calibration
from tasks.yard.worlds import people
from tasks.yard.worlds.people import Look
from tasks.yard.worlds.plaza.crowd import Standing
from tasks.yard.worlds.plaza.scenery import Scenery, backdrop, shade

FINE = 2  # samples a pixel, each way
OPAQUE = 110  # alpha of what counts as somebody
MIN_VISIBLE = 0.15  # a person of whom less is seen gets no box
NEAREST_M = 0.3
AROUND_M = np.array([[-0.7, -0.1], [0.7, -0.1], [0.7, 2.0], [-0.7, 2.0]])  # a person is within
SHADE_M = 0.2  # radius of a person's shadow


@dataclass(frozen=True)
class Sensor:
    """What a camera makes of light and colour."""

    gain: np.ndarray  # (3) of blue, green, red
    gamma: float
    contrast: float
    saturation: float
    blur_px: float
    noise: float
    vignette: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Sensor:
        gain = rng.uniform(0.92, 1.12) * rng.uniform(0.93, 1.07, 3)
        gamma, contrast, saturation = rng.uniform(0.85, 1.15), rng.uniform(0.85, 1.08), rng.uniform(0.75, 1.1)
        blur, noise, vignette = rng.uniform(0.3, 0.7), rng.uniform(1.0, 3.5), rng.uniform(0.05, 0.2)
        return cls(gain, gamma, contrast, saturation, blur, noise, vignette)

    def develop(self, picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(H, W, 3) BGR uint8 -> the same with this camera's colours, sharpness, and the noise of one moment."""
        mix = np.eye(3) * self.saturation + (1 - self.saturation) * np.array([[0.114, 0.587, 0.299]] * 3)
        exposure = rng.uniform(0.95, 1.05)
        bright = np.minimum(np.arange(256)[:, None] / 255 * self.gain * exposure, 1) ** self.gamma
        table = (((bright - 0.5) * self.contrast + 0.5) * 255).clip(0, 255).astype(np.uint8)[None]
        picture = cv2.LUT(cv2.transform(picture, mix), table)
        picture = cv2.GaussianBlur(picture, (0, 0), self.blur_px)
        height, width = picture.shape[:2]
        y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        falloff = (1 - self.vignette * (x * x + y * y)).astype(np.float32)[..., None]
        noise = rng.standard_normal(picture.shape, np.float32) * np.float32(self.noise)
        return (picture * falloff + noise + 0.5).clip(0, 255).astype(np.uint8)


@dataclass(frozen=True)
class Drawing:
    """Somebody as a flat picture: premultiplied BGRA, and where in it the feet are, in pixels of its own."""

    image: np.ndarray
    feet: tuple[float, float]
    px_per_m: float

    def metres(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels (n, 2) -> metres to the right of the feet and above them."""
        return (pixels - self.feet) * [1 / self.px_per_m, -1 / self.px_per_m]

    def outline(self) -> np.ndarray:
        """(n, 2) metres: the convex hull of what is opaque, to the edges of its pixels."""
        rows, columns = np.nonzero(self.image[..., 3] > OPAQUE)
        hull = cv2.convexHull(np.column_stack([columns, rows]).astype(np.int32)).reshape(-1, 2).astype(float)
        corners = [hull + off for off in ([-0.5, -0.5], [-0.5, 0.5], [0.5, -0.5], [0.5, 0.5])]
        return self.metres(np.concatenate(corners))


def rays(calibration: Calibration) -> np.ndarray:
    """(FINE height, FINE width, 2) float32: x / z, y / z of every sample. The lens is inverted once a pixel, and one
    pixel beyond the edges; between them it is as good as straight, to 0.002 px."""
    height, width = calibration.size
    v, u = np.mgrid[-1 : height + 1, -1 : width + 1].astype(np.float64)
    until = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 40, 1e-4)
    pixels = np.stack([u, v], -1).reshape(-1, 1, 2)
    flat = cv2.undistortPoints(pixels, calibration.K, calibration.dist, criteria=until)
    flat = flat.reshape(height + 2, width + 2, 2).astype(np.float32)
    finer = cv2.resize(flat, None, fx=FINE, fy=FINE, interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(finer[FINE:-FINE, FINE:-FINE])


class Eye:
    """Camera number `own` (from 0) of a scene."""

    def __init__(self, calibration: Calibration, scenery: Scenery, sensor: Sensor, own: int) -> None:
        self.calibration, self.scenery, self.sensor = calibration, scenery, sensor
        self.flat = rays(calibration)
        self.centre = calibration.camera().centre
        self.empty = backdrop(scenery, calibration.R, self.centre, self.flat, own)

    def filmed(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """World (n, 3) -> pixels as filmed (n, 2), depths (n)."""
        pixels, depth = self.calibration.camera().project(points)
        if not len(points):
            return pixels, depth  # OpenCV takes no empty list
        return self.calibration.as_filmed(pixels), depth

    def facing(self, xy: tuple[float, float]) -> tuple[np.ndarray, float]:
        """Which way is right in the picture (2), and in which direction the camera is, radians: seen from xy."""
        to = np.array(self.centre[:2]) - xy
        to /= np.linalg.norm(to)
        return np.array([-to[1], to[0]]), math.atan2(to[1], to[0])

    def window(self, points: np.ndarray, margin: int = 2) -> tuple[slice, slice] | None:
        """Rows and columns of samples around world points (n, 3); None if one is behind the camera or all are out."""
        pixels, depth = self.filmed(points)
        if depth.min() < NEAREST_M:
            return None
        low, high = pixels.min(0) * FINE - margin, pixels.max(0) * FINE + margin + FINE
        height, width = self.flat.shape[:2]
        (x1, y1), (x2, y2) = np.maximum(low, 0).astype(int), np.minimum(high, [width, height]).astype(int)
        return (slice(y1, y2), slice(x1, x2)) if x1 < x2 and y1 < y2 else None

    def drawing(self, one: Standing, look: Look) -> Drawing:
        """Somebody as this camera sees them, at about the scale of its samples."""
        calibration, light = self.calibration, self.scenery.light
        depth = float(calibration.R[2] @ [*one.xy_m, 0.9] + calibration.T[2])
        scale = float(np.clip(FINE * calibration.K[0, 0] / max(depth, 1.0), 24, 140))
        right, towards = self.facing(one.xy_m)
        # Smaller steps when slow, so that who stands does not straddle.
        slow = replace(look, stride=look.stride * min(1.0, 0.1 + one.speed_mps))
        lit = 1.0 if right @ light.direction < 0 else -1.0
        cut = people.figure(slow, one.heading - towards, one.phase, (0.0, 0.0), scale, lit)
        bright = (*(light.ambient * share for share in light.tint), 1.0)
        return Drawing(cv2.multiply(cut.image, bright), (-cut.x - 0.5, -cut.y - 0.5), scale)

    def upright(self, xy: tuple[float, float], at: np.ndarray) -> np.ndarray:
        """Metres (n, 2) to the right of xy and above it, as this camera sees it -> world (n, 3)."""
        right, _ = self.facing(xy)
        return np.column_stack([xy + at[:, :1] * right, at[:, 1]])

    def paste(
        self, picture: np.ndarray, owner: np.ndarray, mark: int, drawing: Drawing, xy: tuple[float, float]
    ) -> int:
        """Draw upon samples `picture`, in front of all but the things of the scene; mark whose they are in `owner`.
        Returns how many samples would be the person's if no thing hid any."""
        high, wide = drawing.image.shape[:2]
        corners = drawing.metres(np.array([[0, 0], [wide, 0], [wide, high], [0, high]]))
        found = self.window(self.upright(xy, corners))
        if found is None:
            return 0
        right, _ = self.facing(xy)
        R, foot = self.calibration.R, self.calibration.R @ [*xy, 0.0] + self.calibration.T
        # From a ray to metres in the drawing's upright plane, the inverse of [right, up, foot]; then to its pixels.
        inverse = np.linalg.inv(np.column_stack([R @ [*right, 0.0], R[:, 2], foot]))
        scale, (x, y) = drawing.px_per_m, drawing.feet
        to_drawing = np.array([[scale, 0, x], [0, -scale, y], [0, 0, 1]]) @ inverse
        a, b, w = cv2.split(cv2.transform(self.flat[found], to_drawing))
        with np.errstate(divide="ignore", invalid="ignore"):
            own = cv2.remap(drawing.image, a / w, b / w, cv2.INTER_LINEAR)  # nothing beyond its border
        whole = int(np.count_nonzero(own[..., 3] > OPAQUE))
        own[w * self.empty.depth[found] < 1] = 0  # 1 / w is how far away it is
        region = picture[found]
        region[:] = cv2.add(cv2.multiply(region, 255 - cv2.merge([own[..., 3]] * 3), scale=1 / 255), own[..., :3])
        owner[found][own[..., 3] > OPAQUE] = mark
        return whole

    def shadow(self, picture: np.ndarray, one: Standing, height_m: float) -> None:
        light = self.scenery.light
        ends = np.array([one.xy_m, np.add(one.xy_m, np.multiply(light.direction, light.length * height_m))])
        around = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]]) * 0.75
        points = np.concatenate([end + around for end in ends])
        found = self.window(np.column_stack([points, np.zeros(len(points))]))
        if found is not None:
            left = shade(self.empty.ground[found], one.xy_m, light, height_m, SHADE_M)
            picture[found] = (picture[found] * left[..., None]).astype(np.uint8)

    def seen(self, standing: list[Standing], looks: dict[int, Look]) -> tuple[np.ndarray, dict[int, tuple]]:
        """The picture before the sensor, (H, W, 3) uint8 BGR, and the boxes {person: (x1, y1, x2, y2)} in its pixels.

        A box is around the whole person, also where something hides it, or the picture ends: its lower edge is at the
        feet. Who stands beyond the picture, or is seen by less than MIN_VISIBLE, has none.
        """
        picture = self.empty.picture.copy()
        owner = np.zeros(picture.shape[:2], np.uint8)
        feet, depth = self.filmed(np.array([[*one.xy_m, 0.0] for one in standing]).reshape(-1, 3))
        order = np.argsort(-depth)
        for row in order:
            self.shadow(picture, standing[row], looks[standing[row].person].height_m)
        drawn = {}
        for row in order:
            one = standing[row]
            if self.window(self.upright(one.xy_m, AROUND_M)) is None:
                continue
            drawing = self.drawing(one, looks[one.person])
            drawn[row] = drawing, self.paste(picture, owner, int(row) + 1, drawing, one.xy_m)
        height, width = self.calibration.size
        boxes = {}
        for row, (drawing, whole) in sorted(drawn.items()):
            inside = ((feet[row] >= -0.5) & (feet[row] <= [width - 0.5, height - 0.5])).all()
            if whole and inside and np.count_nonzero(owner == row + 1) >= MIN_VISIBLE * whole:
                hull, _ = self.filmed(self.upright(standing[row].xy_m, drawing.outline()))
                boxes[standing[row].person] = (*hull.min(0).round(2).tolist(), *hull.max(0).round(2).tolist())
        return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), boxes
