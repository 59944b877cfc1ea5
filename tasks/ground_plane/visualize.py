"""Look at it: the plane from above beside the cameras, as a film, and where people are found on average.

Reads    pack/, detect/<leader>/model_evaluation.hdf5, evaluate/details.json (the leader, the threshold)
Writes   visualize/plane.mp4        the leader's test frames, scene after scene: detections and truth on the plane, and
                                    drawn back into every camera
         visualize/frame.png        of these frames the middle one by its MODA, not the best
         visualize/heatmap.png      of each scene the mean score of every cell over its test frames, beside the share of
                                    these frames in which somebody stands there
         visualize/summary.json     {leader, threshold, scenes: {scene: frames}, still: what frame.png shows, standing:
                                    what is found at one place in many frames of a scene and is nobody, empty: why
                                    there is nothing}
Alone    python -m tasks ground_plane-visualize
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from textwrap import wrap
from typing import Any

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
from tasks.yard.metrics.standing import groups
from tasks.yard.reporting import charts, film
from tasks.yard.step import Context

NOTHING = "no network leads, or test has no frame"
SHOWN_SCENES = 4
SAMPLED = 100  # frames of a scene that are looked through for it, evenly spread
SAME_PLACE_M = 0.3  # a cell and a half of the world: a peak of one thing moves so far from frame to frame
TITLE_LETTERS = 44  # that fit above one of two maps


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
    shown: Sequence[Detected],
    held: dict[str, Scene],
    threshold: float,
    match_m: float,
    size: tuple[int, int],
    still: Mapping[str, Sequence[Mapping[str, Any]]],
) -> Iterator[Image.Image]:
    """Each frame drawn."""
    for one in shown:
        scene = held[one.scene]
        moment = moment_of(scene, row_of(scene, one), one, threshold, match_m)
        images = [view.image(one.frame) for view in scene.views]
        words = {"above": f"{scene.name}, frame {one.frame}", "below": outcome(moment)}
        if standing := standing_in(moment, still.get(one.scene, ())):
            words["below"] += f", {standing} of them a thing that stands there"
        yield moment_picture(scene, images, moment, words, size)


def outcome(moment: Moment) -> str:
    return f"{moment.right.sum()} of {len(moment.people)} found, {(~moment.right).sum()} where nobody is"


def film_size(height_px: int) -> tuple[int, int]:
    """(width, height), both even, as its encoder wants them."""
    return 2 * round(height_px * 8 / 9), 2 * round(height_px / 2)


def row_of(scene: Scene, one: Detected) -> int:
    return int(np.searchsorted(scene.frames, one.frame))


def middling(moments: Sequence[Moment]) -> int:
    """The frame in the middle when they are put in order of their MODA; of equals the first."""
    worth = [1 - (m.missed.sum() + (~m.right).sum()) / max(1, len(m.people)) for m in moments]
    return sorted(range(len(moments)), key=lambda i: (worth[i], i))[(len(moments) - 1) // 2]


def standing(moments: Sequence[Moment]) -> list[dict[str, Any]]:
    """{x_m, y_m, frames, of} of what is found at one place in many frames of a scene and is nobody."""
    moments = moments[:: -(-len(moments) // SAMPLED)]
    wrong = [m.found[~m.right] for m in moments]
    xy, frame = np.concatenate(wrong), np.repeat(np.arange(len(wrong)), list(map(len, wrong)))
    near = np.hypot(*(xy[:, None] - xy[None]).transpose(2, 0, 1)) <= SAME_PLACE_M
    return [
        {**dict(zip(("x_m", "y_m"), np.median(xy[mine], axis=0).astype(float).round(2).tolist(), strict=True)),
         "frames": len(np.unique(frame[mine])), "of": len(moments)}
        for mine in groups(near, frame, len(moments))
    ]  # fmt: skip


def standing_in(moment: Moment, still: Sequence[Mapping[str, Any]]) -> int:
    """How many of the places where nobody is are among these."""
    wrong = moment.found[~moment.right]
    return sum(bool((np.hypot(wrong[:, 0] - s["x_m"], wrong[:, 1] - s["y_m"]) <= SAME_PLACE_M).any()) for s in still)


def heatmaps(frames: Sequence[Detected], held: dict[str, Scene]) -> Figure:
    """A row a scene, the mean over its frames: scores, and beside them who is there."""
    names = list(dict.fromkeys(one.scene for one in frames))[:SHOWN_SCENES]
    figure = Figure(figsize=(11, 4.9 * len(names)))
    axes = figure.subplots(len(names), 2, squeeze=False)
    for place, name in enumerate(names):
        scene, mine = held[name], [one for one in frames if one.scene == name]
        width, height = scene.grid[1] * scene.cell_m, scene.grid[0] * scene.cell_m
        mean = np.mean([one.scores for one in mine], axis=0)
        places = [scene.people[np.searchsorted(scene.frames, one.frame)][:, 1:] for one in mine]
        xy = np.concatenate(places) if places else np.empty((0, 2))
        edges = [np.arange(n + 1) * scene.cell_m for n in scene.grid]
        there = np.histogram2d(xy[:, 1], xy[:, 0], bins=edges)[0] / len(mine)
        for axis, values, title in (
            (axes[place, 0], mean, "mean score"), (axes[place, 1], there, "people a frame")
        ):  # fmt: skip
            shown = np.where(scene.mask, values, np.nan)
            drawn = axis.imshow(shown, origin="lower", extent=(0, width, 0, height), cmap="magma", vmin=0)
            over = "\n".join([*wrap(name, TITLE_LETTERS), f"{title}, {len(mine)} frames"])
            axis.set_title(over, fontsize=13)
            axis.set(xlabel="m", ylabel="m")
            axis.grid(visible=False)
            figure.colorbar(drawn, ax=axis, shrink=0.8)
    return figure


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
        write_json(out / "summary.json", {
            "leader": leader, "threshold": None, "scenes": {}, "still": None, "standing": {}, "empty": NOTHING,
        })  # fmt: skip
        return {"frames": 0, "scenes": 0}
    match_m = details["match_m"]
    threshold = 1.0 if details["threshold"] is None else details["threshold"]  # none: nobody to choose one by
    size = film_size(params.height_px)
    shown = stretch(frames, max(1, round(params.seconds * params.fps)))
    moments = {
        (one.scene, one.frame): moment_of(held[one.scene], row_of(held[one.scene], one), one, threshold, match_m)
        for one in frames
    }
    by_scene: dict[str, list[Moment]] = {}
    for (name, _), moment in moments.items():
        by_scene.setdefault(name, []).append(moment)
    still = {name: found for name, mine in by_scene.items() if (found := standing(mine))}
    outcomes = [moments[one.scene, one.frame] for one in shown]
    middle = middling(outcomes)

    def watched() -> Iterator[Image.Image]:
        drawn = pictures(shown, held, threshold, match_m, size, still)
        for place, picture in enumerate(ctx.progress(drawn, total=len(shown), desc="video", unit="frame")):
            if place == middle:
                with replacing(out / "frame.png") as temporary:
                    picture.save(temporary, "PNG")
            yield picture

    film.write(out / "plane.mp4", watched(), size, params.fps)
    charts.save(out / "heatmap.png", partial(heatmaps, frames, held))
    counts = {name: len(mine) for name, mine in by_scene.items()}
    chosen = {"scene": shown[middle].scene, "frame": shown[middle].frame, "says": outcome(outcomes[middle])}
    write_json(out / "summary.json", {
        "leader": leader, "threshold": threshold, "scenes": counts, "still": chosen, "standing": still, "empty": None,
    })  # fmt: skip
    return {"frames": len(shown), "scenes": len(counts)}
