"""Assignments of recordings to splits: whole groups, the best ones found, and what a rare task needs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tasks.brake_coast.learning import splits

SHARES = (0.7, 0.15, 0.15)


def random_counts(recordings: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    windows = rng.integers(300, 5000, recordings)
    known = np.repeat(windows[:, None], 4, axis=1)
    return windows, rng.binomial(known, 0.03 * rng.gamma(2, 0.5, (recordings, 1))), known


def named(recordings: int) -> list[str]:
    return [f"day {i}" for i in range(recordings)]


def test_groups_stay_whole_and_every_split_is_filled():
    groups = [f"day {i % 5}" for i in range(16)]
    chosen, _ = splits.assign(groups, *random_counts(16), SHARES, 0)
    assert set(chosen) == set(splits.SPLITS)
    assert len(set(zip(groups, chosen, strict=True))) == 5


def test_up_to_12_groups_no_assignment_is_better():
    windows, positives, known = random_counts(6)
    _, error = splits.assign(named(6), windows, positives, known, SHARES, 0)

    def by_hand(assignment):
        total = 0.0
        for split, share in enumerate(SHARES):
            members = np.array(assignment) == split
            rate = positives[members].sum(0) / known[members].sum(0)
            total += abs(windows[members].sum() / windows.sum() - share) / share
            total += np.abs(rate / (positives.sum(0) / known.sum(0)) - 1).mean()
        return total

    every = [a for a in itertools.product(range(3), repeat=6) if len(set(a)) == 3]
    assert error == pytest.approx(min(map(by_hand, every)))


@pytest.mark.parametrize("seed", range(3))
def test_the_local_search_finds_the_exact_optimum(monkeypatch, seed):
    counts = random_counts(9, seed)
    _, exact = splits.assign(named(9), *counts, SHARES, 0)
    monkeypatch.setattr(splits, "EXACT_GROUPS", 0)
    assert splits.assign(named(9), *counts, SHARES, seed)[1] == pytest.approx(exact)


def test_sixty_recordings_match_sizes_and_rates_and_repeat_exactly():
    windows, positives, known = random_counts(60)
    chosen, error = splits.assign(named(60), windows, positives, known, SHARES, 0)
    assert (chosen, error) == splits.assign(named(60), windows, positives, known, SHARES, 0)
    for split, share in zip(splits.SPLITS, SHARES, strict=True):
        members = np.array(chosen) == split
        assert windows[members].sum() / windows.sum() == pytest.approx(share, abs=0.01)
        overall = positives.sum() / known.sum()
        assert positives[members].sum() / known[members].sum() == pytest.approx(overall, rel=0.05)


def test_every_split_gets_a_positive_of_each_task_where_three_groups_have_one():
    windows = np.array([1000, 1000, 1000, 1000, 1000, 10, 10, 10])  # by size alone the last three would go together
    known = np.repeat(windows[:, None], 2, axis=1)
    positives = np.zeros_like(known)
    positives[:, 0] = windows // 10
    positives[5:, 1] = 1
    chosen, _ = splits.assign(named(8), windows, positives, known, SHARES, 0)
    assert sorted(chosen[5:]) == sorted(splits.SPLITS)


def test_a_task_without_any_positive_or_known_label_is_left_aside():
    windows = np.array([700, 150, 150])
    nothing = np.zeros((3, 2), int)
    chosen, error = splits.assign(named(3), windows, nothing, nothing, SHARES, 0)
    assert (chosen, error) == (["train", "val", "test"], pytest.approx(0))


def test_two_groups_cannot_fill_three_splits():
    with pytest.raises(ValueError, match="2 groups"):
        splits.assign(["a", "a", "b"], *random_counts(3), SHARES, 0)


@pytest.mark.slow
def test_a_thousand_groups_fit_and_known_ones_stay():
    """All pairs of them at once would take 8 GB."""
    counts = random_counts(1000)
    kept = {name: "test" for name in named(1000)[::10]}
    chosen, error = splits.assign(named(1000), *counts, SHARES, 0, kept)
    assert error < 0.01 and set(chosen[::10]) == {"test"}
    few = dict(zip(named(5), ("train", "val", "train", "train", "train"), strict=True))
    chosen, _ = splits.assign(named(6), *random_counts(6), SHARES, 0, few)
    assert chosen == ["train", "val", "train", "train", "train", "test"]
