"""What the processes of one training have to know of each other's rows: for losses and norms that compare rows.

Sums run over processes forwards, and so do their gradients backwards; every process must bring as many rows as any
other. With one process nothing is done.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def processes() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        x = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return _Sum.apply(gradient)


def gathered(x: Tensor) -> Tensor:
    """(n, ...) of each process -> (n x processes, ...), in the order of their ranks; gradients find their way back."""
    world = processes()
    if world == 1:
        return x
    parts = [torch.zeros_like(x)] * world
    parts[dist.get_rank()] = x
    return _Sum.apply(torch.cat(parts))


class BatchNorm(_BatchNorm):
    """Batch normalisation by the mean and variance of the rows of all processes. Torch's own is for GPUs only.

    Takes over the tensors of `norm`, and their names, so that checkpoints are the same with it and without.
    """

    def __init__(self, norm: _BatchNorm):
        super().__init__(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        self._parameters, self._buffers = norm._parameters, norm._buffers
        self.train(norm.training)

    def _check_input_dim(self, x: Tensor) -> None:
        if x.ndim < 2:
            raise ValueError(f"expected (N, C, ...), got {tuple(x.shape)}")

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        world, others = processes(), [d for d in range(x.ndim) if d != 1]
        shape = [1, -1] + [1] * (x.ndim - 2)
        values = x.float()  # as torch's own does under mixed precision
        mean = _Sum.apply(values.mean(others)) / world
        centred = values - mean.view(shape)
        variance = _Sum.apply(centred.square().mean(others)) / world
        if self.track_running_stats:
            count = world * x.numel() / x.shape[1]
            self.num_batches_tracked.add_(1)
            share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean.detach(), share)
            self.running_var.lerp_(variance.detach() * (count / (count - 1)), share)
        result = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            result = result * self.weight.view(shape) + self.bias.view(shape)
        return result.to(x.dtype)


def with_common_statistics(model: nn.Module) -> nn.Module:
    """The model with every batch normalisation over all processes; itself where there is only one."""
    if processes() == 1:
        return model
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, _BatchNorm) and not isinstance(child, BatchNorm):
                setattr(module, name, BatchNorm(child))
    return model
