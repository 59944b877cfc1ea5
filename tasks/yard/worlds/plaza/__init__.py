"""The plaza world, `synth://plaza?cameras=4&scenes=96&frames=5&seed=0`: people walk on a square of 8 x 8 m that still,
calibrated cameras look at from all sides.

A scene has its own cameras (poses, lenses, sensors), ground, walls, light, things in the way and people: nothing of a
scene of validation or test has been seen in training. A unit is one scene, and a pure function of the seed, its name
and the other params: more scenes change none of the others.

    cameras    in each scene, 2 to 8
    scenes     of training, train-00, ...; there are eight of validation and eight to test on
    frames     of each scene of training, two a second; their ids are 0, 5, 10, ...; those of validation have five,
               the others ten
    seed       another seed is another world

Writes, for a unit, a MARMOT data root as tasks/ground_plane/formats/sequence.py reads it (`part`: val for val-NN, else train):
    scene.json
    0-calibration/calibs/camN.json                    T in cm; ROI: the filmed part of the square, undistorted
    1-annotation/<part>/camN/camN_<frame id>.png      144 x 256 px, as filmed
    1-annotation/labels/<part>/plaza_<frame id>.json  who is on the square, in cm; boxes in the images as filmed
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, fields, replace
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import cv2
import numpy as np

from tasks.ground_plane.formats import labels, sequence
from tasks.ground_plane.formats.calibration import CM
from tasks.yard.files import replacing, write_json
from tasks.yard.step import BadInput
from tasks.yard.worlds.plaza import crowd, rig, scenery
from tasks.yard.worlds.plaza.crowd import Standing
from tasks.yard.worlds.plaza.film import Eye, Sensor
from tasks.yard.worlds.plaza.rig import PLANE
from tasks.yard.worlds.street.people import Look, draw_look

FRAME_STEP = 5  # between the ids of two frames: of a film of ten frames a second every fifth is kept
HELD_OUT = {"val": (8, 5), "test": (8, 10)}  # scenes, frames of each
STREAMS = {"train": 1, "val": 2, "test": 3}  # keep the random numbers of the splits apart


@dataclass(frozen=True)
class Plaza:
    cameras: int = 4
    scenes: int = 96  # of training
    frames: int = 5  # of each scene of training
    seed: int = 0


LIMITS = {"cameras": (2, 8), "scenes": (1, 99), "frames": (1, 10_000), "seed": (0, 2**31)}


def parse(uri: str) -> Plaza:
    """Raises `BadInput` that names the key and what is allowed."""
    parts = urlsplit(uri)
    if (parts.scheme, parts.netloc) != ("synth", "plaza"):
        raise BadInput(f"{uri}: expected synth://plaza?cameras=4&scenes=96&frames=5&seed=0")
    known = [field.name for field in fields(Plaza)]
    values: dict[str, int] = {}
    for key, text in parse_qsl(parts.query, keep_blank_values=True):
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
            raise BadInput(f"{uri}: unknown key {key!r}; {hint}")
        low, high = LIMITS[key]
        try:
            values[key] = int(text)
        except ValueError:
            raise BadInput(f"{uri}: {key} = {text!r} must be a whole number") from None
        if not low <= values[key] <= high:
            raise BadInput(f"{uri}: {key} = {text} must be from {low} to {high}")
    return Plaza(**values)


def unit_names(world: Plaza) -> list[str]:
    counts = {"train": world.scenes, **{split: scenes for split, (scenes, _) in HELD_OUT.items()}}
    return [f"{split}-{number:02d}" for split, count in counts.items() for number in range(count)]


@dataclass(frozen=True)
class Scene:
    eyes: tuple[Eye, ...]
    frames: tuple[list[Standing], ...]  # everybody on the square and beside it
    looks: dict[int, Look]


def draw_scene(world: Plaza, name: str) -> Scene:
    """Raises `BadInput` if this world has no such unit."""
    known = unit_names(world)
    if name not in known:
        raise BadInput(f"{name}: no unit of this world; it has {', '.join(known[:3])} ... {known[-1]}")
    split, number = re.fullmatch(r"(\w+)-(\d+)", name).groups()
    seed = [world.seed, STREAMS[split], int(number)]
    cameras = rig.draw(np.random.default_rng([*seed, 0]), world.cameras)
    things = scenery.draw_things(np.random.default_rng([*seed, 1]))
    around = scenery.draw(np.random.default_rng([*seed, 2]), things, [one.camera().centre for one in cameras])
    count = world.frames if split == "train" else HELD_OUT[split][1]
    frames = crowd.walk([*seed, 3], count, things)
    looks = {}
    for person in {one.person for standing in frames for one in standing}:
        rng = np.random.default_rng([*seed, 4, person])
        looks[person] = replace(draw_look(rng), height_m=float(rng.uniform(1.55, 1.9)))
    eyes = [
        Eye(one, around, Sensor.draw(np.random.default_rng([*seed, 5, place])), place)
        for place, one in enumerate(cameras)
    ]
    return Scene(tuple(eyes), tuple(frames), looks)


def write_png(path: Path, picture: np.ndarray) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(cv2.imencode(".png", picture)[1].tobytes())


def write_unit(world: Plaza, name: str, folder: Path) -> None:
    """All files of one unit under `folder`. Raises `BadInput` if there is no such unit."""
    scene = draw_scene(world, name)
    split = name.split("-")[0]
    part = "val" if split == "val" else "train"
    cameras = [eye.calibration for eye in scene.eyes]
    for one in cameras:
        write_json(folder / sequence.CALIBS / f"{one.name}.json", one.document())
    noise = [np.random.default_rng([*name.encode(), world.seed, place]) for place in range(len(cameras))]
    for row, standing in enumerate(scene.frames):
        frame, seen = FRAME_STEP * row, []
        for eye, one, rng in zip(scene.eyes, cameras, noise, strict=True):
            picture, boxes = eye.seen(standing, scene.looks)
            path = folder / sequence.ANNOTATION / part / one.name / f"{one.name}_{frame}.png"
            write_png(path, eye.sensor.develop(picture, rng))
            seen.append(boxes)
        on_it = [one for one in standing if PLANE.holds(PLANE.to_plane(np.array(one.xy_m)))]
        people = [(one.person, *(round(value / CM, 2) for value in one.xy_m)) for one in on_it]
        shown = [[list(boxes.get(one.person, (-1.0,) * 4)) for boxes in seen] for one in on_it]
        document = labels.document(people, shown, len(cameras))
        write_json(folder / sequence.LABELS / part / f"plaza_{frame}.json", document)
    about = f"synth://plaza?cameras={world.cameras}&frames={world.frames}&seed={world.seed} {name}"
    write_json(folder / sequence.SCENE, sequence.scene_document(PLANE, (split,), part, "plaza", about))
