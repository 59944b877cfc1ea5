"""The labelled photographs of one split: `<split>_coco.json` of the step split, as arrays.

    {"images": [{"id", "file_name", "width", "height", "group", "doubted": [ids of parts]}],
     "annotations": [{"id", "image_id", "category_id", "bbox", "area", "iscrowd", "state_id", "trust"}],
     "categories": [{"id", "name"}], "state_categories": [{"id", "name"}]}

`file_name` is the path below the folder of the step download. Parts are 1..K in the order of `categories`, the same in
every split: 0 is the background. States are 0 intact, 1 damaged, 2 absent, 3 occluded; an absent part has the box
where it would be. -1: nobody has said in which state the part is (YOLO and most COCO files know boxes only); such a box
teaches and judges the detector, and no loss and no number of states counts it. A part that is `doubted` is labelled
with a box that nobody should believe: it may be anywhere in the photograph, so nothing teaches or judges where it is
not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.yard.files import read_json, write_json
from tasks.yard.step import BadInput

SPLITS = ("train", "val", "test")
STATES = ("intact", "damaged", "absent", "occluded")
INTACT, DAMAGED, ABSENT, OCCLUDED = range(4)
NOT_LABELLED = -1  # of the state


@dataclass(frozen=True)
class Photo:
    id: int
    name: str  # its path below download/
    width: int  # pixels, of the file as it is shown
    height: int
    group: str  # what stays in one split with it: a bike, or a day; its own name if nothing is known
    doubted: tuple[int, ...] = ()  # parts


@dataclass(frozen=True)
class Photos:
    parts: list[str]  # part k is parts[k - 1]
    photos: list[Photo]
    id: np.ndarray  # (n) int64, of each annotation
    photo: np.ndarray  # (n) int64, id of its photograph
    part: np.ndarray  # (n) int64, 1..K
    box: np.ndarray  # (n, 4) float64 x, y, width, height in pixels
    state: np.ndarray  # (n) int64, place in STATES, or NOT_LABELLED
    trust: np.ndarray  # (n) float64, 0..1


def path_of(split_folder: Path, split: str) -> Path:
    return split_folder / f"{split}_coco.json"


def read(split_folder: Path, split: str) -> Photos:
    """Raises `BadInput` where there is no such file, or another."""
    path = path_of(split_folder, split)
    try:
        said = read_json(path)
        photos = [
            Photo(of["id"], of["file_name"], of["width"], of["height"], of["group"], tuple(of["doubted"]))
            for of in said["images"]
        ]
        rows = said["annotations"]
        return Photos(
            [category["name"] for category in sorted(said["categories"], key=lambda category: category["id"])],
            photos,
            np.array([row["id"] for row in rows], np.int64),
            np.array([row["image_id"] for row in rows], np.int64),
            np.array([row["category_id"] for row in rows], np.int64),
            np.array([row["bbox"] for row in rows], np.float64).reshape(-1, 4),
            np.array([row["state_id"] for row in rows], np.int64),
            np.array([row["trust"] for row in rows], np.float64),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path}: not a file of bike_parts-split ({error!r}); run it again") from None


def write(split_folder: Path, split: str, photos: Photos) -> None:
    """As pycocotools reads it."""
    boxes = photos.box.tolist()
    annotations = [
        {
            "id": int(photos.id[i]), "image_id": int(photos.photo[i]), "category_id": int(photos.part[i]),
            "bbox": boxes[i], "area": boxes[i][2] * boxes[i][3], "iscrowd": 0, "state_id": int(photos.state[i]),
            "trust": float(photos.trust[i]),
        }
        for i in range(len(photos.id))
    ]  # fmt: skip
    write_json(
        path_of(split_folder, split),
        {
            "images": [
                {
                    "id": of.id,
                    "file_name": of.name,
                    "width": of.width,
                    "height": of.height,
                    "group": of.group,
                    "doubted": list(of.doubted),
                }
                for of in photos.photos
            ],
            "annotations": annotations,
            "categories": categories(photos.parts),
            "state_categories": [{"id": i, "name": name} for i, name in enumerate(STATES)],
        },
    )


def categories(parts: Sequence[str]) -> list[dict]:
    return [{"id": i, "name": name} for i, name in enumerate(parts, 1)]
