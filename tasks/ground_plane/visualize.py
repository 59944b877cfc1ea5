"""Look at it: the plane from above beside the cameras, as a film, and where people are found on average.

Reads    pack/, detect/<leader>/model_evaluation.hdf5, evaluate/details.json (the leader, the threshold)
Writes   visualize/plane.mp4        the leader's test frames, scene after scene: detections and truth on the plane, and
                                    drawn back into every camera
         visualize/frame.png        the fullest of these frames
         visualize/heatmap.png      of each scene the mean score of every cell over its test frames, beside the share of
                                    these frames in which somebody stands there
         visualize/summary.json     {leader, threshold, scenes: {scene: frames}, empty: why there is nothing}
Alone    python -m tasks ground_plane-visualize
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from tasks.ground_plane.formats import scenes
from tasks.ground_plane.formats.detections import FILE, TEST, Detected, read_detections
from tasks.ground_plane.formats.scenes import Scene
from tasks.ground_plane.judging.matching import match, people_of
from tasks.ground_plane.page.drawing import Moment, moment_picture
from tasks.ground_plane.params import Visualize
from tasks.yard.files import read_json, replacing, write_json
from tasks.yard.reporting import charts, film
from tasks.yard.step import Context

NOTHING = "no network leads, or test has no frame"
SHOWN_SCENES = 4


def moment_of(scene: Scene, row: int, one: Detected, threshold: float, match_m: float) -> Moment:
    """One frame as it is judged: what is above the threshold, matched one to one with who is there."""
    found = one.xy[one.confidence >= threshold]
    people = people_of(scene, row)
    pairs, _ = match(found, people, match_m)
    right, missed = np.zeros(len(found), bool), np.ones(len(people), bool)
    for i, j in pairs:
        right[i], missed[j] = True, False
    return Moment(one.scores, found, right, people, missed)


def stretch(frames: Sequence[Detected], most: int) -> list[Detected]:
    """At most so many frames, an equal run of neighbours of each scene."""
    names = list(dict.fromkeys(one.scene for one in frames))
    each = max(1, most // max(1, len(names)))
    return [one for name in names for one in [f for f in frames if f.scene == name][:each]][:most]


def pictures(
    shown: Sequence[Detected], held: dict[str, Scene], threshold: float, match_m: float, size: tuple[int, int]
) -> Iterator[tuple[Image.Image, int]]:
    """Each frame drawn, and how many people are found in it."""
    for one in shown:
        scene = held[one.scene]
        row = int(np.searchsorted(scene.frames, one.frame))
        moment = moment_of(scene, row, one, threshold, match_m)
        images = [view.image(one.frame) for view in scene.views]
        words = {
            "above": f"{scene.name}, frame {one.frame}",
            "below": f"{moment.right.sum()} of {len(moment.people)} found, {(~moment.right).sum()} where nobody is",
        }
        yield moment_picture(scene, images, moment, words, size), int(moment.right.sum())


def heatmaps(path: Path, frames: Sequence[Detected], held: dict[str, Scene]) -> None:
    """Mean over the frames of each scene: scores, and who is there."""
    names = list(dict.fromkeys(one.scene for one in frames))[:SHOWN_SCENES]

    def draw() -> Figure:
        figure = Figure(figsize=(5.2 * len(names), 8.6) if len(names) > 1 else (10.4, 4.6))
        axes = figure.subplots(2, len(names), squeeze=False) if len(names) > 1 else figure.subplots(1, 2).reshape(2, 1)
        for column, name in enumerate(names):
            scene, mine = held[name], [one for one in frames if one.scene == name]
            width, height = scene.grid[1] * scene.cell_m, scene.grid[0] * scene.cell_m
            mean = np.mean([one.scores for one in mine], axis=0)
            places = [scene.people[np.searchsorted(scene.frames, one.frame)][:, 1:] for one in mine]
            xy = np.concatenate(places) if places else np.empty((0, 2))
            edges = [np.arange(n + 1) * scene.cell_m for n in scene.grid]
            there = np.histogram2d(xy[:, 1], xy[:, 0], bins=edges)[0] / len(mine)
            for axis, values, title in (
                (axes[0, column], mean, "mean score"), (axes[1, column], there, "people a frame")
            ):  # fmt: skip
                shown = np.where(scene.mask, values, np.nan)
                drawn = axis.imshow(shown, origin="lower", extent=(0, width, 0, height), cmap="magma", vmin=0)
                axis.set(title=f"{name}: {title}, {len(mine)} frames", xlabel="m", ylabel="m")
                axis.grid(visible=False)
                figure.colorbar(drawn, ax=axis, shrink=0.8)
        return figure

    charts.drawn(path, draw)


def run(
    params: Visualize, out: Path, ctx: Context = Context(), *, pack: Path, detect: dict[str, Path], evaluate: Path
) -> dict[str, float]:
    """Returns how many frames of how many scenes are shown."""
    details = read_json(evaluate / "details.json")
    leader, held = details["leader"], {scene.name: scene for scene in scenes.load(pack)}
    frames = [] if leader is None else [
        one for one in read_detections(detect[leader] / FILE) if one.split == TEST
    ]  # fmt: skip
    if not frames:
        write_json(out / "summary.json", {"leader": leader, "threshold": None, "scenes": {}, "empty": NOTHING})
        return {"frames": 0, "scenes": 0}
    match_m = details["match_m"]
    threshold = 1.0 if details["threshold"] is None else details["threshold"]  # none: nobody to choose one by
    size = (2 * round(params.height_px * 8 / 9), 2 * round(params.height_px / 2))
    shown = stretch(frames, max(1, round(params.seconds * params.fps)))
    best: tuple[int, Image.Image | None] = (-1, None)

    def watched() -> Iterator[Image.Image]:
        nonlocal best
        drawn = pictures(shown, held, threshold, match_m, size)
        for picture, count in ctx.progress(drawn, total=len(shown), desc="video", unit="frame"):
            best = max(best, (count, picture), key=lambda pair: pair[0])
            yield picture

    film.write(out / "plane.mp4", watched(), size, params.fps)
    with replacing(out / "frame.png") as temporary:
        best[1].save(temporary, "PNG")
    heatmaps(out / "heatmap.png", frames, held)
    counts = {name: sum(one.scene == name for one in frames) for name in dict.fromkeys(one.scene for one in frames)}
    write_json(out / "summary.json", {"leader": leader, "threshold": threshold, "scenes": counts, "empty": None})
    return {"frames": len(shown), "scenes": len(counts)}
