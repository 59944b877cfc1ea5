"""Which parts one network finds in every photograph of validation and test, and in what state.

Reads    split/{train,val,test}_coco.json, the photographs in download/, train/<network>/best.pt
Writes   detect/<network>/detections.h5   see formats/detections.py
         detect/<network>/summary.json    counts
Alone    python -m tasks bike_parts-detect@<network>

At photographs of rides it looks twice: where both of a ride expect each part, as the rides of the training split teach.

A killed run goes on after the last block of photographs it wrote.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from models.bike_parts.states import STATES
from tasks.bike_parts.formats import detections
from tasks.bike_parts.formats import photos as photos_of
from tasks.bike_parts.formats.detections import Detections, Oracle, Second
from tasks.bike_parts.formats.photos import Photos
from tasks.bike_parts.judging import pairs
from tasks.bike_parts.judging.layout import Layout
from tasks.bike_parts.learning import batches
from tasks.bike_parts.learning.again import layout_of_rides, looked_again
from tasks.bike_parts.learning.network import canvas_of, load_network, looked_with_truth
from tasks.bike_parts.params import Detect
from tasks.yard.files import digest, file_hash, read_json, replacing, write_json
from tasks.yard.step import BadInput, Context
from tasks.yard.training.accelerator import accelerator

SPLITS = ("val", "test")
BLOCK_BATCHES = 8  # a kill loses about so many at most
Columns = dict[str, np.ndarray]
SECOND = ("image", "part", "box", "score", "states", "off")
EMPTY = {
    "image": np.empty(0, np.int64), "part": np.empty(0, np.int64), "box": np.empty((0, 4), np.float32),
    "score": np.empty(0, np.float32), "states": np.empty((0, STATES), np.float32),
    "annotation": np.empty(0, np.int64), "true_states": np.empty((0, STATES), np.float32),
    "off": np.empty(0, np.float32),
}  # fmt: skip
FIRST = [name for name in EMPTY if name != "off"]


def joined(parts: Sequence[Columns], names: Sequence[str] = FIRST) -> Columns:
    return {name: np.concatenate([EMPTY[name], *(part[name] for part in parts)]) for name in names}


def begun(blocks: Path, fingerprint: str) -> None:
    """Keeps the blocks of a killed run only if they were made from the same."""
    note = blocks / "begun.json"
    if not (note.exists() and read_json(note) == fingerprint):
        shutil.rmtree(blocks, ignore_errors=True)
        write_json(note, fingerprint)


class Look:
    def __init__(self, weights: Path, download: Path):
        self.weights, self.download = weights, download
        self.model, self.config, _ = load_network(weights, accelerator())

    def check(self, photos: Photos, split: Path) -> None:
        if photos.parts != self.config["parts"]:
            raise BadInput(
                f"{self.weights}: was trained on other parts ({', '.join(self.config['parts'])}) than those of "
                f"{split} ({', '.join(photos.parts)}); train again"
            )

    def __call__(self, photos: Photos, rows: range) -> Columns:
        """Of some of the photographs, in columns: those of the file, `annotation` and `true_states` for the oracle."""
        some = [photos.photos[row] for row in rows]
        held = [batches.read(self.download / photo.name, canvas_of(self.config)) for photo in some]
        mine = [np.flatnonzero(photos.photo == photo.id) for photo in some]
        boxes, parts = ([values[at] for at in mine] for values in (photos.box, photos.part))
        found, states = looked_with_truth(self.model, held, boxes, parts)
        return joined([
            {
                "image": np.full(len(one.part), photo.id), "part": one.part, "box": one.box, "score": one.score,
                "states": one.states, "annotation": photos.id[at], "true_states": true,
            }
            for photo, one, at, true in zip(some, found, mine, states, strict=True)
        ])  # fmt: skip

    def again(self, photos: Photos, pair: tuple[int, int], found: Detections, layout: Layout) -> Columns:
        """The second look at the photographs of a ride, if enough was found in both."""
        paths = {photo.id: self.download / photo.name for photo in photos.photos}
        held = [batches.read(paths[photo], canvas_of(self.config)) for photo in pair]
        sides = [pairs.seen_in(found, photo) for photo in pair]
        return joined([
            {"image": np.full(len(of.seen.part), photo), "off": of.off.astype(np.float32), **vars(of.seen)}
            for photo, of in zip(pair, looked_again(self.model, held, sides, layout) or [], strict=False)
        ], SECOND)  # fmt: skip


def in_blocks(count: int, size: int, made: Callable[[range], Columns], blocks: Path, bar) -> list[Columns]:
    """A file in `blocks` for each `size` of what is looked at; those that a killed run left are kept."""
    parts = []
    for begin in range(0, count, size):
        file, end = blocks / f"{begin:08d}.npz", min(begin + size, count)
        if not file.exists():
            found = made(range(begin, end))
            with replacing(file) as temporary:
                np.savez(temporary, **found)
        with np.load(file) as stored:
            parts.append(dict(stored))
        bar.update(end - begin)
    return parts


def look_through(photos: Photos, look: Look, blocks: Path, batch: int, bar) -> Columns:
    def made(rows: range) -> Columns:
        return joined([look(photos, range(at, min(at + batch, rows.stop))) for at in rows[::batch]])

    return joined(in_blocks(len(photos.photos), batch * BLOCK_BATCHES, made, blocks, bar))


def look_again(photos: Photos, found: Detections, look: Look, layout: Layout, blocks: Path, batch: int, bar) -> Columns:
    rides = pairs.pairs_of(photos)

    def made(rows: range) -> Columns:
        return joined([look.again(photos, rides[row], found, layout) for row in rows], SECOND)

    return joined(in_blocks(len(rides), batch * BLOCK_BATCHES, made, blocks, bar), SECOND)


def run(
    params: Detect, out: Path, ctx: Context = Context(), *, network: str, download: Path, split: Path,
    train: dict[str, Path],
) -> dict[str, float]:  # fmt: skip
    """Returns counts of photographs and boxes."""
    weights = train[network] / "best.pt"
    look, held = Look(weights, download), {part: photos_of.read(split, part) for part in SPLITS}
    layout = layout_of_rides(photos_of.read(split, "train"))
    for part, photos in held.items():
        look.check(photos, photos_of.path_of(split, part))
    files = [weights, *(photos_of.path_of(split, part) for part in photos_of.SPLITS)]
    files += [download / photo.name for photos in held.values() for photo in photos.photos]
    begun(out / ".blocks", digest(params.model_dump(), [file_hash(path) for path in files], ctx.code))
    found, again, counts = {}, {}, {}
    rides = {part: len(pairs.pairs_of(of)) if layout else 0 for part, of in held.items()}
    total = sum(len(of.photos) for of in held.values()) + sum(rides.values())
    with ctx.progress(total=total, desc="detect", unit="photo") as bar:
        for part, photos in held.items():
            of = look_through(photos, look, out / ".blocks" / part, params.batch, bar)
            true = Oracle(of.pop("annotation"), of.pop("true_states"))
            found[part] = Detections(**of), true
            counts |= {f"{part}/photographs": len(photos.photos), f"{part}/boxes": len(of["part"])}
            if layout and rides[part]:
                seen = found[part][0], look, layout, out / ".blocks" / f"{part}_again", params.batch, bar
                again[part] = Second(**look_again(photos, *seen))
                counts[f"{part}/looked_again"] = len(set(again[part].image.tolist()))
    detections.write(out / detections.FILE, found, again)
    write_json(out / "summary.json", {"network": network, **counts})
    shutil.rmtree(out / ".blocks")
    return counts
