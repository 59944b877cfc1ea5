"""Small sources in the layouts of the real world, and params as they stand with some changed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from tasks.person_search import detector_data, download, pack
from tasks.person_search.params import DetectorData, Download, Pack
from tasks.yard.files import read_json
from tests import sections

REPO = Path(__file__).parents[3]
REAL = REPO / "../shared/real"
MODELS = {"download": Download, "detector_data": DetectorData, "pack": Pack}


def section(step: str, **changes):
    values = sections.values("person_search", step)
    return MODELS[step].model_validate({**values, **changes})


def picture(path: Path, seed: int | tuple = 0, size: tuple[int, int] = (16, 32)) -> Path:
    """A JPEG of soft noise, another one for each seed."""
    rng = np.random.default_rng(abs(hash(seed)) if isinstance(seed, tuple) else seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8)).resize(size).save(path, quality=90)
    return path


def market(root: Path, train=(1, 2, 3, 4), test=(5, 6), cameras=(1, 2), images: int = 3) -> Path:
    """`images` of each person and camera; of those to be tested on the first asks."""
    for person in (*train, *test):
        for camera in cameras:
            for n in range(images):
                part = "bounding_box_train" if person in train else "bounding_box_test" if n else "query"
                picture(root / part / f"{person:04d}_c{camera}s1_{n:06d}_01.jpg", (person, camera, n))
    return root


def yolo(root: Path, splits: dict[str, list[str]], names=("person",), line: str = "0 0.5 0.5 0.4 0.4\n") -> Path:
    """{split: names of its images}; every image has the one line."""
    for s, stems in splits.items():
        for stem in stems:
            picture(root / "images" / s / f"{stem}.jpg", (s, stem), (64, 48))
            label = root / "labels" / s / f"{stem}.txt"
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_text(line)
    (root / "data.yaml").write_text(yaml.safe_dump({**{s: f"images/{s}" for s in splits}, "names": list(names)}))
    return root


def cameras(root: Path, *names: str, frames: int = 3) -> Path:
    """Folders of frames called 0.jpg and on."""
    for name in names:
        for n in range(frames):
            picture(root / "cameras" / name / f"{n}.jpg", n, (64, 48))
    return root


def coco(root: Path, annotations: list[dict], images: int = 1, file: str = "instances_train.json") -> Path:
    """Images of 100 x 50 px; categories 1 person, 2 dog."""
    entries = []
    for n in range(images):
        picture(root / "images" / f"{n}.jpg", n, (100, 50))
        entries.append({"id": n, "file_name": f"{n}.jpg", "width": 100, "height": 50})
    marks = [{"id": n, "image_id": 0, "category_id": 1, "iscrowd": 0, **mark} for n, mark in enumerate(annotations)]
    categories = [{"id": 1, "name": "person"}, {"id": 2, "name": "dog"}]
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    value = {"images": entries, "annotations": marks, "categories": categories}
    (root / "annotations" / file).write_text(json.dumps(value))
    return root


def fetched(out: Path, *sources: Path | str, **changes) -> dict:
    """Runs download into out/download; returns its report."""
    first, *others = map(str, sources)
    (out / "download").mkdir(parents=True, exist_ok=True)
    download.run(section("download", source=first, extra_sources=others, **changes), out / "download")
    return read_json(out / "download/report.json")


def detector(out: Path, *sources: Path | str, **changes) -> dict:
    """Runs download, with changes of its own under that name, and detector_data; returns dataset.json."""
    fetched(out, *sources, **changes.pop("download", {}))
    detector_data.run(section("detector_data", **changes), out / "detector_data", download=out / "download")
    return read_json(out / "detector_data/dataset.json")


def packed(out: Path, *sources: Path | str, **changes) -> dict:
    """Runs download and pack; returns dataset_config.json."""
    fetched(out, *sources)
    (out / "pack").mkdir(exist_ok=True)
    pack.run(section("pack", **changes), out / "pack", download=out / "download")
    return read_json(out / "pack/dataset_config.json")
