"""How a number is written in a file."""

from __future__ import annotations


def number(text: str) -> int:
    return int(text)
