"""What train and detect read, in a moment: photographs of four coloured shapes in a row, some of them bent, gone or
covered, in the layout of split and download."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from tasks.bike_parts.formats.photos import ABSENT, DAMAGED, OCCLUDED, SPLITS, Photo, Photos, write
from tasks.yard.layouts.images import write_image
from tests import sections

PARTS = ["bell", "chain", "lock", "saddle"]
COLOURS = [(40, 40, 220), (60, 200, 60), (230, 120, 40), (30, 200, 230)]  # BGR
HEIGHT, WIDTH = 64, 96
SHARES = [0.6, 0.15, 0.15, 0.1]


def section(step: str, **changes):
    """One step's params as they stand in params.yaml, with some changed."""
    from tasks.bike_parts.params import Line

    values = sections.values("bike_parts", step)
    for key, value in changes.items():
        values[key] = {**values[key], **value} if isinstance(value, dict) else value
    return Line.model_fields[step].annotation.model_validate(values)


def drawn(random: np.random.Generator, height: int = HEIGHT, width: int = WIDTH) -> tuple[np.ndarray, list, list]:
    """(photograph BGR, boxes x y w h, states) of all parts."""
    photo = random.integers(90, 140, (height, width, 3)).astype(np.uint8)
    boxes, states = [], []
    step = width / len(PARTS)
    for k, colour in enumerate(COLOURS):
        w, h = random.integers(12, 18, 2).tolist()
        x, y = int(k * step + random.integers(1, step - w - 1)), int(random.integers(4, height - h - 4))
        state = int(random.choice(4, p=SHARES))
        if state != ABSENT:
            cv2.rectangle(photo, (x, y), (x + w - 1, y + h - 1), colour, -1)
        if state == DAMAGED:
            cv2.line(photo, (x, y), (x + w - 1, y + h - 1), (0, 0, 0), 4)
        if state == OCCLUDED:
            cv2.rectangle(photo, (x - 1, y + h // 4), (x + w, y + h), (255, 255, 255), -1)
        boxes.append([x, y, w, h])
        states.append(state)
    return photo, boxes, states


def write_split(root: Path, seed: int = 0, height: int = HEIGHT, width: int = WIDTH, **counts: int) -> dict[str, Path]:
    """download/ and split/ with so many photographs (train=, val=, test=); what train is handed."""
    random = np.random.default_rng(seed)
    number, annotation = 0, 0
    for split in SPLITS:
        photos, rows = [], []
        for _ in range(counts.get(split, 4)):
            number += 1
            photo, boxes, states = drawn(random, height, width)
            name = f"unit/images/bike{number}_0_before.png"
            write_image(root / "download" / name, photo)
            photos.append(Photo(number, name, width, height, f"bike{number}"))
            for k, (box, state) in enumerate(zip(boxes, states, strict=True), 1):
                annotation += 1
                rows.append((annotation, number, k, box, state, 1.0))
        columns = [np.array(list(of)) for of in zip(*rows, strict=True)] if rows else [np.empty(0, int)] * 6
        write(root / "split", split, Photos(PARTS, photos, *columns))
    return {"download": root / "download", "split": root / "split"}


CLOSER = {"shrink": 1, "edge_px": 16, "margin": 0.3, "weight": 1.0}


def settings(**changes):
    """The project's own params, with the training made small."""
    small = {
        "canvas": {"height_px": HEIGHT, "width_px": WIDTH}, "evaluate_every": 1, "close": None,
        "engine": {"epochs": 2, "batch": 4, "threads": 1},
    }  # fmt: skip
    for key, value in changes.items():
        small[key] = {**(small.get(key) or {}), **value} if isinstance(value, dict) else value
    return section("train", **small)


def write_network(
    root: Path, item: str = "small", name: str = "small", seed: int = 0, score: float = 0.5,
    close: dict | None = None, **changes,
) -> Path:  # fmt: skip
    """train/<item>/best.pt, untrained, as train leaves it; returns the folder."""
    from tasks.bike_parts import train
    from tasks.yard.training import checkpoint

    params = settings(engine={"seed": seed}, keep={"floor": 0.0, "max_detections": 20}, close=close)
    network, about = train.made(params, name, changes.get("parts", PARTS), np.array([0, 1]))
    config = {
        "network": about, "parts": PARTS, "canvas": params.canvas.model_dump(), "keep": train.used(params), **changes,
    }  # fmt: skip
    folder = root / "train" / item
    folder.mkdir(parents=True)
    state = {"model": network.state_dict(), "config": config, "scores": {"score": score}}
    checkpoint.save(folder, "best", state, {})
    return folder
