"""Losses for rare events: labels (B, K) hold 1, 0 or -1 (unknown); each loss gives one value a task (K).

An unknown label adds nothing, and the sum is divided by the rows and by the share of labels known in the whole training
split, a constant: a batch's loss is then the mean of its parts' losses, so that micro-batches and several processes
do exactly what one big batch does.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def focal(logits: Tensor, labels: Tensor, alpha: Tensor, gamma: Tensor, known_share: Tensor) -> Tensor:
    """a_t (1 - p_t)^gamma BCE (Lin et al. 2017); alpha, gamma (K); a_t: alpha for positives, 1 - alpha for negatives.

    Its minimiser is not the probability (at gamma 2, alpha .25, a true 50 % gives .40): rank by it, or calibrate after.
    """
    positive = labels.clamp(min=0).to(logits.dtype)
    bce = F.binary_cross_entropy_with_logits(logits, positive, reduction="none")
    weight = alpha * positive + (1 - alpha) * (1 - positive)
    return _mean_of_known(weight * (1 - torch.exp(-bce)) ** gamma * bce, labels, known_share)


def prior_corrected_bce(logits: Tensor, labels: Tensor, positive_weight: Tensor, known_share: Tensor) -> Tensor:
    """BCE with positives weighted by w (K) and log w added to the logits: the logits themselves stay calibrated.

    Weighting positives by w moves the minimiser to odds' = w * odds; the shift takes that out again (the binary case
    of the logit adjustment of Menon et al. 2021). So w only decides where on the scale the network spends its effort.
    """
    positive = labels.clamp(min=0).to(logits.dtype)
    shifted = logits + positive_weight.log()
    bce = F.binary_cross_entropy_with_logits(shifted, positive, pos_weight=positive_weight, reduction="none")
    return _mean_of_known(bce, labels, known_share)


def _mean_of_known(elements: Tensor, labels: Tensor, known_share: Tensor) -> Tensor:
    return elements.masked_fill(labels < 0, 0).mean(0) / known_share
