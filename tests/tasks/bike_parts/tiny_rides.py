"""What inspect and report read, in a moment: rides of small bikes, one part of which is damaged in each, an untrained
network, and all that lies between."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tasks.bike_parts import detect, evaluate, inspect
from tasks.bike_parts.formats import detections
from tasks.bike_parts.formats import photos as photos_of
from tasks.bike_parts.formats.detections import Detections, Oracle
from tasks.bike_parts.formats.photos import ABSENT, DAMAGED, INTACT, Photo, Photos, write
from tasks.yard.files import write_json
from tasks.yard.layouts.images import write_image
from tests.tasks.bike_parts.tiny_photos import HEIGHT, PARTS, WIDTH, drawn, section, write_network
from tests.tasks.yard.shared import reporting

BIKES = {"train": range(6), "val": range(6, 10), "test": range(10, 14)}
NETWORK = "small"


def write_rides(root: Path, states: bool = True) -> None:
    """download/ and split/: of each bike one ride. `states`: they are labelled."""
    random = np.random.default_rng(0)
    for split, bikes in BIKES.items():
        photos, rows = [], []
        for bike in bikes:
            lost = int(random.integers(len(PARTS)))
            for moment, name in enumerate(("before", "after")):
                number = 2 * bike + moment + 1
                picture, boxes, _ = drawn(random)
                file = f"unit/images/bike{bike}_0_{name}.png"
                write_image(root / "download" / file, picture)
                photos.append(Photo(number, file, WIDTH, HEIGHT, f"bike{bike}"))
                for k, box in enumerate(boxes):
                    state = (DAMAGED if bike % 2 else ABSENT) if moment and k == lost else INTACT
                    rows.append((10 * number + k, number, k + 1, box, state if states else -1, 1.0))
        write(root / "split", split, Photos(PARTS, photos, *(np.array(list(of)) for of in zip(*rows, strict=True))))
    write_json(root / "download/unit/unit.json", {"source": "synth://bikes", "rendered": True, "groups": {}})


def folders(root: Path, *names: str) -> dict:
    return {name: root / name for name in names} | {
        step: {NETWORK: root / step / NETWORK} for step in ("train", "detect")
    }  # fmt: skip


def judged(root: Path) -> None:
    """detect/ and evaluate/."""
    of = folders(root, "download", "split")
    of.pop("detect")
    detect.run(section("detect"), root / "detect" / NETWORK, network=NETWORK, **of)
    evaluated(root)


def evaluated(root: Path) -> None:
    evaluate.run(
        section("evaluate"), root / "evaluate", split=root / "split", detect=folders(root)["detect"],
        reporting_params=reporting(bootstrap_replicates=100),
    )  # fmt: skip


def inspected(root: Path, out: str = "inspect", ctx=None, **changes) -> dict:
    context = {} if ctx is None else {"ctx": ctx}
    return inspect.run(
        section("inspect", **changes), root / out, **context, reporting_params=reporting(),
        **folders(root, "download", "split", "evaluate"),
    )  # fmt: skip


def write_found(root: Path) -> None:
    """detect/ of a network that is mostly right: every part in its place, of seven states one wrong."""
    told = {}
    for split in ("val", "test"):
        of = photos_of.read(root / "split", split)
        said = np.where(np.arange(len(of.id)) % 7 == 3, (of.state + 1) % 4, of.state)
        states = np.where(np.arange(4) == said[:, None], 0.85, 0.05).astype(np.float32)
        score = np.linspace(0.9, 0.5, len(of.id), dtype=np.float32)
        told[split] = (
            Detections(of.photo, of.part, of.box.astype(np.float32), score, states), Oracle(of.id, states),
        )  # fmt: skip
    detections.write(root / "detect" / NETWORK / detections.FILE, told)


def write_project(root: Path, states: bool = True, found: bool = False) -> Path:
    """`found`: by a network that is mostly right, in place of the untrained one."""
    write_rides(root, states)
    write_network(root)
    judged(root)
    if found:
        write_found(root)
        evaluated(root)
    return root
