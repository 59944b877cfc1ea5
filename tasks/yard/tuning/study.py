"""A search's trials as Optuna knows them: what it proposes next, and which keys the scores depend on."""

from __future__ import annotations

import math
import warnings
from typing import Any

import optuna
from optuna import distributions

from tasks.yard.files import digest
from tasks.yard.tuning.section import COMPLETE, FAILED, PRUNED, RUNNING, Choices, Interval, Pruner, Tuning

optuna.logging.set_verbosity(optuna.logging.WARNING)
IMPORTANCE_FROM = 8  # whole trials: a forest of fewer tells noise


def ask(params: Tuning, number: int, fixed: dict | None, before: list[dict]) -> optuna.Trial:
    """The trial of that number, with the values that it has to have or, without, those that the sampler draws.

    before: the trials so far, as their trial.json hold them, or will hold them. The study is made anew of them, so that
    a search that was killed and taken up proposes what one in one go does.
    """
    study = optuna.create_study(direction="maximize", sampler=_sampler(params, number), pruner=_pruner(params.pruner))
    space = {key: _distribution(of) for key, of in params.space.items()}
    study.add_trials([_frozen(trial, space) for trial in before])
    if fixed is not None:
        study.enqueue_trial(fixed)
    return study.ask(space)


def judge(params: Tuning, trial: dict, others: list[dict]) -> tuple[bool, dict[str, float]]:
    """Does the trial end at the last of its rungs? And what Optuna notes of the rungs it has passed."""
    study = optuna.create_study(direction="maximize", pruner=_pruner(params.pruner))
    space = {key: _distribution(of) for key, of in params.space.items()}
    study.add_trials([_frozen(one, space) for one in others if one["rungs"]] + [_frozen(trial, space)])
    stops = study.pruner.prune(study, study.get_trials(deepcopy=False)[-1])
    noted = study.get_trials(deepcopy=False)[-1].system_attrs
    return stops, {key: value for key, value in noted.items() if key.startswith("completed_rung_")}


def _pruner(of: Pruner) -> optuna.pruners.BasePruner:
    if of.kind == "asha":
        return optuna.pruners.SuccessiveHalvingPruner(of.min_epochs, of.reduction)
    return optuna.pruners.NopPruner()


def _sampler(params: Tuning, number: int) -> optuna.samplers.BaseSampler:
    seed = int(digest(params.seed, number)[:8], 16)
    if params.sampler == "tpe":
        if params.at_once == 1:
            return optuna.samplers.TPESampler(seed=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            # Where others are tried just now it expects nothing good: else it would propose the same again.
            return optuna.samplers.TPESampler(seed=seed, constant_liar=True)
    return optuna.samplers.RandomSampler(seed=seed)


def _distribution(of: Interval | Choices) -> distributions.BaseDistribution:
    if isinstance(of, Choices):
        return distributions.CategoricalDistribution(of.choices)
    if of.whole:
        return distributions.IntDistribution(int(of.low), int(of.high), log=of.log)
    return distributions.FloatDistribution(of.low, of.high, log=of.log)


def _frozen(made: dict[str, Any], space: dict[str, distributions.BaseDistribution]) -> optuna.trial.FrozenTrial:
    states = {COMPLETE: "COMPLETE", PRUNED: "PRUNED", FAILED: "FAIL", RUNNING: "RUNNING"}
    return optuna.trial.create_trial(
        state=optuna.trial.TrialState[states[made["state"]]],
        value=made["score"] if made["state"] == COMPLETE else None,
        params=made["params"],
        distributions=space,
        intermediate_values={int(step): value for step, value in made["rungs"].items()},
        system_attrs=made["system"],
    )


def importances(trials: list[dict], params: Tuning) -> tuple[dict[str, float] | None, str | None]:
    """{key: share of the variance of the scores that it explains} by fANOVA over the whole trials, or None and why."""
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
