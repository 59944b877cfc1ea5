"""A trained network on sequences of calibrated cameras that nobody has labelled: who stands where, frame by frame.

Reads   what the importers of `download` read: MARMOT's data roots, WILDTRACK, MultiviewX, with or without labels
Writes  sequences/<name>/model_evaluation.hdf5  as `detect` does, of every frame; its split is 2
        sequences/<name>/detections.csv       frame, x_m, y_m (on the plane), world_x_m, world_y_m, confidence, of those
                                              that reach the model's threshold, the surest of a frame first
        films/<name>/plane.mp4                the plane from above beside the cameras, from the first frame to the last
        steps/{download,pack}                 what those steps make of the sequences: nothing is done twice
Alone   python -m flows apply ground_plane <source>

The steps are the stages' own: of a sequence that is all test the detections are those that `evaluate` judged. What a
network was trained on (size of the images, cells, radius of a person, threshold) stands in its checkpoint. Images of
another size, or shape, are brought to that one aloud, and their calibration with them: places on the ground stay right.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from tasks.ground_plane import detect, download, pack
from tasks.ground_plane.formats import scenes, sequence
from tasks.ground_plane.formats.detections import FILE, TEST, Detected, read_detections
from tasks.ground_plane.formats.scenes import Scene
from tasks.ground_plane.learning.network import fits, load_network
from tasks.ground_plane.page.drawing import Moment, moment_picture
from tasks.ground_plane.params import Line
from tasks.ground_plane.visualize import film_size
from tasks.yard.applying import MADE_WITH, Applied, Model, reason_of
from tasks.yard.fanout import fan_out
from tasks.yard.files import digest, file_hash, read_if_there, read_json, write_json, write_table
from tasks.yard.geometry.lens import Calibration
from tasks.yard.reporting import film
from tasks.yard.reporting.words import counted
from tasks.yard.sources.units import passed_over_words
from tasks.yard.step import BadInput, Context

CAMERAS = "cameras.json"
SAME_SHAPE = 0.01  # of the ratio of width to height
STEPS = ("pack", "detect")  # whose params belong to a model
READS = ("download", *STEPS, "visualize")
COLUMNS = ["frame", "x_m", "y_m", "world_x_m", "world_y_m", "confidence"]


def belongings(data: Path, item: str, line: Line, folder: Path) -> None:
    """The sizes of the images that it learnt from, and the params of the steps; the rest stands in the checkpoint."""
    sizes = set()
    for scene in scenes.load(data / "pack") if (data / "pack/scenes.json").exists() else ():
        if "train" in scene.split and (data / "download" / scene.name / sequence.SCENE).exists():
            cameras = sequence.read(data / "download" / scene.name).calibrations
            sizes |= {cameras[view.name].size[::-1] for view in scene.views if view.name in cameras}
    write_json(folder / CAMERAS, {"sizes_px": sorted(map(list, sizes))})
    write_json(folder / MADE_WITH, {step: getattr(line, step).model_dump(mode="json") for step in STEPS})


def as_trained(line: Line, config: dict) -> Line:
    """The line's params with what the checkpoint says of its images and cells; a split that was pinned is not asked
    for."""
    made = {key: config[key] for key in ("height_px", "width_px", "cell_m")} | {"splits": None}
    return line.model_copy(update={"pack": type(line.pack).model_validate(line.pack.model_dump(mode="json") | made)})


def brought(source: str, line: Line, steps: Path, ctx: Context) -> Applied:
    """Bring the sequences and pack them, all as test; those that cannot be used, and what was said of the others."""
    asked = {"source": source, "min_units": 1}
    if line.download.annotation_offset is None:
        asked["annotation_offset"] = 0  # no label is looked at, so that none has to be joined to an image
    try:
        download.run(line.download.model_copy(update=asked), steps / "download", ctx, labelled=False)
    except BadInput as error:
        raise reason_of(steps / "download", error) from None
    report = read_json(steps / "download" / "report.json")
    units = report["units"]
    checked = {"usable": list(units), "units": {name: {"splits": ["test"]} for name in units}}
    write_json(steps / "check_data" / "check.json", checked)
    pack.run(line.pack, steps / "pack", ctx, download=steps / "download", check_data=steps / "check_data")
    said = passed_over_words(report.get("passed_over", {})) + [
        f"{name}: {text}" for name, about in units.items() for text in [*about.get("remarks", []), *about["left_out"]]
    ]
    cameras = {**read_if_there(steps / "pack" / "quarantine.json")}
    images = [
        f"{key}: {image}: {why}: left out"
        for key in sorted(path.parent.name for path in (steps / "pack").glob("*/camera.json"))
        for image, why in read_json(steps / "pack" / key / "camera.json")["left_out"].items()
    ]
    left_out = read_json(steps / "pack" / "scenes.json")["left_out"]
    lost = [
        f"{why}; the other cameras look alone" for key, why in cameras.items() if key.rpartition("-")[0] not in left_out
    ]
    return Applied(
        units, {**read_if_there(steps / "download" / "quarantine.json"), **left_out}, [*said, *lost, *images]
    )


def usable(
    held: list[Scene], config: dict, trained: int | None, quarantined: dict[str, str], said: list[str]
) -> list[Scene]:
    """The scenes that the network can look at; the others are noted in `quarantined`."""
    found = []
    for scene in held:
        try:
            fits(config, scene)
        except BadInput as error:
            quarantined[scene.name] = str(error)
            continue
        if trained and len(scene.views) != trained:
            said.append(f"{scene.name}: {len(scene.views)} cameras, the model was trained on up to {trained}")
        if not scene.mask.any():
            quarantined[scene.name] = (
                f"{scene.name}: no camera sees any of its plane; mend the calibrations, or 'plane'"
            )
            continue
        found.append(scene)
    return found


def resized(scene: Scene, filmed: Mapping[str, Calibration], known: list[list[int]], to: tuple[int, int]) -> list[str]:
    """What is said of the cameras whose images the model did not learn from in this size. `known`: width, height in px
    of those that it did; `to`: that of the images that the network is shown."""
    cameras: dict[tuple[int, int], list[str]] = {}
    for view in scene.views:
        cameras.setdefault(filmed[view.name].size[::-1], []).append(view.name)
    said = []
    for (width, height), names in cameras.items():
        if [width, height] in (known or [list(to)]):
            continue
        text = f"{scene.name}: {', '.join(names)}: {width} x {height} px, brought to {to[0]} x {to[1]}"
        if known:
            of, over = min(known, key=lambda one: abs(one[0] / one[1] * height / width - 1))
            text += f"; the model was trained on {of} x {over}"
            if abs((wider := of / over * height / width) - 1) > SAME_SHAPE:
                text += f", and people look {wider:.2f} times as wide as there"
        said.append(text)
    return said


def table(scene: Scene, frames: list[Detected], threshold: float) -> pd.DataFrame:
    rows = []
    for one in frames:
        sure = one.confidence >= threshold
        for xy, confidence in zip(one.xy[sure], one.confidence[sure], strict=True):
            rows.append([one.frame, *xy.tolist(), *scene.plane.to_world(xy), float(confidence)])
    return pd.DataFrame(rows, columns=COLUMNS)


def pictures(scene: Scene, frames: list[Detected], threshold: float, size: tuple[int, int]) -> Iterator[Image.Image]:
    for one in frames:
        found = one.xy[one.confidence >= threshold]
        moment = Moment(one.scores, found, np.ones(len(found), bool), np.empty((0, 2)), np.empty(0, bool))
        images = [view.image(one.frame) for view in scene.views]
        words = {
            "above": f"{scene.name}, frame {one.frame}",
            "below": f"{counted(len(found), 'person', 'people')} found",
        }
        yield moment_picture(scene, images, moment, words, size, judged=False)


def seen(scene: Scene, out: Path, *, model: Model, line: Line, level: float, pack: Path, ctx: Context) -> dict:
    """Write the detections of one sequence. Returns its counts."""
    work = [(scene, row, TEST) for row in range(len(scene.frames))]
    detect.detect(work, model.weights, line.detect, out, pack, ctx)
    shutil.rmtree(out / detect.BLOCKS)
    found = table(scene, read_detections(out / FILE, maps=False), level)
    write_table(out / "detections.csv", found)
    return {"cameras": len(scene.views), "frames": len(work), "detections": len(found)}


def filmed(item: tuple[Scene, Path], out: Path, *, level: float, size: tuple[int, int], fps: float) -> dict:
    """Write the film of one sequence."""
    scene, detections = item
    film.write(out / "plane.mp4", pictures(scene, read_detections(detections), level, size), size, fps)
    return {}


def run(
    source: str, model: Model, out: Path, line: Line, ctx: Context = Context(), *, no_film: bool = False
) -> Applied:
    """Raises `BadInput` if no sequence of the source can be used, or the weights are not of this line."""
    _, config, scores = load_network(model.weights)
    line = as_trained(line, config)
    steps = out / "steps"
    came = brought(source, line, steps, ctx)
    quarantined, said = dict(came.quarantined), list(came.said)
    trained = config["network"].get("views")
    held = usable(scenes.load(steps / "pack"), config, trained, quarantined, said)
    if not held:
        raise BadInput("; ".join(quarantined.values()))
    known = read_if_there(model.belongings / CAMERAS).get("sizes_px", [])
    for scene in held:
        filmed_by = sequence.read(steps / "download" / scene.name).calibrations
        said += resized(scene, filmed_by, known, (config["width_px"], config["height_px"]))
    threshold = scores["threshold"]
    if threshold is None:
        said.append(f"{model.name} comes without a threshold: all from confidence {line.detect.floor:g} on is written")
    level = line.detect.floor if threshold is None else threshold
    items = {scene.name: scene for scene in held}
    settings = digest(model.fingerprint, line.detect.model_dump(mode="json"), ctx.code)
    made = {name: detect.fingerprint_of(steps / "pack", [scene], settings) for name, scene in items.items()}
    look = partial(seen, model=model, line=line, level=level, pack=steps / "pack", ctx=ctx)
    done = fan_out(look, items, made, out / "sequences", ctx, parallel=False)
    shown = {name: (items[name], out / "sequences" / name / FILE) for name in done.summaries if not no_film}
    made = {name: digest(file_hash(path), line.visualize.model_dump(mode="json"), ctx.code)
            for name, (_, path) in shown.items()}  # fmt: skip
    draw = partial(filmed, level=level, size=film_size(line.visualize.height_px), fps=line.visualize.fps)
    films = fan_out(draw, shown, made, out / "films", ctx)
    results = {}
    for name, summary in done.summaries.items():
        files = [f"sequences/{name}/{file}" for file in (FILE, "detections.csv")]
        results[name] = {**summary, "files": [*files, *([f"films/{name}/plane.mp4"] if name in shown else [])]}
    return Applied(results, {**quarantined, **done.quarantined, **films.quarantined}, said)
