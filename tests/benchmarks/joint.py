"""One network for all tasks against one for each, and against one that has auxiliary tasks besides.

`python -m tests.benchmarks joint`. Needs a finished run of brake_coast (`make demo`). The same network, windows and
epochs each time, three seeds. Auxiliary, at a small weight: the longer horizons, which together say when the event
comes; the onsets. The original's joint network lost to its single ones (.203 against .342 on brake_1s).
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from statistics import median

import numpy as np

from tasks.brake_coast import train
from tasks.brake_coast.formats import windows
from tasks.brake_coast.learning.inference import load_model, predict
from tasks.brake_coast.params import Task, Train
from tasks.yard.metrics import binary
from tasks.yard.step import Context
from tests.benchmarks._packs import on_pack
from tests.tasks.yard.shared import machine

VARIANT = "simple_concat_lstm"
LONGER = [f"{kind}_{horizon}s" for kind in ("brake", "coast") for horizon in (3, 4, 5)]
ONSETS = ["brake_onset_1s", "brake_onset_2s"]
AUXILIARY_WEIGHT = 0.3


def probabilities(
    params: Train, tasks: list[Task], seed: int, pack: Path, test: windows.Frames, starts: np.ndarray
) -> dict:
    """{task: (windows)} of a network trained on these tasks."""
    engine = params.engine.model_copy(update={"seed": seed})
    params = params.model_copy(update={"tasks": tasks, "engine": engine})
    with tempfile.TemporaryDirectory() as out:
        train.run(params, Path(out), Context(), variant=VARIANT, pack=pack, machine_params=machine(accelerator="auto"))
        model, config = load_model(Path(out) / "best.pt")
        p = predict(model, test, starts).astype(float)
    return {name: p[:, k] for k, name in enumerate(config["tasks"])}  # a task without a known label is left out


def main(tiny: bool = False) -> None:
    on_pack(compare, tiny)


def compare(params: Train, pack: Path, seeds: tuple[int, ...]) -> None:
    test = windows.load(pack / "test.h5")
    starts = windows.window_starts(test.segment, test.window_frames)
    labels = test.labels[starts + test.window_frames - 1]

    def beside(names: list[str]) -> list[Task]:
        like = params.tasks[0]
        return [*params.tasks, *(like.model_copy(update={"name": name, "weight": AUXILIARY_WEIGHT}) for name in names)]

    sides = {"each alone": [[task] for task in params.tasks], "jointly": [params.tasks]}
    sides |= {"with 3 to 5 s": [beside(LONGER)], "with onsets": [beside(ONSETS)]}
    areas: dict[tuple[str, str], list[float]] = {}
    for seed in seeds:  # the sides take turns
        for side, groups in sides.items():
            found = {}
            for tasks in groups:
                found |= probabilities(params, tasks, seed, pack, test, starts)
            for task in params.tasks:
                y = labels[:, test.label_names.index(task.name)]
                area = binary.scores(y[y >= 0], found[task.name][y >= 0])["pr_auc"]
                areas.setdefault((task.name, side), []).append(area)
    print(
        f"{VARIANT}, PR-AUC on {len(starts)} test windows, {params.engine.epochs} epochs, seeds {seeds}: median (each)"
    )
    for task in params.tasks:
        alone = median(areas[task.name, "each alone"])
        for side in sides:
            each, middle = areas[task.name, side], median(areas[task.name, side])
            listed = " ".join(f"{area:.3f}" for area in each)
            print(f"{task.name:10s} {side:15s} {middle:.3f} ({listed})   {middle / alone:4.2f} x alone", flush=True)


if __name__ == "__main__":
    main()
