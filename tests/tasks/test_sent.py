"""Stages of the device whose recordings go to a cluster's GPUs: what is sent is understood by another process, which
chooses the device itself and makes the same bytes."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cloudpickle
import pytest
import torch

from tasks.brake_coast import annotate
from tasks.yard.files import folder_hash
from tasks.yard.step import Context
from tests.tasks.bike_parts import tiny_rides
from tests.tasks.brake_coast import drives, scenes
from tests.tasks.person_search import tiny_yard
from tests.tasks.yard import killed

pytestmark = pytest.mark.slow

# A process that believes that it has a GPU asks for it: torch refuses where there is none.
ELSEWHERE = """import sys, pickle, torch
sent, said, there = sys.stdin.buffer.read(), "", torch.cuda.is_available
torch.cuda.is_available = lambda: True
try:
    pickle.loads(sent)
except (AssertionError, RuntimeError) as error:
    said = str(error)
torch.cuda.is_available = there
fn, items = pickle.loads(sent)
sys.stdout.buffer.write(pickle.dumps((said, [fn(item) for item in items])))
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
def test_what_is_sent_chooses_its_device_where_it_arrives(tmp_path: Path, stage: Callable) -> None:
    said = []

    def elsewhere(fn, items, *, names, parallel=True):
        sent = cloudpickle.dumps((fn, list(items)))
        run = subprocess.run([sys.executable, "-c", ELSEWHERE], input=sent, stdout=subprocess.PIPE, check=True)
        asked, found = pickle.loads(run.stdout)
        said.append(asked)
        return enumerate(found)

    stage(tmp_path, Context(), "here")
    stage(tmp_path, Context(elsewhere, killed.bar(10**9)), "there")
    assert folder_hash(tmp_path / "here") == folder_hash(tmp_path / "there")
    assert (said and all("CUDA" in one or "NVIDIA" in one for one in said)) or torch.cuda.is_available()
