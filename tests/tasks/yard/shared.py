"""The sections that all lines share, as they stand in params.yaml, with some keys changed."""

from __future__ import annotations

from pathlib import Path

from tasks.yard import params
from tasks.yard.params import Machine, Reporting

YARD = params.load(Path(__file__).parents[3] / "params.yaml").yard


def machine(**changes) -> Machine:
    """A CPU, unless something else is asked for: tests compare bits."""
    return Machine.model_validate({**YARD.machine.model_dump(), "accelerator": "cpu", **changes})


def reporting(**changes) -> Reporting:
    return Reporting.model_validate({**YARD.reporting.model_dump(), **changes})
