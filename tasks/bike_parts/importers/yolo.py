"""A YOLO dataset (tasks/yard/layouts/yolo.py): boxes of parts and no states. They are not labelled, not intact."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tasks.bike_parts.formats.annotations import Part
from tasks.bike_parts.formats.photos import NOT_LABELLED
from tasks.bike_parts.importers.coco import Classes
from tasks.bike_parts.importers.found import Found, Labelled, among, plain, refuse_unlisted, unlisted
from tasks.bike_parts.params import Download
from tasks.yard.layouts import yolo
from tasks.yard.layouts.example import SHARES, NoneWanted
from tasks.yard.step import BadInput

WHAT = yolo.WHAT


def found(root: Path) -> bool:
    return yolo.found([root])


def read(root: Path, wanted: list[str] | None, params: Download) -> Found:
    file, content = yolo.descriptions([root])[0]
    theirs = list(yolo.names_of(file, content).values())
    parts = among(theirs) if wanted is None else wanted
    known = {name: plain(name, parts) for name in theirs if plain(name, parts) in parts}
    try:
        if not known:
            raise NoneWanted("")
        labels = yolo.read([root], Classes(dict(known)))
    except NoneWanted:
        raise BadInput(f"{file}: {unlisted(theirs[0], parts)}") from None
    made = Found(broken=labels.broken, dropped=labels.dropped, remarks=labels.remarks)
    refuse_unlisted(made, parts, str(file), params.other_parts)
    for image in labels.images:
        mine = tuple(
            Part(labels.names[number], NOT_LABELLED, 1.0, (x1, y1, x2 - x1, y2 - y1))
            for number, (x1, y1, x2, y2) in zip(image.classes, image.boxes.tolist(), strict=True)
        )
        more: dict[str, Any] = {"size_px": SHARES, "split": image.split}
        made.photos.append(Labelled(image.name, image.path, parts=mine, **more))
    made.files = [file, *(label for of in labels.images if (label := yolo.label_file(of.path)).is_file())]
    if any(photo.parts for photo in made.photos):
        made.remarks.append("no box has a state: states are not labelled, and the line finds parts only")
    return made
