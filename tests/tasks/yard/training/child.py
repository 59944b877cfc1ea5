"""Trains one network of a line in a process of its own, which is killed before a step; -1: never.

python -m tests.tasks.yard.training.child <line> <train section.yaml> <pack> <out> <network> <step>
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from pathlib import Path

import yaml

from tasks.yard.training import engine

MODULE = "tests.tasks.yard.training.child"


def main(line: str, values: str, pack: str, out: str, network: str, kill_at: str) -> None:
    step = engine.Trainer.step

    def last_steps(trainer: engine.Trainer, ids) -> None:
        if trainer.at.step == int(kill_at):
            os.kill(os.getpid(), signal.SIGKILL)
        step(trainer, ids)

    engine.Trainer.step = last_steps
    train, params = (importlib.import_module(f"tasks.{line}.{name}") for name in ("train", "params"))
    section = params.Train(**yaml.safe_load(Path(values).read_text()))
    train.run(section, Path(out), network=network, pack=Path(pack))


if __name__ == "__main__":
    main(*sys.argv[1:])
