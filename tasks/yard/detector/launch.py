"""Training a detector on several GPUs: torchrun starts one process a GPU, each does its part with `trainer.fit_here`.

Ultralytics' own launch would not do: it first deletes `save_dir`, which holds the state to resume from, and it pickles
the trainer and its callbacks into a script that knows nothing of the trainer's other arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tasks.yard.detector.trainer import fit_here
from tasks.yard.detector.weather import Weather
from tasks.yard.files import read_json, write_json
from tasks.yard.step import BadInput
from tasks.yard.training import torchrun


def fit(overrides: dict[str, Any], weather: Weather | None, progress: Callable[..., Any]) -> None:
    """As `trainer.fit_here`, on the devices of `overrides`, such as `0,1`."""
    gpus, found = [int(gpu) for gpu in overrides["device"].split(",")], torch.cuda.device_count()
    if max(gpus) >= found:
        raise BadInput(f"device = {overrides['device']}: this machine has {found} GPUs, numbered from 0")
    launch(overrides, weather, progress, len(gpus))


def launch(overrides: dict[str, Any], weather: Weather | None, progress: Callable[..., Any], processes: int) -> None:
    told = Path(overrides["save_dir"]) / "told.json"
    write_json(told, {"overrides": overrides, "weather": weather and vars(weather)})
    torchrun.launch(__name__, told, processes, progress)


def take_part(told: Path) -> None:
    """What each of the processes does."""
    values = read_json(told)
    weather = values["weather"] and Weather(**values["weather"])
    torchrun.part(told, lambda progress: fit_here(values["overrides"], weather, progress), (BadInput,))
