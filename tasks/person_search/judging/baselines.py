"""Embeddings that nobody trained: what stands beside every metric, and what a network has to beat.

Crops (N, H, W, 3) uint8 RGB in, (N, D) float32 of length 1 out, to be ranked by cosine like a network's.
"""

from __future__ import annotations

import cv2
import numpy as np

THUMBNAIL_PX = (16, 8)  # height, width
STRIPES = 6
HUES, SATURATIONS, VALUES = 8, 3, 3  # bins
IMAGES_AT_ONCE = 512


def raw_pixels(images: np.ndarray) -> np.ndarray:
    """A colour thumbnail, mean 0 and length 1, so that light and contrast of a whole crop do not count: (N, 384)."""
    height, width = THUMBNAIL_PX
    small = [cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA).ravel() for image in images]
    values = np.array(small, np.float32).reshape(len(images), height * width * 3)
    return unit(values - values.mean(axis=1, keepdims=True))


def colour_stripes(images: np.ndarray) -> np.ndarray:
    """Joint HSV histograms of 6 horizontal stripes, square-rooted: their cosine is the Bhattacharyya coefficient.

    (N, 432). Head, chest, waist, thighs, shins and feet each have colours of their own.
    """
    height, width = images.shape[1:3]
    bins = HUES * SATURATIONS * VALUES
    stripe = np.arange(height) * STRIPES // height
    histograms = np.empty((len(images), STRIPES * bins), np.float32)
    for begin in range(0, len(images), IMAGES_AT_ONCE):
        part = np.ascontiguousarray(images[begin : begin + IMAGES_AT_ONCE])
        hsv = cv2.cvtColor(part.reshape(-1, width, 3), cv2.COLOR_RGB2HSV).reshape(part.shape).astype(np.int64)
        levels = ((HUES, 180), (SATURATIONS, 256), (VALUES, 256))  # OpenCV's hue has 180 steps
        hue, saturation, value = (hsv[..., i] * count // steps for i, (count, steps) in enumerate(levels))
        cell = (hue * SATURATIONS + saturation) * VALUES + value
        cell += ((np.arange(len(part))[:, None] * STRIPES + stripe) * bins)[:, :, None]
        counts = np.bincount(cell.ravel(), minlength=len(part) * STRIPES * bins)
        histograms[begin : begin + len(part)] = counts.reshape(len(part), -1)
    return unit(np.sqrt(histograms))


def chance(images: np.ndarray, seed: int, width: int = 128) -> np.ndarray:
    """Random directions, (N, width): what a ranking is worth that knows nothing."""
    return unit(np.random.default_rng(seed).standard_normal((len(images), width), dtype=np.float32))


def unit(features: np.ndarray) -> np.ndarray:
    """Rows of length 1; a row of zeros (a crop of one colour, say) stays one."""
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
