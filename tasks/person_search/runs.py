"""What the name of a run says, and which of them leads; the baselines are runs that nobody trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

CHANCE = "chance"
NAIVE = (CHANCE, "raw_pixels", "colour_stripes")  # beside these each network as it was before training
UNTRAINED = "-untrained"


def is_baseline(run: str) -> bool:
    return run in NAIVE or run.endswith(UNTRAINED)


def ranked_runs(runs: Iterable[str]) -> list[str]:
    """Runs as they stand in tables: what knows nothing first, then each network, as it was before training above it."""
    held = list(runs)
    others = sorted((run for run in held if run not in NAIVE), key=lambda run: (run.removesuffix(UNTRAINED), -len(run)))
    return [*(run for run in NAIVE if run in held), *others]


def leader(validation: Mapping[str, float | None]) -> tuple[str | None, str | None]:
    """(network, how it was chosen) from {network: mAP on validation}: the test people choose nothing.

    A network that is alone leads in any case; several that nobody could judge leave the place empty.
    """
    judged = {run: score for run, score in validation.items() if score is not None}
    if judged:
        return max(sorted(judged), key=lambda run: judged[run]), "best mAP on the validation people"
    return (next(iter(validation)), "the only network") if len(validation) == 1 else (None, None)
