from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.person_search.learning.sampler import batches, order

COUNTS = st.lists(st.integers(1, 30), min_size=2, max_size=25)


@settings(max_examples=60, deadline=None)
@given(counts=COUNTS, data=st.data(), seed=st.integers(0, 9), epoch=st.integers(0, 99))
def test_every_batch_holds_p_people_with_k_images_each(counts, data, seed, epoch):
    people, images = data.draw(st.integers(2, len(counts))), data.draw(st.integers(2, 6))
    identity = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    identity = identity[torch.randperm(len(identity), generator=torch.Generator().manual_seed(seed))]
    rows = order(identity, people, images, seed, epoch)
    assert torch.equal(rows, order(identity, people, images, seed, epoch))
    made = rows.view(-1, people, images)
    # Exactly as long as announced, and as long as can be: one more batch would want more people than have groups left.
    groups = [max(1, n // images) for n in counts]
    assert len(made) == batches(torch.tensor(counts), people, images) >= 1
    assert sum(min(g, len(made) + 1) for g in groups) < (len(made) + 1) * people
    seen = [torch.bincount(rows[identity[rows] == who], minlength=len(identity)) for who in range(len(counts))]
    for batch in made:
        owners = identity[batch]
        assert (owners == owners[:, :1]).all() and len(owners[:, 0].unique()) == people
    for who, n in enumerate(counts):
        drawn = seen[who].sum().item()
        assert drawn <= groups[who] * images
        if n >= images:
            assert seen[who].max() <= 1  # no image twice
        elif drawn:
            assert (seen[who] > 0).sum() == n  # all it has, and some of them again


def test_epochs_differ_and_all_people_are_seen_in_time():
    identity = torch.repeat_interleave(torch.arange(30), 7)
    epochs = [order(identity, 8, 4, 0, epoch) for epoch in range(20)]
    assert len({tuple(rows.tolist()) for rows in epochs}) == 20
    assert len(torch.cat(epochs).unique()) == len(identity)
    assert not torch.equal(order(identity, 8, 4, 0, 0), order(identity, 8, 4, 1, 0))
    together = {frozenset(identity[batch[:, 0]].tolist()) for rows in epochs for batch in rows.view(-1, 8, 4)}
    assert len(together) == sum(len(rows) for rows in epochs) // 32  # never the same eight


def test_few_people_with_many_images_fill_every_batch():
    counts = torch.tensor([40, 40, 40, 40, 4, 4, 4, 4, 4])
    rows = order(torch.repeat_interleave(torch.arange(9), counts), 4, 4, 0, 0)
    assert len(rows) == 11 * 16  # four people have ten groups each and five have one: 45, of which 11 batches take 44
