"""`yard.machine.devices`: processes that the engine starts by torchrun make what a torchrun by hand makes."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import ClassVar

import psutil
import pytest

from tasks.brake_coast import train
from tasks.yard.files import folder_hash
from tasks.yard.step import BadInput, Context
from tasks.yard.training import devices
from tests.flows.waiting import wait_until
from tests.tasks.brake_coast.test_train import settings
from tests.tasks.brake_coast.tiny_pack import write_pack
from tests.tasks.yard.forked import forked, in_two_processes
from tests.tasks.yard.shared import machine
from tests.tasks.yard.training.toy_job import fit

pytestmark = pytest.mark.slow
TRAIN = settings(engine={"epochs": 6})
STEP = partial(
    train.run, TRAIN, variant="simple_concat_lstm", machine_params=machine(devices=2, checkpoint_every_s=0.0)
)


class Bar:
    """Notes what is drawn."""

    said: ClassVar[list] = []

    def __init__(self, **values) -> None:
        self.said.append(values.get("total"))

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        pass

    def update(self) -> None:
        self.said.append("step")

    def set_postfix(self, **values) -> None:
        self.said.append(values["epoch"])

    def close(self) -> None:
        self.said.append("closed")


@pytest.fixture(scope="module")
def pack(tmp_path_factory) -> Path:
    return write_pack(tmp_path_factory.mktemp("pack"), {"train": 3, "val": 2}, frames=200)


def test_a_training_killed_and_taken_up_ends_with_the_bytes_of_torchrun_by_hand(pack, tmp_path):
    in_two_processes(STEP, tmp_path / "hand", pack=pack)
    run = forked(STEP, tmp_path / "out", pack=pack)
    wait_until(lambda: (tmp_path / "out/last.pt").exists() or not run.is_alive(), "a checkpoint")
    children = psutil.Process(run.pid).children(recursive=True)
    run.kill()
    run.join()
    assert len(children) >= 3  # torchrun and its two
    wait_until(lambda: not any(child.is_running() for child in children), "nobody left", seconds=60)
    assert not (tmp_path / "out/curves.png").exists()
    STEP(tmp_path / "out", Context(progress=Bar), pack=pack)
    assert folder_hash(tmp_path / "out") == folder_hash(tmp_path / "hand")
    total, *steps, last = Bar.said
    assert last == "closed" and 6 in steps and 0 < steps.count("step") <= total


def test_what_the_processes_refuse_is_said_in_a_sentence(tmp_path):
    pack = write_pack(tmp_path / "pack", {"train": 1, "val": 1}, frames=15)
    with pytest.raises(BadInput, match=r"train\.h5: no gap-free run of 20 frames to train on"):
        STEP(tmp_path / "out", pack=pack)


def test_more_devices_than_there_are_are_refused(pack, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(BadInput, match=r"yard\.machine\.devices = 3: this machine has 1 GPUs"):
        STEP(tmp_path / "out", pack=pack, machine_params=machine(devices=3, accelerator="auto"))


@pytest.mark.parametrize(
    ("accelerator", "gpus_here", "cores_here", "there", "goes_to"),
    [
        ("auto", 4, 2, {"CPU": 64, "GPU": 8}, None),  # there are enough here
        ("auto", 0, 64, {"CPU": 64, "GPU": 8}, "GPU"),  # a head node without any
        ("cuda", 1, 2, {"CPU": 64, "GPU": 4}, "GPU"),
        ("cpu", 1, 2, {"CPU": 64, "GPU": 8}, "CPU"),
        ("auto", 0, 2, {"CPU": 4, "GPU": 0}, "CPU"),
        ("cpu", 0, 4, {"CPU": 64, "GPU": 0}, None),
        ("cpu", 0, 2, {"CPU": 3, "GPU": 0}, None),
        ("auto", 2, 2, {"CPU": 64, "GPU": 3}, "this machine has 2 GPUs"),  # never on processors instead
        ("cuda", 0, 64, {"CPU": 64, "GPU": 3}, "this machine has 0 GPUs"),
    ],
)
def test_four_processes_go_where_each_has_a_device(monkeypatch, accelerator, gpus_here, cores_here, there, goes_to):
    cluster = pytest.importorskip("tasks.yard.cluster", reason="Ray is not installed: requirements/cluster.in")
    monkeypatch.setenv("TRAINYARD_RAY", "10.0.0.1:6379")
    monkeypatch.setattr(cluster, "places", lambda: there)
    monkeypatch.setattr(devices, "cores", lambda: cores_here)
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus_here)
    four = machine(devices=4, accelerator=accelerator)
    if goes_to and goes_to.startswith("this"):
        with pytest.raises(BadInput, match=goes_to):
            devices.kind_away(four)
    else:
        assert devices.kind_away(four) == goes_to


def test_in_an_allocation_of_slurm_a_training_that_no_srun_has_started_is_alone(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    plain = fit(tmp_path / "plain")
    for name, value in {
        "SLURM_NTASKS": "4",
        "SLURM_NTASKS_PER_NODE": "2",
        "SLURM_NNODES": "2",
        "SLURM_PROCID": "0",
    }.items():
        monkeypatch.setenv(name, value)
    assert fit(tmp_path / "allocated") == plain
    assert "SLURM has allocated 4 tasks, and no srun has started this training as one" in caplog.text
    assert devices.wants_company(machine(devices=3))
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    assert not devices.wants_company(machine(devices=3))


def test_a_process_that_was_started_as_one_of_several_starts_no_others(monkeypatch):
    three = machine(devices=3, accelerator="auto")
    assert devices.wants_company(three)
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert not devices.wants_company(three)
