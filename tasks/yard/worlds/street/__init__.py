"""The street world, `synth://street?sessions=4&cameras=5&identities=25&seed=0`: people seen by fixed cameras.

A session is one place on one day: its own backdrops, its own people. Training sessions are train1, train2, ...; there
is one of validation, val1, and one to test on, test1. No two sessions share a person or a backdrop; the cameras, each
with its own colour cast, scale, blur and side of people, are the same in all. A unit is one camera in one session, and
a pure function of the seed, its name and the other params: more sessions change none of the earlier ones.

The people of val1 are in bounding_box_train, as Market has no validation folder: who splits by identity decides.

Writes, for a unit, what tasks/person_search reads of a real data set:
    unit.json                                    dataset, session, camera, parts and counts
    bounding_box_train/ | query/, bounding_box_test/    crops, `PPPP_cCsS_FFFFFF_BB.jpg`; pid 0 distractor, -1 junk
    data.yaml, images/<split>/, labels/<split>/  YOLO persons
    frames/NNNNNN.jpg, camera.json, truth.csv, queries/    of test1: a short film, its true boxes, whom to find
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, fields
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import cv2
import numpy as np

from tasks.yard.files import replacing, write_json, write_text
from tasks.yard.step import BadInput
from tasks.yard.worlds.street import crops, scene
from tasks.yard.worlds.street.camera import CAMERAS, JPEG_QUALITY, Box, Camera
from tasks.yard.worlds.street.people import Look, draw_look
from tasks.yard.worlds.street.scene import HEIGHT_PX, WIDTH_PX

FPS = 4.0
CAST = 12  # the first people of the test session walk through the film of every camera that sees them
EXTRAS = 6  # others in each film
EMPTY = 0.08  # share of the detector's images without anybody


@dataclass(frozen=True)
class Street:
    sessions: int = 4  # of training
    cameras: int = 5
    identities: int = 25  # in each session of training
    val_identities: int = 18
    test_identities: int = 45
    images: int = 24  # for the detector, of each camera in each session
    frames: int = 40  # of the film of each camera in the test session
    seed: int = 0


# pids have four digits: of training session n from 100 n - 99, of validation from 8001, of test from 9001.
LIMITS = {
    "sessions": (1, 80), "cameras": (2, len(CAMERAS)), "identities": (1, 100), "val_identities": (1, 900),
    "test_identities": (1, 900), "images": (1, 10_000), "frames": (1, 100_000), "seed": (0, 2**31),
}  # fmt: skip


def parse(uri: str) -> Street:
    """Raises `BadInput` that names the key and what is allowed."""
    parts = urlsplit(uri)
    if (parts.scheme, parts.netloc) != ("synth", "street"):
        raise BadInput(f"{uri}: expected synth://street?sessions=4&cameras=5&identities=25&seed=0")
    known = [field.name for field in fields(Street)]
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
    return Street(**values)


@dataclass(frozen=True)
class Session:
    """`number` counts within the split; `stream` keeps its random numbers apart from those of all other sessions."""

    split: str
    number: int
    people: int
    first_pid: int
    stream: int

    @property
    def name(self) -> str:
        return f"{self.split}{self.number}"


def sessions(world: Street) -> list[Session]:
    train = [Session("train", n, world.identities, 100 * n - 99, n) for n in range(1, world.sessions + 1)]
    return [
        *train,
        Session("val", 1, world.val_identities, 8001, 1001),
        Session("test", 1, world.test_identities, 9001, 2001),
    ]


def unit_names(world: Street) -> list[str]:
    return [f"{session.name}-c{camera}" for session in sessions(world) for camera in range(1, world.cameras + 1)]


def look_of(world: Street, session: Session, person: int) -> Look:
    return draw_look(np.random.default_rng([world.seed, session.stream, 10, person]))


def cameras_of(world: Street, session: Session, person: int) -> list[int]:
    """The cameras that see somebody: at least two, and not always all."""
    rng = np.random.default_rng([world.seed, session.stream, 11, person])
    count = int(rng.integers(max(2, world.cameras - 2), world.cameras + 1))
    return sorted(int(camera) + 1 for camera in rng.choice(world.cameras, count, replace=False))


def seen_by(world: Street, session: Session, camera: int) -> list[int]:
    return [person for person in range(session.people) if camera in cameras_of(world, session, person)]


def camera_of(world: Street, session: Session, number: int) -> Camera:
    light = scene.draw_light(np.random.default_rng([world.seed, session.stream, 12]))
    return Camera(world.seed, session.stream, number, light)


def write_jpeg(path: Path, picture: np.ndarray) -> None:
    encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    with replacing(path) as temporary:
        temporary.write_bytes(encoded.tobytes())


def write_reid(world: Street, session: Session, number: int, camera: Camera, folder: Path) -> dict[str, int]:
    """Crops by Market's names. Of each person and camera of the test session the clearest crop is the query."""
    rng = np.random.default_rng([world.seed, session.stream, number, 20])
    people_ = seen_by(world, session, number)
    test = session.split == "test"
    looks = {person: look_of(world, session, person) for person in people_}
    found = crops.of_people(camera, looks, 5 if test else 4, rng)

    def name(pid: int, frame: int, box: int) -> str:
        text = "-1" if pid < 0 else f"{pid:04d}"
        return f"{text}_c{number}s{session.number}_{frame:06d}_{box:02d}.jpg"

    queries = set()
    if test:
        for person in people_:
            own = [index for index, crop in enumerate(found) if crop.person == person]
            queries.add(max(own, key=lambda index: found[index].visible))
    counts = {"query": 0, "bounding_box_test": 0, "distractors": 0, "junk": 0} if test else {"bounding_box_train": 0}
    for index, crop in enumerate(found):
        if crop.person < 0 and not test:
            continue
        part = "query" if index in queries else "bounding_box_test" if test else "bounding_box_train"
        pid = -1 if crop.person < 0 else session.first_pid + crop.person
        file = name(pid, crop.frame, crop.box)
        write_jpeg(folder / part / file, crop.picture)
        if part == "query":
            write_jpeg(folder / "queries" / file, crop.picture)
        counts[part] += 1
        counts["junk"] = counts.get("junk", 0) + (pid < 0)
    if test:
        last = max((crop.frame for crop in found), default=0)
        for index, picture in enumerate(crops.distractors(camera, rng)):
            write_jpeg(folder / "bounding_box_test" / name(0, last + 1 + index, 0), picture)
            counts["bounding_box_test"] += 1
            counts["distractors"] += 1
    return counts | {"identities": len(people_)}


def yolo(box: Box) -> str:
    x1, y1, x2, y2 = box.xyxy
    centre = (x1 + x2) / 2 / WIDTH_PX, (y1 + y2) / 2 / HEIGHT_PX
    return f"0 {centre[0]:.6f} {centre[1]:.6f} {(x2 - x1) / WIDTH_PX:.6f} {(y2 - y1) / HEIGHT_PX:.6f}\n"


def write_detect(world: Street, session: Session, number: int, camera: Camera, folder: Path) -> dict[str, int]:
    """Images of strangers with a label line each; some images are empty."""
    rng = np.random.default_rng([world.seed, session.stream, number, 30])
    split, persons = session.split, 0
    for index in range(world.images):
        count = 0 if rng.random() < EMPTY else int(rng.integers(1, 8))
        # Some are just coming into view or leaving it.
        people_ = [camera.walker(rng, draw_look(rng), 0.0).at(float(rng.normal(0, 0.8))) for _ in range(count)]
        picture, boxes = camera.frame(people_, rng)
        stem = f"{session.name}-c{number}_{index:05d}"
        write_jpeg(folder / "images" / split / f"{stem}.jpg", picture)
        write_text(folder / "labels" / split / f"{stem}.txt", "".join(yolo(box) for box in boxes))
        persons += len(boxes)
    write_text(folder / "data.yaml", f"path: .\n{split}: images/{split}\nnc: 1\nnames:\n  0: person\n")
    return {"images": world.images, "persons": persons}


def write_film(world: Street, session: Session, number: int, camera: Camera, folder: Path) -> dict[str, int]:
    """People of the session walking past, and where they are in each frame."""
    rng = np.random.default_rng([world.seed, session.stream, number, 40])
    seen = seen_by(world, session, number)
    rest = [person for person in seen if person >= CAST]
    cast = [person for person in seen if person < CAST] + [int(p) for p in rng.permutation(rest)[:EXTRAS]]
    seconds = world.frames / FPS
    walkers = [camera.walker(rng, look_of(world, session, p), float(rng.uniform(0, seconds))) for p in cast]
    rows = ["frame,pid,x1,y1,x2,y2\n"]
    for index in range(world.frames):
        picture, boxes = camera.frame([walker.at(index / FPS) for walker in walkers], rng)
        write_jpeg(folder / "frames" / f"{index:06d}.jpg", picture)
        for box in boxes:
            rows.append(f"{index},{session.first_pid + cast[box.index]},{','.join(map(str, box.xyxy))}\n")
    write_text(folder / "truth.csv", "".join(rows))
    write_json(folder / "camera.json", {"camera": number, "fps": FPS, "name": f"{session.name}-c{number}"})
    return {"frames": world.frames, "true_boxes": len(rows) - 1}


def write_unit(world: Street, name: str, folder: Path) -> dict[str, int]:
    """All files of one unit under `folder`; returns how many of each. Raises `BadInput` if there is no such unit."""
    known = unit_names(world)
    if name not in known:
        raise BadInput(f"{name}: no unit of this world; it has {', '.join(known[:3])} ... {known[-1]}")
    split, number = re.fullmatch(r"(\w+)-c(\d+)", name).groups()
    session = next(session for session in sessions(world) if session.name == split)
    camera = camera_of(world, session, int(number))
    counts = write_reid(world, session, int(number), camera, folder)
    counts |= write_detect(world, session, int(number), camera, folder)
    parts = ["reid", "detect"]
    if session.split == "test":
        counts |= write_film(world, session, int(number), camera, folder)
        parts.append("frames")
    about = {"dataset": "street", "session": session.name, "camera": int(number), "parts": parts, "counts": counts}
    write_json(folder / "unit.json", about)
    return counts
