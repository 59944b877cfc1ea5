"""The Boxy vehicle dataset's layout: one folder of images a sequence, and JSON label files beside the folders.

A label file maps "./<sequence>/<file>" to {"vehicles": [{"rear": {x1, y1, x2, y2} or null, "AABB": ... or null}]}.
Boxes are given at a multiple of the size of the images that one downloads (2464x2056 for 1232x1028): `label_scale` = 2.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tasks.step import BadInput


CORNERS = ("x1", "y1", "x2", "y2")


@dataclass(frozen=True)
class Labelled:
    """One image's boxes as (n, 4) x1, y1, x2, y2 in pixels of the image; a box may reach beyond it."""

    name: str  # <sequence>/<file>
    sequence: str
    boxes: np.ndarray


def corners(box: Any) -> list[float]:
    """Raises `ValueError` that says what is wrong with a box."""
    if not isinstance(box, dict):
        raise ValueError(f"a box must be x1, y1, x2, y2, found {box!r}")
    wrong = [key for key in CORNERS if isinstance(box.get(key), bool) or not isinstance(box.get(key), int | float)]
    if wrong:
        raise ValueError(f"{', '.join(wrong)} of a box is no number in {box}")
    x1, y1, x2, y2 = values = [float(box[key]) for key in CORNERS]
    if not np.isfinite(values).all() or x1 >= x2 or y1 >= y2:
        raise ValueError(f"the box {box} has no area: x1 < x2 and y1 < y2 are needed")
    return values


def boxes_of(entry: Any, label_scale: float) -> np.ndarray:
    """The rear of each vehicle, else its whole outline."""
    if not isinstance(entry, dict) or not isinstance(entry.get("vehicles"), list):
        raise ValueError("no list 'vehicles'")
    boxes = []
    for number, vehicle in enumerate(entry["vehicles"]):
        if not isinstance(vehicle, dict):
            raise ValueError(f"vehicle {number} is {vehicle!r}")
        box = vehicle.get("rear") or vehicle.get("AABB")
        if box is None:
            raise ValueError(f"vehicle {number} has neither rear nor AABB")
        try:
            boxes.append(corners(box))
        except ValueError as error:
            raise ValueError(f"vehicle {number}: {error}") from None
    return np.array(boxes, float).reshape(-1, 4) / label_scale


def read(folder: Path, label_scale: float) -> tuple[list[Labelled], dict[str, str]]:
    """All labelled images in order of their names, and {"<label file>: <entry>": why it cannot be used}."""
    files = sorted(folder.glob("*.json"))
    if not files:
        raise BadInput(f"{folder}: no *.json label file of Boxy's layout beside the folders of images")
    found: dict[str, Labelled] = {}
    broken: dict[str, str] = {}
    for file in files:
        try:
            entries = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise BadInput(f"{file}: not JSON ({error})") from None
        if not isinstance(entries, dict):
            raise BadInput(f"{file}: expected one object from image paths to labels, found a {type(entries).__name__}")
        for key, entry in entries.items():
            name = key.removeprefix("./")
            sequence = name.rpartition("/")[0]
            try:
                if not sequence or ".." in Path(name).parts or Path(name).is_absolute():
                    raise ValueError("expected ./<sequence>/<file>")
                if not (folder / name).is_file():
                    raise ValueError("there is no such image")
                found[name] = Labelled(name, sequence, boxes_of(entry, label_scale))
            except ValueError as error:
                broken[f"{file.name}: {key}"] = str(error)
    return [found[name] for name in sorted(found)], broken


def own_bonnet(boxes: np.ndarray, width_px: int, height_px: int) -> np.ndarray:
    """Which boxes are the bonnet of the recording car: Boxy labels it at the bottom, in the middle."""
    x, y = (boxes[:, 0] + boxes[:, 2]) / 2 / width_px, (boxes[:, 1] + boxes[:, 3]) / 2 / height_px
    return (x >= 0.35) & (x <= 0.65) & (y >= 0.90)
