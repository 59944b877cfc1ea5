"""Which rows a step sees, and the seed of its dropout: functions of (seed, epoch) and (seed, step), never saved."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def seed_of(*parts: int) -> int:
    """An independent 63-bit seed for each tuple of integers."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "little") >> 1


def shuffled(ids: Tensor, seed: int, epoch: int) -> Tensor:
    return ids[torch.randperm(len(ids), generator=torch.Generator().manual_seed(seed_of(seed, epoch)))]


def drawn(ids: Tensor, weights: Tensor, seed: int, epoch: int) -> Tensor:
    """As many rows as there are, drawn with replacement in proportion to `weights`."""
    generator = torch.Generator().manual_seed(seed_of(seed, epoch))
    return ids[torch.multinomial(weights, len(ids), replacement=True, generator=generator)]
