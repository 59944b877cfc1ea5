"""The champion of a line: the registered model that is served until a better one has proved itself on the same test
data.

A line takes part with a module tasks/<line>/champion.py:

    challenger(data: Path) -> str | None      the item of the train stage that is to be judged, None if there is none
    compare(challenger: Path, champion: Path, data: Path, section) -> Comparison      of two checkpoints: `compared`
                                                                                      with how the line scores one

The alias `champion` moves when the lower end of the challenger's lead, from paired bootstrap draws, is not below zero.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.yard import params
from tasks.yard.metrics import bootstrap
from tasks.yard.step import BadInput
from tasks.yard.tracking import registry


@dataclass(frozen=True)
class Score:
    """What one checkpoint is worth on the test data, and how sure that is."""

    metric: str  # and on how many of what
    value: float
    replicates: np.ndarray  # of the value, over draws that are the same for every checkpoint
    groups: int  # how many recordings, people, frames were drawn from


@dataclass(frozen=True)
class Comparison:
    metric: str
    challenger: float
    champion: float
    low: float | None  # the 95 % interval of the difference; None: too few recordings to tell
    high: float | None

    @property
    def lead(self) -> str:
        text = f"{self.metric} {self.challenger:.3f} against {self.champion:.3f}"
        if self.low is None:
            return text
        difference = self.challenger - self.champion
        return f"{text}; lead {difference:+.3f}, 95 % from {self.low:+.3f} to {self.high:+.3f}"

    @property
    def won(self) -> bool:
        """Is the challenger surely no worse, and not just the same?"""
        return self.low is not None and self.low >= 0 and self.challenger != self.champion


def compared(score: Callable[[Path], Score], challenger: Path, champion: Path) -> Comparison:
    """Two checkpoints, scored the same way on the same draws."""
    ours, theirs = score(challenger), score(champion)
    assert ours.metric == theirs.metric, f"{ours.metric} and {theirs.metric} cannot be compared"
    lead = bootstrap.lead(ours.value, theirs.value, ours.replicates, theirs.replicates, ours.groups)
    span = lead["interval"] or {"low": None, "high": None}
    return Comparison(ours.metric, ours.value, theirs.value, span["low"], span["high"])


def settle(line: str) -> str | None:
    """Let the newest model of the line challenge its champion. Returns what became of it and why; None: not a line
    for it."""
    if importlib.util.find_spec(f"tasks.{line}.champion") is None:
        return None
    module, data = importlib.import_module(f"tasks.{line}.champion"), Path("data", line)
    item = module.challenger(data)
    if item is None:
        return None
    folder = data / "train" / item
    versions = registry.versions_of(line, f"{line}-train@{item}", folder)
    if not versions:
        return f"{item} is not registered in this MLflow store: no challenge"
    version, champion = versions[0], registry.champion(line)
    if champion is None:
        registry.crown(line, version, "the first of its line")
        return f"{item} (version {version}) is champion: the first of its line"
    reigning, checkpoint = champion
    if reigning in versions:  # the same weights may have been registered twice
        return f"{item} (version {reigning}) stays champion"
    try:
        values = params.load()
        comparison = module.compare(folder / "best.pt", checkpoint, data, getattr(values, line), values.yard.reporting)
    except BadInput as error:
        return f"version {reigning} stays champion: it cannot be compared with {item} (version {version}): {error}"
    if comparison.low is None:
        few = f"too few test recordings to tell ({item}, version {version}: {comparison.lead})"
        return f"version {reigning} stays champion: {few}"
    if not comparison.won:
        return f"version {reigning} stays champion against {item} (version {version}): {comparison.lead}"
    registry.crown(line, version, comparison.lead)
    return f"{item} (version {version}) is the new champion, after version {reigning}: {comparison.lead}"
