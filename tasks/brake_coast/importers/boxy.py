"""The Boxy vehicle dataset's layout: one folder of images a sequence, and JSON label files beside the folders.

A label file maps "./<sequence>/<file>" to {"vehicles": [{"rear": {x1, y1, x2, y2} or null, "side": four corners or
null, "AABB": {x1, y1, x2, y2} or null}], "flaws": [...]}. Boxes are given at a multiple of the size of the images that
one downloads (2464x2056 for 1232x1028): `boxy.label_scale` = 2. The images say whether that is so: labels that lie
beyond them, or fill no more than their upper left quarter, are for another scale, and refused. The box of a vehicle is
its rear, else its outline.

With `boxy.side_px` a vehicle is `left`, `front` or `right` of the recording car: `front` where rear and outline agree
within so many label pixels on all four sides. Else the outline reaches further where the vehicle's side is seen:
further to the left means that the vehicle is on the right, and the other way round. A vehicle with only one of the two
boxes goes by the third of the image that its centre is in.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tasks.brake_coast.params import DetectorData
from tasks.yard.layouts.example import (
    Labelled,
    Labels,
    checked,
    first_key,
    inside,
    locate,
    read_json,
    rows,
    with_slashes,
)
from tasks.yard.layouts.images import image_size
from tasks.yard.step import BadInput

WHAT = "<sequence>/<images> and *.json label files beside them"
CORNERS = ("x1", "y1", "x2", "y2")
VEHICLE, SIDES = ["vehicle"], ["left", "front", "right"]
LEFT, FRONT, RIGHT, BY_PLACE = 0, 1, 2, -1
LOOKED_AT = 400  # images whose sizes are held against their labels, spread evenly
BEYOND_SHARE = 0.05  # of boxes that may have their centre outside of the image
FILLED = 0.55  # of width and of height, that the labels of a whole data set exceed
FEW = 5  # boxes that say nothing about what a data set fills
SCALES = (0.25, 0.5, 1.0, 2.0, 4.0)


def label_files(roots: list[Path]) -> list[Path]:
    return sorted(file for root in roots if root.is_dir() for file in root.glob("*.json"))


def found(roots: list[Path]) -> bool:
    return any("/" in with_slashes(first_key(file)) for file in label_files(roots))


def corners(box: Any) -> list[float]:
    """Raises `ValueError` that says what is wrong with a box."""
    if not isinstance(box, dict):
        raise ValueError(f"a box must be x1, y1, x2, y2, found {box!r}")
    wrong = [key for key in CORNERS if isinstance(box.get(key), bool) or not isinstance(box.get(key), int | float)]
    if wrong:
        raise ValueError(f"{', '.join(wrong)} of a box is no number in {box}")
    try:
        return checked([box[key] for key in CORNERS])
    except ValueError:
        raise ValueError(f"the box {box} has no area: x1 < x2 and y1 < y2 are needed") from None


def side_of(rear: list[float], outline: list[float], side_px: float) -> int:
    """Where a vehicle is that shows both its boxes, in label pixels."""
    if max(abs(a - b) for a, b in zip(rear, outline, strict=True)) <= side_px:
        return FRONT
    further_left, further_right = rear[0] - outline[0], outline[2] - rear[2]
    if further_left == further_right:
        return FRONT
    return RIGHT if further_left > further_right else LEFT


def outline_of(vehicle: dict) -> list[float] | None:
    try:
        return corners(vehicle.get("AABB"))
    except ValueError:
        return None


def vehicles_of(entry: Any, side_px: float | None) -> tuple[list[list[float]], list[int], list[list[float]]]:
    """Boxes in label pixels, their classes, and the outlines of those that have a rear besides."""
    if not isinstance(entry, dict) or not isinstance(entry.get("vehicles"), list):
        raise ValueError("no list 'vehicles'")
    boxes, classes, outlines = [], [], []
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
        outline = outline_of(vehicle) if vehicle.get("rear") else None
        if outline:
            outlines.append(outline)
        if side_px is None:
            classes.append(0)
        else:
            classes.append(side_of(boxes[-1], outline, side_px) if outline else BY_PLACE)
    return boxes, classes, outlines


def read(roots: list[Path], params: DetectorData) -> Labels:
    """Sequences that are labelled but not here were not asked for: no fault of theirs."""
    files = label_files(roots)
    if not files:
        raise BadInput(f"{roots[0]}: no *.json label file of Boxy's layout beside the folders of images")
    labels = Labels(VEHICLE if params.boxy.side_px is None else SIDES)
    images: dict[str, Labelled] = {}
    here: dict[str, bool] = {}
    for file in files:
        entries = read_json(file)
        if not isinstance(entries, dict):
            raise BadInput(f"{file}: expected one object from image paths to labels, found a {type(entries).__name__}")
        for key, entry in entries.items():
            name = with_slashes(key).removeprefix("./")
            sequence = name.rpartition("/")[0]
            try:
                if not sequence or not inside(name):
                    raise ValueError("expected ./<sequence>/<file>")
                if not here.setdefault(sequence, locate(roots, sequence) is not None):
                    continue
                if (path := locate(roots, name)) is None:
                    raise ValueError("there is no such image")
                boxes, classes, outlines = vehicles_of(entry, params.boxy.side_px)
                boxes, outlines = (rows(given) / params.boxy.label_scale for given in (boxes, outlines))
                about = {"occupied": outlines, "bonnet": True}
                images[name] = Labelled(name, path, sequence, boxes, np.array(classes, int), **about)
            except ValueError as error:
                labels.broken[f"{file.name}: {key}"] = str(error)
    labels.images, labels.absent = list(images.values()), sorted(name for name, is_here in here.items() if not is_here)
    check_scale(labels.images, params.boxy.label_scale)
    return labels.sorted()


def check_scale(images: list[Labelled], scale: float) -> None:
    """Raises `BadInput` if the labels do not fit the images at this scale."""
    shown = [item for item in images if len(item.boxes)]
    shown = shown[:: max(1, len(shown) // LOOKED_AT)]
    sized = [(item, size) for item in shown if (size := image_size(item.path))]
    if not sized:
        return
    shares = np.vstack([item.boxes / np.tile(size, 2) for item, size in sized])  # of the image
    centres, ends = (shares[:, :2] + shares[:, 2:]) / 2, shares[:, 2:]
    beyond, filled = float((centres > 1).any(1).mean()), ends.max(0)
    if beyond > BEYOND_SHARE:
        why = f"{beyond:.0%} of their boxes lie beyond the images"
    elif len(shares) >= FEW and filled.max() <= FILLED:
        why = f"their boxes reach to {filled[0]:.0%} of the width and {filled[1]:.0%} of the height at most"
    else:
        return
    item, (width, height) = max(sized, key=lambda pair: (pair[0].boxes / np.tile(pair[1], 2)).max())
    fits = [other for other in SCALES if np.quantile(ends * scale / other, 0.99, axis=0).max() <= 1.05]
    advice = f"; {min(fits):g} would fit" if fits and min(fits) != scale else ""
    reach = item.boxes[:, 2:].max(0) * scale
    raise BadInput(
        f"brake_coast.detector_data.boxy.label_scale = {scale:g} contradicts the images: {why}. {item.name} is "
        f"{width}x{height}, its labels reach to {reach[0]:g}, {reach[1]:g}{advice}"
    )


def own_bonnet(boxes: np.ndarray, width_px: int, height_px: int) -> np.ndarray:
    """Which boxes are the bonnet of the recording car: Boxy labels it at the bottom, in the middle."""
    x, y = (boxes[:, 0] + boxes[:, 2]) / 2 / width_px, (boxes[:, 1] + boxes[:, 3]) / 2 / height_px
    return (x >= 0.35) & (x <= 0.65) & (y >= 0.90)
