"""By which names a recording is known again when the splits are other ones: its own, that of its day or trip, and of a
piece that of the drive it was cut from, with its place in time.

pack writes them into dataset_config.json: splits/<split>/origins = {recording: {"names": [...], "piece": bool}}. Of a
day whose drives are divided a test drive does not bear the name: others of that day are learnt from, a guard away.
"""

from __future__ import annotations

from collections.abc import Mapping

from tasks.brake_coast.formats.windows import Frames
from tasks.yard.training.learnt import Item


def origin(name: str, groups: set[str], is_piece: bool) -> dict:
    """What pack writes. Pieces of one drive are named `<drive>-<number>`, and how many there are may change."""
    if is_piece:
        return {"names": [name.rpartition("-")[0]], "piece": True}
    return {"names": sorted({name, *groups}), "piece": False}


def items(frames: Frames, split: Mapping) -> list[Item]:
    """One of each recording of a split, in the order of `frames.recordings`; `split`: of dataset_config.json."""
    found = []
    for index, name in enumerate(frames.recordings):
        known = split.get("origins", {}).get(name, {"names": [name], "piece": False})
        t_ms = frames.t_ms[frames.recording == index]
        span = (int(t_ms.min()), int(t_ms.max())) if known["piece"] and len(t_ms) else None
        found.append(Item(tuple(known["names"]), span))
    return found
