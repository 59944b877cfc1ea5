"""A unit of download/ in a moment: three bent lenses around a turned plane, a coloured blob under each person."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from tasks.ground_plane.formats.calibration import CM, document
from tasks.yard.files import write_json
from tasks.yard.geometry.camera import Plane
from tasks.yard.geometry.lens import Calibration

SIZE = (64, 96)  # height, width in px
PLANE = Plane((1.0, -2.0), (6.0, 4.0), 0.3)
DIST = np.array([-0.25, 0.06, 0.002, -0.001, 0.0])
FOCAL_PX = 60.0
STEP = 5  # between the ids of frames: 0, 5, 10, ...
PERSON_M = 1.7
COLOURS = ((230, 60, 50), (60, 200, 80), (70, 110, 240), (230, 210, 60), (220, 80, 220), (60, 210, 220))  # by person


def looking(eye: Sequence[float], at: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """R (3, 3) and T (3) of a camera at `eye` that looks at `at`, upright."""
    forward = np.subtract(at, eye).astype(float)
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    return rotation, -rotation @ np.asarray(eye, float)


def calibration(number: int, cameras: int = 3) -> Calibration:
    """cam`number` of so many: on a circle around the middle of `PLANE`, 3 m high."""
    middle = PLANE.to_world(np.array(PLANE.size_m) / 2)
    angle = 2 * np.pi * (number - 1) / cameras + 0.4
    eye = [*(middle + 5.5 * np.array([np.cos(angle), np.sin(angle)])), 3.0]
    height, width = SIZE
    K = np.array([[FOCAL_PX, 0, width / 2 - 0.5], [0, FOCAL_PX, height / 2 - 0.5], [0, 0, 1]])
    K_new, _ = cv2.getOptimalNewCameraMatrix(K, DIST, (width, height), 0.0)
    roi = np.array([[1, 8], [width - 2, 8], [width - 2, height - 2], [1, height - 2]], float)
    return Calibration(f"cam{number}", K, K_new, *looking(eye, [*middle, 0.5]), DIST, SIZE, roi)


def walk(frames: int, people: int, seed: int) -> np.ndarray:
    """(frames, people, 2) metres in the plane: everybody goes straight on, half a metre or more inside of it."""
    rng = np.random.default_rng(seed)
    room = np.array(PLANE.size_m) - 1.0
    start, end = rng.uniform(0, 1, (2, people, 2)) * room + 0.5
    return start + np.linspace(0, 1, frames)[:, None, None] * (end - start)


def picture(camera: Calibration, world: np.ndarray, seed: int) -> np.ndarray:
    """(64, 96, 3) uint8 RGB as filmed: a blob of 3 px around the foot of everybody (n, 2) in front of the camera."""
    noise = np.random.default_rng(seed).integers(60, 100, (*SIZE, 3), np.uint8)
    pixels, depth = camera.camera().project(np.column_stack([world, np.zeros(len(world))]))
    for person, (u, v) in enumerate(camera.as_filmed(pixels)):
        if depth[person] > 0 and max(abs(u), abs(v)) < 1e4:
            cv2.circle(noise, (round(u), round(v)), 3, COLOURS[person % len(COLOURS)], -1)
    return noise


def boxes(camera: Calibration, world: np.ndarray) -> list[list[float]]:
    """x1, y1, x2, y2 as filmed of everybody; -1 where the camera does not see their foot."""
    rows = []
    for x, y in world:
        ends, depth = camera.camera().project(np.array([[x, y, 0.0], [x, y, PERSON_M]]))
        (u, bottom), (_, top) = camera.as_filmed(ends)
        half = FOCAL_PX * 0.25 / depth[0]
        seen = camera.camera().sees(ends[:1], depth[:1])[0] and depth[1] > 0
        rows.append([u - half, top, u + half, bottom] if seen else [-1.0] * 4)
    return rows


def label(calibrations: Sequence[Calibration], world: np.ndarray) -> list[list]:
    """The rows of one label file, the header first; people are 1, 2, ... at `world` (n, 2) metres."""
    header = ["rectID", "personID", "modified", "Xw", "Yw", "Zw"]
    for number in range(len(calibrations)):
        header += [f"{corner}{number + 1}" for corner in "abcd"]
    seen = [boxes(camera, world) for camera in calibrations]
    return [header] + [
        [n, n + 1, True, x / CM, y / CM, 0.0, *(value for rows in seen for value in rows[n])]
        for n, (x, y) in enumerate(np.asarray(world).tolist())
    ]


def write_unit(
    download: Path,
    unit: str = "tiny-00",
    splits: Sequence[str] = ("train", "val", "test"),
    frames: int = 6,
    cameras: int = 3,
    people: int = 2,
    seed: int = 0,
) -> Path:
    """Write download/<unit>/ and return it. Frames are 0, 5, 10, ...; people 1, 2, ... walk by `walk`."""
    folder, part = download / unit, "train"
    calibrations = [calibration(number + 1, cameras) for number in range(cameras)]
    places = PLANE.to_world(walk(frames, people, seed))
    for camera in calibrations:
        write_json(folder / f"0-calibration/calibs/{camera.name}.json", document(camera))
        images = folder / "1-annotation" / part / camera.name
        images.mkdir(parents=True, exist_ok=True)
        for row, world in enumerate(places):
            shown = picture(camera, world, seed + row)
            cv2.imwrite(str(images / f"{camera.name}_{row * STEP}.png"), shown[:, :, ::-1])
    for row, world in enumerate(places):
        write_json(folder / f"1-annotation/labels/{part}/tiny_{row * STEP}.json", label(calibrations, world))
    plane = {"origin_m": list(PLANE.origin_m), "size_m": list(PLANE.size_m), "angle_rad": PLANE.angle_rad}
    scene = {"splits": list(splits), "part": part, "plane": plane, "layout": "marmot", "where": "drawn by a test"}
    write_json(folder / "scene.json", scene)
    return folder
