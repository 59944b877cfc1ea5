"""The challenge in bike_parts: AP50 and macro-F1 of states on the test photographs as they are now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tasks.bike_parts.formats import photos as photos_of
from tasks.bike_parts.formats.detections import Detections, gathered
from tasks.bike_parts.formats.photos import Photos
from tasks.bike_parts.judging import runs
from tasks.bike_parts.learning import batches
from tasks.bike_parts.learning.network import canvas_of, load_network, looked_with_truth
from tasks.bike_parts.params import Line
from tasks.yard.files import read_json
from tasks.yard.params import Reporting
from tasks.yard.step import BadInput
from tasks.yard.tracking.champion import Comparison, Leader, Score, compared
from tasks.yard.training.accelerator import accelerator
from tasks.yard.training.learnt import Item, unseen

METRIC = "mean of AP50 and macro-F1 of states"
AT_ONCE = 16  # photographs


def challenger(data: Path) -> Leader | None:
    """The network that validation likes best; it has to beat what looks at no photograph, or at another."""
    path = data / "evaluate" / "details.json"
    details: dict[str, Any] = read_json(path) if path.exists() else {"leader": None}
    leader = details["leader"]
    if leader is None:
        return None
    told = details["runs"]
    names = (leader, *details["baselines"])
    validation = {name: told[name]["validation"]["score"] for name in names}
    return Leader(leader, METRIC, {"validation": validation, "test": {name: told[name]["score"] for name in names}})


def chosen(photos: Photos, kept: np.ndarray) -> Photos:
    """Some of the photographs (P) with their annotations."""
    some = [photo for photo, stays in zip(photos.photos, kept, strict=True) if stays]
    rows = np.isin(photos.photo, [photo.id for photo in some])
    columns = (getattr(photos, name)[rows] for name in ("id", "photo", "part", "box", "state", "trust"))
    return Photos(photos.parts, some, *columns)


def found_in(checkpoint: Path, photos: Photos, download: Path) -> Detections:
    """What detect would write of these photographs."""
    network, config, _ = load_network(checkpoint, accelerator())
    told = []
    for start in range(0, len(photos.photos), AT_ONCE):
        some = photos.photos[start : start + AT_ONCE]
        held = [batches.read(download / photo.name, canvas_of(config)) for photo in some]
        found, _ = looked_with_truth(network, held, [np.empty((0, 4))] * len(some), [np.empty(0, int)] * len(some))
        told += found
    return gathered(np.array([photo.id for photo in photos.photos]), told)


def compare(challenger: Path, champion: Path, data: Path, section: Line, reporting: Reporting) -> Comparison:
    """Both over the same draws of the same bikes.

    Raises `BadInput` if one was trained on other parts, or nothing is to be found in photographs that neither has
    learnt from, nor from others of their bikes.
    """
    test = photos_of.read(data / "split", "test")
    configs = {"the champion": load_network(champion)[1], "the challenger": load_network(challenger)[1]}
    for who, config in configs.items():
        if config["parts"] != test.parts:
            raise BadInput(f"{who} knows other parts ({', '.join(config['parts'])}) than the test photographs have")
    items = [Item((photo.name, photo.group)) for photo in test.photos]
    new = unseen(items, configs, "test photographs")
    held = runs.held(chosen(test, new.kept), reporting)

    def score(checkpoint: Path) -> Score:
        run = runs.run_of(held, found_in(checkpoint, held.photos, data / "download"))
        value = runs.judged(run, None)["score"]
        if value is None:
            raise BadInput(f"no part to find in the {len(held.photos.photos)} photographs of the test split")
        return Score(METRIC, value, runs.score_replicates(run), held.groups)

    return compared(score, challenger, champion, new.words)
