"""The street world, `synth://street?sessions=4&cameras=5&identities=25&seed=0`: people seen by fixed cameras.

A session is one place on one day: its own backdrops, its own people. Training sessions are train1, train2, ...; there
is one of validation, val1, and one to test on, test1. No two sessions share a person or a backdrop; the cameras, each
with its own colour cast, scale, blur and side of people, are the same in all. A unit is one camera in one session, and
a pure function of the seed, its name and the other params: more sessions change none of the earlier ones.

A unit gives crops of people, images of strangers with boxes, of the sessions of validation and test a short film in
which some of its people walk, and of test distractors. Who needs them as files writes them: see `importers/street.py`
of a line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tasks.yard.step import BadInput
from tasks.yard.worlds import query
from tasks.yard.worlds.people import Look, draw_look
from tasks.yard.worlds.street import crops, scene
from tasks.yard.worlds.street.camera import CAMERAS, Box, Camera
from tasks.yard.worlds.street.crops import Crop

FPS = 4.0
CAST = 12  # the first people of a filmed session walk through the film of every camera that sees them
EXTRAS = 6  # others in each film
EMPTY = 0.08  # share of the detector's images without anybody
CROWDED = 0.6  # of the others, those as full as a film, with people as far away
CROWD = (8, 24)  # on their way past, of whom about half are in view
CROWD_S = 10.0  # within which they pass, as in a film of the usual length
EXAMPLE = "synth://street?sessions=4&cameras=5&identities=25&seed=0"


@dataclass(frozen=True)
class Street:
    sessions: int = 4  # of training
    cameras: int = 5
    identities: int = 25  # in each session of training
    val_identities: int = 18
    test_identities: int = 45
    images: int = 24  # for the detector, of each camera in each session
    frames: int = 40  # of the film of each camera in the sessions of validation and test
    seed: int = 0


# People are numbered in four digits: of training session n from 100 n - 99, of validation from 8001, of test from 9001.
LIMITS = {
    "sessions": (1, 80), "cameras": (2, len(CAMERAS)), "identities": (1, 100), "val_identities": (1, 900),
    "test_identities": (1, 900), "images": (1, 10_000), "frames": (1, 100_000), "seed": (0, 2**31),
}  # fmt: skip


def parse(uri: str) -> Street:
    """Raises `BadInput` that names the key and what is allowed."""
    return query.parse(uri, Street, LIMITS, EXAMPLE)


@dataclass(frozen=True)
class Session:
    """`number` counts within the split; `stream` keeps its random numbers apart from those of all other sessions."""

    split: str
    number: int
    people: int
    first_id: int
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


@dataclass(frozen=True)
class Unit:
    """One camera in one session."""

    world: Street
    session: Session
    number: int  # of the camera, from 1
    camera: Camera

    @property
    def name(self) -> str:
        return f"{self.session.name}-c{self.number}"

    @property
    def is_test(self) -> bool:
        return self.session.split == "test"

    @property
    def is_filmed(self) -> bool:
        return self.session.split != "train"

    def id_of(self, person: int) -> int:
        """Of somebody of the session: a number that nobody else in the world has."""
        return self.session.first_id + person

    def people(self) -> list[int]:
        """Who of the session is seen by this camera."""
        return seen_by(self.world, self.session, self.number)

    def _rng(self, what: int) -> np.random.Generator:
        return np.random.default_rng([self.world.seed, self.session.stream, self.number, what])

    def crops(self) -> tuple[list[Crop], list[np.ndarray]]:
        """Crops of the session's people, and pictures of what a detector takes for people (of the test session)."""
        rng = self._rng(20)
        looks = {person: look_of(self.world, self.session, person) for person in self.people()}
        found = crops.of_people(self.camera, looks, 5 if self.is_test else 4, rng)
        return found, crops.distractors(self.camera, rng) if self.is_test else []

    def detector_images(self) -> Iterator[tuple[np.ndarray, list[Box]]]:
        """Images of strangers and their boxes; some images are empty."""
        rng = self._rng(30)
        for _ in range(self.world.images):
            if rng.random() < EMPTY:
                moments = []
            elif rng.random() < CROWDED:
                moments = [float(np.diff(rng.uniform(0, CROWD_S, 2))[0]) for _ in range(rng.integers(*CROWD))]
            else:  # a few, of whom some are just coming into view or leaving it
                moments = [float(rng.normal(0, 0.8)) for _ in range(rng.integers(1, 8))]
            walkers = [self.camera.walker(rng, draw_look(rng), 0.0).at(moment) for moment in moments]
            yield self.camera.frame(walkers, rng)

    def film(self) -> Iterator[tuple[np.ndarray, list[tuple[int, Box]]]]:
        """Frames of people of the session walking past, `FPS` a second; in each, (person, box) of who is seen."""
        rng = self._rng(40)
        seen = self.people()
        rest = [person for person in seen if person >= CAST]
        cast = [person for person in seen if person < CAST] + [int(p) for p in rng.permutation(rest)[:EXTRAS]]
        seconds = self.world.frames / FPS
        looks = [look_of(self.world, self.session, person) for person in cast]
        walkers = [self.camera.walker(rng, look, float(rng.uniform(0, seconds))) for look in looks]
        for index in range(self.world.frames):
            picture, boxes = self.camera.frame([walker.at(index / FPS) for walker in walkers], rng)
            yield picture, [(cast[box.index], box) for box in boxes]


def unit(world: Street, name: str) -> Unit:
    """Raises `BadInput` if there is no such unit."""
    known = unit_names(world)
    if name not in known:
        raise BadInput(f"{name}: no unit of this world; it has {', '.join(known[:3])} ... {known[-1]}")
    session_name, number = re.fullmatch(r"(\w+)-c(\d+)", name).groups()
    session = next(session for session in sessions(world) if session.name == session_name)
    return Unit(world, session, int(number), camera_of(world, session, int(number)))
