"""Training a detector on several GPUs: torchrun starts one process a GPU, each does its part with `trainer.fit_here`.

Ultralytics' own launch would not do: it first deletes `save_dir`, which holds the state to resume from, and it pickles
the trainer and its callbacks into a script that knows nothing of the trainer's other arguments.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from tasks.yard.detector.trainer import fit_here
from tasks.yard.detector.weather import Weather
from tasks.yard.files import read_json, write_json, write_text
from tasks.yard.step import BadInput, Context

TELLS = "trainyard-progress "  # begins a line that is not meant for people
PART = "import sys; from tasks.yard.detector import launch; launch.take_part(sys.argv[1])"


def fit(overrides: dict[str, Any], weather: Weather | None, progress: Callable[..., Any]) -> None:
    """As `trainer.fit_here`, on the devices of `overrides`, such as `0,1`."""
    gpus, found = [int(gpu) for gpu in overrides["device"].split(",")], torch.cuda.device_count()
    if max(gpus) >= found:
        raise BadInput(f"device = {overrides['device']}: this machine has {found} GPUs, numbered from 0")
    launch(overrides, weather, progress, len(gpus))


def launch(overrides: dict[str, Any], weather: Weather | None, progress: Callable[..., Any], processes: int) -> None:
    told = Path(overrides["save_dir"]) / "told.json"
    refused = told.with_name("refused.txt")
    write_json(told, {"overrides": overrides, "weather": weather and vars(weather)})
    refused.unlink(missing_ok=True)
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}", "--no-python"]
    paths = os.pathsep.join([str(Path(__file__).absolute().parents[3]), *filter(None, [os.environ.get("PYTHONPATH")])])
    process = subprocess.Popen(
        [sys.executable, *torchrun, sys.executable, "-c", PART, str(told)],
        stdin=subprocess.PIPE,  # never written to; its end tells them that this process is gone, however it died
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    bar, said = None, deque(maxlen=60)
    try:
        for line in process.stdout:
            if not line.startswith(TELLS):
                said.append(line.rstrip())
                continue
            call, values = json.loads(line.removeprefix(TELLS))
            if call == "begin":
                bar = progress(**values)
            else:
                getattr(bar, call)(**values)
        code = process.wait()
    finally:
        process.terminate()
        process.stdin.close()
        process.wait()
        process.stdout.close()
        if bar is not None:
            bar.close()
    if refused.exists():
        raise BadInput(refused.read_text(encoding="utf-8"))
    if code:
        raise RuntimeError("training on several GPUs failed:\n" + "\n".join(filter(None, said)))


class Telling:
    """A progress bar that is drawn by the process at the other end of stdout."""

    def __init__(self, **values: Any) -> None:
        self._tell("begin", values)

    def _tell(self, call: str, values: Mapping[str, Any]) -> None:
        print(f"\n{TELLS}{json.dumps([call, values])}", flush=True)

    def update(self) -> None:
        self._tell("update", {})

    def set_postfix(self, **values: Any) -> None:
        self._tell("set_postfix", values)

    def close(self) -> None:
        """Left to the process that draws."""


def take_part(told: str) -> None:
    """What each of the processes does."""
    threading.Thread(target=lambda: (os.read(0, 1), os._exit(1)), daemon=True).start()
    values = read_json(Path(told))
    weather = values["weather"] and Weather(**values["weather"])
    try:
        fit_here(values["overrides"], weather, Telling if os.environ["RANK"] == "0" else Context().progress)
    except BadInput as error:
        write_text(Path(told).with_name("refused.txt"), str(error))
        sys.exit(1)
