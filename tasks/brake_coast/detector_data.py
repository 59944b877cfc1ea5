"""Labelled vehicle images as a YOLO dataset, cropped to what `annotate` will show the detector, split by sequence.

Reads    params.source: synth://highway?..., or a folder, archive or URL of Boxy, nuImages, COCO or YOLO data, or a .txt
         that lists several of them; importers/ here and tasks/yard/layouts/ say what each holds
Writes   detector_data/images/{train,val,test}/*.jpg, labels/{train,val,test}/*.txt, dataset.yaml, report.json
         detector_data/splits.json         which sequences are in each split (tasks/yard/splits.py)
         detector_data/learnt_from.json    for pack, which tests on none of these (tasks/yard/layouts/seen.py)
Alone    python -m tasks brake_coast-detector_data

Neighbouring frames of a drive are all but equal, so a sequence never lies in two splits; a source that comes split
stays so, and a split that it lacks is drawn from its train. Where images lie in no folder of their own, their names
show what belongs together (tasks/yard/layouts/groups.py), or runs of neighbours do, with a guard between those of two
splits. A sequence that was here before keeps its split. An image to learn from that another split holds too, byte by
byte, is left out. Boxes are clipped to the crop; an image left without any stays, as background.
"""

from __future__ import annotations

import logging
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np

from tasks.brake_coast.importers import boxy, nuimages
from tasks.brake_coast.importers import highway as highway_files
from tasks.brake_coast.importers.examples import Made, draw, make_all, stem_of
from tasks.brake_coast.params import DetectorData
from tasks.yard import saying, splits
from tasks.yard.files import write_json
from tasks.yard.layouts import bringing, coco, groups, seen, yolo, yolo_write
from tasks.yard.layouts.example import Labelled, Labels, refuse_too_many
from tasks.yard.layouts.images import SUFFIXES
from tasks.yard.sources import local as sources
from tasks.yard.sources import units
from tasks.yard.sources import uri as source_uri
from tasks.yard.splits import SPLITS
from tasks.yard.step import BadInput, Context
from tasks.yard.worlds import highway

log = logging.getLogger(__name__)

LAYOUTS: dict[str, ModuleType] = {"nuimages": nuimages, "yolo": yolo, "coco": coco, "boxy": boxy}
BATCH = 100  # images that a worker makes at a time


def listed(source: str) -> list[str]:
    """The sources that a .txt names, one a line; any other source is itself."""
    file = Path(source)
    if source_uri.scheme(source) or file.suffix.lower() != ".txt" or not file.is_file():
        return [source]
    lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()]
    found = [line for line in lines if line and not line.startswith("#")]
    for line in found:
        if source_uri.scheme(line) == "synth":
            raise BadInput(f"{source}: {line} is a world, which is a source of its own")
    if not found:
        raise BadInput(f"{source}: names no source; one a line is expected")
    return found


@contextmanager
def source_folders(source: str, ctx: Context) -> Iterator[list[Path]]:
    """The folders that a source stands for; that of a synthetic world is gone afterwards."""
    if source_uri.scheme(source) != "synth":
        yield [sources.local(uri, progress=ctx.progress) for uri in listed(source)]
        return
    world = highway.parse(source)
    numbers = list(range(highway.detector_sequences(world)))
    with tempfile.TemporaryDirectory(prefix="highway-") as name:
        work = partial(highway_files.write_sequence, world, folder=Path(name))
        results = ctx.map(work, numbers, names=[f"sequence {number}" for number in numbers])
        for _, result in ctx.progress(results, total=len(numbers), desc="detector images", unit="drive"):
            if isinstance(result, Exception):
                raise result
        yield [Path(name)]


def layout_of(roots: list[Path], params: DetectorData) -> ModuleType:
    if params.layout != "auto":
        return LAYOUTS[params.layout]
    for layout in LAYOUTS.values():
        if layout.found(roots):
            return layout
    known = "".join(f"\n  {name}: {layout.WHAT}" for name, layout in LAYOUTS.items())
    inside = sorted(path.name for root in roots if root.is_dir() for path in root.iterdir())[:8]
    raise BadInput(
        f"{source_uri.redacted(params.source)}: holds {', '.join(inside) or 'nothing'}, which is no known layout of "
        f"labelled images:{known}"
    )


def split_of(
    sizes: Mapping[str, int],
    shares: Mapping[str, float],
    seed: int,
    wanted: tuple[str, ...] = SPLITS,
    kept: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """One of `wanted` for each sequence: in random order, each to where most is lacking. Each gets one or more.

    `kept`: sequences that have their split already.
    """
    chosen = dict(kept or {})
    if len(sizes) < len(wanted):
        numbers = {2: "two splits need two", 3: "three splits need three"}[len(wanted)]
        raise BadInput(f"brake_coast.detector_data.source has {len(sizes)} sequences; {numbers} or more")
    new = sorted(sizes.keys() - chosen.keys())
    order = [new[i] for i in np.random.default_rng(seed).permutation(len(new))]
    lacking = {split: shares[split] * sum(sizes.values()) for split in wanted}
    for sequence, split in chosen.items():
        lacking[split] -= sizes[sequence]
    empty = [split for split in reversed(wanted) if split not in chosen.values()]
    chosen |= dict(zip(order, empty, strict=False))
    for sequence in order:
        split = chosen.setdefault(sequence, max(wanted, key=lacking.__getitem__))
        lacking[split] -= sizes[sequence]
    return chosen


def sequences_of(items: list[Labelled], by_name: bool, least: int, known: Mapping[str, str]) -> tuple[dict, bool]:
    """({image: what must not be divided}, whether that is runs of neighbours: names show, or showed, fewer than
    `least`)."""
    sequences = {item.name: item.sequence for item in items}
    stems = {item.name: Path(item.name).with_suffix("").as_posix() for item in items}
    few = len(set(sequences.values())) < least
    if not by_name or not (few or groups.were_runs(stems.values(), known)):
        return sequences, False
    runs = groups.runs(stems.values(), known)
    log.warning(
        "the names of the images show %d sequence(s)%s: runs of neighbouring names are taken for sequences",
        len(set(sequences.values())), " only" if few else ", but were divided before",
    )  # fmt: skip
    return {name: runs[stem] for name, stem in stems.items()}, True


def with_splits(
    labels: Labels, params: DetectorData, known: Mapping[str, str], out: Path
) -> tuple[list[tuple[Labelled, str]], list[tuple[str, str]]]:
    """Each image with its split, and (sequence, split): the own ones, and what is lacking out of train."""
    own = {item.split for item in labels.images}
    kept = None not in own and "train" in own
    wanted = tuple(split for split in SPLITS if split == "train" or split not in own) if kept else SPLITS
    free = [item for item in labels.images if not kept or item.split == "train"]
    where = {item.name: str(item.split) for item in labels.images}
    sequences = {item.name: item.sequence for item in labels.images}
    guarded: set[str] = set()
    if len(wanted) > 1:
        mine, are_runs = sequences_of(free, labels.by_name, len(wanted), known)
        sequences |= mine
        sizes = Counter(sequences[item.name] for item in free)
        if kept and wanted == ("train", "test") and len(sizes) < len(wanted):
            log.warning("no test images, and too few sequences in train to draw some from")
        else:
            if kept:
                log.warning("the source has no %s: drawn from its train, by sequence", " and no ".join(wanted[1:]))
            settled = {name: known[name] for name in sizes if known.get(name) in wanted}
            chosen = split_of(sizes, params.shares.model_dump(), params.seed, wanted, settled)
            splits.refuse_empty(set(chosen.values()) | (own - {None}), out)
            where |= {item.name: chosen[sequences[item.name]] for item in free}
            if are_runs:
                stems = {item.name: Path(item.name).with_suffix("").as_posix() for item in free}
                run_of = {stem: sequences[name] for name, stem in stems.items()}
                near = groups.guard(run_of, chosen, params.guard_images)
                guarded = {name for name, stem in stems.items() if stem in near}
                labels.remarks += groups.guard_remarks(guarded, params.guard_images)
    today = list(dict.fromkeys((sequences[item.name], where[item.name]) for item in labels.images))
    labels.remarks += splits.moved(known, today)
    return [(item, where[item.name]) for item in labels.images if item.name not in guarded], today


def without_doubles(labels: Labels) -> None:
    """Two images whose names differ in the suffix only would overwrite each other."""
    first: dict[str, str] = {}
    for item in labels.images:
        if (other := first.setdefault(stem_of(item), item.name)) != item.name:
            labels.broken[item.name] = f"{other} has the same name but for its suffix"
    labels.images = [item for item in labels.images if first[stem_of(item)] == item.name]


def make_examples(items: list[tuple[Labelled, str]], params: DetectorData, out: Path, ctx: Context) -> list[Made]:
    """In the order of the items, whatever the order in which workers end."""
    batches = [items[start : start + BATCH] for start in range(0, len(items), BATCH)]
    names = [f"images from {BATCH * number}" for number in range(len(batches))]
    made: dict[int, list[Made] | Exception] = {}
    bits = bringing.bits_of_deep(item.path for item, _ in items)
    results = ctx.map(partial(make_all, params=params, out=out, bits=bits), batches, names=names)
    with ctx.progress(total=len(items), desc="detector data", unit="image") as bar:
        for index, result in results:
            made[index] = result
            bar.update(len(batches[index]))
    for _, result in sorted(made.items()):
        if isinstance(result, Exception):
            raise result
    return [one for _, batch in sorted(made.items()) for one in batch]


def surplus_background(made: list[Made], params: DetectorData) -> set[str]:
    """Stems of training images without a box beyond `background_share`; which ones does not depend on their order."""
    train = [one for one in made if one.split == "train" and one.fault is None]
    empty = sorted((one.stem for one in train if not one.boxes), key=lambda stem: draw(params.seed, "background", stem))
    if params.background_share is None:
        return set()
    share = params.background_share
    return set(empty[int(share * (len(train) - len(empty)) / (1 - share) + 1e-9) :])


def check_broken(broken: dict[str, str], entries: int, params: DetectorData) -> None:
    where = source_uri.redacted(params.source)
    refuse_too_many(broken, entries, params.max_broken_share, where, "brake_coast.detector_data.max_broken_share")


def pictures_left(roots: list[Path], labels: Labels, params: DetectorData) -> list[dict]:
    """The images of each root that no example is made of: those that no label names, and those left out. Said, too."""
    used = units.among(item.path for item in labels.images)
    found = [units.passed_over(root, lambda path: path.suffix.lower() not in SUFFIXES or used(path)) for root in roots]
    for left in found:
        units.say_passed_over(left, source_uri.redacted(params.source), log)
    return [left for left in found if left]


def run(params: DetectorData, out: Path, ctx: Context = Context()) -> dict[str, float]:
    """Returns images and boxes per split and how many images could not be used.

    Raises `BadInput` if more than `max_broken_share` of the entries are broken, naming the first; fewer are left out
    and listed in the report.
    """
    known = splits.known(out, params.splits)
    with yolo_write.replacing_all(out) as new:
        return make_dataset(params, new, ctx, known, out)


def make_dataset(
    params: DetectorData, out: Path, ctx: Context, known: Mapping[str, str], earlier: Path
) -> dict[str, float]:
    """The whole dataset in `out`, an empty folder. `known`: the splits of sequences that were in `earlier`."""
    with source_folders(params.source, ctx) as roots:
        layout = layout_of(roots, params)
        labels = layout.read(roots, params)
        left = pictures_left(roots, labels, params) if layout is not nuimages else []  # it has sweeps by the million
        without_doubles(labels)
        broken, entries = labels.broken, len(labels.images) + len(labels.broken)
        check_broken(broken, entries, params)
        items, today = with_splits(labels, params, known, earlier)
        pictures = {item.name: seen.picture(item.path) for item, _ in items}
        lost = seen.copies((item.name, pictures[item.name], split) for item, split in items)
        items = [(item, split) for item, split in items if item.name not in lost]
        labels.remarks += seen.remarks(lost)
        made = make_examples(items, params, out, ctx)
    broken |= {item.name: one.fault for (item, _), one in zip(items, made, strict=True) if one.fault is not None}
    check_broken(broken, entries, params)
    surplus = surplus_background(made, params)
    for path in (path for stem in surplus for path in yolo_write.places(out, "train", stem)):
        path.unlink()

    counts = {s: {"sequences": 0, "images": 0, "boxes": 0, "background_images": 0} for s in SPLITS}
    dropped = Counter({"bonnet": 0, "outside": 0, "small": 0})
    of: dict[str, list[str]] = {}
    for sequence, split in today:
        counts[split]["sequences"] += 1
        of.setdefault(sequence, []).append(split)
    for one in (one for one in made if one.fault is None and one.stem not in surplus):
        dropped.update(dict(one.dropped))
        count = counts[one.split]
        count["images"] += 1 + one.negative
        count["boxes"] += one.boxes
        count["background_images"] += (not one.boxes) + one.negative
    if not counts["train"]["boxes"]:
        gone = ", ".join(f"{count} {why}" for why, count in dropped.items() if count) or "its labels hold none"
        log.warning(
            "%s: not one box in %d training images (%s); are classes, sizes and min_box_px those of this source?",
            source_uri.redacted(params.source), counts["train"]["images"], gone,
        )  # fmt: skip
    for remark in labels.remarks:
        log.warning("%s", remark)
    lines = [f"left out {where}: {why}" for where, why in broken.items()]
    saying.few(log, lines, "are left out, all of them in report.json")
    if labels.absent:
        log.warning("labelled but not in the source: %s", ", ".join(labels.absent))
    yolo_write.write_description(out, [split for split in SPLITS if counts[split]["images"]], labels.names)
    options = {"boxes_of_other_classes": labels.dropped, "sequences_without_images": labels.absent}
    options |= {"backgrounds_left_out": len(surplus), "crowd_boxes": labels.crowds}
    options |= {"remarks": labels.remarks, "passed_over": left}
    options |= {"hard_negatives": sum(one.negative for one in made)}
    anew = {"turned_as_shown": sum(one.turned for one in made), "brought_to_8_bits": sum(one.deep for one in made)}
    options |= anew
    for remark in bringing.remarks(anew):
        log.warning("%s: %s", source_uri.redacted(params.source), remark)
    report = {"splits": counts, "boxes_dropped": dict(dropped), "broken": broken}
    report["sequences"] = {sequence: ", ".join(mine) for sequence, mine in of.items()}
    write_json(out / "report.json", report | {key: value for key, value in options.items() if value})
    splits.write(out, splits.manifest(today, known))
    seen.write(out, today, ((pictures[item.name], split) for item, split in items))
    metrics = {f"{split}_{what}": counts[split][what] for split in SPLITS for what in ("images", "boxes")}
    return {**metrics, "broken_entries": len(broken)}
