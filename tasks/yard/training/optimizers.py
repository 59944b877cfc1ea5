"""The optimizer that a section asks for, over a model's parameters."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW
from torch.optim import Optimizer as TorchOptimizer

from tasks.yard.training.sections import Optimizer


def decayed(model: nn.Module, weight_decay: float) -> list[dict]:
    """Weight decay is for matrices: shrinking biases, norms and lone tokens only takes away what they are for."""
    trained = [p for p in model.parameters() if p.requires_grad]
    matrices, others = [p for p in trained if p.ndim > 1], [p for p in trained if p.ndim <= 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def build(params: Optimizer, model: nn.Module, fused: bool, graphed: bool) -> TorchOptimizer:
    """Over every parameter that wants a gradient now. `graphed`: its steps are captured in a CUDA graph.

    A fused one leaves a step out by itself where its `found_inf` says so.
    """
    rate: float | Tensor = params.learning_rate
    if graphed:  # it reads a tensor anew each time
        rate = torch.tensor(rate)
    groups = decayed(model, params.weight_decay)
    if params.kind == "sgd":
        made = SGD(groups, lr=rate, momentum=params.momentum, nesterov=params.nesterov, fused=fused)
        for group in made.param_groups if params.momentum else ():
            for p in group["params"]:  # torch makes them in the first step, and leaves garbage if that one is left out
                made.state[p]["momentum_buffer"] = torch.zeros_like(p)
        return made
    kind = AdamW if params.kind == "adamw" else Adam
    betas = (params.momentum, params.beta2)
    return kind(groups, lr=rate, betas=betas, amsgrad=params.kind == "amsgrad", fused=fused, capturable=graphed)
