"""What is said on the console of many alike: the first few, and of the others how many they are."""

from __future__ import annotations

import logging
from collections.abc import Sequence

SAID = 5


def few(log: logging.Logger, lines: Sequence[str], others: str) -> None:
    """Warn with the first of these lines. `others` ends the line about the rest: "and 7 more " and these words."""
    for line in lines[:SAID]:
        log.warning("%s", line)
    if len(lines) > SAID:
        log.warning("and %d more %s", len(lines) - SAID, others)
