"""A yard to search in, in a moment: drawn cameras, an untrained detector and network, and a leader that evaluate named.

People are coats and trousers of their own colours, the same in every camera: a network that was never trained tells a
crop from the same crop, and so a query is found by its true box.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from models.person_search.factory import build
from tasks.person_search import index, search
from tasks.person_search.formats import cameras, crops
from tasks.person_search.importers import queries
from tasks.person_search.learning.embed import embed, load_network
from tasks.person_search.params import Index, Search
from tasks.yard.files import file_hash, write_json, write_text
from tasks.yard.step import Context
from tasks.yard.training import checkpoint
from tests import sections
from tests.tasks.brake_coast import scenes

REPO = Path(__file__).parents[3]
NETWORK, SIZE_PX, PERSON_PX = "stripe_cnn", (128, 64), (14, 36)
CONFIG = {
    "network": {"name": NETWORK, "identities": 4, "embedding": 16}, "height_px": 32, "width_px": 16,
    "mean": list(crops.MEAN), "std": list(crops.STD), "datasets": ["yard"],
}  # fmt: skip
THRESHOLD = 0.9
MODELS = {"index": Index, "search": Search}
LIGHT = {"imgsz": 64, "batch": 4, "confidence": 0.0, "max_detections": 3, "device": "cpu"}
QUICK = {"sheet_queries": 0, "video_queries": 0}


def section(step: str, **changes):
    values = sections.values("person_search", step)
    return MODELS[step].model_validate({**values, **changes})


def colours(person: int) -> np.ndarray:
    return np.random.default_rng(person).integers(20, 236, (2, 3))


def draw(image: np.ndarray, person: int, x: int, y: int) -> list[int]:
    """Paints somebody; returns x1, y1, x2, y2."""
    coat, trousers = colours(person).tolist()
    width, height = PERSON_PX
    cv2.rectangle(image, (x, y), (x + width - 1, y + height // 2), coat, -1)
    cv2.rectangle(image, (x, y + height // 2), (x + width - 1, y + height - 1), trousers, -1)
    return [x, y, x + width, y + height]


def write_camera(
    download: Path, number: int, frames: int = 6, *, people: dict[int, dict[int, int]] | None = None,
    asked: dict[str, int] | None = None, fps: float | None = 2.0, truth: bool = True, dataset: str = "yard",
) -> Path:  # fmt: skip
    """`people`: {person: {frame: x}}; `asked`: {name of a query: person}. PNG: a crop is the person to the bit."""
    folder = download / f"{dataset}-c{number}"
    (folder / "frames").mkdir(parents=True)
    rows = ["frame,pid,x1,y1,x2,y2"]
    for frame in range(frames):
        image = np.full((SIZE_PX[1], SIZE_PX[0], 3), 90 + 10 * number, np.uint8)
        for person, places in (people or {}).items():
            if frame in places:
                box = draw(image, person, places[frame], 16)
                rows.append(",".join(map(str, [frame, person, *box])))
        cv2.imwrite(str(folder / "frames" / f"{frame:06d}.png"), image)
    write_json(folder / "camera.json", {"camera": number, "fps": fps, "name": f"door {number}"})
    write_json(folder / "unit.json", {"dataset": dataset, "parts": ["frames"]})
    if truth:
        write_text(folder / "truth.csv", "\n".join(rows) + "\n")
    for name, person in (asked or {}).items():
        write_query(folder / "queries" / name, person)
    return folder


def write_query(path: Path, person: int) -> Path:
    image = np.zeros((PERSON_PX[1], PERSON_PX[0], 3), np.uint8)
    draw(image, person, 0, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image)
    return path


def write_network(folder: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    state = {"model": build(**CONFIG["network"]).state_dict(), "config": CONFIG}
    checkpoint.save(folder / NETWORK, "best", state, {})
    return folder


def write_leader(folder: Path, threshold: float | None = THRESHOLD) -> Path:
    write_json(folder / "details.json", {
        "leader": NETWORK,
        "threshold": {"threshold": threshold, "from": "by hand" if threshold is not None else None,
                      "null_because": None if threshold is not None else "no pairs"},
    })  # fmt: skip
    return folder


class Yard:
    """Runs the two steps under one folder."""

    def __init__(self, root: Path, train_detector: Path):
        self.root, self.train_detector = root, train_detector
        self.download = root / "download"
        self.download.mkdir()
        write_network(root / "train")
        write_leader(root / "evaluate")

    def index(self, ctx: Context = Context(), **changes) -> dict:
        return index.run(
            section("index", **{**LIGHT, **changes}), self.root / "index", ctx, download=self.download,
            train_detector=self.train_detector, train=self.networks(), evaluate=self.root / "evaluate",
            calibrate=self.root / "calibrate",
        )  # fmt: skip

    def search(self, **changes) -> dict:
        out = self.root / "search"
        out.mkdir(exist_ok=True)
        return search.run(
            section("search", **{**QUICK, **changes}), out, download=self.download, index=self.root / "index",
            evaluate=self.root / "evaluate", train=self.networks(), calibrate=self.root / "calibrate",
        )  # fmt: skip

    def networks(self) -> dict[str, Path]:
        return {NETWORK: self.root / "train" / NETWORK}


def write_detector(folder: Path) -> Path:
    scenes.write_weights(folder / "best.pt", names=("person",))
    return folder


def vector(yard: Yard, image: Path) -> np.ndarray:
    """(D) what the leader gives to an image of somebody."""
    network, config = load_network(yard.networks()[NETWORK] / "best.pt")
    return embed(network, queries.read(queries.own(image), config)[1], config)[0]


def like(one: np.ndarray, similarity: float, seed: int = 0) -> np.ndarray:
    """A vector of length 1 with this cosine to `one`."""
    other = np.random.default_rng(seed).normal(size=len(one))
    other -= other @ one * one
    return similarity * one + np.sqrt(1 - similarity**2) * other / np.linalg.norm(other)


def write_index(yard: Yard, found: dict[str, list[tuple]], oracle: dict[str, list[tuple]] | None = None) -> None:
    """By hand: {unit: [(frame, box, vector)]} by frame; of the true boxes [(frame, box, vector, person, found)]."""
    out = yard.root / "index"
    for unit, detections in found.items():
        columns = {
            "frame": [d[0] for d in detections], "box": np.array([d[1] for d in detections]).reshape(-1, 4),
            "confidence": [0.9] * len(detections), "embedding": np.array([d[2] for d in detections]).reshape(-1, 16),
        }  # fmt: skip
        save(out / unit / "detections.h5", columns, cameras.detection_columns(16))
    for unit, boxes in (oracle or {}).items():
        columns = {
            "frame": [b[0] for b in boxes], "box": np.array([b[1] for b in boxes]).reshape(-1, 4),
            "embedding": np.array([b[2] for b in boxes]).reshape(-1, 16), "identity": [b[3] for b in boxes],
            "found": [b[4] for b in boxes],
        }  # fmt: skip
        save(out / unit / "oracle.h5", columns, cameras.oracle_columns(16))
    sha256 = file_hash(yard.networks()[NETWORK] / "best.pt")
    write_json(out / "index.json", {"cameras": {unit: {} for unit in found}, "network_sha256": sha256, "empty": None})


def save(path: Path, values: dict, columns: cameras.Columns) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    block = path.with_suffix(".npz")
    np.savez(block, **values)
    cameras.write_rows(path, columns, [block])
