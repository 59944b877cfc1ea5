"""The champion of a line: the registered model that is served until a better one has proved itself on the same test
data.

A line takes part with a module tasks/<line>/champion.py:

    challenger(data: Path) -> str | None          the item of the train stage that is to be judged, None if there is
    none compare(challenger: Path, champion: Path, data: Path, section, reporting) -> Comparison     two checkpoints

The alias `champion` moves when the lower end of the challenger's lead, from paired bootstrap draws, is not below zero.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
from dataclasses import dataclass
from pathlib import Path

from tasks.yard import params
from tasks.yard.step import BadInput
from tasks.yard.tracking import store as tracking

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Comparison:
    metric: str
    challenger: float
    champion: float
    low: float | None  # the 95 % interval of the difference; None: too few recordings to tell
    high: float | None


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
    versions = tracking.versions_of(line, f"{line}-train@{item}", folder)
    if not versions:
        return f"{item} is not registered in this MLflow store: no challenge"
    version = versions[0]
    held = tracking.champion(line)
    if held is None:
        tracking.crown(line, version, "the first of its line")
        return f"{item} (version {version}) is champion: the first of its line"
    champion, checkpoint = held
    if champion in versions:  # the same weights may have been registered twice
        return f"{item} (version {champion}) stays champion"
    values = params.load()
    try:
        found = module.compare(folder / "best.pt", checkpoint, data, getattr(values, line), values.yard.reporting)
    except BadInput as error:
        return f"version {champion} stays champion: it cannot be compared with {item} (version {version}): {error}"
    lead = f"{found.metric} {found.challenger:.3f} against {found.champion:.3f}"
    if found.low is None:
        return f"version {champion} stays champion: too few test recordings to tell ({item}, version {version}: {lead})"
    reason = f"{lead}; lead {found.challenger - found.champion:+.3f}, 95 % from {found.low:+.3f} to {found.high:+.3f}"
    if found.low < 0 or found.challenger == found.champion:
        return f"version {champion} stays champion against {item} (version {version}): {reason}"
    tracking.crown(line, version, reason)
    return f"{item} (version {version}) is the new champion, after version {champion}: {reason}"
