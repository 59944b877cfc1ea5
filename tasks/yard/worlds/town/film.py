"""What a camera of the car sees: picture, depth and class of every pixel, which agree with each other.

The ground is looked up from above; houses are found column by column, as all walls are upright and the camera is level;
the rest are polygons, drawn from far to near. Drawn FINE times as fine: pictures are averaged, depths and classes are
those of the middle of each pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from tasks.yard.worlds.town.boxes import BUILDING, SKY, TRAFFIC_LIGHT, Boxes
from tasks.yard.worlds.town.ground import PX_PER_M, Ground
from tasks.yard.worlds.town.rig import Eye
from tasks.yard.worlds.town.shapes import LIT, SIDES, Shapes

FINE = 3  # odd, so that one of the fine pixels is the middle
NEAR_M = 0.2
SKY_M = 1000.0  # depth of what is nowhere, as CARLA's
HOUSES_M, WALLS = 110.0, 3  # how far they are looked for; how many behind each other, as the far ones may be higher
WALL_PX_PER_M = 8
SHADOW_M = 45.0  # farther ones are not seen
GLOW_M, LEAST_GLOW_PX = 0.55, 0.8


@dataclass(frozen=True)
class Weather:
    name: str
    gain: tuple[float, float, float]  # BGR
    sky: tuple[tuple[int, int, int], tuple[int, int, int]]  # above, at the horizon
    haze_m: float  # in which two thirds are lost
    sun: float  # how much sides differ in brightness
    noise: float


@dataclass(frozen=True)
class Seen:
    picture: np.ndarray  # (h, w, 3) BGR uint8
    depth: np.ndarray  # (h, w) float32, metres along the axis
    kinds: np.ndarray  # (h, w) uint8


class Camera:
    def __init__(self, eye: Eye, ground: Ground, houses: Boxes, facades: np.ndarray, which: np.ndarray) -> None:
        """`facades` (n, h, w, 3): pictures at WALL_PX_PER_M, from the ground up; `which`: of every house."""
        self.eye, self.ground = eye, ground
        self.height, self.width = (side * FINE for side in eye.size)
        self.focal, self.mid = eye.K[0, 0] * FINE, (self.width / 2, self.height / 2)
        pose = eye.camera_from_ego
        self.centre = -pose[:3, :3].T @ pose[:3, 3]
        self.up_m = float(self.centre[2])
        self.ahead, self.right = pose[2, :2], pose[0, :2]
        rows = np.arange(self.height) + 0.5
        self.rows = rows
        self.slopes = ((np.arange(self.width) + 0.5 - self.mid[0]) / self.focal).astype(np.float32)
        self.horizon = int(np.ceil(self.mid[1]))
        self.far = (self.focal * self.up_m / (rows[self.horizon :] - self.mid[1])).astype(np.float32)
        across = self.far[:, None] * self.slopes
        # Of every fine pixel of the ground, where it is in the car's frame, and how coarse a picture is enough there.
        self.flat = self.centre[:2] + self.far[:, None, None] * self.ahead + across[..., None] * self.right
        self.flat = self.flat.astype(np.float32)
        span = self.far / self.focal * np.sqrt(np.maximum(1.0, self.far / self.up_m))
        self.level = np.clip(np.floor(np.log2(np.maximum(span * PX_PER_M, 1.0)) + 0.3), 0, len(ground.colours) - 1)
        corners = houses.corners()[:, :4, :2]
        self.walls = np.stack([corners, np.roll(corners, -1, axis=1)], axis=2).reshape(-1, 2, 2)  # anticlockwise
        self.wall_high = np.repeat(houses.size[:, 2], 4)
        self.wall_which = np.repeat(which, 4)
        count, high, wide = facades.shape[:3]
        self.facade_px = (high, wide)
        soft = [cv2.blur(picture, (5, 5)) for picture in facades]  # for those that are far away
        self.atlas = np.concatenate([*facades, *soft])
        self.facades = count
        out = self.walls[:, 1] - self.walls[:, 0]
        self.wall_lit = 0.78 + 0.22 * np.cos(np.arctan2(out[:, 1], out[:, 0]) - 0.6)

    # --- the background ---------------------------------------------------------------------------------------------

    def _backdrop(self, xy, yaw: float, weather: Weather) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        picture = np.empty((self.height, self.width, 3), np.float32)
        depth = np.full((self.height, self.width), SKY_M, np.float32)
        part = np.clip(self.rows[: self.horizon] / self.horizon, 0, 1)[:, None] ** 0.8
        sky = np.array(weather.sky[0]) * (1 - part) + np.array(weather.sky[1]) * part
        picture[: self.horizon] = sky[:, None]
        depth[self.horizon :] = self.far[:, None]
        c, s = np.float32(np.cos(yaw)), np.float32(np.sin(yaw))
        x = self.flat[..., 0] * c - self.flat[..., 1] * s + np.float32(xy[0])
        y = self.flat[..., 0] * s + self.flat[..., 1] * c + np.float32(xy[1])
        first = 0
        for level in range(len(self.ground.colours) - 1, -1, -1):  # rows get coarser towards the horizon
            last = len(self.far) if level == 0 else int((self.level >= level).sum())
            if last > first:
                sheet, scale = self.ground.colours[level], np.float32(PX_PER_M / 2**level)
                maps = x[first:last] * scale - np.float32(0.5), y[first:last] * scale - np.float32(0.5)
                found = cv2.remap(sheet, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
                picture[self.horizon + first : self.horizon + last] = found
            first = last
        keep = np.exp(-self.far / weather.haze_m)[:, None, None]
        seen = picture[self.horizon :]
        seen *= keep
        seen += np.array(weather.sky[1], np.float32) * (1 - keep)
        middle = slice(FINE // 2, None, FINE)
        kinds = np.full(self.eye.size, SKY, np.uint8)
        rows = (np.arange(self.eye.size[0]) * FINE + FINE // 2) - self.horizon
        below = rows >= 0
        column = np.clip((x[rows[below], middle] * PX_PER_M).astype(np.int32), 0, self.ground.kinds.shape[1] - 1)
        row = np.clip((y[rows[below], middle] * PX_PER_M).astype(np.int32), 0, self.ground.kinds.shape[0] - 1)
        kinds[below] = self.ground.kinds[row, column]
        return picture, depth, kinds

    def _houses(self, xy, yaw: float, weather: Weather, picture, depth, kinds) -> None:
        c, s = np.cos(yaw), np.sin(yaw)
        turn = np.array([[c, -s], [s, c]])
        local = (self.walls - xy) @ turn - self.centre[:2]
        right, ahead = local @ self.right, local @ self.ahead
        # Seen from outside: the camera is to the right of an anticlockwise side.
        outside = right[:, 0] * (ahead[:, 1] - ahead[:, 0]) - ahead[:, 0] * (right[:, 1] - right[:, 0]) > 0
        edge = self.width / 2 / self.focal
        shown = outside & (ahead.max(1) > NEAR_M) & (ahead.min(1) < HOUSES_M)
        shown &= ~((right > edge * ahead).all(1) | (right < -edge * ahead).all(1))
        which = np.flatnonzero(shown)
        if not len(which):
            return
        x0, z0 = right[which, :1].astype(np.float32), ahead[which, :1].astype(np.float32)
        dx, dz = right[which, 1:].astype(np.float32) - x0, ahead[which, 1:].astype(np.float32) - z0
        with np.errstate(divide="ignore", invalid="ignore"):
            t = (self.slopes * z0 - x0) / (dx - self.slopes * dz)
            away = z0 + t * dz
        away[~((t >= 0) & (t <= 1) & (away > NEAR_M))] = np.inf
        wide = np.hypot(dx, dz)
        hits = []
        columns = np.arange(self.width)
        for _ in range(WALLS):
            nearest = away.argmin(0)
            found = away[nearest, columns]
            if not np.isfinite(found).any():
                break
            hits.append((nearest, found.copy(), t[nearest, columns] * wide[nearest, 0]))
            away[nearest, columns] = np.inf
        highest = np.full(self.width, np.inf, np.float32)  # row of the top of what is nearer
        layers = []
        for nearest, found, along in hits:
            wall = which[nearest]
            with np.errstate(invalid="ignore"):
                top = self.mid[1] - self.focal * (self.wall_high[wall].astype(np.float32) - self.up_m) / found
            rises = np.isfinite(found) & (top < highest)  # what is lower is hidden
            highest = np.where(rises, top, highest)
            if rises.any():
                layers.append((wall, found, along, top, rises))
        for wall, found, along, top, rises in reversed(layers):
            self._wall(wall, found, along, top, rises, weather, picture, depth, kinds)

    def _wall(self, wall, found, along, top, rises, weather: Weather, picture, depth, kinds) -> None:
        """Paint one wall in every column that `rises`."""
        columns = np.flatnonzero(rises)
        cols = slice(int(columns[0]), int(columns[-1]) + 1)
        z = np.where(rises, found, 1.0)[cols].astype(np.float32)
        high = np.where(rises, self.wall_high[wall], 0.0)[cols].astype(np.float32)
        last = float((self.mid[1] + self.focal * self.up_m / z[rises[cols]]).max())
        rows = slice(max(0, int(top[columns].min())), min(self.height, int(last) + 1))
        up = self.up_m - ((self.rows[rows] - self.mid[1]) / self.focal).astype(np.float32)[:, None] * z
        mask = (up >= 0) & (up < high)
        far = np.where(z > 30, self.facades, 0)
        base = ((self.wall_which[wall][cols] + far) * self.facade_px[0]).astype(np.float32)
        x = (along[cols] * WALL_PX_PER_M % self.facade_px[1]).astype(np.float32)
        y = np.minimum(up * WALL_PX_PER_M, self.facade_px[0] - 1.5)
        maps = np.ascontiguousarray(np.broadcast_to(np.floor(x), up.shape)), np.floor(y) + base
        painted = cv2.remap(self.atlas, *maps, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
        keep = np.exp(-z / weather.haze_m)[:, None]
        lit = (1 + (self.wall_lit[wall][cols] - 1) * weather.sun)[:, None].astype(np.float32)
        painted = painted * (lit * keep) + np.array(weather.sky[1], np.float32) * (1 - keep)
        np.copyto(picture[rows, cols], painted, where=mask[..., None])
        np.copyto(depth[rows, cols], z, where=mask)
        of_middle = [slice((FINE // 2 - part.start) % FINE, None, FINE) for part in (rows, cols)]
        small = mask[of_middle[0], of_middle[1]]
        corner = [(part.start + (FINE // 2 - part.start) % FINE) // FINE for part in (rows, cols)]
        region = kinds[corner[0] : corner[0] + small.shape[0], corner[1] : corner[1] + small.shape[1]]
        region[small] = BUILDING

    # --- what stands on the ground ----------------------------------------------------------------------------------

    def _faces(self, shapes: Shapes, to_camera, eye_at: np.ndarray, weather: Weather):
        """Polygons that face the camera, far ones first: corners in the camera's frame (m, 8, 3), colour, class."""
        these = shapes.boxes
        c, s = np.cos(these.yaw), np.sin(these.yaw)
        apart = eye_at[:2] - these.xy
        x, y = apart[:, 0] * c + apart[:, 1] * s, -apart[:, 0] * s + apart[:, 1] * c
        long, wide, high = these.size.T
        up = eye_at[2] - these.base
        seen = np.column_stack([x > long / 2, x < -long / 2, y > wide / 2, y < -wide / 2, up > high, up < 0])
        corners = to_camera(these.corners())
        ahead = corners[..., 2]
        edge = 1.05 * self.width / 2 / self.focal
        out = (
            (ahead < NEAR_M).all(1) | (corners[..., 0] > edge * ahead).all(1) | (corners[..., 0] < -edge * ahead).all(1)
        )
        box, side = np.nonzero(seen & ~out[:, None])
        # A side is as bright as the direction that it looks to.
        toward = these.yaw[box] + np.array([0, np.pi, np.pi / 2, -np.pi / 2, 0, 0])[side]
        lit = np.where(side < 4, 0.84 + 0.16 * np.cos(toward - 2.2), LIT[side])
        colour = these.colour[box] * (1 + (lit - 1) * weather.sun)[:, None]
        quads = corners[box[:, None], SIDES[side]]
        points = quads[:, [0, 0, 1, 1, 2, 2, 3, 3]]
        flat = shapes.patches
        facing = ((eye_at[:2] - flat.points[:, 0, :2]) * flat.facing).sum(1) > 0
        patches = to_camera(flat.points)
        ahead = patches[..., 2]
        facing &= (ahead > NEAR_M).all(1) & (np.abs(patches[..., 0]) < edge * ahead).any(1)
        patches = patches[facing]
        owner = np.concatenate([shapes.owner[box], flat.owner[facing]])
        distance = np.linalg.norm(owner - eye_at[:2], axis=1)
        layer = np.concatenate([shapes.layer[box], np.full(facing.sum(), 9)])
        order = np.lexsort((layer, -distance))
        return (
            np.concatenate([points, patches])[order], np.concatenate([colour, flat.colour[facing]])[order],
            np.concatenate([these.kind[box], flat.kind[facing]])[order],
            np.concatenate([np.zeros(len(box), bool), flat.shines[facing]])[order],
        )  # fmt: skip

    def _pixels(self, points: np.ndarray) -> np.ndarray:
        """Corners (..., 3) before the camera -> as OpenCV takes them, with 4 fractional bits."""
        image = points[..., :2] / points[..., 2:] * self.focal + self.mid - 0.5
        return np.round(np.clip(image, -1900, 1900) * 16).astype(np.int32)

    def _fill(self, sheet: np.ndarray, points: np.ndarray, value, down: int = 0) -> None:
        """A polygon (n, 3) that may be partly behind the camera; `down`: by which the sheet is moved, in pixels."""
        if points[:, 2].min() < NEAR_M:
            points = clipped(points)
            if len(points) < 3:
                return
        cv2.fillConvexPoly(sheet, self._pixels(points) + np.array([0, 16 * down], np.int32), value, cv2.LINE_8, 4)

    def look(self, xy, yaw: float, shapes: Shapes, weather: Weather, rng: np.random.Generator) -> Seen:
        """From the car at `xy`, heading `yaw`."""
        xy = np.asarray(xy, float)
        picture, depth, kinds = self._backdrop(xy, yaw, weather)
        c, s = np.cos(yaw), np.sin(yaw)
        turn = np.array([[c, -s], [s, c]])
        rotation, shift = self.eye.camera_from_ego[:3, :3], self.eye.camera_from_ego[:3, 3]
        eye_at = np.array([*(xy + turn @ self.centre[:2]), self.up_m])

        def to_camera(points: np.ndarray) -> np.ndarray:
            local = np.concatenate([(points[..., :2] - xy) @ turn, points[..., 2:]], axis=-1)
            return local @ rotation.T + shift

        self._shade(shapes, to_camera, weather, picture)
        self._houses(xy, yaw, weather, picture, depth, kinds)

        points, colour, kind, shines = self._faces(shapes, to_camera, eye_at, weather)
        number = np.zeros((self.height, self.width), np.int32)
        if len(points):
            whole = points[..., 2].min(1) >= NEAR_M
            image = self._pixels(np.where(whole[:, None, None], points, 1.0))
            for i in range(len(points)):
                if whole[i]:
                    cv2.fillConvexPoly(number, image[i], i + 1, cv2.LINE_8, 4)
                else:
                    self._fill(number, points[i], i + 1)
            row, column = np.nonzero(number)
            which = number[row, column] - 1
            z = self._depths(points, which, row, column)
            nearer = z < depth[row, column] + 0.05
            row, column, which, z = row[nearer], column[nearer], which[nearer], z[nearer]
            number[:] = 0
            number[row, column] = which + 1
            keep = np.exp(np.where(shines[which], np.float32(-0.3), np.float32(-1)) * z / weather.haze_m)[:, None]
            haze = np.array(weather.sky[1], np.float32)
            picture[row, column] = colour.astype(np.float32)[which] * keep + haze * (1 - keep)
            depth[row, column] = z
            middle = (row % FINE == FINE // 2) & (column % FINE == FINE // 2)
            kinds[row[middle] // FINE, column[middle] // FINE] = kind[which[middle]]
            lamps = np.flatnonzero(shines & whole & (kind == TRAFFIC_LIGHT))
            bright = [(points[i].mean(0), colour[i]) for i in lamps if self._shown(number, points[i], int(i) + 1)]
        else:
            bright = []
        small = np.asarray(cv2.resize(picture, self.eye.size[::-1], interpolation=cv2.INTER_AREA), np.float32)
        small *= np.array(weather.gain, np.float32)
        for at, shade in bright:
            self._glow(small, at, shade)
        small += rng.standard_normal(small.shape, np.float32) * np.float32(weather.noise)
        middle = slice(FINE // 2, None, FINE)
        return Seen(np.clip(small, 0, 255).astype(np.uint8), depth[middle, middle].copy(), kinds)

    def _shade(self, shapes: Shapes, to_camera, weather: Weather, picture: np.ndarray) -> None:
        """Darken the ground under vehicles."""
        ground = to_camera(np.concatenate([shapes.shadows, np.zeros((*shapes.shadows.shape[:2], 1))], axis=-1))
        ground = ground[(ground[..., 2].max(1) > NEAR_M) & (ground[..., 2].min(1) < SHADOW_M)]
        if len(ground):
            keep = np.ones((self.height - self.horizon, self.width), np.float32)
            for points in ground:
                self._fill(keep, points, 1 - 0.55 * weather.sun, -self.horizon)
            picture[self.horizon :] *= keep[..., None]

    def _depths(self, points: np.ndarray, which: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
        """Where the rays of pixels meet the planes of polygons, kept within each polygon's depths."""
        a, b = points[:, 2] - points[:, 0], points[:, 4] - points[:, 0]
        normal = np.cross(a, b)
        reach = (normal * points[:, 0]).sum(1)
        with np.errstate(divide="ignore", invalid="ignore"):
            plane = normal / reach[:, None]
            x, y = self.slopes[column], (self.rows[row] - self.mid[1]) / self.focal
            z = 1 / (plane[which, 0] * x + plane[which, 1] * y + plane[which, 2])
        low, high = points[..., 2].min(1), points[..., 2].max(1)
        z = np.where(np.isfinite(z) & (z > 0), z, high[which])
        return np.clip(z, np.maximum(low[which], NEAR_M), high[which]).astype(np.float32)

    def _shown(self, number: np.ndarray, points: np.ndarray, mine: int) -> bool:
        column, row = (self._pixels(points).mean(0) / 16).round().astype(int)
        return 0 <= row < self.height and 0 <= column < self.width and number[row, column] == mine

    def _glow(self, picture: np.ndarray, at: np.ndarray, colour) -> None:
        """A lamp that is on outshines what is around it."""
        column, row = at[:2] / at[2] * self.eye.K[0, 0] + np.array(self.eye.size[::-1]) / 2 - 0.5
        spread = max(LEAST_GLOW_PX, 0.5 * GLOW_M * self.eye.K[0, 0] / at[2])
        reach = int(np.ceil(2.5 * spread))
        left, top = max(0, round(column) - reach), max(0, round(row) - reach)
        region = picture[top : round(row) + reach + 1, left : round(column) + reach + 1]
        if region.size:
            y, x = np.mgrid[top : top + region.shape[0], left : left + region.shape[1]]
            weight = np.exp(-((x - column) ** 2 + (y - row) ** 2) / (2 * spread**2))[..., None] * 0.85
            region[:] = region * (1 - weight) + np.array(colour, np.float32) * weight


def clipped(points: np.ndarray) -> np.ndarray:
    """The part of a polygon (n, 3) that is before the camera."""
    found = []
    for i, one in enumerate(points):
        other = points[i - 1]
        if (one[2] >= NEAR_M) != (other[2] >= NEAR_M):
            part = (NEAR_M - other[2]) / (one[2] - other[2])
            found.append(other + part * (one - other))
        if one[2] >= NEAR_M:
            found.append(one)
    return np.array(found).reshape(-1, 3)
