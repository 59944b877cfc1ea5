"""A line's `tune` step: the search over its own training. What differs from line to line is handed over."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.yard.files import digest
from tasks.yard.params import Machine, Section
from tasks.yard.step import BadInput, Context
from tasks.yard.tuning import search
from tasks.yard.tuning.section import Tuning

if TYPE_CHECKING:  # torch; a stage with nothing to search does without
    from lightning_fabric import Fabric

    from tasks.yard.training.engine import Job


def _train(
    section: Any, folder: Path, until: int, *, job_of: Callable[[Section], Callable[[Fabric], Job]], machine: Machine
) -> list[dict]:
    from tasks.yard.training import engine

    quiet = Context()  # the search's own bar counts trials
    return engine.fit(job_of(section), section.engine, machine, section.optimizer, folder, quiet, until)[1]


def run(
    params: Tuning,
    name: str,
    base: Section,
    machine: Machine,
    data: Callable[[], Any],
    job_of: Callable[[Section], Callable[[Fabric], Job]],
    out: Path,
    ctx: Context,
) -> dict[str, float]:
    """Returns the best score, that of the values that stand, and how many trials became what.

    name: where `base` stands in params.yaml, such as "brake_coast.train".
    base: the train section; has `engine`, `optimizer`, and `evaluate_every` if not every epoch is judged.
    data: hashes of what a trial learns from.
    job_of: from a train section to what `engine.fit` prepares its job with; a `partial` of a module's function, because
    it goes to other processes.
    """
    if not params.trials:
        return search.none(name, out)
    every, first = getattr(base, "evaluate_every", 1), params.pruner.min_epochs
    if params.pruner.kind == "asha" and first % every:
        raise BadInput(
            f"{name.partition('.')[0]}.tune.pruner.min_epochs = {first} must be a multiple of "
            f"{name}.evaluate_every = {every}, or trials are compared by old scores"
        )

    from tasks.yard.training.engine import Diverged

    train = partial(_train, job_of=job_of, machine=machine)
    gpu = machine.accelerator != "cpu"
    fingerprint = digest(data(), machine.model_dump(), ctx.code)
    return search.run(search.Search(name, base, train, fingerprint, (Diverged,), gpu), params, out, ctx)
