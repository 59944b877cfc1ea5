"""Hyperparameter search over the keys of a line's train section: Optuna proposes, the line's own training judges.

A line's tune step hands over how one trial trains. Written under `out`:

    runs/<trial>/params.json    the values tried
    runs/<trial>/metrics.json   its score (of the best epoch) and epochs; also history.jsonl, curves.png: an MLflow
    child run runs/<trial>/trial.json     what the search has to know of it: state, the score at each rung
    trials.csv                  a row a trial
    best.json                   the best values, and the command that writes them back
    history.png, importance.png, space.png

These files are all there is to a search: the study is rebuilt from them, and the sampler's seed is a function of the
number of the trial. So a killed search goes on where it stopped, within the epoch, and ends with the bytes of one that
was not killed; one with more trials asked for goes on too. Weights of a trial are kept only while it is trained: they
can be had again.

A trial trains in pieces, from rung to rung, under the schedule of all its epochs; ASHA decides at each rung whether it
goes on (Li et al. 2020, "A system for massively parallel hyperparameter tuning").
"""

from __future__ import annotations

import csv
import difflib
import io
import itertools
import json
import logging
import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tasks.yard.files import digest, read_json, write_json, write_text
from tasks.yard.params import Section
from tasks.yard.step import BadInput, Context
from tasks.yard.tuning.section import Choices, Interval, Tuning

log = logging.getLogger(__name__)
OUTPUTS = ("trials.csv", "best.json", "history.png", "importance.png", "space.png")
WEIGHTS = ("best.pt", "last.pt", "best.json", "last.json")
COMPLETE, PRUNED, FAILED = "complete", "pruned", "failed"
IMPORTANCE_FROM = 8  # whole trials: a forest of fewer tells noise


@dataclass(frozen=True)
class Search:
    """What a line brings."""

    section: str  # where `base` stands in params.yaml: "brake_coast.train"
    base: Section  # has `engine.epochs`
    train: Callable[[Section, Path, int], list[dict]]  # (params, folder, until) -> history; until: epochs in all
    fingerprint: str  # of data and code: trials with another one are of no use now
    fatal: tuple[type[Exception], ...] = ()  # what bad values may raise: the trial fails, the search goes on


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
    base = _with(search.base, {} if params.epochs is None else {"engine.epochs": params.epochs}, search.section)
    _refuse_mistakes(search, base, params)
    _forget_others(search, base, params, out)
    trials = _trials(search, base, params, out, ctx)
    return _tell(search, base, params, trials, out)


def _refuse_mistakes(search: Search, base: Section, params: Tuning) -> None:
    """A wrong key, or a value that its key cannot have, is named before anything is trained."""
    where = f"{search.section.partition('.')[0]}.tune.space"
    for key, of in params.space.items():
        _at(base, key, search.section)
        for value in of.ends:
            try:
                _with(base, {key: value}, search.section)
            except InvalidValues as error:
                if not error.of_several:  # else it may be right beside other values
                    raise BadInput(f"{where}: {error}") from None


def _forget_others(search: Search, base: Section, params: Tuning, out: Path) -> None:
    """Trials of another search, and those beyond the number asked for, are deleted."""
    mark = out / "runs" / ".search.json"
    asked = params.model_dump(mode="json", exclude={"trials"})
    fingerprint = digest(search.fingerprint, base.model_dump(mode="json"), asked)
    if not mark.exists() or read_json(mark) != fingerprint:
        shutil.rmtree(out / "runs", ignore_errors=True)
        write_json(mark, fingerprint)
    wanted = {_name(number) for number in range(params.trials)}
    for folder in (out / "runs").iterdir():
        if folder.is_dir() and folder.name not in wanted:
            shutil.rmtree(folder)


def _name(number: int) -> str:
    return f"trial-{number:03d}"


def _trials(search: Search, base: Section, params: Tuning, out: Path, ctx: Context) -> list[dict]:
    """Every trial as its trial.json holds it, made now where it is not there yet."""
    import optuna  # a second to import, and most calls have no search to make

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = optuna.pruners.NopPruner()
    if params.pruner.kind == "asha":
        pruner = optuna.pruners.SuccessiveHalvingPruner(params.pruner.min_epochs, params.pruner.reduction)
    study = optuna.create_study(direction="maximize", pruner=pruner)
    space = {key: _distribution(of) for key, of in params.space.items()}
    proposals = _proposals(search, base, params)
    done: list[dict] = []
    with ctx.progress(total=params.trials, desc="tune", unit="trial") as bar:
        for number, fixed in enumerate(itertools.islice(proposals, params.trials)):
            folder = out / "runs" / _name(number)
            kept = folder / "trial.json"
            if not kept.exists():
                study.sampler = _sampler(params, number)
                if fixed is not None:
                    study.enqueue_trial(fixed)
                trial = study.ask(space)
                made = _train(search, base, params, trial, fixed is not None, folder)
                write_json(kept, made)  # the last of its files: with it the trial is done
                # The one that was asked for goes: what follows sees this trial as a search that was killed here would.
                study = _without_last(study)
            for name in WEIGHTS:
                (folder / name).unlink(missing_ok=True)
            done.append(read_json(kept))
            study.add_trial(_frozen(done[-1], space))
            bar.update()
            best = max((t["score"] for t in done if t["state"] == COMPLETE), default=None)
            bar.set_postfix(best=best)
    return done


def _without_last(study: Any) -> Any:
    import optuna

    again = optuna.create_study(direction="maximize", pruner=study.pruner)
    again.add_trials(study.get_trials(deepcopy=False)[:-1])
    return again


def _distribution(of: Any) -> Any:
    from optuna import distributions

    if isinstance(of, Choices):
        return distributions.CategoricalDistribution(of.choices)
    kind = distributions.IntDistribution if of.whole else distributions.FloatDistribution
    return kind(of.low, of.high, log=of.log)


def _sampler(params: Tuning, number: int) -> Any:
    import optuna

    seed = int(digest(params.seed, number)[:8], 16)
    if params.sampler == "tpe":
        return optuna.samplers.TPESampler(seed=seed)
    return optuna.samplers.RandomSampler(seed=seed)


def _proposals(search: Search, base: Section, params: Tuning) -> Iterator[dict | None]:
    """For each trial in turn the values it has to have, None where the sampler is free; ends with the grid."""
    standing = {key: _at(base, key, search.section) for key in params.space}
    inside = all(of.holds(standing[key]) for key, of in params.space.items())
    if inside:
        yield standing
    if params.sampler == "grid":
        for values in itertools.product(*(of.choices for of in params.space.values())):
            proposal = dict(zip(params.space, values))
            if not inside or proposal != standing:
                yield proposal
    else:
        yield from itertools.repeat(None)


def _train(search: Search, base: Section, params: Tuning, trial: Any, fixed: bool, folder: Path) -> dict:
    """Train one trial from rung to rung. Returns its trial.json."""
    values = dict(trial.params)
    if not fixed:
        values = {key: tidy(value, params.space[key]) for key, value in values.items()}
    write_json(folder / "params.json", values)
    state, reason, history = COMPLETE, None, []
    try:
        section = _with(base, values, search.section)
        epochs = section.engine.epochs
        for until in rungs(params, epochs):
            history = search.train(section, folder, until)
            score = best_score(history[:until])  # a trial taken up again may be past this rung already
            if score is None:
                raise BadInput(
                    f"{folder}: validation gave no score to compare trials by; add recordings with the events to foretell"
                )
            if until >= epochs or len(history) < until:  # done, or stopped early by its own patience
                break
            trial.report(score, until)
            if trial.should_prune():
                state, reason = PRUNED, f"not among the best of those that had {until} epochs"
                break
    except (*search.fatal, InvalidValues) as error:
        state, reason = FAILED, str(error)
    score = best_score(history) if state != FAILED else None
    known = {"epochs": len(history), **({} if score is None else {"score": score})}
    write_json(folder / "metrics.json", known)
    frozen = trial.study.get_trials(deepcopy=False)[-1]
    return {
        "number": int(folder.name.rpartition("-")[2]), "state": state, "reason": reason, "score": score, "params": values,
        "epochs": len(history), "rungs": {str(step): value for step, value in sorted(frozen.intermediate_values.items())},
        "system": {key: value for key, value in frozen.system_attrs.items() if key.startswith("completed_rung_")},
        "curve": [row["val"].get("score") for row in history],
    }  # fmt: skip


def tidy(value: Any, of: Interval | Choices) -> Any:
    """Four digits of a number that the sampler drew: nobody needs more, and people read them."""
    if isinstance(value, float) and isinstance(of, Interval):
        return min(max(float(f"{value:.4g}"), of.low), of.high)
    return value


def rungs(params: Tuning, epochs: int) -> list[int]:
    """The epochs after which a trial is judged: min_epochs times the powers of the reduction, and its end."""
    found, at = [], params.pruner.min_epochs
    while params.pruner.kind == "asha" and at < epochs:
        found.append(at)
        at *= params.pruner.reduction
    return [*found, epochs]


def best_score(history: list[dict]) -> float | None:
    """The score of the epoch that training keeps."""
    return max((row["val"]["score"] for row in history if row["val"].get("score") is not None), default=None)


def _frozen(made: dict, space: dict) -> Any:
    import optuna

    states = {COMPLETE: "COMPLETE", PRUNED: "PRUNED", FAILED: "FAIL"}
    return optuna.trial.create_trial(
        state=optuna.trial.TrialState[states[made["state"]]],
        value=made["score"] if made["state"] == COMPLETE else None,
        params=made["params"],
        distributions=space,
        intermediate_values={int(step): value for step, value in made["rungs"].items()},
        system_attrs=made["system"],
    )


class InvalidValues(ValueError):
    """Values that the train section refuses; `of_several`: for how they go together, not one by one."""

    def __init__(self, message: str, of_several: bool):
        super().__init__(message)
        self.of_several = of_several


def _at(section: Section, key: str, where: str) -> Any:
    """The value at a dotted key. Raises `BadInput` that names the nearest key there is."""
    node: Any = section
    for part in key.split("."):
        known = list(type(node).model_fields) if isinstance(node, Section) else []
        if part not in known:
            near = difflib.get_close_matches(part, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known) or 'none below a value'}"
            raise BadInput(f"{where.partition('.')[0]}.tune.space: {key}: no such key in {where}; {hint}")
        node = getattr(node, part)
    if isinstance(node, (Section, list, dict)):
        raise BadInput(f"{where.partition('.')[0]}.tune.space: {key}: is no single value; name a key of it")
    return node


def _with(base: Section, values: dict[str, Any], where: str) -> Section:
    """The section with other values at dotted keys. Raises `InvalidValues` with the key and the reason."""
    changed = base.model_dump()
    for key, value in values.items():
        *path, last = key.split(".")
        node = changed
        for part in path:
            node = node[part]
        node[last] = value
    try:
        return type(base).model_validate(changed)
    except ValidationError as error:
        first = error.errors()[0]
        name, text = ".".join(map(str, (where, *first["loc"]))), first["msg"].removeprefix("Value error, ")
        together = isinstance(first["input"], dict)
        raise InvalidValues(
            f"{name}: {text}" if together else f"{name} = {first['input']!r}: {text}", together
        ) from None


def write_back(section: str, values: dict[str, Any]) -> str:
    """The arguments that write values into params.yaml."""
    return " ".join(f"--set {section}.{key}={json.dumps(value)}" for key, value in values.items())


def _tell(search: Search, base: Section, params: Tuning, trials: list[dict], out: Path) -> dict[str, float]:
    whole = [trial for trial in trials if trial["state"] == COMPLETE]
    if not whole:
        raise BadInput(
            f"no trial of {search.section} could be trained; the first: {trials[0]['reason']}; mend tune.space"
        )
    best = max(whole, key=lambda trial: (trial["score"], -trial["number"]))
    standing = {key: _at(base, key, search.section) for key in params.space}
    stands = next((trial["score"] for trial in whole if trial["params"] == standing), None)
    line = search.section.partition(".")[0]
    # What is best for few epochs is so for these.
    shorter = {} if params.epochs is None else {"engine.epochs": params.epochs}
    importance, because = importances(trials, params)
    found = {
        "trials": len(trials), **{state: sum(t["state"] == state for t in trials) for state in (COMPLETE, PRUNED, FAILED)},
        "epochs_trained": sum(trial["epochs"] for trial in trials), "epochs_without_pruning": base.engine.epochs * len(trials),
        "best": {"trial": best["number"], "score": best["score"], "params": best["params"], "epochs": base.engine.epochs},
        "score_of_the_values_that_stand": stands, "importance": importance, "importance_null_because": because,
        "write_back": f"python -m flows run {line} {write_back(search.section, {**best['params'], **shorter})}",
    }  # fmt: skip
    write_json(out / "best.json", found)
    write_text(out / "trials.csv", table(trials, list(params.space)))
    log.info("best of %d trials: %.4f%s; %s", len(trials), best["score"],
             "" if stands is None else f", the values that stand: {stands:.4f}", found["write_back"])  # fmt: skip
    from tasks.yard.tuning import charts as tuning_charts

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


def importances(trials: list[dict], params: Tuning) -> tuple[dict[str, float] | None, str | None]:
    """{key: share of the variance of the scores that it explains} by fANOVA over the whole trials, or None and why."""
    import optuna

    whole = [trial for trial in trials if trial["state"] == COMPLETE]
    if len(whole) < IMPORTANCE_FROM:
        return None, f"{len(whole)} trials were trained to their end; at least {IMPORTANCE_FROM} are needed"
    if math.isclose(max(t["score"] for t in whole), min(t["score"] for t in whole)):
        return None, "every trial has the same score"
    space = {key: _distribution(of) for key, of in params.space.items()}
    study = optuna.create_study(direction="maximize")
    study.add_trials([_frozen(trial, space) for trial in whole])
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {key: round(float(value), 6) for key, value in found.items()}, None


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
