"""What surrounds the traffic: light, ground, sky and hills, rails, trees, signs, bridges, the bonnet and the lens."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from tasks.yard.worlds.highway import sprites
from tasks.yard.worlds.highway.traffic import LANE_M, LANES

TEXTURE_PX_PER_M = 20  # across; lane lines are 0.15 m wide
ALONG_PX_PER_M = 8
TILE_M = 72.0  # four periods of a broken line: 6 m paint, 12 m gap
RIGHT_END_M, LEFT_END_M = -26.0, 34.0  # of the ground texture, y to the left
SEAM_PX = 300
LEVELS_M = (0.0, 2.5, 9.0, TILE_M)  # blur along the road of the mip levels
RIGHT_EDGE_M, LEFT_EDGE_M = -LANE_M / 2, (LANES - 0.5) * LANE_M
RIGHT_RAIL_M, LEFT_WALL_M = RIGHT_EDGE_M - 3.6, LEFT_EDGE_M + 1.6


@dataclass(frozen=True)
class Light:
    """One kind of weather and hour."""

    name: str
    ambient: np.ndarray  # BGR factor on everything that does not shine
    sky_top: np.ndarray
    sky_low: np.ndarray
    haze_bgr: np.ndarray
    sight_m: float  # distance at which haze takes 63 % of a colour
    glow: float  # how much lamps stand out
    noise: float  # standard deviation of the sensor's noise, grey levels
    wet: bool

    def haze(self, z_m: float) -> float:
        return float(1 - np.exp(-max(z_m, 0.0) / self.sight_m))


def _bgr(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


LIGHTS = {
    light.name: light
    for light in (
        Light(
            "day", _bgr(1, 1, 1), sky_top=_bgr(214, 152, 96), sky_low=_bgr(236, 222, 204),
            haze_bgr=_bgr(226, 216, 204), sight_m=1100, glow=0.0, noise=2.5, wet=False,
        ),
        Light(
            "overcast", _bgr(0.86, 0.84, 0.82), sky_top=_bgr(190, 184, 178), sky_low=_bgr(214, 210, 206),
            haze_bgr=_bgr(204, 202, 198), sight_m=700, glow=0.0, noise=3.0, wet=False,
        ),
        Light(
            "dusk", _bgr(0.52, 0.44, 0.42), sky_top=_bgr(108, 66, 48), sky_low=_bgr(96, 140, 214),
            haze_bgr=_bgr(92, 96, 118), sight_m=800, glow=0.9, noise=5.0, wet=False,
        ),
        Light(
            "rain", _bgr(0.62, 0.6, 0.58), sky_top=_bgr(150, 146, 140), sky_low=_bgr(172, 170, 166),
            haze_bgr=_bgr(168, 166, 162), sight_m=170, glow=0.5, noise=3.5, wet=True,
        ),
    )
}  # fmt: skip


def noise_image(rng: np.random.Generator, height: int, width: int, cells: list[tuple[int, int, float]]) -> np.ndarray:
    """Sum of smooth noises, each (cells down, cells across, strength)."""
    out = np.zeros((height, width), np.float32)
    for down, across, strength in cells:
        coarse = rng.standard_normal((down, across)).astype(np.float32)
        out += strength * cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return out


def cyclic(image: np.ndarray) -> np.ndarray:
    """The image without its last SEAM_PX columns, which fade into the first, so that it goes round without a seam."""
    image, tail = image[:, :-SEAM_PX].copy(), image[:, -SEAM_PX:]
    fade = np.linspace(0, 1, SEAM_PX, dtype=np.float32)
    image[:, :SEAM_PX] = image[:, :SEAM_PX] * fade + tail * (1 - fade)
    return image


class Ground:
    """Top-down texture of one tile, its copies blurred along the road for the rows far away."""

    def __init__(self, texture: np.ndarray, light: Light) -> None:
        along = texture.shape[0]
        levels = []
        for blur_m in LEVELS_M:
            size = int(blur_m * ALONG_PX_PER_M)
            level = texture if size < 2 else texture.mean(0, keepdims=True).repeat(along, 0)
            if 2 <= size < along:
                level = cv2.blur(np.vstack([texture] * 3), (1 + 2 * size // 40, size))[along : 2 * along]
            levels.append(np.vstack([level, level[:2]]))  # two rows more, so that the wrap is interpolated too
        self.atlas = np.vstack(levels).clip(0, 255).astype(np.uint8)
        self.rows = along
        self.light = light

    def paint(self, target: np.ndarray, y_m: np.ndarray, z_m: np.ndarray, s_m: float) -> None:
        """Fill `target` (rows, width, 3): row r shows z_m[r] metres ahead, pixel (r, c) the lateral y_m[r, c]."""
        step_m = np.abs(np.gradient(z_m))
        level = np.searchsorted(np.array([0.7, 4.0, 16.0]), step_m)
        along = ((s_m + z_m) % TILE_M) * ALONG_PX_PER_M + level * (self.rows + 2)
        map_x = ((LEFT_END_M - y_m) * TEXTURE_PX_PER_M).astype(np.float32)
        map_y = np.repeat(along.astype(np.float32)[:, None], y_m.shape[1], 1)
        cv2.remap(self.atlas, map_x, map_y, cv2.INTER_LINEAR, dst=target, borderMode=cv2.BORDER_REPLICATE)
        far = int(np.searchsorted(-z_m, -25.0))  # nearer than that haze is not seen
        haze = (1 - np.exp(-z_m[:far] / self.light.sight_m)).astype(np.float32)[:, None, None]
        veil = np.tile((self.light.haze_bgr * haze)[:, 0], y_m.shape[1]).reshape(target[:far].shape)
        target[:far] = target[:far] * (1 - haze) + veil


def ground(rng: np.random.Generator, light: Light) -> Ground:
    rows, columns = int(TILE_M * ALONG_PX_PER_M), int((LEFT_END_M - RIGHT_END_M) * TEXTURE_PX_PER_M)
    y = LEFT_END_M - (np.arange(columns) + 0.5) / TEXTURE_PX_PER_M

    def band(low: float, high: float) -> slice:
        return slice(int((LEFT_END_M - high) * TEXTURE_PX_PER_M), int((LEFT_END_M - low) * TEXTURE_PX_PER_M))

    grass_tone = _bgr(52, 92, 84) * rng.uniform(0.85, 1.15)
    tufts = noise_image(rng, rows, columns, [(rows // 2, columns // 4, 0.10), (30, 60, 0.08)])
    texture = cv2.merge([tone * (1 + tufts) for tone in grass_tone])
    tone = rng.uniform(88, 116)
    asphalt = tone + noise_image(rng, rows, columns, [(rows, columns // 2, 3.5), (60, 40, 2.5), (6, 60, 2.0)])
    for lane in range(LANES):
        for wheel in (-0.85, 0.85):
            asphalt -= 9 * np.exp(-(((y - lane * LANE_M - wheel) / 0.4) ** 2))
    for _ in range(3):  # mended places
        lane, start, long = rng.integers(LANES), rng.integers(rows - 80), rng.integers(24, 80)
        asphalt[start : start + long, band(lane * LANE_M - 1.7, lane * LANE_M + 1.7)] -= rng.uniform(8, 16)
    for y_seam in (LANE_M / 2 - 0.2, 1.5 * LANE_M + 0.2):
        asphalt[:, band(y_seam - 0.03, y_seam + 0.03)] -= 22
    if light.wet:
        asphalt = asphalt * 0.72 + 6
    road = band(RIGHT_EDGE_M - 3.0, LEFT_EDGE_M + 1.4)
    texture[:, road] = asphalt[:, road, None] * _bgr(1.02, 1.0, 0.98)
    gravel = band(RIGHT_EDGE_M - 4.4, RIGHT_EDGE_M - 3.0)
    stones = noise_image(rng, rows, columns, [(rows // 2, columns // 2, 9)])
    texture[:, gravel] = _bgr(112, 122, 128) + stones[:, gravel, None]
    paint = 222 - 14 * np.abs(noise_image(rng, rows, columns, [(rows // 3, columns // 2, 1.0)]))
    for edge in (RIGHT_EDGE_M - 0.15, LEFT_EDGE_M + 0.15):
        line = band(edge - 0.15, edge + 0.15)
        texture[:, line] = paint[:, line, None]
    for boundary in range(1, LANES):
        line = band((boundary - 0.5) * LANE_M - 0.1, (boundary - 0.5) * LANE_M + 0.1)
        for start in np.arange(0, TILE_M, 18.0):
            dash = slice(int(start * ALONG_PX_PER_M), int((start + 6) * ALONG_PX_PER_M))
            texture[dash, line] = paint[dash, line, None]
    return Ground((texture * light.ambient).astype(np.float32), light)


class Panorama:
    """The far background all around: sky with clouds, hills, a line of woods; the bottom row is the horizon."""

    def __init__(self, image: np.ndarray) -> None:
        self.image = image

    def crop(self, turn_px: float, horizon_px: float, rows: int, width: int) -> np.ndarray:
        high, around = self.image.shape[:2]
        x = round(turn_px) % around
        top = high - round(horizon_px) - 2
        strip = self.image[top : top + rows]
        if x + width <= around:
            return strip[:, x : x + width]
        return np.hstack([strip[:, x:], strip[:, : x + width - around]])


def panorama(rng: np.random.Generator, light: Light, focal_px: float) -> Panorama:
    around, high = int(2 * np.pi * focal_px), 200
    down = np.linspace(0, 1, high, dtype=np.float32)[:, None]

    def plane(bgr: np.ndarray) -> np.ndarray:
        return bgr[:, None, None]  # colours first: numpy is several times as slow where the last axis has 3

    sky = np.repeat(plane(light.sky_top) * (1 - down) + plane(light.sky_low) * down, around, 2)
    cells = [(3, 24, 0.5), (8, 70, 0.35), (20, 200, 0.2), (50, 500, 0.1)]
    clouds = cyclic(noise_image(rng, high, around + SEAM_PX, cells))
    cover = np.clip(clouds * 0.9 + rng.uniform(-0.3, 0.2), 0, 0.75)
    cloud_bgr = (light.sky_low * 0.75 + 255 * light.ambient * 0.25).clip(0, 255)
    sky = sky * (1 - cover) + plane(cloud_bgr) * (1 - 0.12 * down) * cover
    rows = np.arange(high)[:, None]
    for strength, hills, level, tone in ((16, 14, 14, 0.62), (9, 40, 8, 0.45), (4, 420, 6, 0.24)):
        skyline = noise_image(rng, 1, around + SEAM_PX, [(1, hills, 0.6), (1, hills * 4, 0.15)])
        ridge = level + strength * np.abs(cyclic(skyline)[0])
        green = _bgr(64, 92, 76) * light.ambient
        colour = light.haze_bgr * tone + green * (1 - tone)
        sky = np.where(high - rows < ridge[None, :], plane(colour) * (1 + 0.04 * clouds), sky)
    image = cv2.merge(list(sky.clip(0, 255).astype(np.uint8)))
    image = np.vstack([image, np.repeat(image[-1:], 8, 0)])  # a bump may lift the horizon above the first ground row
    return Panorama(np.ascontiguousarray(image[-200:]))


@dataclass(frozen=True)
class Standing:
    """Something upright at the roadside."""

    sprite: sprites.Sprite
    z_m: float
    y_m: float
    width_m: float
    height_m: float
    low_m: float = 0.0

    def paint(self, picture: np.ndarray, view, light: Light) -> None:
        half = self.width_m / 2
        ends = (self.y_m + half, self.z_m), (self.y_m - half, self.z_m)
        quad = view.quad(*ends, self.low_m, self.low_m + self.height_m)
        sprites.paste(picture, self.sprite, quad, light.haze(self.z_m), light.haze_bgr)


def tree(rng: np.random.Generator, light: Light) -> sprites.Sprite:
    size = 128
    alpha, bgr = np.zeros((size, size), np.float32), np.zeros((size, size, 3), np.float32)
    cv2.rectangle(alpha, (60, 90), (67, size), 255, -1)
    bgr[:] = _bgr(34, 48, 58)
    green = _bgr(42, 84, 66) * rng.uniform(0.7, 1.15)
    for _ in range(130):
        angle, radius = rng.uniform(0, 6.28), 44 * np.sqrt(rng.random())
        x, y = int(64 + radius * np.cos(angle)), int(52 + 1.05 * radius * np.sin(angle))
        tone = green * (1.25 - 0.7 * y / size + rng.uniform(-0.12, 0.12))
        cv2.circle(bgr, (x, y), int(rng.integers(5, 11)), tone.tolist(), -1)
        cv2.circle(alpha, (x, y), int(rng.integers(4, 9)), 255, -1)
    return sprites.pyramid(bgr * light.ambient, cv2.GaussianBlur(alpha, (3, 3), 0))


def plate(light: Light, width_m: float, height_m: float, colour, lines: int) -> sprites.Sprite:
    """A sign with a light rim and rows of writing."""
    w, h = int(width_m * 40), int(height_m * 40)
    bgr = np.full((h, w, 3), 235, np.float32)
    bgr[4:-4, 4:-4] = colour
    for row in range(lines):
        top = int(h * (row + 0.7) / (lines + 0.6))
        bgr[top : top + max(h // (3 * lines), 2), int(0.15 * w) : int((0.85 - 0.15 * (row % 2)) * w)] = 235
    return sprites.pyramid(bgr * light.ambient, np.full((h, w), 255, np.float32))


class Roadside:
    """Rails on both sides, and things placed along the road by a fixed table of cells."""

    CELL_M = 11.0
    ENDS_M = np.array([1.6, 3.5, 7, 12, 20, 35, 60, 100, 220])  # of the pieces in which rails are painted

    def __init__(self, rng: np.random.Generator, light: Light) -> None:
        self.trees = [tree(rng, light) for _ in range(5)]
        self.post = plate(light, 0.12, 1.0, (225, 225, 225), 0)
        self.sign = plate(light, 3.2, 2.2, (150, 84, 20), 3)
        self.deck = plate(light, 40.0, 1.6, (126, 128, 128), 0)
        self.pier = plate(light, 1.2, 6.0, (118, 120, 120), 0)
        self.table = rng.random((512, 5)).astype(np.float64)
        # Woods come and go along the road.
        self.wooded = np.convolve(rng.random(512 + 40), np.ones(41) / 41, "valid") > 0.49
        self.rail_bgr, self.wall_bgr = _bgr(160, 158, 154) * light.ambient, _bgr(150, 154, 156) * light.ambient
        hazes = [light.haze(z) for z in self.ENDS_M]
        self.rail_tones, self.wall_tones = (
            [(bgr * (1 - haze) + light.haze_bgr * haze).tolist() for haze in hazes]
            for bgr in (self.rail_bgr, self.wall_bgr)
        )

    def standing(self, s_m: float, reach_m: float) -> list[Standing]:
        things = []
        first = int(s_m // self.CELL_M) + 1
        for cell in range(first, int((s_m + reach_m) // self.CELL_M)):
            a, b, c, d, e = self.table[cell % 512].tolist()
            z = (cell + 0.4 * a) * self.CELL_M - s_m
            if z < 3.0:
                continue
            if self.wooded[cell % 512] and (z < 70 or cell % 3 == 0):
                size = 6 + 5 * b
                things.append(Standing(self.trees[int(5 * c)], z, RIGHT_RAIL_M - 4.5 - 6 * d, size, size))
            if self.wooded[(cell + 200) % 512] and z > 12 and (z < 70 or cell % 3 == 1):
                size = 5 + 5 * c
                things.append(Standing(self.trees[int(5 * b)], z, LEFT_WALL_M + 7 + 7 * e, size, size))
            if cell % 5 == 0 and z < 70:
                things.append(Standing(self.post, z, RIGHT_EDGE_M - 3.2, 0.12, 1.0))
            if cell % 61 == 30:
                things.append(Standing(self.sign, z, RIGHT_RAIL_M - 2.6, 3.2, 2.2, 2.0))
            if cell % 173 == 90:
                things.append(Standing(self.pier, z + 0.2, RIGHT_RAIL_M - 1.6, 1.2, 6.0))
                things.append(Standing(self.pier, z + 0.2, LEFT_WALL_M + 0.8, 1.2, 6.0))
                things.append(Standing(self.deck, z, 3.75, 40.0, 1.6, 5.2))
        return things

    def rails(self, picture: np.ndarray, view, s_m: float) -> None:
        """A steel rail on the right, a concrete wall on the left."""
        z = self.ENDS_M
        for y, low, high, colour, tones in (
            (LEFT_WALL_M, 0.0, 0.85, self.wall_bgr, self.wall_tones),
            (RIGHT_RAIL_M, 0.45, 0.78, self.rail_bgr, self.rail_tones),
        ):
            u, top, bottom = view.u(y, z), view.v(high, z), view.v(low, z)
            # In eighths of a pixel, which is what the shift of 3 below says.
            rims = np.array([np.stack([u, top], 1), np.stack([u, bottom], 1)])
            upper, lower = np.minimum(np.maximum(8 * rims, -30000), 30000).round().astype(np.int32)
            for k in range(len(z) - 1, 0, -1):
                corners = np.array([upper[k - 1], upper[k], lower[k], lower[k - 1]])
                cv2.fillConvexPoly(picture, corners, tones[k], cv2.LINE_AA, 3)
            cv2.polylines(picture, [upper], False, (colour * 1.18).clip(0, 255).tolist(), 1, cv2.LINE_AA, 3)
        for post_z in np.arange(4.0 - s_m % 4.0, 30.0, 4.0):
            if post_z > 3:
                u = view.u(RIGHT_RAIL_M - 0.08, post_z)
                ends = [(int(u), int(view.v(h, post_z))) for h in (0.45, 0.0)]
                cv2.line(picture, *ends, (self.rail_bgr * 0.62).tolist(), max(1, int(40 / post_z)))


def bonnet(rng: np.random.Generator, light: Light, width: int, height: int, row: int) -> np.ndarray:
    """Premultiplied BGRA of the rows from `row` on: the car's own bonnet, a dark arch with the sky in it."""
    rows = height - row
    x = (np.arange(width) - width / 2 + rng.uniform(-10, 10)) / (width / 2)
    edge = 4 + 13 * x**2 + 6 * x**4
    depth = np.arange(rows)[:, None] - edge[None, :]
    alpha = np.clip(depth + 0.5, 0, 1)
    shine = np.exp(-(((depth - 7) / 6) ** 2)) * (0.6 + 0.4 * np.cos(2.2 * x))[None, :]
    paint = _bgr(*rng.choice([(34, 32, 30), (58, 34, 24), (70, 70, 72)]))
    bgr = paint * light.ambient + shine[..., None] * 0.35 * light.sky_low
    return np.dstack([bgr * alpha[..., None], alpha * 255]).clip(0, 255).astype(np.uint8)


def overlay(picture: np.ndarray, cover: np.ndarray, caption: str) -> None:
    """Bonnet and the stamp that a dashcam burns in; both lie below what detection looks at."""
    target = picture[-cover.shape[0] :]
    target[:] = cv2.add(cv2.multiply(target, cv2.merge([255 - cover[..., 3]] * 3), scale=1 / 255), cover[..., :3])
    place = (8, picture.shape[0] - 7)
    cv2.putText(picture, caption, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (230, 230, 230), 1, cv2.LINE_AA)


class Lens:
    """Vignette, sensor noise, and in the rain drops and streaks."""

    def __init__(self, rng: np.random.Generator, light: Light, width: int, height: int) -> None:
        v, u = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
        vignette = 255 * (1 - 0.16 * (u**2 + v**2) / 2)
        self.vignette = cv2.merge([vignette.astype(np.uint8)] * 3)
        grain = rng.standard_normal((2, height, width, 3)) * light.noise * _bgr(1.1, 0.9, 1.0) + 1.0
        self.lighter = grain.clip(0, 40).astype(np.uint8)
        self.darker = (-grain).clip(0, 40).astype(np.uint8)
        self.streaks = [self.rain(rng, width, height) for _ in range(4)] if light.wet else []

    @staticmethod
    def rain(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
        layer = np.zeros((height, width, 3), np.uint8)
        for _ in range(150):
            x, y, long = rng.integers(width), rng.integers(height), rng.integers(6, 22)
            lean = int(long * (x - width / 2) / width)
            tone = int(rng.integers(10, 34))
            cv2.line(layer, (int(x), int(y)), (int(x) + lean, int(y + long)), (tone, tone, tone), 1, cv2.LINE_AA)
        for _ in range(26):  # drops on the glass
            centre = int(rng.integers(width)), int(rng.integers(height))
            cv2.circle(layer, centre, int(rng.integers(2, 6)), (26, 26, 26), -1, cv2.LINE_AA)
        return cv2.GaussianBlur(layer, (3, 3), 0)

    def finish(self, picture: np.ndarray, rng: np.random.Generator) -> None:
        cv2.multiply(picture, self.vignette, dst=picture, scale=1 / 255)
        pick, down, right = rng.integers(2), int(rng.integers(len(picture))), int(rng.integers(picture.shape[1]))
        # One of the grains, shifted anew each time: np.roll in four pieces would cost more than the picture itself.
        for change, grain in ((cv2.add, self.lighter[pick]), (cv2.subtract, self.darker[pick])):
            change(picture[down:], grain[: len(picture) - down], dst=picture[down:])
            change(picture[:down], grain[len(picture) - down :], dst=picture[:down])
        if self.streaks:
            layer = self.streaks[int(rng.integers(len(self.streaks)))]
            cv2.add(picture, layer[:, ::-1] if right % 2 else layer, dst=picture)
