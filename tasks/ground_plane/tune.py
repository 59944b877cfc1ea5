"""Search for better values of the train section, by training one network again and again.

Reads    pack/, as train does; the train section as it stands
Writes   what tasks/yard/tuning/search.py describes: best.json, trials.csv, pictures, and runs/<trial>, an MLflow child
         run each
Alone    python -m tasks ground_plane-tune

The score is the one that training keeps its best epoch by: MODA on the labelled frames of validation. The test frames
choose nothing. With `trials: 0` nothing is searched.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from tasks.ground_plane.params import Train, Tune
from tasks.yard.files import folder_hash
from tasks.yard.params import Machine
from tasks.yard.step import Context
from tasks.yard.tuning import step as tuning


def job_of(section: Train, *, machine: Machine, network: str, pack: Path, code: str) -> partial:
    from tasks.ground_plane import train  # torch; a stage with nothing to search does without

    return partial(train.prepare, section, machine, network, pack, code)


def run(
    params: Tune, out: Path, ctx: Context = Context(), *, train_params: Train, machine_params: Machine, pack: Path
) -> dict[str, float]:
    """Returns the best score, that of the values that stand, and how many trials became what."""

    def data() -> str:
        return folder_hash(pack)

    # The list of networks decides what the train stage makes, not how one of them is trained.
    base = train_params.model_copy(update={"networks": [params.network]})
    job = partial(job_of, machine=machine_params, network=params.network, pack=pack, code=ctx.code)
    return tuning.run(params, "ground_plane.train", base, machine_params, data, job, out, ctx)
