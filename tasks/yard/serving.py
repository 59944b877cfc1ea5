"""What the served models of all lines share: how a picture stands in JSON.

A request to MLflow's server is {"inputs": {name: numbers or texts in nested lists}}. A picture is a text in it, the
base64 of a PNG, JPEG or another image file; PNG keeps each value. In Python it may be an array as well.

A line takes part with a module tasks/<line>/learning/served.py: `Served(path).predict` of a dict of arrays gives a dict
of arrays, `_load_pyfunc` is the name that MLflow looks for, and `example` is a request that stands on the model's page.
"""

from __future__ import annotations

import base64
import binascii

import cv2
import numpy as np

from tasks.yard.layouts.images import Unusable, pixels
from tasks.yard.step import BadInput


def text_of(picture: np.ndarray) -> str:
    """(H, W, 3) uint8 RGB -> base64 of a PNG."""
    return base64.b64encode(cv2.imencode(".png", np.ascontiguousarray(picture[..., ::-1]))[1].tobytes()).decode()


def picture_of(text: str, name: str) -> np.ndarray:
    """The (H, W, 3) uint8 RGB that a text stands for. Raises `BadInput` that calls it `name`."""
    try:
        return np.ascontiguousarray(pixels(base64.b64decode(text, validate=True))[..., ::-1])
    except binascii.Error as error:
        raise BadInput(f"{name}: not base64 ({error}); encode the bytes of a PNG or JPEG file") from None
    except Unusable as error:
        raise BadInput(f"{name} {error}; encode the bytes of a PNG or JPEG file") from None


def pictures(values: np.ndarray, name: str) -> list[np.ndarray]:
    """Of texts (...), or of pictures (..., H, W, 3) uint8 RGB: each as (H, W, 3), in their order."""
    values = np.asarray(values)
    if values.dtype.kind in "UO":
        return [picture_of(str(text), f"{name}[{number}]") for number, text in enumerate(values.ravel())]
    return list(values.reshape(-1, *values.shape[-3:]).astype(np.uint8, copy=False))


def of_size(values: np.ndarray, name: str, height: int, width: int) -> np.ndarray:
    """(n, height, width, 3): as `pictures`. Raises `BadInput` if one has another size."""
    found = pictures(values, name)
    for number, picture in enumerate(found):
        if picture.shape != (height, width, 3):
            raise BadInput(
                f"{name}[{number}] is {picture.shape[1]} x {picture.shape[0]} px, the network was trained on "
                f"{width} x {height}; resize it"
            )
    return np.stack(found) if found else np.empty((0, height, width, 3), np.uint8)
