"""nuImages in its official schema: a folder of JSON tables a version, v1.0-mini or v1.0-train, and samples/ beside it.

    sample.key_camera_token   -> sample_data: the key frame, the only kind of image that is annotated
    sample.log_token          -> log.logfile: the drive
    sample_data.calibrated_sensor_token -> calibrated_sensor.sensor_token -> sensor.channel: the camera
    object_ann.sample_data_token, .category_token -> category.name; bbox = xmin, ymin, xmax, ymax in pixels

A version without any annotation (v1.0-test, whose boxes are withheld) is passed over: its images are not background. An
image that is in several versions (v1.0-mini is a part of v1.0-train and v1.0-val) is taken once, from the largest.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tasks.brake_coast.params import DetectorData
from tasks.yard.layouts.example import Classes, Labelled, Labels, checked, inside, locate, read_json, rows
from tasks.yard.step import BadInput

log = logging.getLogger(__name__)

WHAT = "tables in v1.0-*/ and images in samples/"
KEY_FRAME = ("token", "calibrated_sensor_token", "filename", "width", "height")


def versions(roots: list[Path]) -> list[Path]:
    """The folders of tables; an archive that holds nothing else has become such a folder itself."""
    folders = [folder for root in roots for folder in (root, *sorted(root.glob("v1.0-*")))]
    return [folder for folder in folders if (folder / "sample_data.json").is_file()]


def found(roots: list[Path]) -> bool:
    return any((folder / "object_ann.json").is_file() for folder in versions(roots))


def table(folder: Path, name: str, columns: tuple[str, ...], keep: Callable[[dict], bool] | None = None) -> list[dict]:
    """Rows of a table with only these columns: the masks and poses of the full set would fill the memory."""
    file = folder / f"{name}.json"
    if not file.is_file():
        raise BadInput(f"{file}: no such table; nuImages' metadata has it")

    def lean(row: dict) -> dict | None:
        return {key: row[key] for key in columns if key in row} if keep is None or keep(row) else None

    rows_ = read_json(file, object_hook=lean)
    if not isinstance(rows_, list):
        raise BadInput(f"{file}: expected a list of rows")
    for number, row in enumerate(rows_):
        if row is not None and (not isinstance(row, dict) or len(row) < len(columns)):
            lacking = ", ".join(key for key in columns if not isinstance(row, dict) or key not in row)
            raise BadInput(f"{file}: row {number} has no {lacking}")
    return [row for row in rows_ if row is not None]


def followed(row: dict, key: str, index: dict, target: str) -> object:
    """What a foreign key points to. Raises `ValueError`."""
    if row[key] not in index:
        raise ValueError(f"{key} {row[key]!r} is in no row of {target}.json")
    return index[row[key]]


def channels_of(folder: Path, wanted: list[str]) -> dict[str, str]:
    """Channel by calibrated sensor."""
    sensors = {row["token"]: row["channel"] for row in table(folder, "sensor", ("token", "channel"))}
    if missing := [name for name in wanted if name not in sensors.values()]:
        raise BadInput(
            f"{folder / 'sensor.json'}: no camera {', '.join(missing)} as "
            f"brake_coast.detector_data.nuimages.cameras asks for; it has {', '.join(sorted(sensors.values()))}"
        )
    calibrated = table(folder, "calibrated_sensor", ("token", "sensor_token"))
    return {row["token"]: sensors[row["sensor_token"]] for row in calibrated if row["sensor_token"] in sensors}


def boxes_of(folder: Path, annotations: list[dict], classes: Classes) -> tuple[dict, dict, Counter]:
    """({image: [(box, class)]}, {image: (place, fault)}, boxes by category that is none of ours)."""
    names = {row["token"]: row["name"] for row in table(folder, "category", ("token", "name"))}
    boxes: dict[str, list] = {}
    faults: dict[str, tuple[str, str]] = {}
    dropped: Counter = Counter()
    for row in annotations:
        image = row["sample_data_token"]
        try:
            name = followed(row, "category_token", names, "category")
            number = classes.number(name)
            if number is None:
                dropped[name] += 1
            else:
                boxes.setdefault(image, []).append((checked(row["bbox"]), number))
        except ValueError as error:
            faults.setdefault(image, (f"{folder.name}/object_ann.json: {row['token']}", str(error)))
    return boxes, faults, dropped


def read_version(
    folder: Path,
    annotations: list[dict],
    roots: list[Path],
    params: DetectorData,
    labels: Labels,
    taken: dict[str, str],
) -> None:
    """Add the key frames of one version to `labels`, but for those `taken`: {file name: version}."""
    twice: Counter = Counter()
    here: set[str] = set()
    categories = [row["name"] for row in table(folder, "category", ("token", "name"))]
    classes = Classes(params.classes, categories, folder / "category.json")
    boxes, faults, dropped = boxes_of(folder, annotations, classes)
    channels = channels_of(folder, params.nuimages.cameras)
    logs = {row["token"]: row["logfile"] for row in table(folder, "log", ("token", "logfile"))}
    frames = table(folder, "sample_data", KEY_FRAME, keep=lambda row: row.get("is_key_frame") is True)
    frame_of = {row["token"]: row for row in frames}
    for name, count in dropped.items():
        labels.dropped[name] = labels.dropped.get(name, 0) + count
    for sample in table(folder, "sample", ("token", "log_token", "key_camera_token")):
        try:
            frame = followed(sample, "key_camera_token", frame_of, "sample_data with is_key_frame, of sample_data")
            channel = followed(frame, "calibrated_sensor_token", channels, "calibrated_sensor")
            if channel not in params.nuimages.cameras:
                continue
            sequence, name = followed(sample, "log_token", logs, "log"), frame["filename"]
            if (other := taken.setdefault(name, folder.name)) != folder.name or name in here:
                twice[other] += 1
                continue
            here.add(name)
            path = locate(roots, name) if inside(name) else None
            if path is None:
                raise ValueError(f"there is no image {name}")
            if frame["token"] in faults:
                place, why = faults[frame["token"]]
                labels.broken[place] = why
                continue
        except ValueError as error:
            labels.broken[f"{folder.name}/sample.json: {sample['token']}"] = str(error)
            continue
        boxes_ = boxes.get(frame["token"], [])
        size_px = frame["width"], frame["height"]
        numbers = np.array([number for _, number in boxes_], int)
        short = name.removeprefix("samples/")
        labels.images.append(Labelled(short, path, sequence, rows(box for box, _ in boxes_), numbers, size_px=size_px))
    for other, count in twice.items():
        labels.remarks.append(f"{count} images of {folder.name} are in {other} too: each is taken once, from {other}")


def read(roots: list[Path], params: DetectorData) -> Labels:
    folders = versions(roots)
    if not folders:
        raise BadInput(f"{roots[0]}: no tables of nuImages; expected {WHAT}")
    labels = Labels(list(dict.fromkeys(name for name in params.classes.values() if name is not None)))
    columns = ("token", "sample_data_token", "category_token", "bbox")
    annotated = [(folder, table(folder, "object_ann", columns)) for folder in folders]
    taken: dict[str, str] = {}
    for folder, boxes in sorted(annotated, key=lambda pair: -len(pair[1])):
        if boxes:
            read_version(folder, boxes, roots, params, labels, taken)
        else:
            log.warning("%s has no annotations, so its images are no examples", folder.name)
    if not labels.images and not labels.broken:
        raise BadInput(f"{roots[0]}: no annotated key frame of {', '.join(params.nuimages.cameras)} in its tables")
    return labels.sorted()
