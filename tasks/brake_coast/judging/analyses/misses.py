"""The brakings (and coastings) that the best run did not predict, beside those it did: how hard, and what was in view.

Writes   misses.json          per task every event with its FACTS, and the quartiles of missed and of caught ones
         misses.png           the facts of missed events beside those of caught ones
         misses_<task>.png    the frames at the moments when the alarms should have come, the hardest misses first

Events, alarms and what counts as caught are those of events.py at evaluate's threshold. The moment when the alarm
should have come is the task's horizon before the onset.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tasks.brake_coast.formats import recording
from tasks.brake_coast.judging import events
from tasks.brake_coast.judging.analyses import pictures
from tasks.brake_coast.judging.analyses.inputs import Inputs, car_ahead, horizon_s
from tasks.brake_coast.judging.runs import state_of
from tasks.brake_coast.params import Analyse, Misses
from tasks.yard.files import write_json
from tasks.yard.layouts.images import readable
from tasks.yard.metrics.boxes import ious
from tasks.yard.metrics.rounding import rounded
from tasks.yard.params import Reporting
from tasks.yard.reporting.charts import save

FACTS = {  # of the whole event, then of the moment when the alarm should have come
    "speed_lost_kmh": "speed lost\nkm/h",
    "peak_deceleration_ms2": "peak deceleration\nm/s², over 1 s",
    "speed_kmh": "speed when due\nkm/h",
    "pedal_pct": "pedal when due\n%",
    "ahead_height": "car ahead, height\nshare of the view",
    "ahead_growth_1s": "its growth\nlog size in 1 s",
    "boxes": "boxes in view",
    "brightness": "brightness\n0 black, 1 white",
}
COLUMNS = 4  # of the contact sheet
SAME_CAR_IOU = 0.3  # as in models/brake_coast/layers.py


@dataclass(frozen=True)
class Event:
    """Frames of the test split: the onset, the event's last one, and the moment the alarm should have come (-1: before
    the segment begins). `lead_s` is None where no alarm came in time."""

    onset: int
    last: int
    moment: int
    lead_s: float | None


def find(drive: events.Drive, threshold: float, horizon: int, params: Misses) -> list[Event]:
    """The events of all segments that `events.tally` would judge."""
    found = []
    for pairs in events.pairs(drive, threshold, refractory_s=params.refractory_s, max_lead_s=params.max_lead_s):
        first, t_ms, state = pairs.frames[0], drive.t_ms[pairs.frames], drive.state[pairs.frames]
        for onset, lead_s in zip((pairs.events - first)[pairs.judged], pairs.lead_s[pairs.judged], strict=True):
            ends = np.flatnonzero(state[onset:] != 1)
            last = onset + (ends[0] if len(ends) else len(state) - onset) - 1
            off_ms = np.abs(t_ms - (t_ms[onset] - 1000 * horizon))
            moment = first + int(off_ms.argmin()) if off_ms.min() <= 300 else -1  # rows come every 400 to 600 ms
            found.append(
                Event(int(first + onset), int(first + last), int(moment), float(lead_s) if lead_s > 0 else None)
            )
    return found


def speeds(inputs: Inputs) -> dict[str, np.ndarray]:
    """speed_kmh and pedal_pct (F) of every frame of the test split, as recorded: NaN where the reply is missing."""
    frames, columns = inputs.test.frames, ["speed_kmh", "pedal_pct"]
    found = np.full((len(frames.t_ms), 2), np.nan)
    for index in np.unique(frames.recording):
        rows = recording.read_telemetry(inputs.download / frames.recordings[index]).rows.set_index("t_ms")[columns]
        mine = frames.recording == index
        found[mine] = rows.reindex(frames.t_ms[mine]).to_numpy()
    return dict(zip(columns, found.T, strict=True))


def braking(t_ms: np.ndarray, speed_kmh: np.ndarray) -> dict[str, float | None]:
    """What it did to the speed, from the frame before the onset to the one after the event's last."""
    known = np.isfinite(speed_kmh)
    t_s, speed = t_ms[known] / 1000, speed_kmh[known]
    over, dt_s = speed[:-2] - speed[2:], t_s[2:] - t_s[:-2]
    if not len(over):
        return {"speed_lost_kmh": None, "peak_deceleration_ms2": None}
    return {
        "speed_lost_kmh": float(speed[0] - speed.min()),
        "peak_deceleration_ms2": float(np.max(over / 3.6 / dt_s)),
    }


def brightness(path: Path | None) -> float | None:
    """Mean grey of a picture, 0..1, from its eighth: the light is known where there is a camera."""
    stored = b"" if path is None else path.read_bytes()
    image = cv2.imdecode(np.frombuffer(stored, np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_8) if stored else None
    return None if image is None else float(image.mean() / 255)


def growth(now: np.ndarray, before: np.ndarray) -> float | None:
    """Log of how many times larger a box (4) of x1, y1, x2, y2 is than the one of `before` (n, 4) it overlaps most.

    None if that is not the same car. Over a second it is 1 / time to collision.
    """
    overlap = ious(now[None], before)
    if not len(overlap) or overlap.max() < SAME_CAR_IOU:
        return None
    same = before[overlap.argmax()]
    return float(np.log((now[2:] - now[:2]) / (same[2:] - same[:2])).mean())


def view(inputs: Inputs, frame: int) -> dict[str, float | None]:
    """What was in view: how large the car ahead, how it grew, how many boxes; the taller, the nearer."""
    frames = inputs.test.frames
    if not frames.image_ok[frame]:
        return dict.fromkeys(("ahead_height", "ahead_growth_1s", "boxes", "brightness"))
    before = max(0, frame - 2)  # a second at 2 Hz
    mask = frames.detection_masks[before] & (frames.segment[before] == frames.segment[frame])
    ahead = car_ahead(frames.detections[frame][None], frames.detection_masks[frame][None])[0]
    box = frames.detections[frame, ahead, 1:5]
    return {
        "ahead_height": float(box[3] - box[1]) if ahead >= 0 else None,
        "ahead_growth_1s": growth(box, frames.detections[before, mask, 1:5]) if ahead >= 0 and before < frame else None,
        "boxes": int(frames.detection_masks[frame].sum()),
        "brightness": brightness(inputs.image(frame)),
    }


def described(
    inputs: Inputs,
    event: Event,
    telemetry: dict[str, np.ndarray],
    drive: events.Drive,
    threshold: float,
    params: Misses,
) -> dict:
    """An event's row in misses.json.

    `quieted`: missed, although the score was up: in the quiet time after an event or alarm.
    """
    frames = inputs.test.frames
    same = np.flatnonzero(frames.segment == frames.segment[event.onset])
    span = slice(max(same[0], event.onset - 1), min(same[-1], event.last + 1) + 1)
    lead_ms = frames.t_ms[event.onset] - frames.t_ms[same]
    before = same[(lead_ms > 0) & (lead_ms <= 1000 * params.max_lead_s)]
    open_scores = drive.score[before][(drive.state[before] != 1) & np.isfinite(drive.score[before])]
    highest = float(open_scores.max()) if len(open_scores) else None
    moment = event.moment
    then = {
        name: float(values[moment]) if moment >= 0 and np.isfinite(values[moment]) else None
        for name, values in telemetry.items()
    }
    seen = (
        view(inputs, moment)
        if moment >= 0
        else dict.fromkeys(("ahead_height", "ahead_growth_1s", "boxes", "brightness"))
    )
    return {
        "recording": frames.recordings[frames.recording[event.onset]],
        "onset": recording.format_time(int(frames.t_ms[event.onset])),
        "caught": event.lead_s is not None,
        "lead_s": event.lead_s,
        "highest_p": highest,
        "quieted": event.lead_s is None and highest is not None and highest >= threshold,
        "duration_s": float(frames.t_ms[event.last] - frames.t_ms[event.onset]) / 1000,
        **braking(frames.t_ms[span], telemetry["speed_kmh"][span]),
        **then,
        **seen,
    }


def compared(rows: list[dict]) -> dict[str, dict]:
    """Per fact the quartiles of missed and of caught events, and how often a missed one has the higher value.

    0.5 is as often as not.
    """
    table = pd.DataFrame(rows, columns=["caught", *FACTS])
    found = {}
    for fact in FACTS:
        values = table[fact].astype(float)
        missed, caught = (
            values[table["caught"].astype(bool) == is_caught].dropna().to_numpy() for is_caught in (False, True)
        )
        higher = np.sign(missed[:, None] - caught[None, :]) / 2 + 0.5
        found[fact] = {
            **{
                name: {"events": len(v), "quartiles": np.quantile(v, [0.25, 0.5, 0.75]).tolist() if len(v) else None}
                for name, v in (("missed", missed), ("caught", caught))
            },
            "missed_is_higher": float(higher.mean()) if higher.size else None,
        }
    return found


def beside(tasks: dict[str, dict]) -> Figure:
    """A row a task, a column a fact that is known: each event a dot, the bar its median."""
    shown = [fact for fact in FACTS if any(row[fact] is not None for of in tasks.values() for row in of["events"])]
    figure = Figure(figsize=(1.7 * len(shown) + 1.2, 1.9 * len(tasks) + 0.6))
    grid = figure.subplots(len(tasks), len(shown), squeeze=False, sharey="row", sharex="col")
    for axes, (task, of) in zip(grid, tasks.items(), strict=True):
        for axis, fact in zip(axes, shown, strict=True):
            for place, (colour, is_caught) in enumerate(((pictures.CAUGHT, True), (pictures.MISSED, False))):
                values = np.array(
                    [r[fact] for r in of["events"] if r["caught"] == is_caught and r[fact] is not None], float
                )
                spread = place + 0.26 * np.sin(2.4 * np.arange(len(values)))  # dots apart, the same every time
                axis.scatter(values, spread, s=13, color=colour, alpha=0.55, linewidth=0)
                if len(values):
                    axis.plot([np.median(values)] * 2, [place - 0.36, place + 0.36], color=colour, linewidth=2.4)
            axis.set(ylim=(-0.6, 1.6))
            axis.grid(axis="y", visible=False)
        axes[0].set_yticks([0, 1], [f"{of['caught']} caught", f"{of['missed']} missed"])
        axes[0].set_title(task, loc="left")
    for axis, fact in zip(grid[-1], shown, strict=True):
        axis.set_xlabel(FACTS[fact])
    return figure


def caption(row: dict) -> tuple[str, str]:
    lost, peak, p = row["speed_lost_kmh"], row["peak_deceleration_ms2"], row["highest_p"]
    said = [f"-{lost:.0f} km/h in {row['duration_s']:.1f} s, {peak:.1f} m/s²"] if lost is not None else []
    said += [f"highest p {p:.3f}{', quieted' if row['quieted'] else ''}"] if p is not None else []
    return f"{row['recording']}  {row['onset'].split(' ')[1][:8]}", "; ".join(said)


def sheet(inputs: Inputs, run: str, task: str, threshold: float, chosen: list[tuple[Event, dict]], of: dict) -> Figure:
    """The camera pictures at the moments when the alarms should have come, with what the detector saw."""
    frames, rows = inputs.test.frames, -(-len(chosen) // COLUMNS)
    picture = readable(inputs.image(chosen[0][0].moment))
    height = 11 / COLUMNS * picture.height / picture.width + 0.4
    figure = Figure(figsize=(11, height * rows + 0.35))
    figure.suptitle(
        f"{task}: {len(chosen)} of {of['missed']} missed of {of['missed'] + of['caught']}, {horizon_s(task)} s before "
        f"the onset ({run}, alarm from p = {threshold:.3f})",
        fontsize=10,
    )
    axes = list(figure.subplots(rows, COLUMNS, squeeze=False).flat)
    for spare in axes[len(chosen) :]:
        spare.set_visible(False)
    for axis, (event, row) in zip(axes, chosen, strict=False):
        mask = frames.detection_masks[event.moment]
        boxes = frames.detections[event.moment][mask, 1:5]
        ahead = car_ahead(frames.detections[event.moment][None], mask[None])[0]
        looks = [
            {"edgecolor": pictures.BOX, "linewidth": 1.8 if slot == ahead else 0.8} for slot in np.flatnonzero(mask)
        ]
        pictures.frame(axis, inputs.image(event.moment), inputs.roi_px(event.moment), boxes, looks, cropped=False)
        axis.set_title("\n".join(caption(row)), fontsize=6.5, fontweight="normal", loc="left")
    return figure


def make(params: Analyse, reporting: Reporting, out: Path, inputs: Inputs) -> dict[str, float]:
    run, frames = inputs.leader, inputs.test.frames
    telemetry = speeds(inputs)
    tasks, skipped = {}, {}
    for task, found in inputs.details[run].items():
        threshold = found["threshold"]
        if threshold is None:
            skipped[task] = found["events"]["null_because"]
            continue
        score = np.full(len(frames.t_ms), np.nan)
        score[inputs.test.ends] = inputs.probabilities(run, task)
        state = frames.labels[:, frames.label_names.index(state_of(task))]
        drive = events.Drive(frames.t_ms, frames.segment, state, score)
        all_events = find(drive, threshold, horizon_s(task), params.misses)
        if not all_events:
            skipped[task] = "no onset in the test drives"
            continue
        rows = [described(inputs, event, telemetry, drive, threshold, params.misses) for event in all_events]
        missed = sum(not row["caught"] for row in rows)
        quieted = sum(row["quieted"] for row in rows)
        of = {
            "missed": missed,
            "caught": len(rows) - missed,
            "quieted": quieted,
            "threshold": threshold,
            "events": rows,
            "facts": compared(rows),
        }
        tasks[task] = of
        lost = [pair for pair in zip(all_events, rows, strict=True) if not pair[1]["caught"]]
        seen = [(e, row) for e, row in lost if e.moment >= 0 and inputs.image(e.moment) and inputs.roi_px(e.moment)]
        seen = sorted(seen, key=lambda pair: -(pair[1]["speed_lost_kmh"] or 0))[: params.misses.shown]
        if seen:
            save(out / f"misses_{task}.png", partial(sheet, inputs, run, task, threshold, seen, of))
    if tasks:
        save(out / "misses.png", lambda: beside(tasks))
    write_json(out / "misses.json", rounded({"run": run, "tasks": tasks, "null_because": skipped}))
    return {f"{task}/{name}": of[name] for task, of in tasks.items() for name in ("missed", "caught", "quieted")}
