"""Which network leads: the test data choose nothing."""

from __future__ import annotations

from collections.abc import Mapping


def leader(validation: Mapping[str, float | None], how: str) -> tuple[str | None, str | None]:
    """(network, how it was chosen) from {network: its score on validation, None if nobody could judge it}.

    The highest leads. A network that is alone leads in any case; several that nobody could judge leave the place empty.
    """
    judged = {network: score for network, score in validation.items() if score is not None}
    if judged:
        return max(sorted(judged), key=lambda network: judged[network]), how
    return (next(iter(validation)), "the only network") if len(validation) == 1 else (None, None)
