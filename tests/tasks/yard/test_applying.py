"""Several inputs of one call: what they map is worked on side by side, what owns the device for one at a time."""

from __future__ import annotations

import errno
import os
import time
from functools import partial
from pathlib import Path

import pytest

from tasks.yard import applying
from tasks.yard.applying import Applied, to_all
from tasks.yard.fanout import fan_out
from tasks.yard.files import read_json, write_text
from tasks.yard.step import BadInput, Context

PATIENCE_S = 240.0  # of a machine that has much else to do


@pytest.fixture(autouse=True)
def two_cores(monkeypatch):
    monkeypatch.setattr(applying, "cores", lambda: 2)


def meet(name: str, folder: Path, *, at: Path, others: list[str]) -> dict:
    """Ends once the others are under way, in processes of their own."""
    write_text(at / name, str(os.getpid()))
    until = time.monotonic() + PATIENCE_S
    while not all((at / other).exists() for other in others):
        if time.monotonic() > until:
            raise BadInput("nobody came")
        time.sleep(0.01)
    return {"process": int((at / name).read_text())}


class Device:
    """Looks at every item, and notes who begins and ends."""

    def __init__(self) -> None:
        self.noted: list[str] = []

    def __call__(self, name: str, folder: Path) -> dict:
        self.noted.append(name)
        time.sleep(0.02)
        self.noted.append(name)
        return {}


def bare(source: str, folder: Path, ctx: Context, *, at: Path, device: Device, names: list[str]) -> Applied:
    if source == "bad":
        raise BadInput("bad: holds nothing")
    films, looks = {source: source}, {key: key for key in (f"{source}{number}" for number in range(3))}
    met = fan_out(partial(meet, at=at, others=names), films, films, folder / "met", ctx)
    fan_out(device, looks, looks, folder / "seen", ctx, parallel=False)
    return Applied(met.summaries, met.quarantined)


def test_inputs_of_one_recording_each_are_worked_on_at_once_and_the_device_for_one_at_a_time(tmp_path):
    at, device, out = tmp_path / "at", Device(), tmp_path / "out"
    at.mkdir()
    apply = partial(bare, at=at, device=device, names=["a", "b"])
    done = list(to_all(["a", "bad", "b"], out, {"line": "toy"}, apply, Context()))
    assert [folder.name for folder, _ in done] == ["a", "bad", "b"]
    results = [told["results"] for _, told in done]
    assert len({os.getpid(), results[0]["a"]["process"], results[2]["b"]["process"]}) == 3
    assert done[1][1]["quarantined"] == {"bad": "bad: holds nothing"} and not results[1]
    assert [read_json(folder / "apply.json")["results"] for folder, _ in done] == results
    assert device.noted[::2] == device.noted[1::2] and len(device.noted) == 12
    again = [told["results"] for _, told in to_all(["a", "bad", "b"], out, {"line": "toy"}, apply, Context())]
    assert again == results and len(device.noted) == 12, "all is kept"


def test_a_fault_of_the_machine_ends_all_and_no_input_is_blamed(tmp_path):
    at, device = tmp_path / "at", Device()
    at.mkdir()

    def apply(source: str, folder: Path, ctx: Context) -> Applied:
        if source == "full":
            raise OSError(errno.ENOSPC, "no space left on device")
        return bare(source, folder, ctx, at=at, device=device, names=["who never comes"])

    with pytest.raises(OSError, match="no space left"):
        list(to_all(["full", "waits"], tmp_path / "out", {}, apply, Context()))
    assert not list((tmp_path / "out").glob("*/apply.json"))
