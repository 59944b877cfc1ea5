"""Losses for re-identification: who is it, and is everyone nearer to themselves than to anyone else?"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


def softmax(logits: Tensor, identity: Tensor, label_smoothing: float) -> Tensor:
    """Mean cross entropy with targets (1 - e) one-hot + e / identities (Szegedy et al. 2016). (B, ids), (B) -> ()"""
    return F.cross_entropy(logits.float(), identity, label_smoothing=label_smoothing)


def hardest(vectors: Tensor, identity: Tensor) -> tuple[Tensor, Tensor]:
    """Euclidean distance of each row to its farthest own kind, -inf if alone, and its nearest other, inf if none.

    (B, D), (B) -> (B), (B). Its gradient is finite everywhere, 0 where two vectors are equal.
    """
    vectors = vectors.float()
    # By differences: |a|^2 + |b|^2 - 2ab loses the digits of small distances.
    distance = torch.cdist(vectors, vectors, compute_mode="donot_use_mm_for_euclid_dist")
    same = identity[:, None] == identity
    own = same & ~torch.eye(len(same), dtype=torch.bool, device=same.device)
    return distance.masked_fill(~own, -torch.inf).amax(1), distance.masked_fill(same, torch.inf).amin(1)


def triplet(vectors: Tensor, identity: Tensor, margin: float | None) -> Tensor:
    """Batch-hard triplet loss (Hermans et al. 2017): mean of max(0, margin + hardest positive - hardest negative).

    `margin` None is their soft margin, log(1 + exp(positive - negative)). A row that has no other of its own kind in
    the batch, or nothing but its own kind, teaches nothing and does not count; where no row counts, the loss is 0.
    A loss that stays at the margin (soft: log 2) tells of a network that gives the same vector to everyone.
    (B, D), (B) -> ()
    """
    positive, negative = hardest(vectors, identity)
    gap = positive - negative
    loss = F.softplus(gap) if margin is None else F.relu(gap + margin)
    return loss.sum() / gap.isfinite().sum().clamp(min=1)


def combined(
    logits: Tensor, vectors: Tensor, identity: Tensor, *, softmax_weight: float, triplet_weight: float,
    label_smoothing: float, margin: float | None, everyone: Callable[[Tensor], Tensor] = lambda rows: rows,
) -> dict[str, Tensor]:  # fmt: skip
    """The terms, weighted: their sum is the loss. A term of weight 0 is left out.

    `everyone`: the rows of this process -> those of all, which the triplet needs to see.
    """
    terms = {}
    if softmax_weight:
        terms["softmax"] = softmax_weight * softmax(logits, identity, label_smoothing)
    if triplet_weight:
        terms["triplet"] = triplet_weight * triplet(everyone(vectors), everyone(identity), margin)
    return terms
