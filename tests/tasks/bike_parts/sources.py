"""Small sources of labelled bikes, and the line's first three steps on them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tasks.bike_parts import check_data, download, split
from tasks.bike_parts.formats.photos import STATES
from tasks.bike_parts.params import CheckData, Download, Split
from tasks.yard.files import read_json
from tests import sections
from tests.tasks.yard.shared import reporting

REPO = Path(__file__).parents[3]
REAL = REPO / "../shared/real"
SIZE = 64, 48
MODELS = {"download": Download, "check_data": CheckData, "split": Split}
# centre and half size of each part on a bike that faces right, as shares of its length
BIKE = {
    "back_wheel": (-0.3, 0.15, 0.2, 0.2), "front_wheel": (0.3, 0.15, 0.2, 0.2), "saddle": (-0.12, -0.28, 0.08, 0.03),
    "steer": (0.2, -0.3, 0.07, 0.04), "chain": (-0.15, 0.17, 0.14, 0.05), "back_pedal": (-0.03, 0.25, 0.04, 0.03),
    "front_light": (0.28, -0.18, 0.03, 0.03), "bell": (0.14, -0.33, 0.02, 0.02),
}  # fmt: skip
PARTS = sorted(BIKE)


def section(step: str, **changes: Any) -> Any:
    values = {**sections.values("bike_parts", step), **({"parts": PARTS} if step == "download" else {})}
    return MODELS[step].model_validate({**values, **changes})


def picture(path: Path, seed: int = 0, size: tuple[int, int] = SIZE) -> Path:
    """A JPEG of soft noise, another one for each seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    Image.fromarray(noise).resize(size).save(path, quality=90)
    return path


def box_of(part: str, rng: np.random.Generator, pose: tuple[float, float, float, int]) -> list[float]:
    """left, top, width, height px of a part of a bike in a pose: middle, length in pixels, way it faces."""
    x, y, half_x, half_y = BIKE[part]
    middle_x, middle_y, length, faces = pose
    jitter = rng.normal(0, 0.01, 2)
    return [
        round(middle_x + length * (faces * x + jitter[0] - half_x), 2),
        round(middle_y + length * (y + jitter[1] - half_y), 2),
        round(2 * half_x * length, 2),
        round(2 * half_y * length, 2),
    ]


def part_entry(part: str, state: int, box: list[float], size: tuple[int, int] = SIZE, **more: Any) -> dict[str, Any]:
    keys = ("left", "top", "width", "height")
    return {
        "part_name": part, "object_state": STATES[state], "object_state_class": state, "trust": "0.9",
        "absolute_bounding_box": dict(zip(keys, box, strict=True)),
        "relative_bounding_box": {
            key: value / whole for key, value, whole in zip(keys, box, size * 2, strict=True)
        },
        **more,
    }  # fmt: skip


def entry(seed: int, parts: list[str] = PARTS, size: tuple[int, int] = SIZE) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    length = 0.7 * size[0] * rng.uniform(0.8, 1.1)
    pose = (size[0] * rng.uniform(0.45, 0.55), size[1] / 2, length, 1 if rng.random() < 0.5 else -1)
    found = {}
    for part in parts:
        state = int(rng.choice(4, p=[0.6, 0.1, 0.2, 0.1]))
        found[part] = part_entry(part, state, box_of(part, rng, pose), size)
    return {"image": {"width": size[0], "height": size[1], "channels": 3}, "parts": found}


def delft(root: Path, names: list[str] | int = 12, seed: int = 0, file: str = "annotations.json") -> Path:
    """A data set in DelftBikes' layout; names of its photographs without suffix, or how many."""
    names = [f"p{number}" for number in range(names)] if isinstance(names, int) else names
    said = {}
    for number, name in enumerate(names):
        picture(root / "images" / f"{name}.jpg", seed + number)
        said[f"{name}.jpg"] = entry(seed + number)
    (root / file).write_text(json.dumps(said))
    return root


def changed(path: Path, change: Callable[[Any], Any]) -> None:
    """`change` the content of a JSON file in place, NaN and all."""
    said = json.loads(path.read_text())
    change(said)
    path.write_text(json.dumps(said))


def coco(
    root: Path, images: list[str], annotations: list[dict], categories: list[str], file: str = "labels.json"
) -> Path:
    """Photographs of 64 x 48 px beside a COCO file; categories count from 1."""
    for number, name in enumerate(images):
        if not (root / name).exists():
            picture(root / name, number)
    value = {
        "images": [{"id": i, "file_name": name, "width": 64, "height": 48} for i, name in enumerate(images)],
        "annotations": [{"id": i, "iscrowd": 0, **of} for i, of in enumerate(annotations)],
        "categories": [{"id": i, "name": name} for i, name in enumerate(categories, 1)],
    }
    (root / file).write_text(json.dumps(value))
    return root


def fetched(out: Path, source: Path | str, **changes: Any) -> dict[str, Any]:
    """Runs download into out/download; returns its report."""
    few = {"min_photos": 1, "max_broken_share": 0.5}
    download.run(section("download", source=str(source), **{**few, **changes}), out / "download")
    return read_json(out / "download/report.json")


def labelled(out: Path) -> dict[str, dict[str, Any]]:
    """{photograph: its parts by key} of all that download wrote."""
    files = sorted((out / "download").glob("*/annotations.json"))
    return {name: one["parts"] for file in files for name, one in read_json(file).items()}


def checked(out: Path, **changes: Any) -> dict[str, Any]:
    """Runs check_data on out/download; returns cleaned.json and details.json as one."""
    params = section("check_data", **{"pictures": 0, **changes})
    check_data.run(params, out / "check_data", download=out / "download", reporting_params=reporting())
    return read_json(out / "check_data/cleaned.json") | {"details": read_json(out / "check_data/details.json")}


def divided(out: Path, **changes: Any) -> dict[str, list[str]]:
    """Runs split on out/check_data; {split: names of its photographs}."""
    split.run(section("split", **changes), out / "split", check_data=out / "check_data")
    return {
        name: [Path(of["file_name"]).name for of in read_json(out / f"split/{name}_coco.json")["images"]]
        for name in ("train", "val", "test")
    }
