"""Which sequences and pictures a detector has learnt from, so that nothing is judged on them.

    learnt_from.json   {"sequences": {name: split}, "pictures": {"<bytes>-<hash of them>": split}}, splits train and val

detector_data writes it, train_detector and what uses its detector hand it on. Pictures are compared byte by byte: a
frame that a program wrote anew is another one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tasks.yard.files import file_hash, read_if_there, write_json
from tasks.yard.splits import SPLITS, first_of

FILE = "learnt_from.json"
SAW = "detector_saw.json"  # of the step that uses the detector: which recordings of today it has learnt from
LEARNT = ("train", "val")  # the best epoch is chosen by val
KINDS = ("sequences", "pictures")


def picture(file: Path) -> str:
    return f"{file.stat().st_size}-{file_hash(file)[:24]}"


@dataclass(frozen=True)
class Seen:
    sequences: Mapping[str, str] = field(default_factory=dict)
    pictures: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def sizes(self) -> set[int]:
        return {int(key.partition("-")[0]) for key in self.pictures}

    def split_of(self, file: Path) -> str | None:
        """The split of a picture that was learnt from. Only one of a known size is read."""
        return self.pictures.get(picture(file)) if file.stat().st_size in self.sizes else None

    def of_drive(self, names: Iterable[str], files: Iterable[Path]) -> tuple[str | None, int]:
        """(the split that a drive was in by one of its names or pictures, how many of its pictures were in one)."""
        named = [self.sequences[name] for name in names if name in self.sequences]
        shown = [split for file in files if (split := self.split_of(file))] if self.pictures else []
        return (first_of([*named, *shown]) if named or shown else None), len(shown)


def copies(images: Iterable[tuple[str, str, str]]) -> dict[str, str]:
    """{name: the later split that holds the same file too} of those that must go, by (name, `picture`, split): what is
    learnt by heart cannot be judged on."""
    images = list(images)
    last: dict[str, str] = {}
    for _, of, split in images:
        last[of] = max(last.get(of, split), split, key=SPLITS.index)
    return {name: last[of] for name, of, split in images if last[of] != split}


def remarks(lost: Mapping[str, str]) -> list[str]:
    """What is to be said of `copies`."""
    if not lost:
        return []
    first = min(lost)
    return [
        f"{len(lost)} images are left out, as a later split holds the same bytes, first {first} ({lost[first]} too)"
    ]


def write(folder: Path, sequences: Iterable[tuple[str, str]], pictures: Iterable[tuple[str, str]]) -> None:
    """(name, split) of each sequence, (`picture`, split) of each picture."""
    found: dict[str, dict[str, str]] = {}
    for what, pairs in zip(KINDS, (sequences, pictures), strict=True):
        of: dict[str, str] = {}
        for name, split in pairs:
            if split in LEARNT:
                of[name] = first_of([split, of.get(name, split)])
        found[what] = of
    write_json(folder / FILE, found)


def read(folder: Path) -> Seen:
    said: dict[str, Any] = read_if_there(folder / FILE)
    return Seen(**said)


def pass_on(folder: Path, *sources: Path) -> None:
    """Bring what the files in other folders say, of a dataset and of the weights that training started from, into that
    of a detector; none there, none here."""
    told = [read(source) for source in sources if (source / FILE).exists()]
    if not told:
        (folder / FILE).unlink(missing_ok=True)
        return
    sequences, pictures = ([pair for of in told for pair in getattr(of, what).items()] for what in KINDS)
    write(folder, sequences, pictures)
