"""What every line sets for the training engine; a line embeds these sections in its own."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tasks.yard.params import Section

Epochs = Annotated[int, Field(ge=1)]


class Optimizer(Section):
    kind: Literal["adamw", "adam", "amsgrad", "sgd"] = Field(
        description="the rule by which weights follow the gradient; amsgrad: Adam whose second moment never falls"
    )
    learning_rate: float = Field(gt=0, description="at its peak")
    weight_decay: float = Field(
        ge=0, description="adamw: decoupled, times the rate; the others: added to the gradient; not on biases, norms"
    )
    momentum: float = Field(ge=0, lt=1, description="of sgd; with the others the first beta")
    beta2: float = Field(ge=0, lt=1, description="second beta of all but sgd")
    nesterov: bool = Field(description="sgd looks ahead along its momentum")
    schedule: Literal["constant", "cosine", "cosine_restarts", "one_cycle", "plateau", "step"] = Field(
        description="how the rate goes on from its peak"
    )
    warmup_steps: int = Field(ge=0, description="optimizer steps from 0 to the peak; one_cycle has its own rise")
    final_share: float = Field(ge=0, le=1, description="of the peak: where a cosine ends, and plateau's lowest")
    plateau_factor: float = Field(gt=0, lt=1, description="plateau: what a cut leaves of the rate")
    plateau_patience: int = Field(ge=1, description="epochs without a better score before the rate is cut")
    step_epochs: Epochs | list[Epochs] = Field(
        description="step: the rate is cut every so many epochs (single_step); of a list, after these (multi_step)"
    )
    step_factor: float = Field(gt=0, lt=1, description="step: what a cut leaves of the rate (gamma)")
    restart_epochs: Epochs = Field(description="cosine_restarts: epochs from one return to the peak to the next")

    @model_validator(mode="after")
    def _looks_ahead_along_something(self) -> Optimizer:
        if self.kind == "sgd" and self.nesterov and not self.momentum:
            raise ValueError("nesterov = true needs a momentum above 0")
        return self

    @model_validator(mode="after")
    def _cuts_come_in_order(self) -> Optimizer:
        cuts = self.step_epochs
        if isinstance(cuts, list) and cuts != sorted(set(cuts)):
            raise ValueError(f"step_epochs = {cuts} must ascend")
        return self


class Engine(Section):
    """How a line is trained; what is said of the machine stands in `yard.machine`."""

    seed: int = Field(ge=0, description="of first weights, the order of rows and what is drawn to augment them")
    epochs: int = Field(gt=0, description="passes over the training rows, at most")
    batch: int = Field(gt=0, description="rows an optimizer step learns from, over all processes and micro-batches")
    accumulate: int = Field(gt=0, description="micro-batches a step: less memory, the same result")
    threads: int = Field(
        ge=1, description="CPU threads of one training, so that a result does not depend on the machine's cores"
    )
    clip_norm: float | None = Field(gt=0, description="largest norm of the gradient; null: as it comes")
    patience: int | None = Field(ge=1, description="epochs without a better score before training stops; null: never")
    ema_decay: float = Field(ge=0, lt=1, description="of the averaged weights, which are then the ones kept; 0: none")
