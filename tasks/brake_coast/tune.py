"""Search for better values of the train section, by training one variant again and again.

Reads    pack's train.h5, val.h5 and dataset_config.json; the train section as it stands
Writes   what tasks/yard/tuning/search.py describes: best.json, trials.csv, pictures, and runs/<trial>, an MLflow child run each
Alone    python -m tasks brake_coast-tune

The score is the one that training keeps its best epoch by: PR-AUC on the validation drives, the mean over tasks by
their weights. The test drives choose nothing. With `trials: 0` nothing is searched.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tasks.brake_coast.params import Train, Tune
from tasks.yard.files import digest, file_hash
from tasks.yard.params import Machine
from tasks.yard.step import Context
from tasks.yard.tuning import search as tuning

SECTION = "brake_coast.train"


def run(
    params: Tune, out: Path, ctx: Context = Context(), *, train_params: Train, machine_params: Machine, pack: Path
) -> dict[str, float]:
    """Returns the best score, that of the values that stand, and how many trials became what."""
    if not params.trials:
        return tuning.run(tuning.Search(SECTION, train_params, lambda *_: [], ""), params, out, ctx)

    from tasks.brake_coast import train  # torch; a stage with nothing to search does without
    from tasks.yard.training.engine import Diverged

    quiet = replace(ctx, progress=Context().progress)  # the search's own bar counts trials

    def fit(section: Train, folder: Path, until: int) -> list[dict]:
        return train.fit(section, machine_params, params.variant, pack, folder, quiet, until)[1]

    files = [file_hash(pack / name) for name in ("train.h5", "val.h5", "dataset_config.json")]
    fingerprint = digest(params.variant, files, machine_params.model_dump(), ctx.code)
    # The list of variants decides what the train stage makes, not how one of them is trained.
    base = train_params.model_copy(update={"variants": [params.variant]})
    return tuning.run(tuning.Search(SECTION, base, fit, fingerprint, (Diverged,)), params, out, ctx)
