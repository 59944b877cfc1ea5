"""How numbers are written: six decimals, more than the data can tell, and the same text from every BLAS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def rounded(value: Any) -> Any:
    """All floats in dicts, lists and tuples; tuples become lists, as in JSON."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    return round(float(value), 6) if isinstance(value, float) else value


def as_metrics(numbers: Mapping[str, float | None]) -> dict[str, float]:
    """A step's metrics; what could not be computed (None) is left out."""
    return {key: round(float(value), 6) for key, value in numbers.items() if value is not None}
