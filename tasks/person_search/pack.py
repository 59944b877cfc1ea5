"""Crops of one size in one file a split, with who, where and in which part: what training and evaluation read.

Reads    download/<unit>/{bounding_box_train,query,bounding_box_test} of the units with a `reid` part; truth.csv of the
         cameras for validation
Writes   pack/{train,val,test}.h5: images uint8 (N, height_px, width_px, 3) RGB; identity int32 (N) from 0, a number a
         person of this split, a distractor -1; camera int32 (N) from 1; role uint8 (N): 0 train, 1 query, 2 gallery;
         dataset int32 (N), place in the config's `datasets`; path utf-8 (N), below download/
         pack/dataset_config.json   {height_px, width_px, datasets, identities: {split: ["<dataset>:<person>", ...]},
                                    whose places are the numbers, cameras: {dataset: [...]}, counts: {split: {...}},
                                    left_out: {path: why}, empty, missing: {split: why it has no crops}, ...}
         pack/splits.json           the people of each split (tasks/yard/splits.py)
         pack/people.png            some people of each split
Alone    python -m tasks person_search-pack

Resized by PIL's bilinear filter, which is antialiased: what torchvision's Resize does to a PIL image, and with that
torchreid and its published numbers. Validation people are a seeded share of the training people, whole, of those seen
by two cameras or more, first of all those whom a camera for validation shows; for each of them one image a camera asks,
the others answer. They are drawn by their names, and who was packed before stays in his split. A crop to learn from of
which another split holds the same bytes is left out.

Where the sources hold no crops all three files have 0 rows and `empty` says why (null otherwise).
"""

from __future__ import annotations

import logging
import shutil
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

from tasks.person_search.formats import cameras, reid_layout
from tasks.person_search.formats.reid_layout import DISTRACTOR, GALLERY, QUERY, Crop
from tasks.person_search.page import sheets
from tasks.person_search.params import Pack
from tasks.yard import saying
from tasks.yard import splits as yard_splits
from tasks.yard.files import FULL_DISK, digest, read_json, replacing, write_json
from tasks.yard.layouts.images import picture
from tasks.yard.step import BadInput, Context, cores

log = logging.getLogger(__name__)

SPLITS = yard_splits.SPLITS
ROLES = {"train": 0, "query": 1, "gallery": 2}
VERSION = ("v110", "v110")  # fixed, so that the bytes do not depend on the library's newest format
BATCH = 256  # crops that are decoded, then written
SHEET_PEOPLE, SHEET_CROPS = 4, 10
EMPTY = "the sources hold no crops of people (Market-1501's layout); nothing to learn or to judge re-identification on"


@dataclass(frozen=True)
class Row:
    """One crop of one split."""

    path: Path
    name: str  # below download/
    dataset: str
    key: str | None  # "<dataset>:<person>", None for a distractor
    camera: int
    role: str


def draw(seed: int, *what: object) -> str:
    """A place in a random order that depends on nothing but what it is of."""
    return digest(seed, *what)


def rows_of(crops: Iterable[Crop], dataset: str, download: Path, role: str) -> list[Row]:
    return [
        Row(crop.path, crop.path.relative_to(download).as_posix(), dataset,
            None if crop.person == DISTRACTOR else reid_layout.key_of(dataset, crop.person), crop.camera, role)
        for crop in crops
    ]  # fmt: skip


def read_crops(download: Path) -> tuple[list[Row], list[Row]]:
    """(those to train on, those to test on) of all units, sorted by their names."""
    train, test = [], []
    for about in sorted(download.glob("*/unit.json")):
        said = read_json(about)
        if "reid" in said["parts"]:
            crops = reid_layout.read(about.parent)
            train += rows_of(crops.subsets[reid_layout.TRAIN], said["dataset"], download, "train")
            test += rows_of(crops.subsets[QUERY], said["dataset"], download, "query")
            test += rows_of(crops.subsets[GALLERY], said["dataset"], download, "gallery")
    return train, test


def by_camera(rows: Iterable[Row]) -> dict[str, dict[int, list[Row]]]:
    """{identity: {camera: its rows}}."""
    found: dict[str, dict[int, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        found[row.key][row.camera].append(row)
    return found


def validation_people(
    people: Mapping[str, Mapping[int, list[Row]]], params: Pack, known: Mapping[str, str], shown: Collection[str] = ()
) -> set[str]:
    """A share of all, of those seen by two cameras or more; two people always stay to be learnt from. Who was one of
    them before stays one, and who was learnt from too. Whoever is `shown` in frames for validation is one of them."""
    settled = {key for key in people if known.get(key) == "val"}
    settled |= {key for key in shown if key in people and known.get(key) != "train"}
    new = (key for key, seen in people.items() if len(seen) > 1 and known.get(key) != "train" and key not in settled)
    able = sorted(new, key=lambda key: draw(params.seed, key))
    wanted = min(round(params.val_share * len(people)), max(0, len(people) - 2))
    return settled | set(able[: max(0, wanted - len(settled))])


def asked(cameras: Mapping[int, list[Row]], seed: int) -> set[str]:
    """Names of the images of one person that ask: one of each camera with two or more, else one of the first camera.

    So every query has an answer from another camera, where there are two.
    """
    several = [rows for _, rows in sorted(cameras.items()) if len(rows) > 1]
    several = several or [rows for _, rows in sorted(cameras.items())][:1]
    return {min((row.name for row in rows), key=lambda name: draw(seed, name)) for rows in several}


def divided(
    train: list[Row], params: Pack, known: Mapping[str, str], shown: Collection[str]
) -> tuple[list[Row], list[Row]]:
    """(training rows, validation rows with their roles)."""
    people = by_camera(train)
    chosen = validation_people(people, params, known, shown)
    asking = {name for key in chosen for name in asked(people[key], params.seed)}
    val = [
        Row(r.path, r.name, r.dataset, r.key, r.camera, "query" if r.name in asking else "gallery")
        for r in train
        if r.key in chosen
    ]
    return [row for row in train if row.key not in chosen], val


def copies(learnt: list[Row], judged: list[Row], download: Path) -> dict[str, str]:
    """{name of a crop to learn from: why it must not be} of those that are a file of validation or test as well."""
    content = {
        f"{about.parent.name}/{name}": of
        for about in sorted(download.glob("*/contents.json"))
        for name, of in read_json(about).items()
    }
    shown = {content[row.name]: row.name for row in judged if row.name in content}
    same = {row.name: shown[content[row.name]] for row in learnt if content.get(row.name) in shown}
    return {name: f"the same bytes as {other}, which is judged on" for name, other in same.items()}


def decoded(path: Path, width_px: int, height_px: int) -> np.ndarray | None:
    """(height_px, width_px, 3) uint8 RGB; None for what is no usable image."""
    image = picture(path)
    return None if image is None else np.asarray(image.resize((width_px, height_px), Image.Resampling.BILINEAR))


def batches(rows: list[Row], params: Pack, pool: ThreadPoolExecutor) -> Iterator[list[np.ndarray | None]]:
    """The pictures of `BATCH` rows after the other: no more of them are in memory."""

    def one(row: Row) -> np.ndarray | None:
        return decoded(row.path, params.width_px, params.height_px)

    for start in range(0, len(rows), BATCH):
        yield list(pool.map(one, rows[start : start + BATCH]))


def columns(rows: list[Row], identities: Mapping[str, int], datasets: list[str]) -> dict[str, np.ndarray]:
    paths = [row.name.encode() for row in rows]
    places = {name: place for place, name in enumerate(datasets)}
    return {
        "identity": np.array([-1 if row.key is None else identities[row.key] for row in rows], np.int32),
        "camera": np.array([row.camera for row in rows], np.int32),
        "role": np.array([ROLES[row.role] for row in rows], np.uint8),
        "dataset": np.array([places[row.dataset] for row in rows], np.int32),
        # Of one length: strings of any length lie in a heap, and reading one is a seek.
        "path": np.array(paths, h5py.string_dtype("utf-8", max(map(len, paths), default=1))),
    }


def write_split(
    path: Path, rows: list[Row], datasets: list[str], params: Pack, pool: ThreadPoolExecutor, bar
) -> tuple[list[str], list[Row]]:
    """Write one file, contiguous, in one pass; returns the identities and the rows whose crop cannot be read.

    If there are any, the file is of no use: call again without them.
    """
    identities = reid_layout.numbers(row.key for row in rows if row.key is not None)
    bad: list[Row] = []
    with h5py.File(path, "w", libver=VERSION) as file:
        shape = (len(rows), params.height_px, params.width_px, 3)
        images = file.create_dataset("images", shape, np.uint8, track_times=False)
        for number, pictures in enumerate(batches(rows, params, pool)):
            start = number * BATCH
            bad += [row for row, picture in zip(rows[start:], pictures, strict=False) if picture is None]
            if not bad:
                images[start : start + len(pictures)] = np.stack(pictures)
            bar.update(len(pictures))
        for name, values in columns(rows, identities, datasets).items():
            file.create_dataset(name, data=values, track_times=False)
    return list(identities), bad


def room_for(rows: int, params: Pack, out: Path) -> None:
    """Raises `BadInput` before anything is written: HDF5 fails once more when a half-written file is closed."""
    needed, free = rows * params.height_px * params.width_px * 3, shutil.disk_usage(out).free
    if needed > free:
        raise BadInput(f"{out}: no room for {needed / 1e6:.0f} MB of crops ({free / 1e6:.0f} MB are free); free some")


def counts_of(rows: list[Row]) -> dict[str, int]:
    keys = {row.key for row in rows} - {None}
    count = {role: sum(row.role == role for row in rows) for role in ROLES}
    gallery = by_camera(row for row in rows if row.role == "gallery")
    found = {"images": len(rows), "identities": len(keys), "distractors": sum(row.key is None for row in rows)}
    # By the rule of the benchmark: what the same camera saw of a person is no answer.
    lost = sum(row.role == "query" and not set(gallery.get(row.key, {})) - {row.camera} for row in rows)
    return found | {"queries": count["query"], "gallery": count["gallery"], "queries_without_match": lost}


def missing_of(splits: Mapping[str, list[Row]], params: Pack) -> dict[str, str]:
    """Why a split has no crops, for each that has none."""
    reasons = {
        "train": f"no crop in {reid_layout.TRAIN}/",
        "val": f"no person of {reid_layout.TRAIN}/ to spare that two cameras saw (val_share = {params.val_share:g})",
        "test": f"no crop in {QUERY}/ and {GALLERY}/",
    }
    if splits["val"]:
        reasons["train"] = f"all people of {reid_layout.TRAIN}/ validated before, and stay what they are"
    return {split: reasons[split] for split, rows in splits.items() if not rows}


def people_sheet(out: Path, splits: Mapping[str, list[Row]]) -> None:
    """A few people of each split; of val and test the queries come first."""
    shown = {}
    for split, rows in splits.items():
        people: dict[str, list[Row]] = defaultdict(list)
        for row in (row for row in rows if row.key is not None):
            people[row.key].append(row)
        keys = sorted(people)
        for key in keys[:: max(1, len(keys) // SHEET_PEOPLE)][:SHEET_PEOPLE]:
            mine = sorted(people[key], key=lambda row: (ROLES[row.role], row.camera, row.name))
            some = mine[:: max(1, len(mine) // SHEET_CROPS)][:SHEET_CROPS]
            shown[f"{split} {key}"[-27:]] = [row.path for row in some]
    sheets.people(out / "people.png", shown)


def run(params: Pack, out: Path, ctx: Context = Context(), *, download: Path) -> dict[str, float]:
    """Returns images, people and queries per split. Crops that cannot be read are left out, by name."""
    train, test = read_crops(download)
    known = yard_splits.known(out, params.splits)
    shown = cameras.shown_in(cameras.units_with_frames(download, "validation").values())
    learnt, val = divided(train, params, known, shown)
    left_out = copies(learnt, [*val, *test], download)
    splits = {"train": [row for row in learnt if row.name not in left_out], "val": val, "test": test}
    total = sum(map(len, splits.values()))
    datasets = sorted({row.dataset for row in (*train, *test)})
    room_for(total, params, out)
    identities: dict[str, list[str]] = {}
    try:
        with ExitStack() as stack:  # all files get their names once all of them are on the disk
            pool = stack.enter_context(ThreadPoolExecutor(params.threads or cores()))
            bar = stack.enter_context(ctx.progress(total=total, desc="pack", unit="crop"))
            for split in SPLITS:
                path = stack.enter_context(replacing(out / f"{split}.h5"))
                identities[split], bad = write_split(path, splits[split], datasets, params, pool, bar)
                if bad:
                    left_out |= {row.name: "not an image that can be read to its end" for row in bad}
                    splits[split] = [row for row in splits[split] if row.name not in left_out]
                    identities[split], _ = write_split(path, splits[split], datasets, params, pool, bar)
            counts = {split: counts_of(rows) for split, rows in splits.items()}
            seen: dict[str, set[int]] = defaultdict(set)
            for row in (*train, *test):
                seen[row.dataset].add(row.camera)
            numbers = {name: sorted(seen[name]) for name in datasets}
            write_json(stack.enter_context(replacing(out / "dataset_config.json")), {
                "height_px": params.height_px, "width_px": params.width_px, "datasets": datasets,
                "identities": identities, "cameras": numbers, "counts": counts, "left_out": left_out,
                "empty": EMPTY if not total else None, "missing": missing_of(splits, params),
                "resize": "PIL bilinear, antialiased", "val_share": params.val_share, "seed": params.seed,
            })  # fmt: skip
            today = [(key, split) for split in SPLITS for key in identities[split]]
            manifest = yard_splits.manifest(today, known)
            write_json(stack.enter_context(replacing(out / yard_splits.FILE)), manifest)
    except OSError as error:
        if error.errno not in FULL_DISK:
            raise
        raise BadInput(f"{out}: the disk is full ({error.strerror}); free some space") from None
    saying.few(log, [f"left out {name}: {why}" for name, why in left_out.items()], "are left out")
    for remark in yard_splits.moved(known, today):
        log.warning("%s", remark)
    for split, why in missing_of(splits, params).items():
        log.warning("%s has no crops: %s", split, EMPTY if not total else why)
    (out / "people.png").unlink(missing_ok=True)
    people_sheet(out, splits)
    kept = ("images", "identities", "queries", "distractors")
    metrics = {f"{split}_{what}": counts[split][what] for split in SPLITS for what in kept}
    return {**metrics, "cameras": sum(map(len, numbers.values())), "left_out": len(left_out)}
