"""Pictures that show whether a route's calibration is right: boxes sit on cars, and the lidar lies on what it hit."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw

from tasks.open_loop_driving.formats import frames, routes
from tasks.open_loop_driving.formats.calibration import NEAR_M, Camera
from tasks.open_loop_driving.formats.routes import Route
from tasks.open_loop_driving.judging import fits
from tasks.yard.files import replacing
from tasks.yard.reporting.film import BACK, FAINT, INK, font

TILE_PX, NAME_PX, GAP_PX = 480, 24, 6
COLOURS = {
    "vehicle": "#f2b544", "walker": "#e5484d", "cyclist": "#d15fd1", "traffic_light": "#3fb66b",
    "traffic_sign": "#5aa9e6", "object": "#9aa0a6",
}  # fmt: skip
EDGES = [(0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7), (0, 7), (3, 4)]
PIECES = 12  # of an edge: what is partly behind the camera is partly drawn
FAR_M = 40.0  # the colours of the lidar end here
ABOVE_M = (-20.0, 40.0, 30.0)  # the map from above: behind, ahead, to either side
DOT_PX = 2


def edges(box: np.ndarray, camera: Camera) -> list[list[tuple[float, float]]]:
    """Lines in pixels of a box, two of them across its front face."""
    at = fits.corners(box)
    lines = []
    for a, b in EDGES:
        along = np.linspace(0, 1, PIECES + 1)[:, None]
        pixels, depth = camera.project(at[a] * (1 - along) + at[b] * along)
        run: list[tuple[float, float]] = []
        for pixel, ahead in zip(pixels, depth, strict=True):
            if ahead > NEAR_M:
                run.append((float(pixel[0]), float(pixel[1])))
            else:
                lines.append(run)
                run = []
        lines.append(run)
    return [line for line in lines if len(line) > 1]


def shades(far: np.ndarray) -> np.ndarray:
    """(n, 3) RGB of distances, red is near."""
    if not len(far):
        return np.empty((0, 3), np.uint8)
    scaled = np.clip(255 * (1 - far / FAR_M), 0, 255).astype(np.uint8)
    return cv2.applyColorMap(scaled[:, None], cv2.COLORMAP_TURBO)[:, 0, ::-1]


def tile(route: Route, name: str, frame: int, boxes: np.ndarray, points: np.ndarray | None) -> Image.Image:
    """One camera, TILE_PX wide, with everything that has a place in the car's frame."""
    picture = Image.fromarray(routes.picture(route.files(f"rgb_{name}")[frame]))
    height = round(picture.height * TILE_PX / picture.width)
    camera = route.cameras[name].resized(height, TILE_PX)
    shown = picture.resize((TILE_PX, height), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(shown)
    if points is not None and len(points):
        pixels, depth = camera.project(points)
        seen = np.flatnonzero(camera.sees(pixels, depth))
        seen = seen[np.argsort(-depth[seen])]
        for (u, v), colour in zip(pixels[seen], shades(depth[seen]), strict=True):
            draw.rectangle([u - 1, v - 1, u, v], fill=tuple(int(c) for c in colour))
    for box in boxes:
        colour = COLOURS[routes.CLASSES[int(box[0])]]
        for line in edges(box, camera):
            draw.line(line, fill=colour, width=1)
    return _named(shown, f"{name}, frame {frame}")


def from_above(route: Route, frame: int, boxes: np.ndarray, points: np.ndarray | None) -> Image.Image:
    """The car's surroundings: lidar, boxes, cameras, the way that it takes; ahead is up."""
    behind, ahead, side = ABOVE_M
    scale = TILE_PX / (2 * side)
    shown = Image.new("RGB", (TILE_PX, round((ahead - behind) * scale)), BACK)
    draw = ImageDraw.Draw(shown)

    def at(xy: np.ndarray) -> list[tuple[float, float]]:
        return [(float((side - y) * scale), float((ahead - x) * scale)) for x, y in np.asarray(xy)[:, :2]]

    if points is not None:
        for (u, v), colour in zip(at(points), shades(np.hypot(points[:, 0], points[:, 1])), strict=True):
            draw.point((u, v), fill=tuple(int(c) for c in colour))
    for box in boxes:
        corners = at(fits.corners(box)[:4])
        draw.polygon(corners, outline=COLOURS[routes.CLASSES[int(box[0])]])
        draw.line([corners[0], corners[3]], fill=INK)
    row = int(np.flatnonzero(route.frames == frame)[0])
    draw.line(at(_way(route, row)), fill="#ffffff", width=2)
    draw.polygon(at(np.array([[2.3, 0.0], [-2.3, 0.95], [-2.3, -0.95]])), outline=INK)
    for camera in route.cameras.values():
        corner = camera.lift(
            np.array([[0.0, camera.size[0] / 2], [camera.size[1], camera.size[0] / 2]]), np.array([6.0, 6])
        )
        draw.line(at(np.array([corner[0], camera.centre, corner[1]])), fill=FAINT)
    return _named(shown, "from above, ahead is up")


def _way(route: Route, row: int) -> np.ndarray:
    return frames.ego_from_world(route.pose[max(0, row - 4) : row + 9, :2], route.pose[row])


def _named(picture: Image.Image, text: str) -> Image.Image:
    found = Image.new("RGB", (picture.width, picture.height + NAME_PX), BACK)
    found.paste(picture, (0, NAME_PX))
    ImageDraw.Draw(found).text((4, 4), text, font=font(14), fill=INK)
    return found


def telling(route: Route, used: list[int]) -> int:
    """The frame with most boxes near the car, of those used; without boxes the middle one."""
    boxes = route.boxes if "boxes" in route.sensors else {}

    def near(frame: int) -> int:
        mine = boxes[frame][0] if frame in boxes else np.empty((0, 9))
        return int((np.hypot(mine[:, 1], mine[:, 2]) < 25).sum())

    return max(used, key=lambda frame: (near(frame), -abs(frame - used[len(used) // 2])))


def draw(path: Path, route: Route, used: list[int]) -> None:
    """One picture of a route: every camera at one moment, and the same from above."""
    frame = telling(route, used)
    boxes = route.boxes[frame][0] if "boxes" in route.sensors and frame in route.boxes else np.empty((0, 9))
    lidar = route.files("lidar")
    points = routes.lidar(lidar[frame]) if frame in lidar else None
    tiles = [
        tile(route, name, frame, boxes, points) for name in route.cameras if frame in route.files(f"rgb_{name}")
    ] + [from_above(route, frame, boxes, points)]  # fmt: skip
    columns = min(3, len(tiles))
    rows = [tiles[i : i + columns] for i in range(0, len(tiles), columns)]
    heights = [max(one.height for one in row) for row in rows]
    sheet = Image.new("RGB", (columns * (TILE_PX + GAP_PX) - GAP_PX, sum(heights) + GAP_PX * (len(rows) - 1)), BACK)
    top = 0
    for row, height in zip(rows, heights, strict=True):
        for place, one in enumerate(row):
            sheet.paste(one, (place * (TILE_PX + GAP_PX), top))
        top += height + GAP_PX
    with replacing(path) as temporary:
        sheet.save(temporary)
