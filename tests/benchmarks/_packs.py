"""The pack that benchmarks of quality judge networks on: what `make demo` has made, or a tiny one."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from tasks.brake_coast.params import Train
from tasks.yard import params as params_file
from tests.tasks.brake_coast.tiny_pack import write_pack

MADE = Path("data/brake_coast/pack")
SEEDS = (0, 1, 2)


def on_pack(compare: Callable[[Train, Path, tuple[int, ...]], None], tiny: bool) -> None:
    """Call `compare(params of training, pack, seeds)`."""
    params = params_file.load(Path("params.yaml")).brake_coast.train
    if tiny:
        few = params.engine.model_copy(update={"epochs": 1})
        params = params.model_copy(update={"engine": few, "model": params.model.model_copy(update={"layers": 1})})
        with tempfile.TemporaryDirectory() as folder:
            compare(params, write_pack(Path(folder), {"train": 2, "val": 1, "test": 1}, frames=150), (0,))
    elif (MADE / "test.h5").exists():
        compare(params, MADE, SEEDS)
    else:
        print(f"{MADE}/test.h5: not there; `make demo` makes it")
