"""What every line sets for the training engine; a line embeds these sections in its own."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tasks.params import Section


class Optimizer(Section):
    learning_rate: float = Field(gt=0, description="of AdamW, at its peak")
    weight_decay: float = Field(ge=0, description="decoupled, times the learning rate; not on biases, norms")
    schedule: Literal["constant", "cosine", "one_cycle", "plateau"]
    warmup_steps: int = Field(ge=0, description="optimizer steps from 0 to the peak; one_cycle has its own rise")
    final_share: float = Field(ge=0, le=1, description="of the peak: where cosine ends, and plateau's lowest")
    plateau_factor: float = Field(gt=0, lt=1)
    plateau_patience: int = Field(ge=1, description="epochs without a better score before the rate is cut")


class Engine(Section):
    seed: int = Field(ge=0)
    epochs: int = Field(gt=0)
    batch: int = Field(gt=0, description="rows an optimizer step learns from, over all processes and micro-batches")
    accumulate: int = Field(gt=0, description="micro-batches a step: less memory, the same result")
    precision: Literal["32", "bf16", "fp16"] = Field(description="bf16 and fp16 are mixed: the weights stay float32")
    threads: int = Field(
        ge=1, description="CPU threads of one training, so that a result does not depend on the machine's cores"
    )
    accelerator: Literal["auto", "cpu", "cuda", "mps"]
    clip_norm: float | None = Field(gt=0, description="largest norm of the gradient; null: as it comes")
    patience: int | None = Field(ge=1, description="epochs without a better score before training stops; null: never")
    ema_decay: float = Field(ge=0, lt=1, description="of the averaged weights, which are then the ones kept; 0: none")
    max_bad_steps: int = Field(ge=1, description="steps in a row without a finite gradient before training gives up")
    checkpoint_every_s: float | None = Field(ge=0, description="between checkpoints within an epoch; null: none")
    compile: bool = Field(description="torch.compile: pays on long runs, costs a minute at the start")
    cuda_graph: bool = Field(
        description="launch a whole step at once: small networks on a large GPU wait for launches else"
    )
    deterministic: bool = Field(description="refuse kernels whose result varies from run to run")
