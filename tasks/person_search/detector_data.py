"""Labelled images of every data set as one YOLO data set of persons.

Reads    download/<unit>/{data.yaml,images,labels} of the units with a `detect` part
Writes   detector_data/images/<split>/*, labels/<split>/*.txt, dataset.yaml    by tasks/yard/layouts/yolo_write.py
         detector_data/dataset.json    {empty, splits: {split: {images, boxes, background}}, datasets: {name: {how,
                                       images}}, classes, boxes_of_other_classes, bad_lines_dropped, left_out}
         detector_data/boxes.png
Alone    python -m tasks person_search-detector_data

A data set keeps the splits that it comes with. One that lacks some gets them out of its train images (without those,
all are divided anew), whole groups at a time: a unit, a folder, or a name before its last number, since neighbouring
frames are all but equal. Where the names show too few groups, runs of neighbouring names are taken, and `how` says so.

Where the sources hold no labelled images, dataset.json says why under `empty` (null otherwise), its counts are 0, and
there is no dataset.yaml: a later step has to look.
"""

from __future__ import annotations

import fnmatch
import logging
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.person_search.importers import checks
from tasks.person_search.importers.checks import described
from tasks.person_search.page import sheets
from tasks.person_search.params import DetectorData
from tasks.yard.files import natural, read_json, replacing, write_json
from tasks.yard.layouts import yolo, yolo_write
from tasks.yard.layouts.images import fault, for_trainer
from tasks.yard.step import BadInput, Context

log = logging.getLogger(__name__)
SPLITS = yolo.SPLITS
RUNS = 10  # that the images of one sequence are cut into, where there is no more than one
SHOWN = 6


@dataclass(frozen=True)
class Example:
    image: Path
    name: str  # of the file it becomes, without suffix
    dataset: str
    split: str
    group: str  # what must not be divided between splits
    boxes: tuple[tuple[float, ...], ...]  # corners as shares of the image


def person_numbers(file: Path, names: Mapping[int, str], patterns: list[str]) -> set[int]:
    """Classes that count as persons. Raises `BadInput` if none does."""
    found = {n for n, name in names.items() if any(fnmatch.fnmatchcase(name.lower(), p.lower()) for p in patterns)}
    if not found:
        shown = ", ".join(list(names.values())[:12])
        raise BadInput(f"{file}: none of its classes ({shown}) is a person by person_search.detector_data.classes")
    return found


def group_of(unit: str, image: Path, folder: Path) -> str:
    """Unit, folder, and the name before its last number: c3s1_000451 is of c3s1."""
    inner = image.relative_to(folder)
    return f"{unit}/{inner.parent.as_posix()}/{re.sub(r'[-_.]*[0-9]+$', '', image.stem)}"


def boxes_in(
    label: Path, names: Mapping[int, str], persons: set[int], where: str, params: DetectorData, tally: Counter
) -> list[tuple]:
    """Boxes of persons, clipped to the image. Raises `BadInput` naming file and line of what is not to be dropped."""
    boxes = []
    for line, number, box, why in checks.label_lines(label, names) if label.is_file() else ():
        if why and not params.drop_bad_labels:
            raise BadInput(
                f"{label}, line {line}: {why}. Mend it where it came from ({where}), or set "
                "person_search.detector_data.drop_bad_labels"
            )
        if why:
            tally["bad_lines_dropped"] += 1
        elif number not in persons:
            tally["boxes_of_other_classes"] += 1
        else:
            boxes.append(tuple(np.clip(box, 0, 1).tolist()))
    return boxes


def read_unit(folder: Path, params: DetectorData, tally: Counter, left_out: dict[str, str]) -> list[Example]:
    file, content = described(folder)
    names = yolo.names_of(file, content)
    persons = person_numbers(file, names, params.classes)
    about = read_json(folder / "unit.json")
    dataset, where = about["dataset"], about["where"]
    found: dict[str, Example] = {}
    for split in SPLITS:
        for image in checks.images_of(folder, split):
            if why := fault(image):
                left_out[image.relative_to(folder.parent).as_posix()] = f"cannot be used, it {why}"
                continue
            boxes = boxes_in(yolo.label_file(image), names, persons, where, params, tally)
            inner = image.relative_to(folder / "images" / split).with_suffix("").as_posix().replace("/", "__")
            group = group_of(folder.name, image, folder / "images" / split)
            name = f"{folder.name}__{inner}"
            name = f"{name}__{split}" if name in found else name  # two splits may be made one
            found[name] = Example(image, name, dataset, split, group, tuple(boxes))
    return list(found.values())


def taken(sizes: Mapping[str, int], wanted: float, order: list[str]) -> list[str]:
    """Of the groups, in this order, those that bring their sum nearer to `wanted`; at least one, never all."""
    chosen, total = [], 0
    for group in order[:-1]:
        if abs(total + sizes[group] - wanted) < abs(total - wanted):
            chosen.append(group)
            total += sizes[group]
    return chosen or [min(order, key=lambda group: (sizes[group], order.index(group)))]


def runs(examples: list[Example]) -> dict[Example, str]:
    """A group of their own for neighbouring names."""
    ordered = sorted(examples, key=lambda e: natural(e.name))
    parts = min(RUNS, len(ordered))
    return {example: f"run {place * parts // len(ordered)}" for place, example in enumerate(ordered)}


def with_splits(examples: list[Example], params: DetectorData) -> tuple[dict[Example, str], str]:
    """A split for each image of one data set, and how they came about. Raises `BadInput` for fewer than 3 images."""
    chosen = {example: example.split for example in examples}
    there = set(chosen.values())
    if there == set(SPLITS):
        return chosen, "the source's own"
    dataset = examples[0].dataset
    lacking = [split for split in ("test", "val") if "train" not in there or split not in there]
    free = [example for example in examples if "train" not in there or example.split == "train"]
    groups = {example: example.group for example in free}
    by = "groups of one folder or sequence"
    if len(set(groups.values())) <= len(lacking):
        groups = runs(free)
        by = f"runs of neighbouring names, as the names show {len({e.group for e in free})} sequence(s) only"
        log.warning("%s: %s made from %s", dataset, " and ".join(lacking), by)
    if len(set(groups.values())) <= len(lacking):
        raise BadInput(f"{dataset}: {len(free)} labelled images to make {' and '.join(lacking)} from; add some")
    if "train" not in there:
        chosen = dict.fromkeys(examples, "train")
    sizes = Counter(groups.values())
    left = [sorted(sizes)[i] for i in np.random.default_rng(params.seed).permutation(len(sizes))]
    for place, split in enumerate(lacking):
        keep = len(lacking) - place - 1  # one group each for those that come after
        mine = set(taken(sizes, getattr(params.shares, split) * len(examples), left[: len(left) - keep]))
        left = [group for group in left if group not in mine]
        chosen |= {example: split for example in free if groups[example] in mine}
    whole = "all images" if "train" not in there else "train"
    kept = f"; {', '.join(s for s in SPLITS if s in there)} of the source" if "train" in there else ""
    return chosen, f"{' and '.join(sorted(lacking))} made from {whole} by {by}{kept}"


def write(example: Example, split: str, out: Path) -> None:
    suffix, content = for_trainer(example.image.read_bytes())
    image, label = yolo_write.places(out, split, example.name, suffix)
    with replacing(image) as temporary:
        temporary.write_bytes(content)
    yolo_write.write_labels(label, [0] * len(example.boxes), np.array(example.boxes).reshape(-1, 4))


def run(params: DetectorData, out: Path, ctx: Context = Context(), *, download: Path) -> dict[str, float]:
    """Returns images and boxes per split. Raises `BadInput` for a wrong label line, naming its file and line."""
    yolo_write.clear(out)
    tally: Counter[str] = Counter({"bad_lines_dropped": 0, "boxes_of_other_classes": 0})
    left_out: dict[str, str] = {}
    datasets: dict[str, list[Example]] = defaultdict(list)
    for about in sorted(download.glob("*/unit.json")):
        if "detect" in read_json(about)["parts"]:
            for example in read_unit(about.parent, params, tally, left_out):
                datasets[example.dataset].append(example)
    how, split_of = {}, {}
    for dataset, examples in sorted(datasets.items()):
        chosen, said = with_splits(examples, params)
        split_of |= chosen
        how[dataset] = {"how": said, "images": dict(sorted(Counter(chosen.values()).items()))}
    counts = {split: {"images": 0, "boxes": 0, "background": 0} for split in SPLITS}
    for example in ctx.progress(sorted(split_of, key=lambda e: e.name), desc="detector data", unit="image"):
        split = split_of[example]
        write(example, split, out)
        counts[split]["images"] += 1
        counts[split]["boxes"] += len(example.boxes)
        counts[split]["background"] += not example.boxes
    for where, why in left_out.items():
        log.warning("left out %s: %s", where, why)
    empty = None if split_of else "the sources hold no labelled images (YOLO or COCO); nothing to train a detector on"
    if empty is None and not counts["train"]["boxes"]:
        log.warning("no training image shows a person: a detector can learn nothing from these")
    if empty is None:
        yolo_write.write_description(out, [split for split in SPLITS if counts[split]["images"]], ["person"])
    else:
        log.warning("%s", empty)
    write_json(out / "dataset.json", {
        "empty": empty, "splits": counts, "datasets": how, "classes": ["person"], "left_out": left_out, **tally,
    })  # fmt: skip
    some = [e for e in split_of if e.boxes]
    some = some[:: max(1, len(some) // SHOWN)][:SHOWN]
    sheets.scenes(out / "boxes.png", {f"{split_of[e]} {e.name}": (e.image, e.boxes) for e in some})
    metrics = {f"{split}_{what}": counts[split][what] for split in SPLITS for what in ("images", "boxes")}
    return {**metrics, **tally, "left_out": len(left_out)}
