"""One sequence to step through in the browser: what each camera sees beside the ground, who is found and who is there.

Reads   pack/ (frames, people), evaluate/details.json (leader, threshold), detect/<leader>/model_evaluation.hdf5, and
        detect/<leader>/unlabelled/ of a sequence that nobody has labelled
Writes  <out>.html, with its pictures inside, as many as fit into `embed_mb`: those of test first
Alone   python -m flows view ground_plane <sequence>

At each threshold detections and people are paired as `evaluate` pairs them. Of frames that were learnt from there are
no detections: they show who is there.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tasks.ground_plane.formats import scenes
from tasks.ground_plane.formats.detections import FILE, SPLITS, Detected, read_detections
from tasks.ground_plane.formats.scenes import Scene, View
from tasks.ground_plane.judging.matching import match, people_of
from tasks.ground_plane.page.drawing import MISSED, RIGHT, TRUE, WRONG, glow_of, standing_box
from tasks.ground_plane.params import Line
from tasks.yard.files import read_if_there
from tasks.yard.reporting.viewer import EMBED_MB, Album, at_most, unknown, write_page
from tasks.yard.reporting.words import rendered
from tasks.yard.step import BadInput, Context

PAGE = Path(__file__).parent / "page" / "view.html.j2"
VIEW_PX = (480, 360)
FIRST = ("test", "val")  # whose pictures have room before those of the others
GREY = "#9aa7b8"  # found, and nobody knows whether they are there


def find(name: str, pack: Path) -> Scene:
    """Raises `BadInput` that says why it is not there, or names the nearest ones."""
    if not (pack / "scenes.json").exists():
        raise BadInput(f"{pack}: holds no sequence; run the line first: python -m flows run ground_plane")
    name, held = Path(name).name, {}
    for file in ("scenes.json", scenes.UNLABELLED):
        about = read_if_there(pack / file)
        if why := about.get("left_out", {}).get(name):
            raise BadInput(f"{name}: is not in {pack}: {why}")
        if about.get("scenes"):
            held |= {scene.name: scene for scene in scenes.load(pack, file)}
    if name not in held:
        raise unknown(name, "sequence", held, pack)
    return held[name]


def detections_of(scene: Scene, data: Path) -> tuple[dict[int, Detected], float | None, float, list[str]]:
    """({frame: what the leader found}, its threshold, how far a match may be in metres, notes)."""
    details = read_if_there(data / "evaluate" / "details.json")
    leader = details.get("leader")
    if leader is None:
        return {}, None, 0.5, ["No detections: evaluate has not run yet, or no network leads."]
    folder, found = data / "detect" / leader, {}
    for file in (folder / FILE, folder / "unlabelled" / FILE):
        if file.exists():
            found |= {one.frame: one for one in read_detections(file) if one.scene == scene.name}
    notes = [f"Found by {leader}."]
    if not found:
        why = read_if_there(folder / "summary.json").get("left_out", {}).get(scene.name)
        notes = [f"No detections of {leader}: {why or 'this sequence is in training, or came after detect has run'}."]
    elif len(found) < len(scene.frames):
        notes.append(f"Of {len(scene.frames) - len(found)} of {len(scene.frames)} frames there are no detections.")
    return found, details["threshold"], details["match_m"], notes


def listed(values: Any, digits: int = 2) -> list:
    return np.round(np.asarray(values, float), digits).tolist()


def boxes(scene: Scene, view: View, places: np.ndarray) -> list[list[float] | None]:
    found = (standing_box(view.camera, scene.plane, xy) for xy in places)
    return [None if box is None else listed(box, 1) for box in found]


def outcomes(found: np.ndarray, people: np.ndarray, match_m: float) -> list[list[str]]:
    """For the surest k detections, k = 0 .. n: which of them are right, and which people are found; as 0 and 1."""
    told = []
    for count in range(len(found) + 1):
        right, there = ["0"] * count, ["0"] * len(people)
        for i, j in match(found[:count], people, match_m)[0]:
            right[i] = there[j] = "1"
        told.append(["".join(right), "".join(there)])
    return told


def moment_of(scene: Scene, row: int, one: Detected | None, match_m: float) -> dict[str, Any]:
    """One frame without its pictures."""
    found = np.empty((0, 2)) if one is None else one.xy
    known = bool(scene.labelled[row])
    people = people_of(scene, row) if known else np.empty((0, 2))
    return {
        "frame": int(scene.frames[row]), "split": str(scene.split[row]) if known else "unlabelled", "known": known,
        "judged": known and one is not None, "found": listed(found),
        "sure": [] if one is None else listed(one.confidence, 4), "people": listed(people),
        "outcomes": outcomes(found, people, match_m) if known else [],
        "boxes": [boxes(scene, view, found) for view in scene.views],
        "stand": [boxes(scene, view, people) for view in scene.views],
        "images": [None] * len(scene.views), "glow": None,
    }  # fmt: skip


def glowing(scene: Scene, scores: np.ndarray) -> Image.Image:
    """Scores from above; a cell is as many pixels as JPEG needs to keep it apart."""
    picture = glow_of(scene, scores)
    return picture.resize((4 * picture.width, 4 * picture.height), Image.Resampling.NEAREST)


def with_pictures(moment: dict[str, Any], scene: Scene, one: Detected | None, album: Album) -> None:
    if one is not None and one.scores is not None:
        moment["glow"] = album.put(("glow", moment["frame"]), partial(glowing, scene, one.scores))
    for place, view in enumerate(scene.views):
        image = view.image(moment["frame"]) if not album.full else None
        if image is not None or moment["frame"] in view.row:
            made = partial(lambda of: at_most(Image.fromarray(of), *VIEW_PX), image)
            moment["images"][place] = album.put((view.name, moment["frame"]), made)


def about_cameras(scene: Scene) -> list[dict[str, Any]]:
    return [
        {
            "name": view.name, "size": [view.camera.size[1], view.camera.size[0]],
            "at": listed(scene.plane.to_plane(view.camera.centre[:2])), "frames": sorted(view.row),
        }
        for view in scene.views
    ]  # fmt: skip


def write(
    name: str, out: Path, params: Line, data: Path, ctx: Context = Context(), embed_mb: float = EMBED_MB
) -> list[str]:
    """The page of sequence `name` of the line whose folders lie in `data`. Returns what a person should know of it."""
    scene, album = find(name, data / "pack"), Album(embed_mb)
    found, threshold, match_m, notes = detections_of(scene, data)
    rows = range(len(scene.frames))
    moments = [
        moment_of(scene, row, found.get(int(scene.frames[row])), match_m)
        for row in ctx.progress(rows, desc="frames", unit="frame")
    ]
    rank = {split: place for place, split in enumerate(FIRST)}
    for row in sorted(rows, key=lambda row: (rank.get(moments[row]["split"], len(rank)), row)):
        with_pictures(moments[row], scene, found.get(moments[row]["frame"]), album)
    if found and threshold is None:
        notes.append("No threshold was chosen, for validation has nobody to choose one by: nothing is kept at 1.")
    notes += album.notes()
    report = read_if_there(data / "download" / "report.json").get("units", {}).get(name, {})
    if world := rendered([report.get("layout")], "sequences"):
        notes.append(world)
    page = {
        "name": scene.name, "notes": notes, "pictures": album.uris,
        "threshold": 1.0 if threshold is None else threshold,
        "plane": [scene.grid[1] * scene.cell_m, scene.grid[0] * scene.cell_m], "match_m": match_m,
        "cameras": about_cameras(scene), "moments": moments, "judged": [*SPLITS],
        "inks": {"right": RIGHT, "wrong": WRONG, "missed": MISSED, "there": TRUE, "unknown": GREY},
    }  # fmt: skip
    write_page(out, PAGE, page=page)
    return notes
