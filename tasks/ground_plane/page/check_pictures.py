"""Pictures that show whether a sequence's calibrations are right: people stand on their marks, or they do not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from tasks.ground_plane.formats.sequence import Sequence
from tasks.yard.files import replacing
from tasks.yard.geometry.camera import Camera, polygon_on_ground
from tasks.yard.layouts import images
from tasks.yard.reporting import charts
from tasks.yard.reporting.film import BACK, FAINT, INK, LIFTED, font

TILE_PX, NAME_PX, GAP_PX = 480, 24, 6
REGION, OUTLINE, PERSON = "#f2b544", "#3fb66b", "#e5484d"
MARK, AROUND = "#ffffff", "#000000"
NEAR_M = 0.05  # what is closer to the camera than this is not drawn
PIECES = 160  # a polygon is drawn in so many or more: what is partly behind the camera is partly drawn


def pieces(polygon: np.ndarray) -> np.ndarray:
    """A polygon (n, 2) with points on its edges, closed: its first point is its last."""
    each = -(-PIECES // len(polygon))
    along = np.arange(each)[:, None] / each
    edges = [a + along * (b - a) for a, b in zip(polygon, np.roll(polygon, -1, axis=0), strict=True)]
    return np.concatenate([*edges, polygon[:1]])


def border(camera: Camera) -> np.ndarray:
    """The region of interest, or the image's edge: (n, 2) px."""
    height, width = camera.size
    whole = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]], float)
    return whole if camera.roi is None else np.asarray(camera.roi, float)


def outline(found: Sequence) -> np.ndarray:
    """The plane's corners in the world, (4, 2)."""
    width, height = found.plane.size_m
    return found.plane.to_world(np.array([[0, 0], [width, 0], [width, height], [0, height]]))


def best_frame(usable: Mapping[str, list[int]], people: Mapping[int, np.ndarray]) -> int | None:
    """Seen by most cameras and labelled; of those with most people, the first."""
    frames = sorted({frame for frames in usable.values() for frame in frames})
    seen = {frame: sum(frame in mine for mine in usable.values()) for frame in frames}

    def worth(frame: int) -> tuple[bool, int, int, int]:
        return frame in people, seen[frame], len(people.get(frame, ())), -frame

    return max(frames, key=worth, default=None)


def tile(found: Sequence, name: str, frame: int | None, who: np.ndarray, words: str) -> Image.Image:
    """One camera without distortion, (TILE_PX wide), with its region, the plane and who stands where."""
    calibration = found.calibrations[name]
    camera, (height, width) = calibration.camera(), calibration.size
    scale = TILE_PX / width
    shown = TILE_PX, max(1, round(height * scale))
    picture = Image.new("RGB", (TILE_PX, shown[1] + NAME_PX), BACK)
    pen = ImageDraw.Draw(picture)
    pen.text((GAP_PX, NAME_PX / 2), words, font=font(12), fill=INK, anchor="lm")
    canvas = Image.new("RGB", shown, LIFTED)
    if frame is not None:
        filmed = images.decoded(found.frames[name][frame])  # it was read before: check_data chose it
        flat = calibration.undistorted(np.ascontiguousarray(filmed[..., ::-1]))
        canvas = Image.fromarray(flat).resize(shown, Image.Resampling.BILINEAR if scale > 1 else Image.Resampling.BOX)
    pen = ImageDraw.Draw(canvas)

    def lines(pixels: np.ndarray, drawn: np.ndarray, ink: str) -> None:
        near = drawn & (np.abs(pixels) < 20 * max(height, width)).all(1)
        at = (np.where(near[:, None], pixels, 0) + 0.5) * scale
        for i in np.flatnonzero(near[:-1] & near[1:]):
            pen.line([tuple(at[i]), tuple(at[i + 1])], fill=ink, width=2)

    if camera.roi is not None:
        points = pieces(camera.roi)
        lines(points, np.ones(len(points), bool), REGION)
    edge = pieces(outline(found))
    pixels, depth = camera.project(np.column_stack([edge, np.zeros(len(edge))]))
    lines(pixels, depth > NEAR_M, OUTLINE)
    pixels, depth = camera.project(np.column_stack([who[:, 1:], np.zeros(len(who))]))
    for (u, v), far, person in zip((pixels + 0.5) * scale, depth, who[:, 0], strict=True):
        if far > NEAR_M and 0 <= u < shown[0] and 0 <= v < shown[1]:
            for ink, thick in ((AROUND, 4), (MARK, 2)):
                pen.line([u - 7, v, u + 7, v], fill=ink, width=thick)
                pen.line([u, v - 7, u, v + 7], fill=ink, width=thick)
            pen.text((u + 6, v + 2), f"{person:.0f}", font=font(11), fill=MARK, stroke_width=1, stroke_fill=AROUND)
    if frame is None:
        pen.text((shown[0] / 2, shown[1] / 2), "no image", font=font(14), fill=FAINT, anchor="mm")
    picture.paste(canvas, (0, NAME_PX))
    return picture


def cameras(
    path: Path, found: Sequence, usable: Mapping[str, list[int]], people: Mapping[int, np.ndarray],
    off: Mapping[str, np.ndarray],
) -> None:  # fmt: skip
    """Every camera at one moment. Yellow: its region; green: the plane's edge; crosses: where labels put people."""
    frame = best_frame(usable, people)
    tiles = []
    for name in found.calibrations:
        mine = frame if frame in usable[name] else next(iter(usable[name]), None)
        away, tall = np.linalg.norm(off[name], axis=1), np.abs(off[name][:, 1])
        said = f"feet {np.median(away):.1f} px off, {np.median(tall):.1f} vertically" if len(away) else "no boxes"
        words = f"{name}   frame {'-' if mine is None else mine}   {said}"
        tiles.append(tile(found, name, mine, people.get(mine, np.empty((0, 3))), words))
    columns = math.ceil(math.sqrt(len(tiles)))
    height = max(image.height for image in tiles)
    rows = math.ceil(len(tiles) / columns)
    sheet = Image.new("RGB", (columns * (TILE_PX + GAP_PX) - GAP_PX, rows * (height + GAP_PX) - GAP_PX), BACK)
    for i, image in enumerate(tiles):
        sheet.paste(image, (i % columns * (TILE_PX + GAP_PX), i // columns * (height + GAP_PX)))
    with replacing(path) as temporary:
        sheet.save(temporary, "PNG", compress_level=3)


def plane(path: Path, found: Sequence, everybody: np.ndarray, inside: np.ndarray) -> None:
    """The ground from above in the world's metres: everybody (n, 2) of all frames, and which (n) lie in the plane."""
    corners = outline(found)
    seen = {name: calibration.camera() for name, calibration in found.calibrations.items()}
    reach = float(np.linalg.norm(found.plane.size_m))
    middle = corners.mean(0)

    def draw() -> Figure:
        figure = Figure(figsize=(7.5, 6.5))
        axis = figure.subplots()
        axis.fill(*corners.T, facecolor="#eef2f6", edgecolor=charts.INK, linewidth=1.5, zorder=1)
        axis.plot(*corners[0], "s", color=charts.INK, markersize=5, zorder=4)
        for number, (name, camera) in enumerate(seen.items()):
            ink = charts.RUNS[number % len(charts.RUNS)]
            region = polygon_on_ground(camera, pieces(border(camera)))
            region = region[np.linalg.norm(region - middle, axis=1) < 3 * reach]
            if len(region) > 2:
                axis.fill(*region.T, facecolor=ink, alpha=0.06, zorder=2)
                axis.plot(*np.vstack([region, region[:1]]).T, color=ink, linewidth=1, alpha=0.7, zorder=2)
            x, y, height = camera.centre
            way = np.linalg.solve(camera.R, [0.0, 0.0, 1.0])[:2] * reach * 0.12
            arrow = {"arrowstyle": "-|>", "color": ink, "lw": 1.6}
            axis.annotate("", (x + way[0], y + way[1]), (x, y), arrowprops=arrow)
            axis.plot(x, y, "o", color=ink, markersize=7, zorder=5, label=f"{name}, {height:.1f} m high")
            axis.annotate(name, (x, y), (6, 6), textcoords="offset points", color=ink, fontsize=9, weight="bold")
        size = 8 if len(everybody) < 2000 else 2
        axis.scatter(*everybody[inside].T, s=size, color=charts.INK, alpha=0.5, linewidths=0, zorder=3, label="people")
        if not inside.all():
            axis.scatter(*everybody[~inside].T, s=22, marker="x", color=PERSON, zorder=4, label="outside the plane")
        held = np.vstack([corners, *(camera.centre[:2] for camera in seen.values())])
        low, high = held.min(0), held.max(0)
        pad = 0.08 * max(high - low)
        axis.set(xlim=(low[0] - pad, high[0] + pad), ylim=(low[1] - pad, high[1] + pad), aspect="equal",
                 xlabel="X of the world, m", ylabel="Y of the world, m",
                 title=f"{found.name}: a plane of {found.plane.size_m[0]:.1f} x {found.plane.size_m[1]:.1f} m from the "
                       "square,\ncameras and what they see of the ground")  # fmt: skip
        charts.legend(figure, [axis])
        return figure

    charts.save(path, draw)
