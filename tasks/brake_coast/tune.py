"""Search for better values of the train section, by training one variant again and again.

Reads    pack's train.h5, val.h5 and dataset_config.json; the train section as it stands
Writes   what tasks/yard/tuning/search.py describes: best.json, trials.csv, pictures, and runs/<trial>, an MLflow child
         run each
Alone    python -m tasks brake_coast-tune

The score is the one that training keeps its best epoch by: PR-AUC on the validation drives, the mean over tasks by
their weights. The test drives choose nothing. With `trials: 0` nothing is searched.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from tasks.brake_coast.params import Train, Tune
from tasks.yard.files import file_hash
from tasks.yard.params import Machine
from tasks.yard.step import Context
from tasks.yard.tuning import step as tuning


def job_of(section: Train, *, machine: Machine, variant: str, pack: Path, code: str) -> partial:
    from tasks.brake_coast import train  # torch; a stage with nothing to search does without

    return partial(train.prepare, section, machine, variant, pack, code)


def run(
    params: Tune, out: Path, ctx: Context = Context(), *, train_params: Train, machine_params: Machine, pack: Path
) -> dict[str, float]:
    """Returns the best score, that of the values that stand, and how many trials became what."""

    def data() -> list[str]:
        return [file_hash(pack / name) for name in ("train.h5", "val.h5", "dataset_config.json")]

    # The list of variants decides what the train stage makes, not how one of them is trained.
    base = train_params.model_copy(update={"variants": [params.variant]})
    job = partial(job_of, machine=machine_params, variant=params.variant, pack=pack, code=ctx.code)
    return tuning.run(params, "brake_coast.train", base, machine_params, data, job, out, ctx)
