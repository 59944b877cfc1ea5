"""Params of the line as they stand in params.yaml."""

from __future__ import annotations

from tasks.open_loop_driving.params import Line
from tests import sections


def section(step: str, **changes):
    """One step's params, with some changed."""
    values = sections.values("open_loop_driving", step)
    return Line.model_fields[step].annotation.model_validate({**values, **changes})
