"""What a `synth://<world>?key=value&...` URI says, as the params of that world."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TypeVar
from urllib.parse import parse_qsl, urlsplit

from tasks.yard.step import BadInput, suggestion

World = TypeVar("World")
NUMBERS = {int: "a whole number", float: "a number"}


def parse(uri: str, params: type[World], limits: Mapping[str, tuple[float, float]], example: str) -> World:
    """`params` is a dataclass whose fields have numbers as defaults, `limits` the lowest and highest value of each.

    `example` is a whole URI of this world. Raises `BadInput` that names the key and what is allowed.
    """
    given, wanted = urlsplit(uri), urlsplit(example)
    if (given.scheme, given.netloc) != (wanted.scheme, wanted.netloc):
        raise BadInput(f"{uri}: expected {example}")
    kinds = {field.name: type(field.default) for field in fields(params)}
    values: dict[str, float] = {}
    for key, text in parse_qsl(given.query, keep_blank_values=True):
        if key not in kinds:
            raise BadInput(f"{uri}: unknown key {key!r}; {suggestion(key, kinds, 'known keys')}")
        try:
            values[key] = kinds[key](text)
        except ValueError:
            raise BadInput(f"{uri}: {key} = {text!r} must be {NUMBERS[kinds[key]]}") from None
        low, high = limits[key]
        if not low <= values[key] <= high:  # nor is NaN
            raise BadInput(f"{uri}: {key} = {text} must be from {low} to {high}")
    return params(**values)
