"""Search for better values of the train section, by training one network again and again.

Reads    pack/ and teacher/, as train does; the train section as it stands
Writes   what tasks/yard/tuning/search.py describes: best.json, trials.csv, pictures, and runs/<trial>, an MLflow child
         run each
Alone    python -m tasks open_loop_driving-tune

The score is the one that training keeps its best epoch by, TCP's on validation. The test routes choose nothing, and
nothing is driven. With `trials: 0` nothing is searched.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from tasks.open_loop_driving.params import Train, Tune
from tasks.yard.files import digest, folder_hash
from tasks.yard.params import Machine
from tasks.yard.step import Context
from tasks.yard.tuning import step as tuning


def job_of(section: Train, *, machine: Machine, network: str, pack: Path, teacher: Path, code: str) -> partial:
    from tasks.open_loop_driving import train  # torch; a stage with nothing to search does without

    return partial(train.prepare, section, machine, network, pack, teacher, code)


def run(
    params: Tune, out: Path, ctx: Context = Context(), *, train_params: Train, machine_params: Machine, pack: Path,
    teacher: Path,
) -> dict[str, float]:  # fmt: skip
    """Returns the best score, that of the values that stand, and how many trials became what."""

    def data() -> str:
        return digest(folder_hash(pack), folder_hash(teacher))

    if params.trials:
        from tasks.open_loop_driving.learning import suited
        from tasks.open_loop_driving.learning.drives import Drives

        whole = Drives(pack, suited.EVERY)
        suited.say(whole, params.network, suited.eyes(whole, params.network, train_params.cameras))
    # The list of networks decides what the train stage makes, not how one of them is trained.
    base = train_params.model_copy(update={"networks": [params.network]})
    job = partial(job_of, machine=machine_params, network=params.network, pack=pack, teacher=teacher, code=ctx.code)
    return tuning.run(params, "open_loop_driving.train", base, machine_params, data, job, out, ctx)
