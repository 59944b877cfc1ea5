"""Weather and light painted on training images, so that a detector trained on a clear day also sees on a bad one.

Boxes stay as they are: nothing moves. What is painted is a function of (seed, epoch, image, effect), so a resumed
training sees what the uninterrupted one would have seen, whatever process loads the image; and an effect looks the same
whether or not another one is switched on.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

LAMP = 200  # of 255: what is brighter shines by itself


def patches(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """(height, width) of smooth noise from 0 to 1."""
    return cv2.resize(rng.random((4, 7), np.float32), (width, height), interpolation=cv2.INTER_LINEAR)


def night(image: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    darkness = strength * rng.uniform(0.4, 0.78)
    tint = np.array([1.0, 0.93, 0.88], np.float32)  # what light is left is blue; BGR
    shining = np.clip((image.max(2, keepdims=True).astype(np.float32) - LAMP) / (255 - LAMP), 0, 1)
    kept = (1 - darkness) * (1 - darkness * (1 - tint))
    kept = kept + (1 - kept) * shining * 0.5
    noise = rng.normal(0, 7 * darkness, image.shape[:2]).astype(np.float32)
    return image * kept + noise[..., None]


def fog(image: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    height, width = image.shape[:2]
    thickness, horizon = strength * rng.uniform(0.45, 0.85), rng.uniform(0.2, 0.45)
    row = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    nearness = np.clip((row - horizon) / (1 - horizon), 0, 1)  # 0 from the horizon up, 1 at the bonnet
    veil = thickness * (1 - 0.75 * nearness) * (0.8 + 0.2 * patches(rng, height, width))
    colour = np.array([1.02, 1.0, 0.98], np.float32) * rng.uniform(165, 220)
    return image * (1 - veil[..., None]) + veil[..., None] * colour


def glare(image: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    height, width = image.shape[:2]
    x, y = rng.uniform(0, width), rng.uniform(0, 0.5) * height
    radius = rng.uniform(0.12, 0.35) * width
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    distance = np.hypot(columns - x, rows - y) / radius
    light = strength * rng.uniform(0.6, 1.0) * (0.8 * np.exp(-(distance**2)) + 0.35 / (1 + distance))
    colour = np.array([0.88, 0.96, 1.0], np.float32) * 255
    return image + (colour - image) * np.minimum(light, 1)[..., None]


def rain(image: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    height, width = image.shape[:2]
    amount, slant = strength * rng.uniform(0.4, 1.0), rng.uniform(-0.35, 0.35)
    streaks = np.zeros((height, width), np.uint8)
    side = (height * width) ** 0.5
    count = round(amount * 0.7 * side)
    for x, y, length, light in rng.random((count, 4)):
        drop = (0.03 + 0.06 * length) * side
        begin = int(x * width), int((y * 1.1 - 0.1) * height)
        end = int(begin[0] + slant * drop), int(begin[1] + drop)
        cv2.line(streaks, begin, end, int(70 + 110 * light), 1, cv2.LINE_AA)
    streaks = cv2.GaussianBlur(streaks, (3, 3), 0.6).astype(np.float32)[..., None] / 255
    paler = image + (150 - image.astype(np.float32)) * 0.25 * amount
    return paler + (215 - paler) * streaks


def motion_blur(image: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    length = max(2.0, strength * rng.uniform(0.3, 1.0) * image.shape[1] / 40)
    angle, size = rng.uniform(-0.26, 0.26), int(length) // 2 * 2 + 3
    kernel = np.zeros((size, size), np.uint8)
    reach = np.array([np.cos(angle), np.sin(angle)]) * length / 2 * 16  # in sixteenths of a pixel
    begin, end = (tuple(int(v) for v in size // 2 * 16 + sign * reach) for sign in (-1, 1))
    cv2.line(kernel, begin, end, 255, 1, cv2.LINE_AA, 4)
    return cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT_101)


# What lies in the air, then what light there is, a lamp through it all, and last the moving camera.
EFFECTS: dict[str, Callable[[np.ndarray, np.random.Generator, float], np.ndarray]] = {
    "fog": fog, "rain": rain, "night": night, "glare": glare, "motion_blur": motion_blur,
}  # fmt: skip


@dataclass
class Weather:
    """A transform of ultralytics' training samples: `img`, (height, width, 3) uint8 BGR, of the file `im_file`."""

    shares: Mapping[str, float]  # effect -> share of the images
    strength: float
    seed: int
    epoch: int = 0

    def __call__(self, sample: dict[str, Any]) -> dict[str, Any]:
        sample["img"] = self.paint(sample["img"], Path(sample["im_file"]).name)
        return sample

    def paint(self, image: np.ndarray, name: str) -> np.ndarray:
        for number, (effect, draw) in enumerate(EFFECTS.items()):
            rng = np.random.default_rng([self.seed, self.epoch, zlib.crc32(name.encode()), number])
            if rng.random() < self.shares[effect]:
                image = np.clip(draw(image, rng, self.strength), 0, 255).astype(np.uint8)
        return image
