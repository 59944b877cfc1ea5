"""What validation decides about the leader, for inspect to use, and what its claims about rides are worth on test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from tasks.bike_parts.formats.photos import Photos
from tasks.bike_parts.judging import calibration, changes, pairs, presence, together
from tasks.bike_parts.judging.believed import Calibration
from tasks.bike_parts.judging.judge import Judge
from tasks.bike_parts.judging.runs import Run
from tasks.bike_parts.judging.verdicts import repeated
from tasks.bike_parts.params import Evaluate
from tasks.yard.params import Reporting

BELIEVE = 0.5  # where nothing on validation says better


def believe(run: Run) -> float:
    """The score from which on verdicts believe a box."""
    best = presence.believed_from(run.found.score, run.taken >= 0, len(run.of.photos.id))
    return BELIEVE if best is None else best


def surest(run: Run) -> np.ndarray:
    """Rows of the surest box of each part in each photograph."""
    order = np.lexsort((-run.found.score, run.found.part, run.found.image))
    key = np.stack([run.found.image[order], run.found.part[order]])
    first = np.ones(len(order), bool)
    first[1:] = (key[:, 1:] != key[:, :-1]).any(0)
    return order[first]


def judge_of(network: str, val: Run, train: Photos) -> Judge:
    """All but the threshold of claims. Calibrated on what is claimed of: the surest box of each part and photograph."""
    rows, states = surest(val), set(train.state[train.state >= 0].tolist())
    taken = val.taken[rows]
    hit = taken >= 0
    told = val.found.states[rows][hit]
    fitted = calibration.fitted(val.found.score[rows].astype(float), hit, told, val.of.photos.state[taken[hit]])
    rides = changes.learnt(train, pairs.pairs_of(train))
    return Judge(network, believe(val), fitted, rides, None, train.parts, repeated(train), states)


def of_both_looks(val: Run, there: pairs.Pairs, judge: Judge) -> tuple[Judge, np.ndarray]:
    """With the weights of both looks, and (pairs, K) what is claimed of validation by weights that have not seen the
    bike. Without a second look, or with too few labels, the judge as it is."""
    photos, group = val.of.photos, {photo.id: photo.group for photo in val.of.photos.photos}
    signs, true, of = [], [], []
    for pair in there:
        sides, again = pairs.looks(val.found, val.again, pair)
        for photo, seen, more in zip(pair, sides, again or [], strict=False):
            signs.append(together.signs(seen, more, len(photos.parts), judge.rides.share))
            true.append(changes.by_part(photos, photo)[more.seen.part - 1])
            of.append(group[photo])
    fold = together.folds(of) if of else np.zeros(0, int)

    def weighed(mine: np.ndarray) -> Judge:
        some = np.flatnonzero(mine)
        if not len(some):
            return judge
        columns = np.concatenate([signs[i] for i in some]), np.concatenate([true[i] for i in some])
        return replace(judge, together=together.fitted(*columns, judge.rides.share))

    p = pairs.probabilities(val.found, val.again, there, judge)
    of_fold = dict(zip(of, fold.tolist(), strict=True))
    for number in np.unique(fold):
        mine = [i for i, (before, _) in enumerate(there) if of_fold.get(group[before]) == number]
        p[mine] = pairs.probabilities(val.found, val.again, [there[i] for i in mine], weighed(fold != number))
    return weighed(np.ones(len(of), bool)), p


def limits(run: Mapping[str, Run], there: Mapping[str, pairs.Pairs], judge: Judge) -> dict[str, dict[str, np.ndarray]]:
    """{limit: {split: (pairs, K)}}: what would be claimed if one thing that is looked for were known. Says where
    changes are lost; what is claimed does not hang on it."""
    found: dict[str, dict[str, np.ndarray]] = {}
    photos = {split: of.of.photos for split, of in run.items()}
    oracles = {split: of.oracle for split, of in run.items() if of.oracle is not None}
    if len(oracles) == len(run):
        rows = pairs.labels_of(photos["val"], oracles["val"])
        fitted = Calibration(*calibration.scale(oracles["val"].states, photos["val"].state[rows]))
        found[pairs.TRUE_BOXES] = {
            split: pairs.with_true_boxes(photos[split], of, there[split], judge, fitted)
            for split, of in oracles.items()
        }
    found[pairs.TRUE_AFTER] = {
        split: pairs.with_true_states_after(of, there[split], judge) for split, of in run.items()
    }
    return found


def on_validation(
    network: str, run: Mapping[str, Run], train: Photos, params: Evaluate, reporting: Reporting
) -> dict[str, Any]:
    """{believe, calibration, rides, together, claim} from validation, and {changes}: claims on validation and test, and
    what others would claim on test, and who knew more (`limits`)."""
    judge = judge_of(network, run["val"], train)
    there = {split: pairs.pairs_of(of.of.photos) for split, of in run.items()}
    true = {split: pairs.truth(of.of.photos, there[split]) for split, of in run.items()}
    judge, of_val = of_both_looks(run["val"], there["val"], judge)
    p = {"val": of_val, "test": pairs.probabilities(run["test"].found, run["test"].again, there["test"], judge)}
    tellable = bool((true["val"] >= 0).any()) and bool(judge.learnt)
    claim = changes.claim_from(p["val"], true["val"], params.false_claims) if tellable else None

    def told(split: str, of: Any, level: float | None) -> dict[str, Any]:
        group = {photo.id: photo.group for photo in run[split].of.photos.photos}
        return pairs.judged(of, true[split], level, [group[before] for before, _ in there[split]], reporting)

    bounds = limits(run, there, judge) if tellable else {}
    levels = {name: changes.claim_from(of["val"], true["val"], params.false_claims) for name, of in bounds.items()}
    raw = pairs.as_told(run["test"].found, there["test"], len(train.parts))
    others = {pairs.NEVER: 0 * raw, pairs.RAW: raw}
    return {
        "believe": judge.believe, "calibration": judge.calibration.told(), "rides": judge.rides.told(), "claim": claim,
        "together": judge.together and judge.together.told(),
        "changes": {
            **{name: told(split, p[split], claim) for name, split in (("validation", "val"), ("test", "test"))},
            "baselines": {name: {"what": pairs.WHAT[name], **told("test", of, 0.5)} for name, of in others.items()},
            "limits": {
                name: {"what": pairs.BOUNDS[name], **told("test", of["test"], levels[name])}
                for name, of in bounds.items()
            },
        },
    }  # fmt: skip
