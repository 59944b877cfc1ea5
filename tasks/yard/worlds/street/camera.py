"""The fixed cameras of the street: what each makes of light and colour, and its frames of people with true boxes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from tasks.yard.worlds import people
from tasks.yard.worlds.canvas import Cutout
from tasks.yard.worlds.people import Look
from tasks.yard.worlds.street import scene
from tasks.yard.worlds.street.scene import HEIGHT_PX, WIDTH_PX, View

JPEG_QUALITY = 88
MIN_VISIBLE = 0.25  # a person of whom less is seen nobody labels
MIN_BOX_PX = 6
NEAREST_M = 2.2
STEP_M = 0.75  # one step of an average person


@dataclass(frozen=True)
class Optics:
    """One camera: how it hangs, which side of people it sees, and what lens and sensor do to a picture."""

    view: View
    heading: float  # where people walk: 0 towards the camera, pi/2 to the right
    spread: float  # how far they stray from that, radians
    both_ways: bool
    gain: tuple[float, float, float]  # of blue, green, red
    gamma: float
    contrast: float
    saturation: float
    blur_px: float
    noise: float


CAMERAS = (
    Optics(View(260, 34, 2.4), 0.0, 0.35, False, (0.92, 0.98, 1.07), 1.0, 1.0, 1.0, 0.4, 4),
    Optics(View(300, 20, 3.0), math.pi / 2, 0.3, True, (1.09, 1.0, 0.92), 0.9, 1.0, 0.95, 0.5, 5),
    Optics(View(250, 38, 2.5), math.pi, 0.35, False, (0.94, 1.05, 0.94), 1.05, 0.9, 0.85, 0.45, 4),
    Optics(View(270, 26, 3.1), math.pi / 4, 0.5, True, (0.93, 0.88, 0.92), 1.1, 1.05, 0.95, 0.55, 6),
    Optics(View(320, 14, 2.8), -math.pi / 2, 0.9, True, (1.03, 0.98, 1.02), 0.87, 0.86, 0.84, 0.65, 4),
    Optics(View(280, 30, 2.7), 2.6, 0.5, True, (1.08, 0.92, 1.08), 0.95, 0.95, 1.1, 0.5, 5),
)


@dataclass(frozen=True)
class Walker:
    """Somebody on a straight way: at `mid_m` (X, Z) at the time `mid_s`; `heading` 0 is towards the camera."""

    look: Look
    mid_m: tuple[float, float]
    mid_s: float
    heading: float
    speed_mps: float
    phase: float

    def at(self, time_s: float) -> Standing:
        gone = (time_s - self.mid_s) * self.speed_mps
        x, z = self.mid_m[0] + gone * math.sin(self.heading), self.mid_m[1] - gone * math.cos(self.heading)
        return Standing(self.look, x, z, self.heading, self.phase + math.pi * gone / (STEP_M * self.look.stride))


@dataclass(frozen=True)
class Standing:
    """Somebody at one moment."""

    look: Look
    x_m: float
    z_m: float
    heading: float
    phase: float


@dataclass(frozen=True)
class Box:
    """What is seen of one person: `index` in the list of people, x1 y1 x2 y2 in pixels, and which share that is."""

    index: int
    xyxy: tuple[int, int, int, int]
    visible: float


def _shadow(picture: np.ndarray, cutout: Cutout, feet: tuple[float, float], light: scene.Light) -> None:
    """Darken the ground where a person keeps the light away: the person's outline, sheared and flattened."""
    alpha = cutout.image[..., 3]
    high, wide = alpha.shape
    reach = math.ceil(abs(light.lean) * high) + 2
    foot_x, foot_y = feet[0] - cutout.x, feet[1] - cutout.y
    tall = math.ceil(light.length * high) + 6
    # A point u above the feet falls `lean u` to the right and `length u` up the picture, away from the camera.
    down = tall - 4 - light.length * foot_y
    matrix = np.array([[1, -light.lean, reach + light.lean * foot_y], [0, light.length, down]])
    size = (wide + 2 * reach, tall)
    mask = cv2.blur(cv2.warpAffine(alpha, matrix, size, flags=cv2.INTER_AREA), (3, 3))
    x, y = round(feet[0] - foot_x) - reach, round(feet[1]) - (tall - 4)
    dark = np.zeros((*mask.shape, 4), np.uint8)
    dark[..., 3] = (mask * light.shadow).astype(np.uint8)
    Cutout(dark, x, y).paste(picture)


class Camera:
    """Camera `number` (from 1) in one session. The optics are the camera's own, the street is the session's."""

    def __init__(self, seed: int, session: int, number: int, light: scene.Light) -> None:
        self.optics = CAMERAS[number - 1]
        rng = np.random.default_rng([seed, session, number, 0])
        view = self.optics.view
        self.light = light
        self.view = View(
            view.focal_px * rng.uniform(0.95, 1.05),
            view.horizon_px + rng.uniform(-5, 5),
            view.height_m * rng.uniform(0.93, 1.07),
        )
        along = abs(math.cos(self.optics.heading)) > 0.8
        self.scene = scene.draw_scene(rng, self.view, light, along)
        # A camera is never set quite the same; the light of the day adds its own.
        self.gain = np.array(self.optics.gain) * rng.uniform(0.97, 1.03, 3)
        self.gamma = self.optics.gamma * rng.uniform(0.96, 1.04)
        grain = np.random.default_rng([seed, number, 1]).normal(0, self.optics.noise, (2 * HEIGHT_PX, 2 * WIDTH_PX, 3))
        self.noise = cv2.blur(grain.astype(np.float32), (2, 2)) * 1.4
        grey = 1 - self.optics.saturation
        self.mix = np.eye(3) * self.optics.saturation + grey * np.array([[0.114, 0.587, 0.299]] * 3)
        across, down = np.meshgrid(np.linspace(-1, 1, WIDTH_PX), np.linspace(-1, 1, HEIGHT_PX))
        self.vignette = (1 - 0.13 * (across**2 + down**2)).astype(np.float32)[..., None]

    @property
    def nearest_m(self) -> float:
        """Distance at which feet are still in the picture."""
        return self.view.depth_m(HEIGHT_PX - 6)

    def walker(self, rng: np.random.Generator, look: Look, mid_s: float) -> Walker:
        """Somebody who is well in view at `mid_s`."""
        far = min(self.scene.depth_m, self.view.focal_px * 1.72 / 54)  # no smaller than about 54 px
        z = float(rng.uniform(self.nearest_m + 0.4, max(far, self.nearest_m + 1.5)))
        half = min(self.scene.half_room_m, 0.5 * WIDTH_PX * z / self.view.focal_px) - 0.4
        heading = self.optics.heading + rng.normal(0, self.optics.spread / 2)
        if self.optics.both_ways and rng.random() < 0.5:
            heading += math.pi
        return Walker(
            look,
            mid_m=(float(rng.uniform(-half, half)), z),
            mid_s=mid_s,
            heading=float(heading),
            speed_mps=float(rng.uniform(1.0, 1.6)),
            phase=float(rng.uniform(0, 6.28)),
        )

    def frame(self, people_: list[Standing], rng: np.random.Generator) -> tuple[np.ndarray, list[Box]]:
        """The picture, (192, 320, 3) BGR uint8, and the visible people in it; `rng` is for exposure and noise."""
        picture = self.scene.backdrop.copy()
        owner = np.zeros((HEIGHT_PX, WIDTH_PX), np.uint8)
        drawn = []
        for index, one in enumerate(people_):
            if NEAREST_M < one.z_m < self.scene.depth_m and abs(one.x_m) < self.scene.half_room_m + 0.3:
                feet = self.view.point(one.x_m, 0, one.z_m)
                angle = one.heading + math.atan2(one.x_m, one.z_m)
                cutout = people.figure(one.look, angle, one.phase, feet, self.view.px_per_m(one.z_m), self.light.lit)
                drawn.append((one.z_m, index + 1, cutout, feet))
        for _, _, cutout, feet in drawn:
            _shadow(picture, cutout, feet, self.light)
        things = [(thing.z_m, 0, thing.cutout, None) for thing in self.scene.things]
        for _, mark, cutout, _ in sorted(drawn + things, key=lambda item: -item[0]):
            cutout.paste(picture)
            found = cutout.windows(HEIGHT_PX, WIDTH_PX)
            if found is not None:
                owner[found[0]][cutout.image[found[1]][..., 3] > 110] = mark
        boxes = []
        for _, mark, cutout, _ in drawn:
            seen = owner == mark
            count = cv2.countNonZero(seen.view(np.uint8))
            visible = count / max(int(np.count_nonzero(cutout.image[..., 3] > 110)), 1)
            x, y, w, h = cv2.boundingRect(seen.view(np.uint8))
            if visible >= MIN_VISIBLE and min(w, h) >= MIN_BOX_PX:
                boxes.append(Box(mark - 1, (x, y, x + w, y + h), visible))
        return self.develop(picture, rng), boxes

    def develop(self, picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Lens and sensor: saturation, colour cast, exposure, contrast, blur, vignette, noise."""
        optics = self.optics
        levels = np.arange(256) / 255
        exposure = rng.uniform(0.94, 1.06)
        bright = np.minimum(levels[:, None] * self.gain * exposure, 1) ** self.gamma
        table = (((bright - 0.5) * optics.contrast + 0.5) * 255).clip(0, 255).astype(np.uint8)[None]
        picture = cv2.LUT(cv2.transform(picture, self.mix), table)
        picture = cv2.GaussianBlur(picture, (0, 0), optics.blur_px)
        y, x = int(rng.integers(HEIGHT_PX)), int(rng.integers(WIDTH_PX))
        noisy = picture * self.vignette + self.noise[y : y + HEIGHT_PX, x : x + WIDTH_PX]
        return cv2.convertScaleAbs(noisy.clip(0, 255))
