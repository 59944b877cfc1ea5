"""An item of a matrix on a node of the Ray cluster that TRAINYARD_RAY names. Only the step's own `run` goes there: its
MLflow run, its record in DVC and its log stay with the process that asks."""

from __future__ import annotations

import importlib
import logging
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.yard.params import Machine
from tasks.yard.ray_address import told
from tasks.yard.sources import watch
from tasks.yard.stage import Stage
from tasks.yard.step import Context
from tasks.yard.workers import Crew, crew_for

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Call:
    module: str
    section: Any
    out: Path
    code: str
    inputs: dict[str, Any]


Line = tuple[str, int, str]  # logger, level, message


class Notes(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[Line] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append((record.name, record.levelno, record.getMessage()))


def called(call: Call) -> tuple[dict[str, Any], list[Line]]:
    """On a node: what the step returns, and what it logs."""
    notes, ours = Notes(), logging.getLogger("tasks")
    level = ours.level
    ours.addHandler(notes)
    ours.setLevel(logging.INFO)
    try:
        step = importlib.import_module(call.module).run
        return step(call.section, call.out, Context(code=call.code), **call.inputs), notes.lines
    except Exception as error:
        error.add_note(f"on its node: {traceback.format_exc()}")
        raise
    finally:
        ours.removeHandler(notes)
        ours.setLevel(level)


def crew(fn: Callable, wants_gpu: bool, count: int = 2) -> Crew | None:
    """The cluster's nodes: those with a GPU where one is wanted and there are any; None if the work stays here."""
    if not told():
        return None
    if wants_gpu:
        if (nodes := crew_for(fn, count, False, True)) is not None:
            return nodes
        from tasks.yard.training.accelerator import accelerator

        if accelerator().type == "cuda":  # ours is better than none
            return None
    return crew_for(fn, count, True, False)


def nodes_for(stage: Stage, machine: Machine) -> Crew | None:
    """For an item of a matrix; None for what reads files outside the checkout, or shares several devices:
    it decides itself where its processes go (training/devices.py)."""
    shares = machine.devices > 1 and "yard.machine" in stage.entry.get("params", [])
    if not (told() and stage.item) or shares or watch.is_open(stage):
        return None
    return crew(called, stage.uses_device and machine.accelerator != "cpu")


def run(nodes: Crew, stage: Stage, section: Any, code: str, inputs: dict[str, Any]) -> dict[str, Any]:
    log.info("%s goes to %s", stage.name, nodes.where)
    try:
        outcome = nodes(stage.name, called, Call(stage.module().__name__, section, stage.out, code, inputs))
    except BaseException:
        nodes.kill()
        raise
    finally:
        nodes.end()
    if isinstance(outcome, Exception):
        raise outcome
    metrics, lines = outcome
    for name, level, message in lines:
        logging.getLogger(name).log(level, "%s", message)
    return metrics
