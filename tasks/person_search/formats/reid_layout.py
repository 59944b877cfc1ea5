"""The layout of Market-1501, which most re-identification data come in: three folders of crops, named by who and where.

    bounding_box_train/   people to learn from
    query/                of other people: whom to find
    bounding_box_test/    the gallery to find them in
    PPPP_cCsS_FFFFFF_BB.jpg     person, camera (from 1), session, frame, box; DukeMTMC's PPPP_cC_fFFFFFFF.jpg as well

Crops may lie in a folder a person, or a camera, within these, if their names say who and where all the same. Person
-1 is junk, a piece of someone, and is dropped. Person 0 is a distractor, nobody in particular: in the gallery it is
never a match, elsewhere it has no use and is dropped; both are counted and said. Torchreid nests the folders
(market1501/Market-1501-v15.09.15/), others do not: `find` takes both.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tasks.yard.layouts.images import SUFFIXES as IMAGE_SUFFIXES
from tasks.yard.step import BadInput

TRAIN, QUERY, GALLERY = SUBSETS = ("bounding_box_train", "query", "bounding_box_test")
NAME = re.compile(r"(-?\d+)_c(\d+)(?:s(\d+))?_f?(\d+)(?:_(\d+))?")
JUNK, DISTRACTOR = -1, 0
DEPTH = 4  # folders below a source in which data sets are looked for
NAMED = 5  # of many alike that a message names


@dataclass(frozen=True)
class Crop:
    path: Path
    person: int  # 1 or higher; 0 a distractor
    camera: int  # 1 or higher


@dataclass
class Crops:
    """By the folder they are in, sorted by file name."""

    subsets: dict[str, list[Crop]] = field(default_factory=lambda: {name: [] for name in SUBSETS})
    junk: int = 0
    dropped_distractors: int = 0  # those outside the gallery
    nobody: dict[str, int] = field(default_factory=dict)  # the same by subset

    def people(self, subset: str) -> set[int]:
        return {crop.person for crop in self.subsets[subset]} - {DISTRACTOR}

    def cameras(self) -> list[int]:
        return sorted({crop.camera for crops in self.subsets.values() for crop in crops})


def is_image(path: Path) -> bool:
    """By its name; a hidden file, such as the ._0001.jpg that macOS leaves on foreign disks, is none."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def crop_of(path: Path) -> Crop:
    """Raises `BadInput` for a name that says not who and where."""
    found = NAME.fullmatch(path.stem)
    if not found:
        raise BadInput(f"{path}: not a name like 0002_c1s1_000451_03.jpg (person_camera, session_frame_box); rename it")
    person, camera = int(found[1]), int(found[2])
    if camera < 1:
        raise BadInput(f"{path}: camera 0; cameras are numbered from 1 (c1): number them anew, all by one more")
    if person < JUNK:
        raise BadInput(f"{path}: person {person}; expected -1 (junk), 0 (a distractor) or a number of a person")
    return Crop(path, person, camera)


def images_of(folder: Path, subset: str) -> list[Path]:
    """Its images, those in folders within it too; no Thumbs.db, which Market-1501 has, and the like."""
    below = (path.relative_to(folder / subset) for path in (folder / subset).rglob("*") if is_image(path))
    return [folder / subset / path for path in sorted(below) if not any(p.startswith(".") for p in path.parts)]


def in_folder_of(path: Path, subset: Path) -> Crop:
    """A crop that may lie in a folder a person. Raises `BadInput` where folder and name contradict each other."""
    inner = path.relative_to(subset).parent
    if inner.parts and not NAME.fullmatch(path.stem):
        raise BadInput(
            f"{path}: a folder a person is read if the names say all the same who and where, as in "
            f"0002/0002_c1s1_000451_03.jpg (person_camera, session_frame_box); rename it"
        )
    crop = crop_of(path)
    person = inner.name
    if re.fullmatch(r"-?\d+", person) and int(person) != crop.person:
        raise BadInput(
            f"{path}: in the folder of person {int(person)}, and called person {crop.person}; mend one of them"
        )
    return crop


def read(folder: Path) -> Crops:
    """Every crop that a name allows; nothing is opened. Raises `BadInput` that names the first wrong name."""
    crops = Crops()
    for subset in SUBSETS:
        for path in images_of(folder, subset):
            crop = in_folder_of(path, folder / subset)
            if crop.person == JUNK:
                crops.junk += 1
            elif crop.person == DISTRACTOR and subset != GALLERY:
                crops.dropped_distractors += 1
                crops.nobody[subset] = crops.nobody.get(subset, 0) + 1
            else:
                crops.subsets[subset].append(crop)
    return crops


def remarks(crops: Crops) -> list[str]:
    """What of a data set is dropped by Market-1501's rules, and that these may be the wrong ones."""
    found = []
    if crops.junk:
        found.append(f"{crops.junk} crops of person -1, which is junk in Market-1501's layout, are dropped")
    if crops.nobody:
        counts = " and ".join(f"{count} crops in {subset}/" for subset, count in crops.nobody.items())
        gallery = sum(crop.person == DISTRACTOR for crop in crops.subsets[GALLERY])
        also = f", {gallery} in {GALLERY}/ match nobody" if gallery and QUERY in crops.nobody else ""
        found.append(
            f"people seem to be numbered from 0: person 0 is nobody in Market-1501's layout, so {counts} are dropped"
            f"{also}; if 0 is somebody, number people from 1"
        )
    return found


def is_layout(folder: Path) -> bool:
    return (folder / TRAIN).is_dir() or (folder / GALLERY).is_dir()


def folders_below(root: Path, depth: int = DEPTH) -> Iterable[Path]:
    """`root` and the folders in it, sorted, down to `depth`; not those with hidden names."""
    yield root
    if depth:
        for entry in sorted(Path(entry.path) for entry in os.scandir(root) if entry.is_dir()):
            if not entry.name.startswith("."):
                yield from folders_below(entry, depth - 1)


def find(root: Path) -> list[Path]:
    """The folders at or below `root` that hold the layout."""
    found: dict[Path, None] = {}
    for folder in folders_below(root):
        if not found.keys() & {folder, *folder.parents} and is_layout(folder):
            found[folder] = None
    return list(found)


def listed(names: Iterable[object]) -> str:
    """The first few of many, for a message."""
    shown = sorted(names)
    return ", ".join(map(str, shown[:NAMED])) + (f" and {len(shown) - NAMED} more" if len(shown) > NAMED else "")


def check(crops: Crops, where: str) -> None:
    """Raises `BadInput` if nobody could learn from or be judged on a whole data set: all of its crops together."""
    test = crops.people(QUERY) | crops.people(GALLERY)
    if both := crops.people(TRAIN) & test:
        first = min(both)
        places = [next(str(crop.path) for crop in crops.subsets[s] if crop.person == first)
                  for s in SUBSETS if first in crops.people(s)]  # fmt: skip
        raise BadInput(
            f"{where}: {'person' if len(both) == 1 else 'people'} {listed(f'{who:04d}' for who in both)} in both train "
            f"and test ({places[0]}, {places[1]}): who is learnt cannot be judged on; keep each in one of them"
        )
    if crops.subsets[GALLERY] and not crops.subsets[QUERY]:
        raise BadInput(
            f"{where}: {QUERY}/ holds no query, but {GALLERY}/ holds {len(crops.subsets[GALLERY])} crops; "
            f"move one crop a person and camera there"
        )
    if crops.subsets[QUERY] and not crops.subsets[GALLERY]:
        raise BadInput(f"{where}: {GALLERY}/ is empty: {len(crops.subsets[QUERY])} queries have nothing to be found in")


def numbers(keys: Iterable[str]) -> dict[str, int]:
    """A number from 0 for each "dataset:person", in sorted order: equal people give equal numbers on every machine."""
    return {key: number for number, key in enumerate(sorted(set(keys)))}


def key_of(dataset: str, person: int) -> str:
    """Two data sets never share a person, whatever their numbers are."""
    return f"{dataset}:{person:04d}"


def summary(crops: Crops) -> dict:
    """Counts of images and people a subset, and of both a camera."""
    images = {subset: len(mine) for subset, mine in crops.subsets.items()}
    every = [crop for mine in crops.subsets.values() for crop in mine]
    return {
        "images": images,
        "identities": {subset: len(crops.people(subset)) for subset in SUBSETS},
        "cameras": {str(c): n for c, n in sorted(Counter(crop.camera for crop in every).items())},
        "junk": crops.junk,
        "distractors": sum(crop.person == DISTRACTOR for crop in crops.subsets[GALLERY]),
        "dropped_distractors": crops.dropped_distractors,
    }


def merged(parts: Iterable[Crops]) -> Crops:
    """One data set that came in several pieces, such as a folder a camera."""
    whole = Crops()
    for part in parts:
        for subset in SUBSETS:
            whole.subsets[subset] += part.subsets[subset]
        whole.junk += part.junk
        whole.dropped_distractors += part.dropped_distractors
        whole.nobody = dict(Counter(whole.nobody) + Counter(part.nobody))
    return whole
