"""One trial: its values, how far it has come, and what becomes of it. Its folder's trial.json is written last."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.yard.files import write_json
from tasks.yard.params import Section
from tasks.yard.step import BadInput
from tasks.yard.tuning import study
from tasks.yard.tuning.section import COMPLETE, FAILED, PRUNED, RUNNING, Tuning
from tasks.yard.tuning.values import InvalidValues, with_values


@dataclass
class Course:
    number: int
    folder: Path
    values: dict[str, Any]
    section: Section | None = None  # None: the values cannot be
    ends: list[int] = field(default_factory=list)  # epochs after which it is judged, the last one its end
    state: str = RUNNING
    reason: str | None = None
    curve: list[float | None] = field(default_factory=list)  # validation score of each epoch
    rungs: dict[str, float] = field(default_factory=dict)
    system: dict[str, float] = field(default_factory=dict)  # Optuna's notes of the rungs it has passed
    due: int = 0  # when its piece ends, on the clock of the search
    answer: Callable[[], list[dict]] | None = None  # of its piece
    seat: int = 0  # one of as many as there are trials at once
    kept: dict | None = None  # its trial.json, of a search that was killed or asked for fewer trials

    @property
    def until(self) -> int:
        return self.ends[len(self.rungs)]

    def record(self) -> dict:
        """As in trial.json."""
        score = best_score(self.curve) if self.state != FAILED else None
        return {
            "number": self.number, "state": self.state, "reason": self.reason, "score": score, "params": self.values,
            "epochs": len(self.curve), "rungs": self.rungs, "system": self.system, "curve": self.curve,
        }  # fmt: skip

    def write(self) -> None:
        made = self.record()
        write_json(
            self.folder / "metrics.json", {key: made[key] for key in ("epochs", "score") if made[key] is not None}
        )
        write_json(self.folder / "trial.json", made)

    def set_up(self, base: Section, where: str, params: Tuning) -> None:
        try:
            self.section = with_values(base, self.values, where)
        except InvalidValues as error:
            self.fail(str(error))
        else:
            self.ends = rungs(params, self.section.engine.epochs)

    def fail(self, reason: str) -> None:
        self.state, self.reason = FAILED, reason

    def reach(self, scores: list[float | None], params: Tuning, others: list[dict]) -> None:
        """Take the scores of its epochs up to `until`, or to the epoch at which it stopped by its own patience, and
        judge it beside the others. A trial that was killed on its way to the next rung has more of them."""
        until, self.curve = self.until, scores
        score = best_score(scores[:until])
        if score is None:
            raise BadInput(
                f"{self.folder}: validation gave no score to compare trials by; add recordings with something to find"
            )
        if until >= self.ends[-1] or len(scores) < until:
            self.state = COMPLETE
            return
        self.rungs[str(until)] = score
        stops, self.system = study.judge(params, self.record(), others)
        if stops:
            self.state, self.reason = PRUNED, f"not among the best of those that had {until} epochs"

    def kept_scores(self) -> list[float | None] | str | None:
        """The outcome of its piece in the trial.json it has: scores, or why it failed; None if it does not tell."""
        if self.kept is None:
            return None
        if self.until <= self.kept["epochs"]:
            return self.kept["curve"][: self.until]
        return {COMPLETE: self.kept["curve"], FAILED: self.kept["reason"]}.get(self.kept["state"])


def rungs(params: Tuning, epochs: int) -> list[int]:
    """The epochs after which a trial is judged: min_epochs times the powers of the reduction, and its end."""
    found, at = [], params.pruner.min_epochs
    while params.pruner.kind == "asha" and at < epochs:
        found.append(at)
        at *= params.pruner.reduction
    return [*found, epochs]


def best_score(scores: list[float | None]) -> float | None:
    """The score of the epoch that training keeps."""
    return max((score for score in scores if score is not None), default=None)
