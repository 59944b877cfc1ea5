"""What MLflow serves of this line: photographs of bikes in, their parts and the state of each out.

    {"inputs": {"images": (n)}}     base64 of a photograph each, of any size

answers {"predictions": {"image": (found) place in n, "part": (found) 1..K, "box": (found, 4) x, y, width, height in px,
"score": (found), "states": (found, 4) probabilities of intact, damaged, absent, occluded}}.
"""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np

from tasks.bike_parts.formats import photos
from tasks.bike_parts.formats.detections import gathered
from tasks.bike_parts.learning.network import load_network, looked
from tasks.yard import serving


class Served:
    def __init__(self, path: str):
        self.network, self.config, _ = load_network(Path(path))

    def predict(self, inputs: dict[str, np.ndarray], params: dict | None = None) -> dict[str, np.ndarray]:
        """Raises `BadInput` for what is no picture."""
        pictures = [picture[..., ::-1] for picture in serving.pictures(inputs["images"], "images")]
        found = looked(self.network, self.config, pictures)
        return vars(gathered(np.arange(len(found)), found))


def example(download: Path, split: Path) -> dict[str, np.ndarray]:
    """The first photograph of validation, or of training."""
    of = next(of for name in ("val", "train") for of in photos.read(split, name).photos)
    return {"images": np.array([base64.b64encode((download / of.name).read_bytes()).decode()])}


def _load_pyfunc(path: str) -> Served:
    """The name that MLflow looks for in a loader module."""
    return Served(path)
