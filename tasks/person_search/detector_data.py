"""Labelled images of every data set as one YOLO data set of persons.

Reads    download/<unit>/{data.yaml,images,labels} of the units with a `detect` part
Writes   detector_data/images/<split>/*, labels/<split>/*.txt, dataset.yaml    by tasks/yard/layouts/yolo_write.py
         detector_data/dataset.json    {empty, splits: {split: {images, boxes, background}}, datasets: {name: {how,
                                       images}}, classes, boxes_of_other_classes, left_out}
         detector_data/splits.json     which groups are in each split (tasks/yard/splits.py)
         detector_data/boxes.png
Alone    python -m tasks person_search-detector_data

A data set keeps the splits that it comes with. One that lacks some gets them out of its train images (without those,
all are divided anew), whole groups at a time: a unit, a folder, or what names show (tasks/yard/layouts/groups.py),
since neighbouring frames are all but equal. Where names show too few groups, runs of neighbouring names are taken, with
a guard between those of two splits, and `how` says so. A group that was here before keeps its split. Left out is an
image to learn from that is, byte by byte, one of a later split or a frame that is searched, or that by its name is a
frame of a film that is searched: written anew it has other bytes.

Where the sources hold no labelled images, dataset.json says why under `empty` (null otherwise), its counts are 0, and
there is no dataset.yaml: a later step has to look.
"""

from __future__ import annotations

import fnmatch
import logging
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.person_search.importers import checks
from tasks.person_search.importers.checks import described
from tasks.person_search.page import sheets
from tasks.person_search.params import DetectorData
from tasks.yard import saying, splits
from tasks.yard.files import read_json, replacing
from tasks.yard.layouts import groups, keypoints, seen, yolo, yolo_write
from tasks.yard.layouts.images import fault, for_trainer
from tasks.yard.splits import SPLITS
from tasks.yard.step import BadInput, Context

log = logging.getLogger(__name__)
SHOWN = 6


@dataclass(frozen=True)
class Example:
    image: Path
    name: str  # of the file it becomes, without suffix
    dataset: str
    split: str
    group: str  # what must not be divided between splits
    boxes: tuple[tuple[float, ...], ...]  # corners as shares of the image
    film: str = ""  # that its own name says it is a frame of


def person_numbers(file: Path, names: Mapping[int, str], patterns: list[str]) -> set[int]:
    """Classes that count as persons. Raises `BadInput` if none does."""
    found = {n for n, name in names.items() if any(fnmatch.fnmatchcase(name.lower(), p.lower()) for p in patterns)}
    if not found:
        shown = ", ".join(list(names.values())[:12])
        raise BadInput(f"{file}: none of its classes ({shown}) is a person by person_search.detector_data.classes")
    return found


def boxes_in(
    label: Path, names: Mapping[int, str], points: keypoints.Shape | None, persons: set[int], tally: Counter
) -> list[tuple]:
    """Boxes of persons, clipped to the image. Raises `ValueError` for a line that cannot be used."""
    boxes = []
    for line, number, box, why in checks.label_lines(label, names, points) if label.is_file() else ():
        if why:
            raise ValueError(f"line {line} of its labels: {why}")
        if number not in persons:
            tally["boxes_of_other_classes"] += 1
        else:
            boxes.append(tuple(np.clip(box, 0, 1).tolist()))
    return boxes


def read_unit(folder: Path, params: DetectorData, tally: Counter, left_out: dict[str, str]) -> list[Example]:
    file, content = described(folder)
    names, points = yolo.names_of(file, content), keypoints.said(file, content)
    persons = person_numbers(file, names, params.classes)
    dataset = read_json(folder / "unit.json")["dataset"]
    found: dict[str, Example] = {}
    for split in SPLITS:
        root = folder / "images" / split
        images = checks.images_of(folder, split)
        group = groups.groups(image.relative_to(root).with_suffix("").as_posix() for image in images)
        for image in images:
            if why := fault(image):
                left_out[image.relative_to(folder.parent).as_posix()] = f"cannot be used, it {why}"
                continue
            try:
                boxes = boxes_in(yolo.label_file(image), names, points, persons, tally)
            except ValueError as error:
                left_out[image.relative_to(folder.parent).as_posix()] = str(error)
                continue
            stem = image.relative_to(root).with_suffix("").as_posix()
            name = f"{folder.name}__{stem.replace('/', '__')}"
            name = f"{name}__{split}" if name in found else name  # two splits may be made one
            of = f"{folder.name}/{group[stem]}", tuple(boxes), groups.film_of_frame(stem)
            found[name] = Example(image, name, dataset, split, *of)
    return list(found.values())


def taken(sizes: Mapping[str, int], wanted: float, order: list[str], least: int = 1) -> list[str]:
    """Of the groups, in this order, those that bring their sum nearer to `wanted`; `least` or more, never all."""
    chosen, total = [], 0
    for group in order[:-1]:
        if abs(total + sizes[group] - wanted) < abs(total - wanted):
            chosen.append(group)
            total += sizes[group]
    return chosen or sorted(order, key=sizes.__getitem__)[:least]


def with_splits(
    examples: list[Example], params: DetectorData, known: Mapping[str, str], out: Path
) -> tuple[dict[Example, str], dict[Example, str], str]:
    """(the split of each image of one data set, the group of each, how they came about); images beside another split
    are left out. `known`: the splits of groups that had one before. Raises `BadInput` for fewer than 3 images."""
    chosen = {example: example.split for example in examples}
    there = set(chosen.values())
    groups_of = {example: example.group for example in examples}
    if there == set(SPLITS):
        return chosen, groups_of, "the source's own"
    dataset = examples[0].dataset
    lacking = [split for split in ("test", "val") if "train" not in there or split not in there]
    free = [example for example in examples if "train" not in there or example.split == "train"]
    group_of = {example: example.group for example in free}
    by, are_runs = "groups of one folder or sequence", False
    few = len(set(group_of.values())) <= len(lacking)
    if few or groups.were_runs([example.name for example in free], known):
        runs = groups.runs((example.name for example in free), known)
        group_of, are_runs = {example: runs[example.name] for example in free}, True
        why = f"the names show {len({e.group for e in free})} sequence(s) only" if few else "they were divided before"
        by = f"runs of neighbouring names, as {why}"
        log.warning("%s: %s made from %s", dataset, " and ".join(lacking), by)
    if len(set(group_of.values())) <= len(lacking):
        raise BadInput(f"{dataset}: {len(free)} labelled images to make {' and '.join(lacking)} from; add some")
    if "train" not in there:
        chosen = dict.fromkeys(examples, "train")
    sizes = Counter(group_of.values())
    split_of = {group: known[group] for group in sizes if known.get(group) in (*lacking, "train")}
    new = sorted(sizes.keys() - split_of.keys())
    left = [new[i] for i in np.random.default_rng(params.seed).permutation(len(new))]
    for place, split in enumerate(lacking):
        have = sum(sizes[group] for group, of in split_of.items() if of == split)
        later = [other for other in lacking[place + 1 :] if other not in split_of.values()]
        open_ = left[: len(left) - len(later)]  # one group each for those that come after
        wanted = getattr(params.shares, split) * len(examples) - have
        mine = taken(sizes, wanted, open_, least=0 if have else 1) if open_ else []
        split_of |= dict.fromkeys(mine, split)
        left = [group for group in left if group not in split_of]
    split_of |= dict.fromkeys(left, "train")
    splits.refuse_empty(set(split_of.values()) | (there if "train" in there else set()), out)
    chosen |= {example: split_of[group_of[example]] for example in free}
    near = groups.guard({e.name: group_of[e] for e in free}, split_of, params.guard_images) if are_runs else set()
    chosen = {example: split for example, split in chosen.items() if example.name not in near}
    whole = "all images" if "train" not in there else "train"
    kept = f"; {', '.join(s for s in SPLITS if s in there)} of the source" if "train" in there else ""
    said = "; ".join([f"{' and '.join(sorted(lacking))} made from {whole} by {by}{kept}",
                      *groups.guard_remarks(near, params.guard_images)])  # fmt: skip
    return chosen, groups_of | group_of, said


def copies(split_of: Mapping[Example, str], download: Path) -> dict[str, str]:
    """{name of an image: why it is left out} of those that another split, or a camera that is searched, shows too."""
    pictures = {example: seen.picture(example.image) for example in split_of}
    same = seen.copies((example.name, pictures[example], split) for example, split in split_of.items())
    lost = {name: f"the same bytes are in {split} too" for name, split in same.items()}
    mine = seen.Seen(pictures={pictures[e]: split for e, split in split_of.items() if split in seen.LEARNT})
    searched = {seen.picture(frame): frame for frame in sorted(download.glob("*/frames/*")) if mine.split_of(frame)}
    abouts = [read_json(about) for about in sorted(download.glob(f"*/{checks.CAMERA}"))]
    films = {Path(about["film"]).stem.lower(): about["film"] for about in abouts if about.get("film")}
    for example, split in split_of.items():
        if split in seen.LEARNT and (frame := searched.get(pictures[example])):
            lost[example.name] = f"the same bytes as {frame.relative_to(download).as_posix()}, which is searched"
        elif split in seen.LEARNT and (film := films.get(example.film)):
            lost[example.name] = f"by its name a frame of {film}, which is searched"
    return lost


def write(example: Example, split: str, out: Path) -> None:
    suffix, content = for_trainer(example.image.read_bytes())
    image, label = yolo_write.places(out, split, example.name, suffix)
    with replacing(image) as temporary:
        temporary.write_bytes(content)
    yolo_write.write_labels(label, [0] * len(example.boxes), np.array(example.boxes).reshape(-1, 4))


def run(params: DetectorData, out: Path, ctx: Context = Context(), *, download: Path) -> dict[str, float]:
    """Returns images and boxes per split. What cannot be used `download` has left out, up to its `max_broken_share`."""
    known = splits.known(out, params.splits)
    with yolo_write.replacing_all(out) as new:
        return make_dataset(params, new, ctx, download, known, out)


def make_dataset(
    params: DetectorData, out: Path, ctx: Context, download: Path, known: Mapping[str, str], earlier: Path
) -> dict[str, float]:
    """The whole data set in `out`, an empty folder. `known`: the splits of groups that were in `earlier`."""
    tally: Counter[str] = Counter({"boxes_of_other_classes": 0})
    left_out: dict[str, str] = {}
    datasets: dict[str, list[Example]] = defaultdict(list)
    for about in sorted(download.glob("*/unit.json")):
        if "detect" in read_json(about)["parts"]:
            for example in read_unit(about.parent, params, tally, left_out):
                datasets[example.dataset].append(example)
    how, split_of, groups_of = {}, {}, {}
    for dataset, examples in sorted(datasets.items()):
        chosen, mine, said = with_splits(examples, params, known, earlier)
        split_of |= chosen
        groups_of |= mine
        how[dataset] = {"how": said, "images": dict(sorted(Counter(chosen.values()).items()))}
    today = list(dict.fromkeys((groups_of[example], split) for example, split in split_of.items()))
    lost = copies(split_of, download)
    left_out |= lost
    split_of = {example: split for example, split in split_of.items() if example.name not in lost}
    counts = {split: {"images": 0, "boxes": 0, "background": 0} for split in SPLITS}
    for example in ctx.progress(sorted(split_of, key=lambda e: e.name), desc="detector data", unit="image"):
        split = split_of[example]
        write(example, split, out)
        counts[split]["images"] += 1
        counts[split]["boxes"] += len(example.boxes)
        counts[split]["background"] += not example.boxes
    saying.few(log, [f"left out {where}: {why}" for where, why in left_out.items()], "are left out")
    empty = None if split_of else "the sources hold no labelled images (YOLO or COCO); nothing to train a detector on"
    if empty is None and not counts["train"]["boxes"]:
        log.warning("no training image shows a person: a detector can learn nothing from these")
    if empty is None:
        yolo_write.write_description(out, [split for split in SPLITS if counts[split]["images"]], ["person"])
    else:
        log.warning("%s", empty)
    for remark in splits.moved(known, today):
        log.warning("%s", remark)
    splits.write(out, splits.manifest(today, known))
    yolo_write.write_about(out, empty, counts, datasets=how, classes=["person"], left_out=left_out, **tally)
    some = [e for e in split_of if e.boxes]
    some = some[:: max(1, len(some) // SHOWN)][:SHOWN]
    sheets.scenes(out / "boxes.png", {f"{split_of[e]} {e.name}": (e.image, e.boxes) for e in some})
    metrics = {f"{split}_{what}": counts[split][what] for split in SPLITS for what in ("images", "boxes")}
    return {**metrics, **tally, "left_out": len(left_out)}
