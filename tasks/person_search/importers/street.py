"""The street world (tasks/yard/worlds/street) in the layouts of real data.

Writes, for a unit (one camera in one session):
    unit.json                                    dataset, session, camera, parts and counts
    bounding_box_train/ | query/, bounding_box_test/    crops, `PPPP_cCsS_FFFFFF_BB.jpg`; pid 0 distractor, -1 junk
    data.yaml, images/<split>/, labels/<split>/  YOLO persons
    frames/NNNNNN.jpg, camera.json, truth.csv    of test1 and val1: a short film and its true boxes; of val1 camera.json
                                                 says that it is for validation
    queries/                                     of test1: whom to find

The people of val1 are in bounding_box_train, as Market has no validation folder: pack lets those validate whom a camera
for validation shows.
"""

from __future__ import annotations

from pathlib import Path

from tasks.yard.files import write_json, write_text
from tasks.yard.layouts.images import write_image
from tasks.yard.worlds import street
from tasks.yard.worlds.street import Street, Unit
from tasks.yard.worlds.street.camera import JPEG_QUALITY, Box
from tasks.yard.worlds.street.crops import Crop
from tasks.yard.worlds.street.scene import HEIGHT_PX, WIDTH_PX


def clearest(unit: Unit, crops: list[Crop]) -> set[int]:
    """Places in `crops` of the clearest one of each person."""
    found = set()
    for person in unit.people():
        own = [place for place, crop in enumerate(crops) if crop.person == person]
        found.add(max(own, key=lambda place: crops[place].visible))
    return found


def write_reid(unit: Unit, folder: Path) -> dict[str, int]:
    """Crops by Market's names. Of each person and camera of the test session the clearest crop is the query."""
    crops, distractors = unit.crops()
    queries = clearest(unit, crops) if unit.is_test else set()

    def name(pid: int, frame: int, box: int) -> str:
        text = "-1" if pid < 0 else f"{pid:04d}"
        return f"{text}_c{unit.number}s{unit.session.number}_{frame:06d}_{box:02d}.jpg"

    parts = ("query", "bounding_box_test", "distractors", "junk") if unit.is_test else ("bounding_box_train",)
    counts = dict.fromkeys(parts, 0)
    for place, crop in enumerate(crops):
        if crop.person < 0 and not unit.is_test:
            continue
        part = "query" if place in queries else "bounding_box_test" if unit.is_test else "bounding_box_train"
        pid = -1 if crop.person < 0 else unit.id_of(crop.person)
        file = name(pid, crop.frame, crop.box)
        write_image(folder / part / file, crop.picture, JPEG_QUALITY)
        if part == "query":
            write_image(folder / "queries" / file, crop.picture, JPEG_QUALITY)
        counts[part] += 1
        counts["junk"] = counts.get("junk", 0) + (pid < 0)
    last = max((crop.frame for crop in crops), default=0)
    for place, picture in enumerate(distractors, start=1):
        write_image(folder / "bounding_box_test" / name(0, last + place, 0), picture, JPEG_QUALITY)
        counts["bounding_box_test"] += 1
        counts["distractors"] += 1
    return counts | {"identities": len(unit.people())}


def yolo_line(box: Box) -> str:
    x1, y1, x2, y2 = box.xyxy
    centre = (x1 + x2) / 2 / WIDTH_PX, (y1 + y2) / 2 / HEIGHT_PX
    return f"0 {centre[0]:.6f} {centre[1]:.6f} {(x2 - x1) / WIDTH_PX:.6f} {(y2 - y1) / HEIGHT_PX:.6f}\n"


def write_detect(unit: Unit, folder: Path) -> dict[str, int]:
    """Images with a label line for each person in them."""
    split, images, persons = unit.session.split, 0, 0
    for picture, boxes in unit.detector_images():
        stem = f"{unit.name}_{images:05d}"
        write_image(folder / "images" / split / f"{stem}.jpg", picture, JPEG_QUALITY)
        write_text(folder / "labels" / split / f"{stem}.txt", "".join(yolo_line(box) for box in boxes))
        images += 1
        persons += len(boxes)
    write_text(folder / "data.yaml", f"path: .\n{split}: images/{split}\nnc: 1\nnames:\n  0: person\n")
    return {"images": images, "persons": persons}


def write_film(unit: Unit, folder: Path) -> dict[str, int]:
    """People of the session walking past, and where they are in each frame."""
    frames, rows = 0, []
    for picture, seen in unit.film():
        write_image(folder / "frames" / f"{frames:06d}.jpg", picture, JPEG_QUALITY)
        rows += [f"{frames},{unit.id_of(person)},{','.join(map(str, box.xyxy))}\n" for person, box in seen]
        frames += 1
    write_text(folder / "truth.csv", "".join(["frame,pid,x1,y1,x2,y2\n", *rows]))
    about = {"camera": unit.number, "fps": street.FPS, "name": unit.name}
    write_json(folder / "camera.json", about if unit.is_test else about | {"split": "val"})
    return {"frames": frames, "true_boxes": len(rows)}


def write_unit(world: Street, name: str, folder: Path) -> dict[str, int]:
    """All files of one unit under `folder`; returns how many of each. Raises `BadInput` if there is no such unit."""
    unit = street.unit(world, name)
    counts = write_reid(unit, folder) | write_detect(unit, folder)
    parts = ["reid", "detect"]
    if unit.is_filmed:
        counts |= write_film(unit, folder)
        parts.append("frames" if unit.is_test else "validation")
    about = {"dataset": "street", "session": unit.session.name, "camera": unit.number, "parts": parts, "counts": counts}
    write_json(folder / "unit.json", about)
    return counts
