"""What a network brings besides its weights when it looks at photographs: what was decided on validation, what is usual
of the photographs that it was judged on, and how often it was right about rides there. Kept beside its weights in
known.json, so that it is the same wherever they go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tasks.bike_parts.formats.photos import STATES
from tasks.bike_parts.judging import believed, changes
from tasks.bike_parts.judging.believed import FILE, Belief
from tasks.bike_parts.judging.changes import Rides
from tasks.bike_parts.judging.judge import Judge
from tasks.bike_parts.judging.layout import Layout, layout_of
from tasks.bike_parts.judging.together import together_of
from tasks.yard.files import read_json, write_json


@dataclass(frozen=True)
class Known:
    judge: Judge
    usual: Mapping[str, Any]  # page/distance.py, of the photographs of the test split
    world: str | None  # what a page says where a computer drew what the network has learnt from
    changes: Mapping[str, Any]  # how often a claim was right on the test split; {} where nobody knows
    layout: Layout | None = None  # where to look again in the photographs of a ride; None: there is no second look
    decided: bool = True  # False: its thresholds and its calibration are not known


def write(folder: Path, known: Known) -> None:
    judge = known.judge
    write_json(folder / FILE, {
        "network": judge.network, "believe": judge.believe, "calibration": judge.calibration.told(),
        "rides": {name: None if of is None else of.tolist() for name, of in vars(judge.rides).items()},
        "claim": judge.claim, "parts": judge.parts, "several": sorted(judge.several), "learnt": sorted(judge.learnt),
        "usual": known.usual, "world": known.world, "changes": known.changes,
        "together": judge.together and judge.together.told(), "layout": known.layout and known.layout.told(),
    })  # fmt: skip


def read(file: Path) -> Known:
    """Raises `BadInput` where it is another file."""
    own = believed.read(file)
    try:
        said = read_json(file)
        rides = changes.rides_of(said["rides"])
        judge = Judge(
            said["network"], own.believe, own.calibration, rides, said["claim"], list(said["parts"]), set(own.several),
            set(own.learnt), together_of(said["together"]),
        )  # fmt: skip
        return Known(judge, said["usual"], said["world"], said["changes"], layout_of(said["layout"]))
    except (KeyError, TypeError, ValueError) as error:
        raise believed.another(file, error) from None


def unknown(network: str, parts: Sequence[str], usual: Mapping[str, Any]) -> Known:
    """Of weights that come alone: what they say is taken as it is."""
    even = Rides(np.full(len(STATES), 0.25), np.full((len(STATES), len(STATES)), 1 / 16))
    own = Belief()
    judge = Judge(network, own.believe, own.calibration, even, None, list(parts), set(own.several), set(own.learnt))
    return Known(judge, usual, None, {}, decided=False)
