"""What the name of a run says; the baselines are runs that training had no part in."""

from __future__ import annotations

from collections.abc import Iterable

CHANCE = "chance"
NAIVE = (CHANCE, "raw_pixels", "colour_stripes")  # beside these each network as it was before training
UNTRAINED, START = "-untrained", "-start"  # before training: with random weights; with those it was given
BEFORE = (UNTRAINED, START)


def is_baseline(run: str) -> bool:
    return run in NAIVE or run.endswith(BEFORE)


def of_network(run: str) -> str:
    """The network that a run is of, before or after training."""
    return run.removesuffix(UNTRAINED).removesuffix(START)


def before(network: str, runs: Iterable[str]) -> str | None:
    """Of `runs` the network as it was before training."""
    return next((run for run in runs if run in [network + suffix for suffix in BEFORE]), None)


def ranked_runs(runs: Iterable[str]) -> list[str]:
    """Runs as they stand in tables: what knows nothing first, then each network, as it was before training above it."""
    known = list(runs)
    others = sorted((run for run in known if run not in NAIVE), key=lambda run: (of_network(run), -len(run)))
    return [*(run for run in NAIVE if run in known), *others]
