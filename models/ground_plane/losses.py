"""How far a map is from who is there. Every loss is a mean over frames of what each frame costs by itself, so that
micro-batches and processes add up to one batch; cells outside the mask cost nothing."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

ALPHA, BETA = 2, 4


def focal(logits: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """CenterNet's (Zhou et al., Objects as Points, 2019, eq. 1), per frame over its number of cells that are exactly 1.

    (B, ...) logits, targets in 0..1, bool -> ()
    """
    logits = logits.float()
    score = logits.sigmoid()
    here = (1 - score) ** ALPHA * F.logsigmoid(logits)
    not_here = (1 - target) ** BETA * score**ALPHA * F.logsigmoid(-logits)
    positive = target >= 1
    cost = -((here * positive + not_here * ~positive) * mask).flatten(1).sum(1)
    return (cost / (positive & mask).flatten(1).sum(1).clamp(min=1)).mean()


def mse(logits: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """The original's: the sum of squared errors of the scores over the cells of a frame.

    (B, ...) logits, targets in 0..1, bool -> ()
    """
    return ((logits.float().sigmoid() - target).square() * mask).flatten(1).sum(1).mean()


LOSSES = {"focal": focal, "mse": mse}
