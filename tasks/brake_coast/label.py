"""What the driver will be doing in 1..5 s, per telemetry row, by time and never by row number.

Reads    download/<name>/telemetry.csv
Writes   label/<name>/labels.csv    Time, t_ms, segment, the tri-state columns of NAMES, time_to_brake_s
         label/<name>/labels.json   counts, rates, why labels are unknown, and the pedal of the car
Alone    python -m tasks brake_coast-label

A cell is 1, 0 or empty for unknown: past the end of the segment, across a gap, or where the reply is missing. With j
the row nearest to t + h, near enough to it and in the segment of t (`tolerance_ms` says what is near enough where rows
come every 500 ms; where they come more slowly more is allowed in proportion, so that with half a step every moment
between two rows of a segment has its row):

    brake_<h>s        the brake is applied at j
    coast_<h>s        the pedal is released at j, whether or not the brake is applied, and the car at least as fast as
                      `min_speed_kmh` if that is set: a car that stands with its pedal released counts else
    brake_onset_<h>s  the brake goes from off to on in (t, j]
    braking, coasting the same as brake, coast at t itself
    time_to_brake_s   from t to the next row with the brake applied, 0 if that is now; empty if a missing reply or the
                      end of the segment comes first

An onset that was seen counts whatever is missing around it; "no onset" needs every reply from t to j.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.brake_coast.formats import recording
from tasks.brake_coast.judging.runs import DOUBTFUL_SHARE
from tasks.brake_coast.learning.pedal import Pedal, of_known, pedals
from tasks.brake_coast.params import Label
from tasks.yard.fanout import fan_out
from tasks.yard.files import digest, file_hash, replacing, write_json
from tasks.yard.step import BadInput, Context

log = logging.getLogger(__name__)

HORIZONS_S = (1, 2, 3, 4, 5)
FUTURE = [f"{kind}_{h}s" for kind in ("brake", "coast", "brake_onset") for h in HORIZONS_S]
NAMES = [*FUTURE, "braking", "coasting"]
UNKNOWN = -1
CELLS = np.array(["0", "1", ""], dtype=object)  # indexed by the value itself: -1 is the last one

NOMINAL_MS = 500  # from row to row, at 2 Hz
STANDING_KMH = 1.0
# Why a label is unknown: the drive ends before, a gap lies between, no row is near enough, the reply is missing there,
# or the pedal's rest is unknown and the reply within what it may be.
CAUSES = ("drive_end", "gap", "no_row_near", "no_reply", "pedal_rest")


def tri(condition: np.ndarray, known: np.ndarray) -> np.ndarray:
    """1 or 0 by `condition` where `known`, else -1; int8."""
    return np.where(known, condition, UNKNOWN).astype(np.int8)


def segments(t_ms: np.ndarray, max_gap_ms: int) -> np.ndarray:
    """Number of the gap-free run that each of the ascending stamps belongs to, from 0."""
    return np.concatenate([[0], np.cumsum(np.diff(t_ms) > max_gap_ms)]).astype(np.int64)


def around(t_ms: np.ndarray, target_ms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows before and after (or at) each moment; at the ends the last two or the first one."""
    after = np.searchsorted(t_ms, target_ms).clip(max=len(t_ms) - 1)
    return (after - 1).clip(min=0), after


def row_at(t_ms: np.ndarray, segment: np.ndarray, offset_ms: int, tolerance_ms: int) -> tuple[np.ndarray, np.ndarray]:
    """For each row the one nearest to `offset_ms` later (the earlier of two as near), and whether it is near enough.

    The tolerance is of a step of 500 ms and grows with the step that the moment lies in; past the last row of a
    segment, with the median step.
    """
    target = t_ms + offset_ms
    before, after = around(t_ms, target)
    nearest = np.where(target - t_ms[before] <= np.abs(t_ms[after] - target), before, after)
    step_ms = np.diff(t_ms)[np.diff(segment) == 0]
    usual = max(NOMINAL_MS, float(np.median(step_ms))) if len(step_ms) else NOMINAL_MS
    inside = (segment[before] == segment[after]) & (target <= t_ms[after])
    step = np.where(inside, np.maximum(t_ms[after] - t_ms[before], usual), usual)
    near = np.abs(t_ms[nearest] - target) <= tolerance_ms * step / NOMINAL_MS
    return nearest, near & (segment[nearest] == segment)


def why_not(t_ms: np.ndarray, segment: np.ndarray, offset_ms: int) -> np.ndarray:
    """For each row, as a number of CAUSES, why the moment `offset_ms` later has no row, if it has none."""
    target = t_ms + offset_ms
    before, after = around(t_ms, target)
    inside = (segment[before] == segment) & (segment[after] == segment)
    cause = np.where(inside, CAUSES.index("no_row_near"), CAUSES.index("gap"))
    return np.where(target > t_ms[-1], CAUSES.index("drive_end"), cause)


def onset_within(
    brake: np.ndarray, t_ms: np.ndarray, segment: np.ndarray, offset_ms: int, tolerance_ms: int
) -> np.ndarray:
    """Tri-state: the brake goes from off to on after the row and up to the row `offset_ms` later."""
    index = np.arange(len(brake))
    target, observed = row_at(t_ms, segment, offset_ms, tolerance_ms)
    segment_end = np.searchsorted(segment, segment, side="right") - 1
    in_time = np.searchsorted(t_ms, t_ms + offset_ms, side="right") - 1
    last = np.where(observed, target, np.minimum(in_time, segment_end))

    # An onset is a row q that brakes while the last known reply before it, at p in the same segment, was off: somewhere
    # in (p, q]. A row has seen it if it is not after p and q is not after its `last`; onsets are disjoint and in order.
    known = np.flatnonzero(brake != UNKNOWN)
    p, q = known[:-1], known[1:]
    on = (brake[p] == 0) & (brake[q] == 1) & (segment[p] == segment[q])
    p, q = p[on], q[on]
    following = np.searchsorted(p, index)  # the first onset that begins at or after the row
    seen = np.append(q, len(brake))[following] <= last

    missing = np.concatenate([[0], np.cumsum(brake == UNKNOWN)])
    complete = observed & (missing[last + 1] == missing[index])
    return tri(seen, seen | complete)


def time_to_brake_s(brake: np.ndarray, t_ms: np.ndarray, segment: np.ndarray) -> np.ndarray:
    """Seconds to the next row that brakes, NaN if a missing reply or the end of the segment comes first."""
    stops = np.flatnonzero(brake != 0)  # braking or unknown: either way the search ends there
    following = np.append(stops, 0)[np.searchsorted(stops, np.arange(len(brake)))]
    found = (following >= np.arange(len(brake))) & (segment[following] == segment) & (brake[following] == 1)
    return np.where(found, (t_ms[following] - t_ms) / 1000, np.nan)


def labels(rows: pd.DataFrame, pedal: Pedal, params: Label) -> pd.DataFrame:
    """The columns of labels.csv, tri-states as int8 with -1 for unknown, for the rows of `recording.Telemetry`."""
    t_ms = rows["t_ms"].to_numpy()
    segment = segments(t_ms, params.max_gap_ms)
    braking = tri(rows["brake"] == 1, rows["brake"].notna())
    yes, no = rows["pedal_pct"] < pedal.yes_below_pct, rows["pedal_pct"] >= pedal.no_from_pct
    if params.min_speed_kmh is not None:
        yes, no = yes & (rows["speed_kmh"] >= params.min_speed_kmh), no | (rows["speed_kmh"] < params.min_speed_kmh)
    coasting = tri(yes, yes | no)
    columns = {}
    for h in HORIZONS_S:
        at, observed = row_at(t_ms, segment, 1000 * h, params.tolerance_ms)
        columns[f"brake_{h}s"] = np.where(observed, braking[at], np.int8(UNKNOWN))
        columns[f"coast_{h}s"] = np.where(observed, coasting[at], np.int8(UNKNOWN))
        columns[f"brake_onset_{h}s"] = onset_within(braking, t_ms, segment, 1000 * h, params.tolerance_ms)
    columns |= {"braking": braking, "coasting": coasting}
    return pd.DataFrame(
        {
            "Time": rows["time"],
            "t_ms": t_ms,
            "segment": segment,
            **{name: columns[name] for name in NAMES},
            "time_to_brake_s": time_to_brake_s(braking, t_ms, segment),
        }
    )


def unknown_because(rows: pd.DataFrame, table: pd.DataFrame, pedal: Pedal, params: Label) -> dict[str, dict[str, int]]:
    """How many labels of each name are unknown by which of CAUSES, in the columns that `labels` made of the rows."""
    t_ms, segment = table["t_ms"].to_numpy(), table["segment"].to_numpy()
    reply = rows["pedal_pct"]
    open_ = (reply >= pedal.yes_below_pct) & (reply < pedal.no_from_pct)
    no_row = {h: (*row_at(t_ms, segment, 1000 * h, params.tolerance_ms), why_not(t_ms, segment, 1000 * h))
              for h in HORIZONS_S}  # fmt: skip
    counts = {}
    for name in NAMES:
        here = np.full(len(table), CAUSES.index("no_reply"))
        at = np.arange(len(table))
        if name in FUTURE:
            at, observed, why = no_row[int(name[-2])]
            here = np.where(observed, here, why)
        if name.startswith("coast"):
            pedal_rest = open_.to_numpy()[at] & (here == CAUSES.index("no_reply"))
            here = np.where(pedal_rest, CAUSES.index("pedal_rest"), here)
        found = np.bincount(here[table[name] == UNKNOWN], minlength=len(CAUSES))
        counts[name] = {cause: int(n) for cause, n in zip(CAUSES, found, strict=True) if n}
    return counts


def standing(rows: pd.DataFrame, coasting: np.ndarray) -> dict[str, int]:
    """How many rows stand still, and how many of those count as coasting."""
    still = (rows["speed_kmh"] < STANDING_KMH).to_numpy()
    return {"rows": int(still.sum()), "coasting": int((still & (coasting == 1)).sum())}


def label_recording(item: tuple[Path, Pedal], out: Path, *, params: Label) -> dict:
    """Label one drive; the summary is what labels.json holds."""
    folder, pedal = item
    telemetry = recording.read_telemetry(folder)
    table = labels(telemetry.rows, pedal, params)
    summary = {
        "rows": len(table),
        "segments": int(table["segment"].iloc[-1]) + 1,
        "error_rows": telemetry.error_rows,
        "duplicate_rows": telemetry.duplicate_rows,
        "out_of_order_rows": telemetry.out_of_order_rows,
        "missing_replies": telemetry.missing_replies,
        "pedal": {key: value if value is None else round(value, 4) for key, value in asdict(pedal).items()},
        "labels": {name: tally(table[name].to_numpy()) for name in NAMES},
        "unknown_because": unknown_because(telemetry.rows, table, pedal, params),
        "standing": standing(telemetry.rows, table["coasting"].to_numpy()),
    }
    for name in NAMES:
        table[name] = CELLS[table[name].to_numpy()]
    with replacing(out / "labels.csv") as path:
        table.to_csv(path, index=False, lineterminator="\n")
    write_json(out / "labels.json", summary)
    return summary


def tally(values: np.ndarray) -> dict:
    """Counts of a tri-state label; `rate` is of the known ones, null where none is."""
    positive, negative = int((values == 1).sum()), int((values == 0).sum())
    known = positive + negative
    rate = round(positive / known, 6) if known else None
    return {"positive": positive, "negative": negative, "unknown": len(values) - known, "rate": rate}


def causes_of(drives: list[dict], name: str) -> dict[str, int]:
    """The counts of `unknown_because` over several drives."""
    counts = {cause: sum(drive["unknown_because"][name].get(cause, 0) for drive in drives) for cause in CAUSES}
    return {cause: n for cause, n in counts.items() if n}


def remarks(drives: list[dict], metrics: dict[str, float]) -> list[str]:
    """What a person should know of the labels of all drives."""
    said, rows = [], metrics["rows"]
    doubtful = [name for name in NAMES if DOUBTFUL_SHARE < metrics[f"{name}_unknown_share"] < 1]
    for name in doubtful:
        why = ", ".join(f"{100 * n / rows:.1f} % {cause}" for cause, n in causes_of(drives, name).items())
        said.append(f"{name}: {100 * metrics[f'{name}_unknown_share']:.1f} % of the labels are unknown ({why})")
    still = metrics.get("coasting_standing_share", 0)
    if still > DOUBTFUL_SHARE:
        said.append(
            f"{100 * still:.1f} % of the rows that count as coasting stand still; label.min_speed_kmh leaves them out"
        )
    return said


def read_of(item: tuple[Path, Pedal]) -> list[Path]:
    return [item[0]]


def run(
    params: Label, out: Path, ctx: Context = Context(), cars: Sequence[Pedal] = (), *, download: Path
) -> dict[str, float]:
    """Returns row counts, and per label the rate over all drives and the share that is unknown.

    `cars`: pedals that are known from other drives, for these that may be of the same cars."""
    folders = recording.recordings(download)
    contents = {name: file_hash(folder / "telemetry.csv") for name, folder in folders.items()}
    marks = {name: digest(content, ctx.code) if ctx.code else "" for name, content in contents.items()}
    of_cars = {name: of_known(pedal, cars) for name, pedal in pedals(folders, params, marks).items()}
    settings = digest(params.model_dump(), ctx.code)
    items = {name: (folder, of_cars[name]) for name, folder in folders.items()}
    fingerprints = {name: digest(settings, contents[name], asdict(pedal)) for name, (_, pedal) in items.items()}
    done = fan_out(partial(label_recording, params=params), items, fingerprints, out, ctx, needs=read_of)
    if not done.summaries:
        raise BadInput(f"{download}: no recording could be labelled; {out / 'quarantine.json'} says why")
    drives = list(done.summaries.values())
    totals = {key: sum(drive[key] for drive in drives) for key in ("rows", "segments", "error_rows", "duplicate_rows")}
    metrics = {"recordings": len(drives), "quarantined": len(done.quarantined), **totals}
    metrics["pedal_rest_unknown"] = sum(drive["pedal"]["rest_pct"] is None for drive in drives)
    for name in NAMES:
        counts = {key: sum(d["labels"][name][key] for d in drives) for key in ("positive", "negative", "unknown")}
        known = counts["positive"] + counts["negative"]
        metrics |= {f"{name}_rate": counts["positive"] / known} if known else {}
        metrics[f"{name}_unknown_share"] = counts["unknown"] / totals["rows"]
    metrics["standing_rows"] = sum(drive["standing"]["rows"] for drive in drives)
    if coasting := sum(drive["labels"]["coasting"]["positive"] for drive in drives):
        metrics["coasting_standing_share"] = sum(drive["standing"]["coasting"] for drive in drives) / coasting
    for remark in remarks(drives, metrics):
        log.warning(remark)
    return metrics
