"""Search for better values of the train section, by training one network again and again.

Reads    split/ and download/, as train does; the train section as it stands
Writes   what tasks/yard/tuning/search.py describes: best.json, trials.csv, pictures, and runs/<trial>, an MLflow child
         run each
Alone    python -m tasks bike_parts-tune

The score is the one that training keeps its best epoch by: the mean of AP50 and macro-F1 of states on
validation. The test photographs
choose nothing. With `trials: 0` nothing is searched.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from tasks.bike_parts.params import Train, Tune
from tasks.yard.files import folder_hash
from tasks.yard.params import Machine
from tasks.yard.step import Context
from tasks.yard.tuning import step as tuning


def job_of(section: Train, *, machine: Machine, network: str, download: Path, split: Path, code: str) -> partial:
    from tasks.bike_parts import train  # torch; a stage with nothing to search does without

    return partial(train.prepare, section, machine, network, download, split, code)


def run(
    params: Tune, out: Path, ctx: Context = Context(), *, train_params: Train, machine_params: Machine, download: Path,
    split: Path,
) -> dict[str, float]:  # fmt: skip
    """Returns the best score, that of the values that stand, and how many trials became what."""

    def data() -> tuple[str, str]:
        return folder_hash(split), folder_hash(download)

    # The list of networks decides what the train stage makes, not how one of them is trained.
    base = train_params.model_copy(update={"networks": [params.network]})
    job = partial(job_of, machine=machine_params, network=params.network, download=download, split=split, code=ctx.code)
    return tuning.run(params, "bike_parts.train", base, machine_params, data, job, out, ctx)
