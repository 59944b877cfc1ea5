"""How much of a drive in CARLA can be learnt from, by the leaderboard's record of it (results.json).

A drive without a fault is used whole. One that ran out of time or got blocked stands at its end: it is used up to
STANDING frames after it last moved. Before a collision, a red light or another fault the driver was wrong: what came in
the last LOST frames before it is left out, and all after it; where nothing says when it was, the last LOST frames.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

STANDING, LOST = 5, 10  # frames at 2 Hz, as ThinkTwice's
MOVING_MPS = 0.1
WAITING = ("vehicle_blocked", "route_timeout")  # whoever waits in vain did nothing wrong before
HARMLESS = ("min_speed_infractions",)
STAMP = re.compile(r"at (\d+(?:\.\d+)?) s\b")  # of the embedded world; CARLA's own say only where
FAILED = ("timed out", "timeout", "got blocked", "blocked")


def record_of(said: Any) -> Mapping[str, Any] | None:
    """The one drive's record of a results.json; None if there is none."""
    records = said.get("_checkpoint", {}).get("records", []) if isinstance(said, dict) else []
    return records[0] if records and isinstance(records[0], dict) else None


def usable(
    record: Mapping[str, Any] | None, frames: np.ndarray, speed_ms: np.ndarray, rate_hz: float
) -> tuple[int, str | None]:
    """The number of the first frame that is not used, and why not all are. `frames` (n): their numbers."""
    n = int(frames[-1]) + 1 if len(frames) else 0
    if record is None:
        return n, None
    found = {kind: list(texts) for kind, texts in (record.get("infractions") or {}).items() if texts}
    ends: list[tuple[int, str]] = []
    status = str(record.get("status", "")).lower()
    waited = [kind for kind in WAITING if found.get(kind)]
    if waited or any(word in status for word in FAILED):
        moving = np.flatnonzero(np.asarray(speed_ms) > MOVING_MPS)
        end = int(frames[moving[-1]]) + 1 + STANDING if len(moving) else 0
        ends.append((end, f"{waited[0] if waited else record['status']}: used up to {STANDING} frames after it moved"))
    for kind, texts in found.items():
        if kind in WAITING or kind in HARMLESS:
            continue
        stamps = [float(match[1]) for text in texts if (match := STAMP.search(str(text)))]
        if len(stamps) == len(texts):
            first = min(stamps)
            ends.append(
                (int(np.floor(first * rate_hz)) + 1 - LOST, f"{kind} at {first:.1f} s: used up to {LOST} frames before")
            )
        else:
            ends.append((n - LOST, f"{kind}: the last {LOST} frames are left out"))
    end, why = min(ends, default=(n, None))
    return (max(0, end), why) if end < n else (n, None)
