"""The plaza world (tasks/yard/worlds/plaza) in MARMOT's layout, as tasks/ground_plane/formats/sequence.py reads it.

Writes, for a unit (`part`: val for val-NN, else train):
    scene.json
    0-calibration/calibs/camN.json                    T in cm; ROI: the filmed part of the square, undistorted, with K
    1-annotation/<part>/camN/camN_<frame id>.png      144 x 256 px, as filmed; ids are 0, 5, 10, ...
    1-annotation/labels/<part>/plaza_<frame id>.json  who is on the square, in cm; boxes in the images as filmed
"""

from __future__ import annotations

from pathlib import Path

from tasks.ground_plane.formats import calibration, labels, sequence
from tasks.ground_plane.formats.calibration import CM
from tasks.yard.files import write_json
from tasks.yard.layouts.images import write_image
from tasks.yard.worlds import plaza
from tasks.yard.worlds.plaza import Moment, Plaza
from tasks.yard.worlds.plaza.rig import PLANE

FRAME_STEP = 5  # between the ids of two frames: of a film of ten frames a second every fifth is kept
NOT_SEEN = [-1.0] * 4


def label(moment: Moment) -> list[list]:
    people = [(one.person, *(round(value / CM, 2) for value in one.xy_m)) for one in moment.standing]
    shown = [[list(boxes.get(one.person, NOT_SEEN)) for boxes in moment.boxes] for one in moment.standing]
    return labels.document(people, shown, len(moment.boxes))


def write_unit(world: Plaza, name: str, folder: Path) -> None:
    """All files of one unit under `folder`. Raises `BadInput` if there is no such unit."""
    scene = plaza.draw_scene(world, name)
    part = "val" if scene.split == "val" else "train"
    for camera in scene.calibrations:
        write_json(folder / sequence.CALIBS / f"{camera.name}.json", calibration.document(camera))
    for row, moment in enumerate(scene.film()):
        frame = FRAME_STEP * row
        for camera, picture in zip(scene.calibrations, moment.pictures, strict=True):
            write_image(folder / sequence.ANNOTATION / part / camera.name / f"{camera.name}_{frame}.png", picture)
        write_json(folder / sequence.LABELS / part / f"plaza_{frame}.json", label(moment))
    about = f"synth://plaza?cameras={world.cameras}&frames={world.frames}&seed={world.seed} {name}"
    write_json(folder / sequence.SCENE, sequence.scene_document(PLANE, (scene.split,), part, "plaza", about))
