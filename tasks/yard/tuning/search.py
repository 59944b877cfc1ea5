"""Hyperparameter search over the keys of a line's train section: Optuna proposes, the line's own training judges.

A line's tune step hands over how one trial trains. Written under `out`:

    runs/<trial>/params.json    the values of the trial
    runs/<trial>/metrics.json   its score (of the best epoch) and its number of epochs
    runs/<trial>/history.jsonl  its curves, drawn in curves.png
    runs/<trial>/trial.json     its state, and its score at each rung
    trials.csv                  one row per trial
    best.json                   the best values, and the command that writes them back
    history.png                 the score of each trial
    importance.png              how much each key matters
    space.png                   the score over each value

A folder runs/<trial> becomes an MLflow child run. The files are the whole state of a search: the study is rebuilt from
them, and the sampler's seed depends only on the number of the trial. So a killed search continues where it stopped,
also within an epoch, and writes the same bytes as one that was not killed. A search also continues when more trials are
asked for. Weights of a trial are deleted after its training, because they can be made again.

A trial trains in pieces, from rung to rung, under the schedule of all its epochs; ASHA decides at each rung whether it
goes on (Li et al. 2020, "A system for massively parallel hyperparameter tuning"). Several train at once by
tasks/yard/tuning/turns.py.
"""

from __future__ import annotations

import csv
import io
import itertools
import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tasks.yard.files import digest, read_json, write_json, write_text
from tasks.yard.params import Section
from tasks.yard.step import BadInput, Context
from tasks.yard.tuning.hands import Train
from tasks.yard.tuning.section import COMPLETE, FAILED, PRUNED, Tuning
from tasks.yard.tuning.values import InvalidValues, value_at, with_values, write_back

log = logging.getLogger(__name__)
OUTPUTS = ("trials.csv", "best.json", "history.png", "importance.png", "space.png")


@dataclass(frozen=True)
class Search:
    """What a line brings."""

    section: str  # where `base` stands in params.yaml: "brake_coast.train"
    base: Section  # has `engine.epochs`
    train: Train  # can be pickled, if several trials are trained at once
    fingerprint: str  # of data and code: trials with another one are of no use now
    fatal: tuple[type[Exception], ...] = ()  # what bad values may raise: the trial fails, the search goes on
    gpu: bool = False  # does training use one, where there is one?


def none(section: str, out: Path) -> dict[str, float]:
    """No search was asked for: says how one is, and leaves nothing of an earlier one."""
    for name in OUTPUTS:
        (out / name).unlink(missing_ok=True)
    shutil.rmtree(out / "runs", ignore_errors=True)
    line = section.partition(".")[0]
    how = f"python -m flows run {line} --set {line}.tune.trials=20"
    write_json(
        out / "best.json", {"trials": 0, "how": f"no search was asked for; {how} starts one over {line}.tune.space"}
    )
    return {"trials": 0}


def run(search: Search, params: Tuning, out: Path, ctx: Context) -> dict[str, float]:
    """Search, or go on where a killed search stopped. Returns the best score, that of the values that stand, counts."""
    for name in OUTPUTS:
        (out / name).unlink(missing_ok=True)
    base = with_values(search.base, {} if params.epochs is None else {"engine.epochs": params.epochs}, search.section)
    from tasks.yard.tuning import turns  # optuna: a second to import, and most calls have no search to make

    _refuse_mistakes(search, base, params)
    _forget_others(search, base, params, out)
    of = turns.Turns(search.section, base, params, out / "runs", search.fatal)
    trials = of.all(_proposals(search, base, params), search.train, search.gpu, ctx)
    return _tell(search, base, params, trials, out)


def _refuse_mistakes(search: Search, base: Section, params: Tuning) -> None:
    """A wrong key, or a value that its key cannot have, is named before anything is trained."""
    where = f"{search.section.partition('.')[0]}.tune.space"
    for key, of in params.space.items():
        value_at(base, key, search.section)
        for value in of.ends:
            try:
                with_values(base, {key: value}, search.section)
            except InvalidValues as error:
                if not error.of_several:  # else it may be right beside other values
                    raise BadInput(f"{where}: {error}") from None


def _forget_others(search: Search, base: Section, params: Tuning, out: Path) -> None:
    """Trials of another search, and those beyond the number asked for, are deleted."""
    from tasks.yard.tuning import turns

    mark = out / "runs" / ".search.json"
    asked = params.model_dump(mode="json", exclude={"trials"})
    fingerprint = digest(search.fingerprint, base.model_dump(mode="json"), asked)
    if not mark.exists() or read_json(mark) != fingerprint:
        shutil.rmtree(out / "runs", ignore_errors=True)
        write_json(mark, fingerprint)
    wanted = {turns.name(number) for number in range(params.trials)}
    for folder in (out / "runs").iterdir():
        if folder.is_dir() and folder.name not in wanted:
            shutil.rmtree(folder)


def _proposals(search: Search, base: Section, params: Tuning) -> Iterator[dict | None]:
    """For each trial in turn the values it has to have, None where the sampler is free; ends with the grid."""
    standing = {key: value_at(base, key, search.section) for key in params.space}
    inside = all(of.holds(standing[key]) for key, of in params.space.items())
    if inside:
        yield standing
    if params.sampler == "grid":
        for values in itertools.product(*(of.choices for of in params.space.values())):
            proposal = dict(zip(params.space, values, strict=True))
            if not inside or proposal != standing:
                yield proposal
    else:
        yield from itertools.repeat(None)


def _tell(search: Search, base: Section, params: Tuning, trials: list[dict], out: Path) -> dict[str, float]:
    from tasks.yard.tuning import charts as tuning_charts
    from tasks.yard.tuning import study

    whole = [trial for trial in trials if trial["state"] == COMPLETE]
    if not whole:
        raise BadInput(
            f"no trial of {search.section} could be trained; the first: {trials[0]['reason']}; mend tune.space"
        )
    best = max(whole, key=lambda trial: (trial["score"], -trial["number"]))
    standing = {key: value_at(base, key, search.section) for key in params.space}
    stands = next((trial["score"] for trial in whole if trial["params"] == standing), None)
    line = search.section.partition(".")[0]
    # What is best for few epochs is so for these.
    shorter = {} if params.epochs is None else {"engine.epochs": params.epochs}
    importance, because = study.importances(trials, params)
    found = {
        "trials": len(trials),
        **{state: sum(trial["state"] == state for trial in trials) for state in (COMPLETE, PRUNED, FAILED)},
        "epochs_trained": sum(trial["epochs"] for trial in trials),
        "epochs_without_pruning": base.engine.epochs * len(trials),
        "best": {
            "trial": best["number"], "score": best["score"], "params": best["params"], "epochs": base.engine.epochs,
        },
        "score_of_the_values_that_stand": stands, "importance": importance, "importance_null_because": because,
        "write_back": f"python -m flows run {line} {write_back(search.section, {**best['params'], **shorter})}",
    }  # fmt: skip
    write_json(out / "best.json", found)
    write_text(out / "trials.csv", table(trials, list(params.space)))
    log.info("best of %d trials: %.4f%s; %s", len(trials), best["score"],
             "" if stands is None else f", the values that stand: {stands:.4f}", found["write_back"])  # fmt: skip
    tuning_charts.history(out / "history.png", trials, stands, params.pruner)
    tuning_charts.space(out / "space.png", trials, params.space)
    if importance:
        tuning_charts.importance(out / "importance.png", importance)
    numbers = {key: found[key] for key in ("trials", COMPLETE, PRUNED, FAILED, "epochs_trained")}
    scores = {"best_score": best["score"], "best_trial": best["number"]}
    return {
        **numbers,
        **scores,
        **({} if stands is None else {"standing_score": stands, "gain": best["score"] - stands}),
    }


def table(trials: list[dict], keys: list[str]) -> str:
    """The trials as csv, the best first, then the unfinished by how far they came."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", "state", "score", "epochs", *keys, "reason"])
    order = {COMPLETE: 0, PRUNED: 1, FAILED: 2}
    ranked = sorted(trials, key=lambda t: (order[t["state"]], -t["epochs"], -(t["score"] or 0), t["number"]))
    for t in ranked:
        score = "" if t["score"] is None else f"{t['score']:.6f}"
        writer.writerow(
            [t["number"], t["state"], score, t["epochs"], *(t["params"].get(k) for k in keys), t["reason"] or ""]
        )
    return text.getvalue()
