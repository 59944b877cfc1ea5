"""P x K batches: P identities with K images each, so that every image finds others of its own person to learn from.

An epoch is a function of (seed, epoch). An identity with n images gives n // K groups of K, no image twice; one with
fewer than K gives one group in which images come again. As many batches are made as can hold P different identities
each: their number depends on the counts alone, and is exact.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tasks.yard.training.sampling import seed_of


def batches(counts: Tensor, identities: int, images: int) -> int:
    """How many batches of so many different identities an epoch has, where `counts` are the images of each identity."""
    groups = (counts[counts > 0] // images).clamp(min=1)
    low, high = 0, int(groups.sum()) // identities
    while low < high:  # the most batches B for which sum min(groups, B) >= B x P
        middle = (low + high + 1) // 2
        if int(groups.clamp(max=middle).sum()) >= middle * identities:
            low = middle
        else:
            high = middle - 1
    return low


def groups(identity: Tensor, images: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Rows (G, K) of one identity each, drawn anew, and that identity (G)."""
    order = torch.randperm(len(identity), generator=generator)
    order = order[torch.argsort(identity[order], stable=True)]  # by identity, within it shuffled
    found, counts = torch.unique_consecutive(identity[order], return_counts=True)
    rows, owners = [], []
    for who, mine in zip(found.tolist(), order.split(counts.tolist()), strict=True):
        if len(mine) < images:
            again = torch.randint(len(mine), (images - len(mine),), generator=generator)
            mine = torch.cat([mine, mine[again]])
        whole = len(mine) // images
        rows.append(mine[: whole * images].view(whole, images))
        owners += [who] * whole
    return torch.cat(rows), torch.tensor(owners)


def used(owner: Tensor, count: int, identities: int, generator: torch.Generator) -> Tensor:
    """Which of the groups an epoch uses, those of an identity side by side, drawn anew.

    A batch takes one group of an identity at most, so nobody has more than there are batches, `count`; of what is still
    too many some sit this epoch out.
    """
    shuffled = torch.randperm(len(owner), generator=generator)
    shuffled = shuffled[torch.argsort(owner[shuffled], stable=True)]
    _, sizes = torch.unique_consecutive(owner[shuffled], return_counts=True)
    few = torch.cat([part[:count] for part in shuffled.split(sizes.tolist())])
    few = few[torch.randperm(len(few), generator=generator)[: count * identities]]
    return few[torch.argsort(owner[few], stable=True)]


def dealt(sizes: Tensor, count: int, identities: int, generator: torch.Generator) -> Tensor:
    """The groups of identities that have `sizes` of them, side by side: their places (count x identities) in the order
    in which `count` batches take them, no identity twice in a batch.
    """
    left, ends = sizes.clone(), sizes.cumsum(0)
    places = [ends.new_empty(0)]
    for batches_left in range(count, 0, -1):
        # Who has a group for every batch left has to be in this one; the others are drawn by the groups they have left.
        due = left == batches_left
        picked = due.nonzero()[:, 0]
        if len(picked) < identities:
            weight = torch.where(due, 0, left).double()
            others = torch.multinomial(weight, identities - len(picked), generator=generator)
            picked = torch.cat([picked, others])
        places.append(ends[picked] - left[picked])
        left[picked] -= 1
    return torch.cat(places)


def order(identity: Tensor, identities: int, images: int, seed: int, epoch: int) -> Tensor:
    """Rows of an epoch: in each run of `identities` x `images` rows that many identities, their images side by side.

    `identity` (N) int64, 0 or higher.
    """
    generator = torch.Generator().manual_seed(seed_of(seed, epoch))
    rows, owner = groups(identity, images, generator)
    count = batches(torch.bincount(identity), identities, images)
    chosen = used(owner, count, identities, generator)
    _, sizes = torch.unique_consecutive(owner[chosen], return_counts=True)
    return rows[chosen[dealt(sizes, count, identities, generator)]].flatten()
