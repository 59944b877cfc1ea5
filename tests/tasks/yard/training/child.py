"""Trains one network of a line in a process of its own, which is killed before a step; -1: never.

python -m tests.tasks.yard.training.child <line> <sections.yaml> <pack> <out> <network> <step>
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from pathlib import Path

import yaml

from tasks.yard.params import Machine, Section
from tasks.yard.training import engine

MODULE = "tests.tasks.yard.training.child"


def write(path: Path, params: Section, machine: Machine) -> None:
    """The file of sections."""
    path.write_text(yaml.safe_dump([params.model_dump(), machine.model_dump()]))


def main(line: str, values: str, pack: str, out: str, network: str, kill_at: str) -> None:
    step = engine.Trainer.step

    def last_steps(trainer: engine.Trainer, ids) -> None:
        if trainer.at.step == int(kill_at):
            os.kill(os.getpid(), signal.SIGKILL)
        step(trainer, ids)

    engine.Trainer.step = last_steps
    train, params = (importlib.import_module(f"tasks.{line}.{name}") for name in ("train", "params"))
    section, machine = yaml.safe_load(Path(values).read_text())
    inputs = {"network": network, "pack": Path(pack), "machine_params": Machine(**machine)}
    train.run(params.Train(**section), Path(out), **inputs)


if __name__ == "__main__":
    main(*sys.argv[1:])
