"""Stages of the device whose recordings go to a cluster's GPUs: what is sent is understood by another process, which
chooses the device itself and makes the same bytes."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import cloudpickle
import pytest
import torch

from tasks.brake_coast import annotate
from tasks.yard import parcels
from tasks.yard.files import folder_hash
from tasks.yard.step import Context
from tests.tasks.bike_parts import tiny_rides
from tests.tasks.brake_coast import drives, scenes
from tests.tasks.person_search import tiny_yard
from tests.tasks.yard import killed
from tests.tasks.yard.tracking import others

pytestmark = pytest.mark.slow

NEEDED = ("torch", "torchvision.ops", "tasks.yard.parcels")
# A process that believes that it has a GPU asks for it: torch refuses where there is none.
ELSEWHERE = """import pickle, torch
from pathlib import Path
from tasks.yard import parcels
sent, said, there = Path({sent!r}).read_bytes(), "", torch.cuda.is_available
torch.cuda.is_available = lambda: True
try:
    pickle.loads(sent)
except (AssertionError, RuntimeError) as error:
    said = str(error)
torch.cuda.is_available = there
fn, items, sent = pickle.loads(sent)
made = [parcels.made_apart(fn, *one) for one in zip(items, sent)] if sent else list(map(fn, items))
Path({answer!r}).write_bytes(pickle.dumps((said, made)))
"""


def detection(root: Path, ctx: Context, out: str) -> None:
    if not (root / "download").exists():
        scenes.write_weights(root / "best.pt")
        for name in ("a-1", "b-1"):
            scenes.write_recording(root / "download", name, frames=6)
    how = {"imgsz": 64, "batch": 4, "roi": [], "confidence": {"vehicle": 0.0}, "device": "auto"}
    inputs = {"download": root / "download", "train_detector": root}
    annotate.run(drives.section("annotate", **how), root / out, ctx, **inputs)


def index(root: Path, ctx: Context, out: str) -> None:
    if not (root / "best.pt").exists():
        tiny_yard.write_detector(root)
    (root / out).mkdir()
    yard = tiny_yard.Yard(root / out, root)
    for number in (1, 2):
        tiny_yard.write_camera(yard.download, number, people={7: {0: 20}})
    yard.index(ctx, device="auto")


def inspection(root: Path, ctx: Context, out: str) -> None:
    if not (root / "download").exists():
        tiny_rides.write_project(root)
    tiny_rides.inspected(root, out, ctx)


@pytest.mark.parametrize("stage", [detection, index, inspection])
def test_what_is_sent_chooses_its_device_where_it_arrives(tmp_path: Path, monkeypatch, stage: Callable) -> None:
    said = []

    def elsewhere(fn, items, *, names, parallel=True):
        """On a disk of its own, if the work says what it needs."""
        apart = parcels.makings(fn, items[0])[0] is not None
        parts = [parcels.sent(*parcels.makings(fn, item)) for item in items] if apart else []
        (place := tmp_path / "apart").mkdir(exist_ok=True)
        sent, answer, told = (tmp_path / name for name in ("sent", "answer", "told"))
        sent.write_bytes(cloudpickle.dumps((fn, list(items), parts)))
        code = ELSEWHERE.format(sent=str(sent), answer=str(answer))
        assert others.run(code, place if apart else tmp_path, told, NEEDED) == 0, told.read_text()
        asked, found = pickle.loads(answer.read_bytes())
        said.append(asked)
        if apart:
            found = [parcels.placed(fn, item, *outcome) for item, outcome in zip(items, found, strict=True)]
        return enumerate(found)

    monkeypatch.chdir(tmp_path)
    stage(Path(), Context(), "here")
    stage(Path(), Context(elsewhere, killed.bar(10**9)), "there")
    assert folder_hash(Path("here")) == folder_hash(Path("there"))
    assert (said and all("CUDA" in one or "NVIDIA" in one for one in said)) or torch.cuda.is_available()
