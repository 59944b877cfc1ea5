"""What is in a unit of download/, and what is odd about it? Reads the folder of one unit, changes nothing in it.

A fault that makes all of it unusable is `BadInput`; everything else is a count, or a list with file and line.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from PIL import Image

from tasks.files import file_hash, read_json
from tasks.images import image_size
from tasks.labelled import yolo
from tasks.labelled.example import IMAGE_SUFFIXES
from tasks.person_search import reid_layout
from tasks.step import BadInput

PARTS = ("reid", "detect", "frames")
QUERIES, TRUTH, CAMERA = "queries", "truth.csv", "camera.json"  # beside frames/
SHOWN = 50  # of each kind of fault that a report lists; the rest is counted


def images_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.suffix.lower() in IMAGE_SUFFIXES)


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
    there = {"reid": reid, "detect": (folder / "data.yaml").is_file(), "frames": (folder / CAMERA).is_file()}
    return [part for part in PARTS if there[part]]


def is_readable(path: Path) -> bool:
    """Both ends are as they should be; where the end is not (some writers pad), it is decoded whole."""
    if image_size(path) is not None:
        return True
    try:
        with Image.open(path) as image:
            image.load()
        return True
    except (OSError, SyntaxError, Image.DecompressionBombError, ImportError):
        return False


def unreadable(folder: Path, images: list[Path]) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in images if not is_readable(path)]


def check_reid(folder: Path) -> dict:
    """Raises `BadInput` for a name that says not who and where."""
    crops = reid_layout.read(folder)
    images = [crop.path for subset in reid_layout.SUBSETS for crop in crops.subsets[subset]]
    if not images:
        raise BadInput(f"{folder}: no crop in any of {', '.join(reid_layout.SUBSETS)}")
    return reid_layout.summary(crops) | {"unreadable": unreadable(folder, images)}


def images_of(folder: Path, split: str) -> list[Path]:
    """Images of a split, those in folders below it too."""
    return sorted(p for p in (folder / "images" / split).rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)


def label_lines(label: Path, names: Mapping[int, str]) -> Iterator[tuple[int, int, list[float], str | None]]:
    """(line, class, corners as shares of the image, what is wrong with it) of every line that is not blank."""
    for line, text in enumerate(label.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        if text.strip():
            try:
                yield line, *yolo.box_of(text, names), None
            except ValueError as error:
                yield line, -1, [], str(error)


def check_detect(folder: Path) -> dict:
    file, content = described(folder)
    names = yolo.names_of(file, content)
    bad, boxes, splits, without, broken = [], Counter(), {}, [], []
    for split in yolo.SPLITS:
        images = images_of(folder, split)
        labels = [yolo.label_file(image) for image in images]
        for label in labels:
            for line, number, _, why in label_lines(label, names) if label.is_file() else ():
                if why:
                    bad.append({"file": label.relative_to(folder).as_posix(), "line": line, "why": why})
                else:
                    boxes[names[number]] += 1
        bare = [image for image, label in zip(images, labels, strict=True) if not label.is_file()]
        without += [image.relative_to(folder).as_posix() for image in bare]
        broken += unreadable(folder, images)
        if images:
            splits[split] = len(images)
    if not splits:
        raise BadInput(f"{folder}: no images in images/train, images/val or images/test")
    found = {"images": splits, "boxes": dict(sorted(boxes.items())), "bad_label_lines": bad}
    return found | {"images_without_labels": without, "unreadable": broken}


def check_frames(folder: Path) -> dict:
    frames, queries = images_in(folder / "frames"), images_in(folder / QUERIES)
    if not frames:
        raise BadInput(f"{folder}: no frame in frames/")
    truth = folder / TRUTH
    rows = len(truth.read_text(encoding="utf-8").splitlines()) - 1 if truth.is_file() else 0
    found = {"frames": len(frames), "queries": len(queries), "true_boxes": rows, "camera": read_json(folder / CAMERA)}
    return found | {"unreadable": unreadable(folder, frames + queries)}


CHECKS = {"reid": check_reid, "detect": check_detect, "frames": check_frames}


def contents(folder: Path) -> dict[str, str]:
    """{image: hash} of what must not be in two splits: crops and labelled images."""
    roots = [*reid_layout.SUBSETS, "images"]
    images = sorted(p for root in roots for p in (folder / root).rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
    return {path.relative_to(folder).as_posix(): file_hash(path)[:24] for path in images}


def split_of(image: str) -> str:
    """Where an image of `contents` is: `train`, `query`, `gallery`, or `images/<split>` of a detector."""
    parts = image.split("/")
    names = dict(zip(reid_layout.SUBSETS, ("train", "query", "gallery"), strict=True))
    return names.get(parts[0]) or "/".join(parts[:2])


def same_images(units: Mapping[str, Mapping[str, str]]) -> list[dict]:
    """Images of one content in several splits of crops, or of the detector's images: {splits, images} each."""
    places: dict[tuple[str, bool], list[tuple[str, str]]] = defaultdict(list)
    for unit, images in units.items():
        for image, content in images.items():
            places[content, image.startswith("images/")].append((split_of(image), f"{unit}/{image}"))
    found = [sorted(mine) for mine in places.values() if len({split for split, _ in mine}) > 1]
    listed = [{"splits": sorted({s for s, _ in mine}), "images": [image for _, image in mine]} for mine in found]
    return sorted(listed, key=lambda entry: entry["images"])
