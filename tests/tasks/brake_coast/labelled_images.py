"""Frames of the highway world with known boxes in whole pixels, and writers of the schemas that such data come in."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from tasks.brake_coast import detector_data
from tasks.brake_coast.importers import highway as importer
from tasks.yard.files import read_json
from tasks.yard.worlds import highway
from tests.tasks.brake_coast import drives

# As they are: nothing cropped, nothing too small or too far outside.
WHOLE = {"roi_px": None, "min_box_px": 0.0, "min_inside_share": 0.0, "max_broken_share": 0.5}
CATEGORIES = ["vehicle.car", "vehicle.bus.rigid", "vehicle.bicycle", "vehicle.bus.bendy", "human.pedestrian.adult"]
CHANNELS = ["CAM_FRONT", "CAM_BACK", "CAM_FRONT_LEFT"]


@dataclass(frozen=True)
class Frame:
    image: Path
    boxes: list[list[int]]  # x1, y1, x2, y2
    size_px: tuple[int, int] = (640, 360)

    def rows(self, numbers=None, keep=None) -> np.ndarray:
        """YOLO label rows of the boxes."""
        found = []
        for i, (x1, y1, x2, y2) in enumerate(self.boxes):
            if keep is None or keep(i):
                number = 0 if numbers is None else numbers[i]
                found.append([number, (x1 + x2) / 1280, (y1 + y2) / 720, (x2 - x1) / 640, (y2 - y1) / 360])
        return np.array(found).reshape(-1, 5)


def render(folder: Path, count: int = 12) -> list[Frame]:
    importer.write_sequence(highway.Highway(detector_images=count), 0, folder)
    frames = []
    for name, entry in read_json(next(folder.glob("*.json"))).items():
        whole = [vehicle["rear"] or vehicle["AABB"] for vehicle in entry["vehicles"]]
        corners = [[b["x1"] // 2, b["y1"] // 2, b["x2"] // 2 + 1, b["y2"] // 2 + 1] for b in whole]
        frames.append(Frame(folder / name, [[int(v) for v in np.clip(c, 0, [640, 360] * 2)] for c in corners]))
    assert sum(len(frame.boxes) for frame in frames) > 20
    return frames


def dump(path: Path, value) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def edit(path: Path, change) -> None:
    """Read a JSON file, let `change` alter what it holds, write it back."""
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def category_of(number: int) -> str:
    return CATEGORIES[number % len(CATEGORIES)]


def write_nuimages(root: Path, frames: list[Frame], version: str = "v1.0-mini", logs: int = 4) -> None:
    """The official schema but for poses: frame i is of camera i % 3 and log i % logs, each with a sweep beside it."""
    tables: dict[str, list] = {name: [] for name in ("sample", "sample_data", "object_ann", "surface_ann")}
    names = [*CATEGORIES, "vehicle.ego"]
    tables["category"] = [{"token": f"c-{name}", "name": name, "description": ""} for name in names]
    tables["sensor"] = [{"token": f"s-{name}", "channel": name, "modality": "camera"} for name in CHANNELS]
    tables["sensor"].append({"token": "s-lidar", "channel": "LIDAR_TOP", "modality": "lidar"})
    pose = {"translation": [1.7, 0.0, 1.5], "rotation": [0.5, -0.5, 0.5, -0.5], "camera_distortion": []}
    tables["calibrated_sensor"] = [
        {"token": f"k-{row['channel']}", "sensor_token": row["token"], "camera_intrinsic": [], **pose}
        for row in tables["sensor"]
    ]
    tables["log"] = [
        {"token": f"l-{n}", "logfile": f"n013-2018-08-0{n}", "vehicle": "n013", "date_captured": "", "location": ""}
        for n in range(logs)
    ]
    tables["attribute"] = [{"token": "a-0", "name": "vehicle.moving", "description": ""}]
    for i, frame in enumerate(frames):
        channel = CHANNELS[i % 3]
        for kind, is_key in (("samples", True), ("sweeps", False)):
            name = f"{kind}/{channel}/n013__{channel}__{i:04d}.jpg"
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(frame.image, root / name)
            row = {"token": f"d-{i}-{kind}", "sample_token": f"t-{i}", "ego_pose_token": "", "filename": name}
            row |= {"calibrated_sensor_token": f"k-{channel}", "fileformat": "jpg", "width": 640, "height": 360}
            tables["sample_data"].append(row | {"timestamp": i, "is_key_frame": is_key, "prev": "", "next": ""})
        sample = {"token": f"t-{i}", "timestamp": i, "log_token": f"l-{i % logs}"}
        tables["sample"].append(sample | {"key_camera_token": f"d-{i}-samples", "key_lidar_token": ""})
        for number, box in enumerate(frame.boxes):
            row = {"token": f"o-{i}-{number}", "sample_data_token": f"d-{i}-samples", "bbox": box}
            row |= {"category_token": f"c-{category_of(number)}", "attribute_tokens": ["a-0"]}
            tables["object_ann"].append(row | {"mask": {"size": [360, 640], "counts": "PgZ0"}})
    for name, rows in tables.items():
        dump(root / version / f"{name}.json", rows)


def write_coco(root: Path, parts: dict[str, list[Frame]], names: tuple[str, ...] = ("person", "car", "bus")) -> None:
    """annotations/instances_<part>2017.json and <part>2017/; cars and buses in turn, and a person and a crowd each."""
    for part, frames in parts.items():
        ids = {name: number for number, name in enumerate(names, start=1)}
        content: dict = {"info": {"year": 2017}, "licenses": [], "images": [], "annotations": []}
        content["categories"] = [{"id": number, "name": name, "supercategory": "x"} for name, number in ids.items()]
        for i, frame in enumerate(frames):
            file = f"{i:012d}.jpg"
            (root / f"{part}2017").mkdir(parents=True, exist_ok=True)
            shutil.copyfile(frame.image, root / f"{part}2017" / file)
            content["images"].append({"id": 100 + i, "file_name": file, "width": 640, "height": 360})
            boxes = [(["car", "bus"][k % 2], box, 0) for k, box in enumerate(frame.boxes)]
            for name, (x1, y1, x2, y2), crowd in [*boxes, ("person", [1, 1, 5, 9], 0), ("car", [0, 0, 200, 40], 1)]:
                row = {"id": len(content["annotations"]), "image_id": 100 + i, "category_id": ids[name], "area": 1.0}
                row |= {"bbox": [x1, y1, x2 - x1, y2 - y1], "iscrowd": crowd, "segmentation": []}
                content["annotations"].append(row)
        dump(root / "annotations" / f"instances_{part}2017.json", content)
        captions = {"info": {}, "images": content["images"], "annotations": []}
        dump(root / "annotations" / f"captions_{part}2017.json", captions)


def write_yolo(root: Path, parts: dict[str, list[Frame]]) -> None:
    """Classes in turn: car (1), bus (2); and a person (0) on each image."""
    for part, frames in parts.items():
        for i, frame in enumerate(frames):
            image, label = root / f"images/{part}/{i:03d}.jpg", root / f"labels/{part}/{i:03d}.txt"
            image.parent.mkdir(parents=True, exist_ok=True)
            label.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(frame.image, image)
            rows = frame.rows([1 + k % 2 for k in range(len(frame.boxes))])
            lines = [" ".join([str(int(row[0])), *(repr(float(v)) for v in row[1:])]) for row in rows]
            label.write_text("\n".join([*lines, "0 0.5 0.5 0.1 0.1"]) + "\n")
    lines = [f"{part}: images/{part}" for part in parts]
    (root / "data.yaml").write_text("\n".join(["path: /somewhere/else", *lines, "names: [person, car, bus]"]) + "\n")


def run(source, out: Path, **changes) -> dict[str, float]:
    """The step with the params as they stand, but for what `WHOLE` and the test change."""
    return detector_data.run(drives.section("detector_data", **{**WHOLE, "source": str(source), **changes}), out)


def labels(out: Path, stem: str) -> np.ndarray:
    (path,) = out.glob(f"labels/*/{stem}.txt")
    return np.loadtxt(path, ndmin=2) if path.read_text() else np.empty((0, 5))


def stems(out: Path, split: str = "*") -> list[str]:
    """Of the images; each has a label file."""
    images = sorted((path.parent.name, path.stem) for path in out.glob(f"images/{split}/*.jpg"))
    assert images == sorted((path.parent.name, path.stem) for path in out.glob(f"labels/{split}/*.txt"))
    return [stem for _, stem in images]


def blank(path: Path, size_px: tuple[int, int] = (200, 100)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((size_px[1], size_px[0], 3), 90, np.uint8))
