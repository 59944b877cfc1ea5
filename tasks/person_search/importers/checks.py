"""What is in a unit of download/, and what is odd about it? Reads the folder of one unit, changes nothing in it.

A fault that makes all of it unusable is `BadInput`; everything else is a count, or a list with file and line.
"""

from __future__ import annotations

import csv
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tasks.person_search.formats import reid_layout
from tasks.person_search.formats.reid_layout import is_image
from tasks.yard.files import file_hash, natural, read_if_there, read_json
from tasks.yard.layouts import keypoints, yolo
from tasks.yard.layouts.images import fault
from tasks.yard.layouts.keypoints import Shape
from tasks.yard.step import BadInput

PARTS = ("reid", "detect", "frames", "validation")
QUERIES, TRUTH, CAMERA = "queries", "truth.csv", "camera.json"  # beside frames/
VALIDATION = "val"  # the split of a camera.json
TRUTH_COLUMNS = ("frame", "pid", "x1", "y1", "x2", "y2")
DECODERS = 4
SHOWN = 50  # of each kind of fault that a report lists; the rest is counted


def images_in(folder: Path) -> list[Path]:
    return sorted((path for path in folder.glob("*") if is_image(path)), key=natural)


def described(folder: Path) -> tuple[Path, dict]:
    """The YAML file of a YOLO data set and what it says; of several, data.yaml, then dataset.yaml."""
    for file in (folder / "data.yaml", folder / "dataset.yaml"):
        content = yolo.parsed(file) if file.is_file() else None
        if content and "names" in content:
            return file, content
    known = yolo.descriptions([folder])
    if len(known) == 1:
        return known[0]
    files = ", ".join(file.name for file, _ in known) or "no YAML file"
    raise BadInput(f"{folder}: {files}; the description of a data set has to be called data.yaml")


def parts_in(folder: Path) -> list[str]:
    """Of `PARTS` those that a unit's folder has."""
    reid = any((folder / subset).is_dir() for subset in reid_layout.SUBSETS)
    camera, for_validation = (folder / CAMERA).is_file(), is_for_validation(folder)
    there = {"reid": reid, "detect": (folder / "data.yaml").is_file(), "frames": camera and not for_validation}
    return [part for part in PARTS if (there | {"validation": for_validation})[part]]


def is_for_validation(folder: Path) -> bool:
    """Is this a camera whose people validate, so that nobody is searched for in it?"""
    return read_if_there(folder / CAMERA).get("split") == VALIDATION


def unreadable(folder: Path, images: list[Path]) -> list[str]:
    """Those that cannot be used. Each is decoded, once. Raises `BadInput` if none can."""
    with ThreadPoolExecutor(DECODERS) as pool:  # decoding frees the interpreter lock
        faults = list(pool.map(fault, images))
    if images and all(faults):
        raise BadInput(
            f"{folder}: not one of its {len(images)} images can be used; {images[0].relative_to(folder)} {faults[0]}"
        )
    return [path.relative_to(folder).as_posix() for path, why in zip(images, faults, strict=True) if why]


def check_reid(folder: Path) -> dict:
    """Raises `BadInput` for a name that says not who and where."""
    crops = reid_layout.read(folder)
    images = [crop.path for subset in reid_layout.SUBSETS for crop in crops.subsets[subset]]
    if not images:
        raise BadInput(f"{folder}: no crop in any of {', '.join(reid_layout.SUBSETS)}")
    return reid_layout.summary(crops) | {"unreadable": unreadable(folder, images)}


def images_of(folder: Path, split: str) -> list[Path]:
    """Images of a split, those in folders below it too."""
    return sorted(path for path in (folder / "images" / split).rglob("*") if is_image(path))


def label_lines(
    label: Path, names: Mapping[int, str], points: Shape | None = None
) -> Iterator[tuple[int, int, list[float], str | None]]:
    """(line, class, corners as shares of the image, what is wrong with it) of every line that is not blank."""
    for line, text in enumerate(yolo.text_of(label), start=1):
        if text.strip():
            try:
                yield line, *yolo.box_of(text, names, points), None
            except ValueError as error:
                yield line, -1, [], str(error)


def check_detect(folder: Path) -> dict:
    file, content = described(folder)
    names, points = yolo.names_of(file, content), keypoints.said(file, content)
    bad, boxes, splits, without, every = [], Counter(), {}, [], []
    for split in yolo.SPLITS:
        images = images_of(folder, split)
        labels = [yolo.label_file(image) for image in images]
        for label in labels:
            for line, number, _, why in label_lines(label, names, points) if label.is_file() else ():
                if why:
                    bad.append({"file": label.relative_to(folder).as_posix(), "line": line, "why": why})
                else:
                    boxes[names[number]] += 1
        bare = [image for image, label in zip(images, labels, strict=True) if not label.is_file()]
        without += [image.relative_to(folder).as_posix() for image in bare]
        every += images
        if images:
            splits[split] = len(images)
    if not splits:
        raise BadInput(f"{folder}: no images in images/train, images/val or images/test")
    broken = unreadable(folder, every)
    found = {"images": splits, "boxes": dict(sorted(boxes.items())), "bad_label_lines": bad}
    return found | {"images_without_labels": without, "unreadable": broken}


def read_camera(file: Path, without: Mapping) -> dict:
    """{camera, fps, name} of a camera.json; what it does not say is as in `without`. Raises `BadInput`.

    fps is None where nobody says it: these frames have an order, and no times.
    """
    try:
        said = {"fps": None, **without, **read_json(file)}
        fps = None if said["fps"] is None else float(said["fps"])
        about = {"camera": int(str(said["camera"])), "fps": fps, "name": str(said["name"])}
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise BadInput(f'{file}: expected {{"camera": 1, "fps": 2.0, "name": "door"}} ({error!r})') from None
    if about["camera"] < 1 or not (fps is None or 0 < fps < math.inf):
        raise BadInput(
            f"{file}: camera must be a number from 1, fps (frames a second) above 0, or null where there are no times"
        )
    return about


def truth_rows(file: Path) -> Iterator[tuple[int, list[str]]]:
    """(line, the cells of `TRUTH_COLUMNS`) of every row that is not blank, wherever these columns are."""
    with file.open(encoding="utf-8-sig", newline="") as text:
        reader = csv.reader(text)
        header = [name.strip() for name in next(reader, [])]
        if lacking := [name for name in TRUTH_COLUMNS if header.count(name) != 1]:
            raise BadInput(
                f"{file}, line 1: {','.join(header)!r}; expected the columns {','.join(TRUTH_COLUMNS)}, "
                f"each once: mend {', '.join(lacking)}"
            )
        places = [header.index(name) for name in TRUTH_COLUMNS]
        for row in reader:
            if any(cell.strip() for cell in row):
                if len(row) != len(header):
                    where = f"{file}, line {reader.line_num}"
                    raise BadInput(f"{where}: {','.join(row)!r}; expected {len(header)} values, as in line 1")
                yield reader.line_num, [row[place] for place in places]


def read_truth(file: Path, frames: Collection[int]) -> list[tuple[int, int, list[float]]]:
    """(frame, person, x1 y1 x2 y2) of every true box, in the order of the file. Raises `BadInput` with the line.

    A person above 0 is somebody, who is in a frame once at most; there may be any number of nobodies.
    """
    rows, lines = [], {}
    try:
        for line, cells in truth_rows(file):
            where = f"{file}, line {line}"
            try:
                frame, pid, box = int(cells[0]), int(cells[1]), [float(cell) for cell in cells[2:]]
            except ValueError:
                raise BadInput(f"{where}: {','.join(cells)!r}; expected six numbers, frame,pid,x1,y1,x2,y2") from None
            if not abs(pid) < 2**31:
                raise BadInput(f"{where}: person {pid}; expected a number below {2**31}")
            if not (all(map(math.isfinite, box)) and box[0] < box[2] and box[1] < box[3]):
                raise BadInput(f"{where}: box {box} has no area; expected x1 < x2 and y1 < y2 in pixels")
            if frame not in frames:
                raise BadInput(f"{where}: there is no frame {frame}; mend the number, or delete the line")
            if pid > 0 and (other := lines.setdefault((frame, pid), line)) != line:
                raise BadInput(f"{where}: person {pid} is in frame {frame} in line {other} too; keep one of them")
            rows.append((frame, pid, box))
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{file}: not a CSV file in UTF-8 ({error}); save it anew as one") from None
    return rows


def unusable_queries(folder: Path, queries: list[Path]) -> list[str]:
    """A search names them; a camera whose queries are all bad is still a camera."""
    return [path.relative_to(folder).as_posix() for path in queries if fault(path)]


def check_frames(folder: Path) -> dict:
    frames, queries = images_in(folder / "frames"), images_in(folder / QUERIES)
    if not frames:
        raise BadInput(f"{folder}: no frame in frames/")
    truth = folder / TRUTH
    rows = len(read_truth(truth, {int(path.stem) for path in frames})) if truth.is_file() else 0
    found = {"frames": len(frames), "queries": len(queries), "true_boxes": rows, "camera": read_json(folder / CAMERA)}
    return found | {"unreadable": unreadable(folder, frames) + unusable_queries(folder, queries)}


def check_validation(folder: Path) -> dict:
    """Raises `BadInput` where nobody says who is seen: nothing can be learnt of it."""
    if not (folder / TRUTH).is_file():
        raise BadInput(
            f"{folder / TRUTH}: a camera for validation is of use only where it is known who is seen in its frames; "
            f"give {TRUTH} with the columns {','.join(TRUTH_COLUMNS)}, or lay the camera under cameras/"
        )
    return check_frames(folder)


CHECKS = {"reid": check_reid, "detect": check_detect, "frames": check_frames, "validation": check_validation}


def contents(folder: Path, bad: Collection[str] = ()) -> dict[str, str]:
    """{image: hash} of what must not be in two splits: crops, labelled images and frames, but for the `bad` ones."""
    roots = [*reid_layout.SUBSETS, "images", "frames"]
    images = sorted(path for root in roots for path in (folder / root).rglob("*") if is_image(path))
    names = {path.relative_to(folder).as_posix(): path for path in images}
    return {name: file_hash(path)[:24] for name, path in names.items() if name not in bad}


def split_of(image: str, validates: bool) -> str:
    """Where an image of `contents` is: `train`, `query`, `gallery`, `images/<split>` of a detector, `frames`, or
    `validation frames` of a unit that `validates`."""
    parts = image.split("/")
    names = dict(zip(reid_layout.SUBSETS, ("train", "query", "gallery"), strict=True))
    names["frames"] = "validation frames" if validates else "frames"
    return names.get(parts[0]) or "/".join(parts[:2])


def same_images(units: Mapping[str, Mapping[str, str]], validating: Collection[str] = ()) -> list[dict]:
    """Images of one content in several splits of crops, of the detector's images, or of frames: {splits, images} each.

    `validating`: units whose frames are for validation."""
    places: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for unit, images in units.items():
        for image, content in images.items():
            kind = next((root for root in ("images", "frames") if image.startswith(f"{root}/")), "crops")
            places[content, kind].append((split_of(image, unit in validating), f"{unit}/{image}"))
    found = [sorted(mine) for mine in places.values() if len({split for split, _ in mine}) > 1]
    listed = [{"splits": sorted({s for s, _ in mine}), "images": [image for _, image in mine]} for mine in found]
    return sorted(listed, key=lambda entry: entry["images"])
