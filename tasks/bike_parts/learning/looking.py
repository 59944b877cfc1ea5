"""A trained network looks at photographs that nobody has labelled, block by block; see formats/looked.py."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from torch import nn

from tasks.bike_parts.formats import looked as kept
from tasks.bike_parts.formats.annotations import BATCHES
from tasks.bike_parts.importers.inspected import Asked, Pair, Request
from tasks.bike_parts.judging.layout import Layout
from tasks.bike_parts.judging.verdicts import Again, Seen
from tasks.bike_parts.learning import cropping
from tasks.bike_parts.learning.again import looked_again
from tasks.bike_parts.learning.batches import fitted
from tasks.bike_parts.learning.network import canvas_of, load_network, looked
from tasks.bike_parts.params import Inspect
from tasks.yard.detector.look import Detector
from tasks.yard.fanout import FanOut, fan_out
from tasks.yard.files import digest, file_hash
from tasks.yard.layouts.images import Unusable, pixels
from tasks.yard.reporting.words import counted
from tasks.yard.step import BadInput, Context
from tasks.yard.training.accelerator import Carried, accelerator


@dataclass(frozen=True)
class Eyes(Carried):
    network: nn.Module
    config: dict
    detector: Detector | None
    params: Inspect

    def look(self, images: Sequence[np.ndarray]) -> list[tuple[Seen, list[int] | None]]:
        """Of each BGR image what is seen in it, in its own pixels, and the window that was looked at if not all."""
        crop = self.params.crop
        windows = [None if self.detector is None else cropping.small(one, self.detector, crop) for one in images]
        shown = [cut(image, window) for image, window in zip(images, windows, strict=True)]
        found = looked(self.network, self.config, shown)
        return [
            (moved(Seen(of.part, of.box, of.score, of.states), window), window)
            for of, window in zip(found, windows, strict=True)
        ]

    def look_again(
        self, images: Sequence[np.ndarray], sides: Sequence[Seen], windows: Sequence[list[int] | None], layout: Layout
    ) -> list[Again] | None:
        """At the two photographs of a ride, in which so much was seen within these windows."""
        canvas = canvas_of(self.config)
        held = [fitted(cut(image, window), canvas) for image, window in zip(images, windows, strict=True)]
        within = [moved(of, window, -1) for of, window in zip(sides, windows, strict=True)]
        found = looked_again(self.network, held, within, layout)
        return found and [Again(moved(of.seen, window), of.off) for of, window in zip(found, windows, strict=True)]


def cut(image: np.ndarray, window: list[int] | None) -> np.ndarray:
    if window is None:
        return image
    x, y, width, height = window
    return image[y : y + height, x : x + width]


def moved(seen: Seen, window: list[int] | None, way: int = 1) -> Seen:
    """From the window to the photograph; `way` -1: back."""
    box = seen.box + (way * np.array([*window[:2], 0, 0]) if window else 0)
    return Seen(seen.part, box, seen.score, seen.states)


def look_through(block: Sequence[Asked], folder: Path, *, eyes: Eyes, ctx: Context) -> dict:
    """Writes what is seen in each photograph of a block; one that is no image is written as that."""
    said: dict[str, dict] = {}
    with ctx.progress(total=len(block), desc="photographs", unit="photograph", leave=False) as bar:
        for start in range(0, len(block), eyes.params.batch):  # as many are in memory at once: phones give 36 MB each
            images: dict[str, np.ndarray] = {}
            batch = block[start : start + eyes.params.batch]
            for photo in batch:
                try:
                    images[photo.key] = pixels(photo.path.read_bytes())
                except (Unusable, OSError) as error:
                    said[photo.key] = {"why": str(error)}
            for (key, image), (seen, window) in zip(images.items(), eyes.look(list(images.values())), strict=True):
                height, width = image.shape[:2]
                said[key] = kept.entry(seen, (width, height), window)
            bar.update(len(batch))
    kept.write(folder, said)
    unusable = sum("why" in one for one in said.values())
    return {"photographs": len(said) - unusable, "unusable": unusable}


def look_again_through(
    block: Sequence[Pair], folder: Path, *, eyes: Eyes, paths: Mapping[str, Path], held: Mapping[str, dict],
    layout: Layout, ctx: Context,
) -> dict:  # fmt: skip
    """Writes what a second look at each ride of a block sees; of one in which too little was found, nothing."""
    said: dict[str, dict] = {}
    with ctx.progress(total=len(block), desc="rides", unit="ride", leave=False) as bar:
        for pair in block:
            keys = pair.before, pair.after
            images = [pixels(paths[key].read_bytes()) for key in keys]
            sides, windows = [kept.seen_of(held[key]) for key in keys], [held[key]["crop"] for key in keys]
            found = eyes.look_again(images, sides, windows, layout)
            if found is not None:
                said[pair.name] = {key: kept.again_entry(of) for key, of in zip(keys, found, strict=True)}
            bar.update(1)
    kept.write(folder, said)
    return {"rides": len(said)}


def looked_again_at(
    asked: Request,
    held: Mapping[str, dict],
    layout: Layout | None,
    eyes: Eyes,
    made_from: list,
    out: Path,
    ctx: Context,
) -> dict[str, dict[str, Again]]:
    """{name of a pair: {key of a photograph: the second look at it}}, of the pairs in which enough was found."""
    pairs = [pair for pair in asked.pairs if all("why" not in held[key] for key in (pair.before, pair.after))]
    if layout is None or not pairs:
        shutil.rmtree(out, ignore_errors=True)  # of photographs that were looked at before
        return {}
    paths = {photo.key: photo.path for photo in asked.photos}
    rides = {pair.name: pair for pair in pairs}
    names = {
        name: [rides[of.name] for of in block]
        for name, block in kept.blocks_of([Asked(pair.after, paths[pair.after], pair.name) for pair in pairs]).items()
    }
    made_from = [*made_from, layout.told()]
    fingerprints = {
        name: digest(
            [(pair.name, *(content(paths[key]) for key in (pair.before, pair.after))) for pair in block],
            made_from,
            ctx.code,
        )
        for name, block in names.items()
    }
    work = partial(look_again_through, eyes=eyes, paths=paths, held=held, layout=layout, ctx=ctx)
    done = fan_out(work, names, fingerprints, out, ctx, parallel=False, nouns=BATCHES)
    return {
        pair: {key: kept.again_of(of) for key, of in sides.items()}
        for name in done.summaries
        for pair, sides in kept.read(out / name).items()
    }


def refuse_none(done: FanOut, shown: str) -> None:
    """Raises `BadInput` if nothing can be looked at."""
    if any(block["photographs"] for block in done.summaries.values()):
        return
    first = next((one for name in done.summaries for one in kept.read(done.folder(name)).items()), None)
    why = f": the first, {first[0]}, {first[1]['why']}" if first else ""
    count = sum(block["unusable"] for block in done.summaries.values())
    raise BadInput(f"{shown}: none of its {counted(count, 'photograph', 'photographs')} can be used{why}")


def opened(params: Inspect, checkpoint: Path) -> tuple[Eyes, list]:
    """Network and detector, and what stands for them in a fingerprint."""
    network, config, _ = load_network(checkpoint, accelerator())
    detector, made_from = None, [file_hash(checkpoint)]
    if params.detector is not None:
        detector, file = cropping.bicycles(params.detector, params.crop)
        made_from += [file_hash(file), params.crop.model_dump()]
    return Eyes(network, config, detector, params), made_from


def looked_at(
    asked: Sequence[Asked], shown: str, eyes: Eyes, made_from: list, out: Path, ctx: Context
) -> dict[str, dict]:
    """{key: what formats/looked.py holds of the photograph}"""
    blocks = kept.blocks_of(asked)
    fingerprints = {
        name: digest([(photo.name, content(photo.path)) for photo in block], made_from, ctx.code)
        for name, block in ctx.progress(blocks.items(), total=len(blocks), desc="photographs read", unit="block")
    }
    work = partial(look_through, eyes=eyes, ctx=ctx)
    accept = partial(refuse_none, shown=shown)
    more = {"accept": accept if blocks else None, "nouns": BATCHES}
    done = fan_out(work, blocks, fingerprints, out, ctx, parallel=False, **more)
    return {key: said for name in done.summaries for key, said in kept.read(out / name).items()}


def content(path: Path) -> str:
    """A photograph that cannot be read must not stop the others: looking at it says more."""
    try:
        return file_hash(path)
    except OSError as error:
        return str(error)
