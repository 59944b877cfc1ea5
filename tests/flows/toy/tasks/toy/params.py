from __future__ import annotations

from pydantic import Field

from tasks.yard.params import Section
from tasks.yard.sources.section import Dated


class Collect(Dated):
    WORLD = ""

    gates: str | None = Field(description="a folder: each number waits until a file of its name lies there; null: none")


class Square(Section):
    offset: int = Field(ge=0, le=100, description="added to the sum")


class Judge(Section):
    scale: float
    weights: str | None = Field(description="a file with a number to add, wherever it is; null: none")


class Line(Section):
    collect: Collect
    square: Square
    judge: Judge
