"""What MLflow serves of this line: crops of people in, vectors out.

    {"inputs": {"images": (n)}}     base64 of a picture of one person each, as large as the network was trained on

answers {"predictions": {"vectors": (n, D)}}, each of length 1: the inner product of a query's vector with a detection's
is its similarity in the results of `apply` and `search`, but for the weight of a detection that is hardly a person.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tasks.person_search.formats import crops
from tasks.person_search.learning.embed import embed, load_network
from tasks.yard import serving


class Served:
    def __init__(self, path: str):
        self.network, self.config = load_network(Path(path))

    def predict(self, inputs: dict[str, np.ndarray], params: dict | None = None) -> dict[str, np.ndarray]:
        """Raises `BadInput` for a picture of another size, or what is none."""
        images = serving.of_size(inputs["images"], "images", self.config["height_px"], self.config["width_px"])
        return {"vectors": embed(self.network, images, self.config)}


def example(checkpoint: Path, pack: Path) -> dict[str, np.ndarray]:
    """Two crops of validation; a grey one as large as the network wants where there is none, as with cameras alone."""
    images = crops.load(pack / "val.h5").images[:2]
    if not len(images):
        config = load_network(checkpoint)[1]
        images = np.full((1, config["height_px"], config["width_px"], 3), 128, np.uint8)
    return {"images": np.array([serving.text_of(image) for image in images])}


def _load_pyfunc(path: str) -> Served:
    """The name that MLflow looks for in a loader module."""
    return Served(path)
