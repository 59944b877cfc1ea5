"""The params section of a `tune` step: which keys of the line's train section are searched, how, and for how long."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from tasks.yard.params import Section

COMPLETE, PRUNED, FAILED = "complete", "pruned", "failed"  # what becomes of a trial
RUNNING = "running"
Value = bool | int | float | str | None


class Interval(Section):
    low: int | float = Field(description="the lowest value that is tried")
    high: int | float = Field(description="itself included; both whole numbers: only whole numbers are tried")
    log: bool = Field(description="even on a logarithmic scale")

    @model_validator(mode="after")
    def _has_a_length(self) -> Interval:
        if self.low >= self.high or (self.log and self.low <= 0):
            raise ValueError(
                f"[{self.low}, {self.high}] must be [lowest, highest]{', above 0 for log' if self.log else ''}"
            )
        return self

    @property
    def whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def ends(self) -> list[Value]:
        return [self.low, self.high]

    def holds(self, value: Value) -> bool:
        kind = int if self.whole else (int, float)
        return isinstance(value, kind) and not isinstance(value, bool) and self.low <= value <= self.high


class Choices(Section):
    choices: list[Value] = Field(min_length=1, description="the values that are tried, and no others")

    @property
    def ends(self) -> list[Value]:
        return self.choices

    def holds(self, value: Value) -> bool:
        return any(value == choice and type(value) is type(choice) for choice in self.choices)


def _kind(value: Any) -> str:
    return "choices" if isinstance(value, Choices) or (isinstance(value, dict) and "choices" in value) else "interval"


Dimension = Annotated[Annotated[Interval, Tag("interval")] | Annotated[Choices, Tag("choices")], Discriminator(_kind)]


class Pruner(Section):
    kind: Literal["asha", "none"] = Field(
        description="asha: successive halving; none: every trial is trained to its end"
    )
    min_epochs: int = Field(ge=1, description="epochs every trial gets: the first rung")
    reduction: int = Field(
        ge=2, description="of so many trials at a rung one goes on, to the next rung so many times as far"
    )


class Tuning(Section):
    trials: int = Field(ge=0, description="trainings of the search, the first with the values that stand; 0: no search")
    at_once: int = Field(
        ge=1,
        description="trials that train at the same time, as processes of this machine or tasks of a Ray cluster; what "
        "is found depends on this number, and on no machine: another one begins another search",
    )
    sampler: Literal["tpe", "random", "grid"] = Field(
        description="tpe learns from the trials so far; grid tries every choice"
    )
    seed: int = Field(ge=0, description="of the sampler")
    pruner: Pruner
    epochs: int | None = Field(ge=1, description="of a trial, in place of train.engine.epochs; null: as there")
    space: dict[str, Dimension] = Field(
        description="key under the train section, such as optimizer.learning_rate -> {low, high, log} or "
        "{choices: [...]}"
    )

    @model_validator(mode="after")
    def _can_be_searched(self) -> Tuning:
        if self.trials and not self.space:
            raise ValueError("space is empty: name at least one key to search")
        if self.sampler == "grid" and (ranges := [key for key, of in self.space.items() if isinstance(of, Interval)]):
            raise ValueError(f"a grid needs choices, not an interval, for {', '.join(ranges)}")
        return self
