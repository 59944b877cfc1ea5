"""What evaluate has decided on validation, ready to be used on photographs that nobody has labelled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tasks.bike_parts.formats.photos import STATES, Photos
from tasks.bike_parts.judging import changes
from tasks.bike_parts.judging.believed import Calibration, calibration_of
from tasks.bike_parts.judging.changes import Rides
from tasks.bike_parts.judging.together import Together, together_of
from tasks.bike_parts.judging.verdicts import Again, Seen, believed, repeated, verdict, words
from tasks.yard.files import read_json
from tasks.yard.step import BadInput

TOLD, PERHAPS = 0.2, 0.5  # of the claim: a change that is so likely is shown, or named, though not claimed


@dataclass(frozen=True)
class Judge:
    network: str
    believe: float  # score from which on a part is found
    calibration: Calibration
    rides: Rides
    claim: float | None  # probability from which on a part is said to be damaged in the ride; None: nobody could decide
    parts: list[str]
    several: set[int]  # parts of which a photograph may show more than one
    learnt: set[int]  # states that the training photographs show
    together: Together | None = None  # how both looks at a photograph of a ride are weighed; None: the first one counts

    def checkpoint(self, train: Mapping[str, Path]) -> Path:
        """best.pt of the network. Raises `BadInput` where it is not among the trained ones."""
        if self.network not in train:
            raise BadInput(
                f"evaluate names {self.network} as the best network, and only {', '.join(train)} are trained now: "
                "run bike_parts-evaluate again"
            )
        return train[self.network] / "best.pt"

    def calibrated(self, seen: Seen) -> Seen:
        return Seen(seen.part, seen.box, self.calibration.score(seen.score), self.calibration(seen.states))

    def found(self, seen: Seen) -> Seen:
        """What is sure enough to be there, calibrated."""
        return self.calibrated(believed(seen, self.believe, self.several))

    def verdict(self, seen: Seen) -> dict[str, Any]:
        """Of all that is seen in a photograph."""
        return verdict(self.found(seen), self.parts, bool(self.learnt))

    def states(self, sides: Sequence[Seen], again: Sequence[Again] | None = None) -> np.ndarray:
        """(2, K, 4) of the parts in two photographs of a ride, of all that is seen; `again`: with a second look."""
        if again is None or self.together is None:
            return np.stack([changes.dense(self.calibrated(of), len(self.parts), self.rides) for of in sides])
        both = zip(sides, again, strict=True)
        return np.stack([self.together.states(of, more, len(self.parts)) for of, more in both])

    def worse(self, sides: Sequence[Seen], again: Sequence[Again] | None = None) -> np.ndarray:
        """(K) that the part is worse."""
        return changes.worse(*self.states(sides, again), self.rides)


def judge_of(evaluate: Path, train: Photos) -> Judge:
    """Raises `BadInput` where nothing was evaluated, or nothing could be judged."""
    file = evaluate / "details.json"
    try:
        said = read_json(file)
        if said["leader"] is None:
            why = said["leader_null_because"] or "none could be judged"
            raise BadInput(f"{file}: no network leads ({why}); add labelled photographs to the source")
        return Judge(
            said["leader"], float(said["believe"]), calibration_of(said["calibration"]),
            changes.rides_of(said["rides"]), said["claim"], train.parts, repeated(train),
            set(train.state[train.state >= 0].tolist()), together_of(said["together"]),
        )  # fmt: skip
    except FileNotFoundError:
        raise BadInput(f"{file}: no such file; run bike_parts-evaluate") from None
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"{file}: not written by bike_parts-evaluate ({error!r}); run it again") from None


def claimed(parts: Sequence[str], more: Sequence[str], knows: bool) -> str:
    """A ride in a sentence."""
    if not knows:
        return "states are not known to this network"
    if parts:
        return f"damaged or lost in this ride: {words(parts)}"
    return f"nothing sure; perhaps {words(more)}" if more else "no part stands out"


def by_both(judge: Judge, found: Mapping[str, Any], again: Again, states: np.ndarray) -> dict[str, Any]:
    """{part: what is said of it in one photograph of a ride}: the state that both looks tell (K, 4), in the box that
    was found, or where the part is expected if none was."""
    told = {}
    for number, box, score in zip(again.seen.part, again.seen.box, again.seen.score, strict=True):
        part, mine = judge.parts[number - 1], states[number - 1]
        place = {"part": part, "box": [round(float(of), 1) for of in box], "score": round(float(score), 4)}
        told[part] = found.get(part, place) | {
            "state": STATES[int(mine.argmax())], "confidence": round(float(mine.max()), 4),
            "states": {name: round(float(of), 4) for name, of in zip(STATES, mine, strict=True)},
        }  # fmt: skip
    return {**found, **told}


def ride(
    judge: Judge, sides: Sequence[Seen], verdicts: Sequence[Mapping[str, Any]], again: Sequence[Again] | None = None
) -> dict[str, Any]:
    """What verdicts.json says of two photographs beside their names."""
    both, p, anything = judge.states(sides, again), np.zeros(len(judge.parts)), 0.0
    if judge.learnt:
        p, anything = changes.worse(*both, judge.rides), changes.any_worse(*both, judge.rides)
    surest = [{part["part"]: part for part in reversed(of["parts"])} for of in verdicts]
    if again is not None and judge.together is not None:
        surest = [by_both(judge, *of) for of in zip(surest, again, both, strict=True)]
    level = 1.0 if judge.claim is None else judge.claim
    told = []
    for i in np.argsort(-p, kind="stable"):
        if p[i] >= max(TOLD * level, 0.01):
            before, after = (of.get(judge.parts[i]) for of in surest)
            told.append({
                "part": judge.parts[i], "probability": round(float(p[i]), 4),
                "claimed": judge.claim is not None and bool(p[i] >= level),
                "before": before, "after": after,
            })  # fmt: skip
    sure = [change["part"] for change in told if change["claimed"]]
    perhaps = [of["part"] for of in told if not of["claimed"] and of["probability"] >= PERHAPS * level][:2]
    return {
        "damaged_in_ride": round(anything, 4), "claimed": bool(sure), "changes": told,
        "says": claimed(sure, perhaps, bool(judge.learnt)),
    }  # fmt: skip
