"""From scores per frame to what a driver would notice: warnings, and the brake (or coast) onsets they come before.

A window's metrics count one braking up to twenty times and call a warning that comes half a second early an error. So
besides them:

- An *event* is an onset: a frame on which the state (braking, coasting) is on, known to be off one frame earlier in the
  same gap-free segment, and off or unknown through the `refractory_s` before it: a pumped brake is one event.
- An *alarm* is raised on a frame whose score reaches the threshold while the state is not on. For `refractory_s` after
  an alarm, and after each frame with the state on, none is raised. A score that stays up raises again after that, so
  that crying wolf without pause is counted as often as it would be heard.
- An event is *recalled* if an alarm came in the `max_lead_s` before it (the onset's own frame is too late); its *lead
  time* runs from the earliest such alarm. An alarm with no onset in the `max_lead_s` after it is *false*.
- What cannot be judged is counted apart: an event without a scored frame in the `max_lead_s` before it; an alarm
  without an onset whose segment ends, or whose state is unknown on some frame, in the `max_lead_s` after it. False
  alarms an hour are those of the scored frames after which neither happens.
- *Chance recall* is the baseline: the share of scored frames, state not on, with an alarm in the `max_lead_s` before
  them, which is the recall the same alarms would have for events that fall anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Drive:
    """Frames of one recording in time order, (F) each. State: 1 on, 0 off, -1 unknown; score: NaN where none."""

    t_ms: np.ndarray
    segment: np.ndarray
    state: np.ndarray
    score: np.ndarray


@dataclass(frozen=True)
class Tally:
    """What was counted on one recording; `leads_s` holds one lead time per recalled event."""

    events: int
    events_unjudged: int
    alarms: int
    alarms_unjudged: int
    false_alarms: int
    leads_s: list[float]
    warned_frames: int
    open_frames: int  # scored, state not on: the frames on which an alarm could matter
    hours: float  # of scored driving
    judged_hours: float  # of it, on which an alarm without an onset is a false one

    @property
    def recalled(self) -> int:
        return len(self.leads_s)


def onsets(t_ms: np.ndarray, state: np.ndarray, refractory_s: float) -> np.ndarray:
    """Indices of the events in one segment."""
    on = np.flatnonzero(state == 1)
    quiet = np.diff(t_ms[on], prepend=-np.inf) > 1000 * refractory_s
    starts = on[quiet]
    return starts[(starts > 0) & (state[starts - 1] == 0)]


def alarms(t_ms: np.ndarray, state: np.ndarray, score: np.ndarray, threshold: float, refractory_s: float) -> np.ndarray:
    """Indices of the frames in one segment on which an alarm is raised."""
    raised, quiet_until = [], -np.inf
    for i in np.flatnonzero((score >= threshold) | (state == 1)):
        if state[i] == 1:
            quiet_until = t_ms[i] + 1000 * refractory_s
        elif t_ms[i] > quiet_until:
            raised.append(i)
            quiet_until = t_ms[i] + 1000 * refractory_s
    return np.array(raised, int)


def judgeable(t_ms: np.ndarray, state: np.ndarray, max_lead_s: float) -> np.ndarray:
    """Of which frames of one segment the state is known on all frames of the `max_lead_s` after."""
    missing = np.concatenate([[0], np.cumsum(state == -1)])
    until = t_ms + 1000 * max_lead_s
    known = missing[np.searchsorted(t_ms, until, side="right")] == missing[1:]
    return known & (until <= t_ms[-1])


@dataclass(frozen=True)
class Pairs:
    """The events and alarms of one gap-free segment, as frames of the drive."""

    frames: np.ndarray  # of the segment
    events: np.ndarray  # (E)
    lead_s: np.ndarray  # (E) from the earliest alarm in time; NaN: none came
    judged: np.ndarray  # (E)
    alarms: np.ndarray  # (A)
    false: np.ndarray  # (A)
    unjudged: np.ndarray  # (A)
    judgeable: np.ndarray  # of the frames, those on which an alarm could be false


def pairs(drive: Drive, threshold: float, *, refractory_s: float, max_lead_s: float) -> Iterator[Pairs]:
    """Which alarm came before which event, segment by segment; those without a score are left out."""
    for segment in np.unique(drive.segment):
        frames = np.flatnonzero(drive.segment == segment)
        t_ms, state, score = drive.t_ms[frames], drive.state[frames], drive.score[frames]
        if not np.isfinite(score).any():
            continue
        event = onsets(t_ms, state, refractory_s)
        alarm = alarms(t_ms, state, score, threshold, refractory_s)

        def before(what: np.ndarray, of: np.ndarray, t_ms: np.ndarray = t_ms) -> np.ndarray:
            """(of, what) how many seconds `what` comes before each `of`, NaN where not in the time of a warning."""
            ahead_s = (t_ms[of][:, None] - t_ms[what][None, :]) / 1000
            return np.where((ahead_s > 0) & (ahead_s <= max_lead_s), ahead_s, np.nan)

        ahead_s = before(alarm, event)
        hopeless = np.isnan(ahead_s).all(axis=0)
        known = judgeable(t_ms, state, max_lead_s)
        yield Pairs(
            frames=frames,
            events=frames[event],
            lead_s=np.fmax.reduce(ahead_s, axis=1, initial=np.nan),
            judged=np.isfinite(before(np.flatnonzero(np.isfinite(score)), event)).any(axis=1),
            alarms=frames[alarm],
            false=hopeless & known[alarm],
            unjudged=hopeless & ~known[alarm],
            judgeable=known,
        )


def tally(drive: Drive, threshold: float, *, refractory_s: float, max_lead_s: float) -> Tally:
    """Count events and alarms of one recording; the definitions are in the module docstring."""
    leads_s: list[float] = []
    count = dict.fromkeys(("events", "events_unjudged", "alarms", "alarms_unjudged", "false_alarms"), 0)
    warned_frames = open_frames = 0
    hours = judged_hours = 0.0
    for found in pairs(drive, threshold, refractory_s=refractory_s, max_lead_s=max_lead_s):
        leads_s += found.lead_s[np.isfinite(found.lead_s)].tolist()
        count["events"] += int(found.judged.sum())
        count["events_unjudged"] += int((~found.judged).sum())
        count["alarms"] += len(found.alarms)
        count["alarms_unjudged"] += int(found.unjudged.sum())
        count["false_alarms"] += int(found.false.sum())
        t_ms, scored = drive.t_ms[found.frames], np.isfinite(drive.score[found.frames])
        open_ms = t_ms[scored & (drive.state[found.frames] != 1)]
        since = open_ms[:, None] - drive.t_ms[found.alarms][None, :]
        warned_frames += int(np.any((since > 0) & (since <= 1000 * max_lead_s), axis=1).sum())
        open_frames += len(open_ms)
        frame_h = float(np.median(np.diff(t_ms))) / 3.6e6 if len(t_ms) > 1 else 0.0
        hours += int(scored.sum()) * frame_h
        judged_hours += int((scored & found.judgeable).sum()) * frame_h
    seen = {"warned_frames": warned_frames, "open_frames": open_frames, "hours": hours, "judged_hours": judged_hours}
    return Tally(**count, **seen, leads_s=leads_s)


def summary(tallies: list[Tally]) -> dict[str, float | int | None]:
    """Event recall, chance recall, false alarms an hour and lead times over recordings, with the counts behind them."""
    total = {
        name: sum(getattr(t, name) for t in tallies)
        for name in (
            *("events", "events_unjudged", "recalled", "alarms", "alarms_unjudged", "false_alarms"),
            *("hours", "judged_hours"),
        )
    }
    leads_s = [lead for t in tallies for lead in t.leads_s]
    low, median, high = np.quantile(leads_s, [0.1, 0.5, 0.9]).tolist() if leads_s else (None, None, None)
    warned, opened = sum(t.warned_frames for t in tallies), sum(t.open_frames for t in tallies)
    return {
        **total,
        "recall": total["recalled"] / total["events"] if total["events"] else None,
        "chance_recall": warned / opened if opened else None,
        "false_alarms_per_hour": total["false_alarms"] / total["judged_hours"] if total["judged_hours"] else None,
        "lead_s_p10": low,
        "lead_s_median": median,
        "lead_s_p90": high,
    }
