"""Search for better values of the train section, by training one network again and again.

Reads    pack's train.h5, val.h5 and dataset_config.json; the train section as it stands
Writes   what tasks/yard/tuning/search.py describes: best.json, trials.csv, pictures, and runs/<trial>, an MLflow child
         run each
Alone    python -m tasks person_search-tune

The score is the one that training keeps its best epoch by: mAP on the validation identities. The test identities choose
nothing. With `trials: 0` nothing is searched.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from tasks.person_search.params import Train, Tune
from tasks.yard.files import file_hash
from tasks.yard.params import Machine
from tasks.yard.step import Context
from tasks.yard.tuning import step as tuning


def job_of(section: Train, *, machine: Machine, network: str, pack: Path, code: str) -> partial:
    from tasks.person_search import train  # torch; a stage with nothing to search does without

    return partial(train.prepare, section, machine, network, pack, code)


def run(
    params: Tune, out: Path, ctx: Context = Context(), *, train_params: Train, machine_params: Machine, pack: Path
) -> dict[str, float]:
    """Returns the best score, that of the values that stand, and how many trials became what."""

    def data() -> list[str]:
        from tasks.person_search.learning import weights

        files = [file_hash(pack / name) for name in ("train.h5", "val.h5", "dataset_config.json")]
        choices = params.space["weights"].ends if "weights" in params.space else ()
        starts = {path for path in (train_params.weights, *choices) if path is not None}
        return [*files, *(weights.hash_of(Path(path)) for path in sorted(starts))]

    # The list of networks decides what the train stage makes, not how one of them is trained.
    base = train_params.model_copy(update={"networks": [params.network]})
    job = partial(job_of, machine=machine_params, network=params.network, pack=pack, code=ctx.code)
    return tuning.run(params, "person_search.train", base, machine_params, data, job, out, ctx)
