"""Search for better values of the train section, by training one network again and again.

Reads    pack's train.h5, val.h5 and dataset_config.json; the train section as it stands
Writes   what tasks/yard/tuning/search.py describes: best.json, trials.csv, pictures, and runs/<trial>, an MLflow child run each
Alone    python -m tasks person_search-tune

The score is the one that training keeps its best epoch by: mAP on the validation identities. The test identities choose
nothing. With `trials: 0` nothing is searched.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tasks.person_search.params import Train, Tune
from tasks.yard.files import digest, file_hash
from tasks.yard.params import Machine
from tasks.yard.step import BadInput, Context
from tasks.yard.tuning import search as tuning

SECTION = "person_search.train"


def run(
    params: Tune, out: Path, ctx: Context = Context(), *, train_params: Train, machine_params: Machine, pack: Path
) -> dict[str, float]:
    """Returns the best score, that of the values that stand, and how many trials became what."""
    if not params.trials:
        return tuning.run(tuning.Search(SECTION, train_params, lambda *_: [], ""), params, out, ctx)
    if params.pruner.kind == "asha" and params.pruner.min_epochs % train_params.evaluate_every:
        raise BadInput(
            f"person_search.tune.pruner.min_epochs = {params.pruner.min_epochs} must be a multiple of "
            f"person_search.train.evaluate_every = {train_params.evaluate_every}, or trials are compared by old scores"
        )

    from tasks.person_search import train
    from tasks.person_search.learning import weights  # torch; a stage with nothing to search does without
    from tasks.yard.training.engine import Diverged

    quiet = replace(ctx, progress=Context().progress)  # the search's own bar counts trials

    def fit(section: Train, folder: Path, until: int) -> list[dict]:
        return train.fit(section, machine_params, params.network, pack, folder, quiet, until)[1]

    files = [file_hash(pack / name) for name in ("train.h5", "val.h5", "dataset_config.json")]
    choices = params.space["weights"].ends if "weights" in params.space else ()
    starts = {path for path in (train_params.weights, *choices) if path is not None}
    files += [weights.hash_of(Path(path)) for path in sorted(starts)]
    fingerprint = digest(params.network, files, machine_params.model_dump(), ctx.code)
    # The list of networks decides what the train stage makes, not how one of them is trained.
    base = train_params.model_copy(update={"networks": [params.network]})
    return tuning.run(tuning.Search(SECTION, base, fit, fingerprint, (Diverged,)), params, out, ctx)
