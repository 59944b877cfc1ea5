"""Values at dotted keys of a params section: read, tried, and written back."""

from __future__ import annotations

import json
from typing import Any

from pydantic import ValidationError

from tasks.yard.params import Section
from tasks.yard.step import BadInput, suggestion
from tasks.yard.tuning.section import Choices, Interval


class InvalidValues(ValueError):
    """Values that the train section refuses; `of_several`: for how they go together, not one by one."""

    def __init__(self, message: str, of_several: bool):
        super().__init__(message)
        self.of_several = of_several


def value_at(section: Section, key: str, where: str) -> Any:
    """The value at a dotted key. Raises `BadInput` that names the nearest key there is."""
    node: Any = section
    for part in key.split("."):
        known = list(type(node).model_fields) if isinstance(node, Section) else []
        if part not in known:
            hint = suggestion(part, known, "known keys")
            raise BadInput(f"{where.partition('.')[0]}.tune.space: {key}: no such key in {where}; {hint}")
        node = getattr(node, part)
    if isinstance(node, (Section, list, dict)):
        raise BadInput(f"{where.partition('.')[0]}.tune.space: {key}: is no single value; name a key of it")
    return node


def with_values(base: Section, values: dict[str, Any], where: str) -> Section:
    """The section with other values at dotted keys. Raises `InvalidValues` with the key and the reason."""
    changed = base.model_dump()
    for key, value in values.items():
        *path, last = key.split(".")
        node = changed
        for part in path:
            node = node[part]
        node[last] = value
    try:
        return type(base).model_validate(changed)
    except ValidationError as error:
        first = error.errors()[0]
        name, text = ".".join(map(str, (where, *first["loc"]))), first["msg"].removeprefix("Value error, ")
        together = isinstance(first["input"], dict)
        raise InvalidValues(
            f"{name}: {text}" if together else f"{name} = {first['input']!r}: {text}", together
        ) from None


def write_back(section: str, values: dict[str, Any]) -> str:
    """The arguments that write values into params.yaml."""
    return " ".join(f"--set {section}.{key}={json.dumps(value)}" for key, value in values.items())


def tidy(value: Any, of: Interval | Choices) -> Any:
    """Four digits of a number that the sampler drew: nobody needs more, and people read them."""
    if isinstance(value, float) and isinstance(of, Interval):
        return min(max(float(f"{value:.4g}"), of.low), of.high)
    return value
