"""From what stands there to a photograph: sun and shadows, evening, a camera's colours, blur and noise."""

from __future__ import annotations

import cv2
import numpy as np


def on_ground(rng: np.random.Generator, picture: np.ndarray, left: float, right: float, ground_px: float) -> None:
    """The bike's own shadow below its wheels."""
    shade = np.zeros(picture.shape[:2], np.uint8)
    middle, wide = (left + right) / 2 + rng.normal(0, 0.08) * (right - left), (right - left) * rng.uniform(0.4, 0.6)
    axes = (max(1, round(wide)), max(1, round(rng.uniform(0.02, 0.09) * picture.shape[0])))
    cv2.ellipse(shade, (round(middle), round(ground_px)), axes, 0, 0, 360, 255, -1)
    soft = cv2.blur(shade, (11, 7))
    keep = (255 - soft * rng.uniform(0.15, 0.5)).astype(np.uint8)
    picture[:] = cv2.multiply(picture, cv2.merge([keep] * 3), scale=1 / 255)


def develop(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 as the camera keeps it."""
    height, width = picture.shape[:2]
    sun: np.ndarray = np.ones((height, width), np.float32)
    if rng.random() < 0.4:  # the shadow of a house or a tree lies across
        a, b = rng.uniform(-0.3, 1.3, 2) * width
        far = width * 3 if rng.random() < 0.5 else -width * 3
        edges = np.array([(a, 0), (b, height), (b + far, height), (a + far, 0)], np.int32)
        cv2.fillPoly(sun, [edges], float(rng.uniform(0.5, 0.8)))
        sun = cv2.blur(sun, (9, 9))
    left, right = rng.uniform(0.85, 1.15, 2).tolist()
    top, bottom = rng.uniform(0.9, 1.1, 2).tolist()
    sun *= np.linspace(left, right, width, dtype=np.float32)
    sun *= np.linspace(top, bottom, height, dtype=np.float32)[:, None]
    evening = rng.random() < 0.2
    bright = rng.uniform(0.62, 0.8) if evening else rng.uniform(0.85, 1.15)
    cast = rng.normal(1, 0.04, 3) * ((0.85, 0.95, 1.12) if evening else (1, 1, 1)) * bright
    made = cv2.multiply(picture, cv2.merge([sun * np.float32(value) for value in cast]), dtype=cv2.CV_32F)
    blur = rng.random()
    if blur < 0.45:
        made = cv2.GaussianBlur(made, (3, 3), rng.uniform(0.3, 0.75))
    elif blur < 0.52:  # the hand moved
        made = cv2.blur(made, (3, 1) if rng.random() < 0.5 else (1, 3))
    size, dark = np.float32(rng.uniform(1.5, 8 if evening else 5)), np.float32(rng.uniform(-4, 18))
    grey = rng.standard_normal((height, width), np.float32) * np.float32(0.7) * size + dark
    coloured = rng.standard_normal((height // 2, width // 2, 3), np.float32) * size
    made = cv2.add(made, cv2.resize(coloured, (width, height), interpolation=cv2.INTER_NEAREST))
    return cv2.add(made, cv2.merge([grey] * 3), dtype=cv2.CV_8U)
