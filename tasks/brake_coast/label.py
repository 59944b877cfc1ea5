"""What the driver will be doing in 1..5 s, per telemetry row, by time and never by row number.

Reads    download/<name>/telemetry.csv
Writes   label/<name>/labels.csv    Time, t_ms, segment, the tri-state columns of NAMES, time_to_brake_s
         label/<name>/labels.json   counts, rates and the pedal's resting level of the drive
Alone    python -m tasks brake_coast-label

A cell is 1, 0 or empty for unknown: past the end of the segment, across a gap, or where the reply is missing. With j
the row nearest to t + h, at most `tolerance_ms` from it and in the segment of t:

    brake_<h>s        the brake is applied at j
    coast_<h>s        the pedal is released at j, whether or not the brake is applied
    brake_onset_<h>s  the brake goes from off to on in (t, j]
    braking, coasting the same as brake, coast at t itself
    time_to_brake_s   from t to the next row with the brake applied, 0 if that is now; empty if a missing reply or the
                      end of the segment comes first

An onset that was seen counts whatever is missing around it; "no onset" needs every reply from t to j.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.brake_coast.formats import recording
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

# The pedal at its stop shows one or two neighbouring codes of a one-byte reply. A code is 100/255 = 0.39 % wide, 0.58 %
# where 14..82 % is stretched to 0..100 %, so two codes fit into 0.8 %.
STOP_WIDTH_PCT = 0.8
STOP_SHARE = 0.01  # of the replies: a glitch is rarer, and any drive rests its foot for 1 % of the time
STOP_REPLIES = 5


@dataclass(frozen=True)
class Pedal:
    """Where the pedal of one drive counts as released: below `yes_below`; not from `no_from` on; unknown between."""

    rest_pct: float | None
    travel_pct: float | None
    yes_below_pct: float
    no_from_pct: float


def tri(condition: np.ndarray, known: np.ndarray) -> np.ndarray:
    """1 or 0 by `condition` where `known`, else -1; int8."""
    return np.where(known, condition, UNKNOWN).astype(np.int8)


def segments(t_ms: np.ndarray, max_gap_ms: int) -> np.ndarray:
    """Number of the gap-free run that each of the ascending stamps belongs to, from 0."""
    return np.concatenate([[0], np.cumsum(np.diff(t_ms) > max_gap_ms)]).astype(np.int64)


def resting_level(pedal_pct: np.ndarray, highest_pct: float) -> float | None:
    """The reply of the released pedal in %, or None if it cannot be told from these replies (NaN: missing).

    The stop is the lowest level that 1 % of the replies (at least 5) share within 0.8 %; the few below are glitches.
    A mechanical stop is a spike; a foot that never leaves the pedal gives a lower edge that rises smoothly. So the
    level has to hold more than 3 times the replies of the two widths above it (true of fewer than 1 % of smooth random
    drives and of 99.7 % of drives with 2 to 7 releases of 2 s), and it may not be above `highest_pct`.
    """
    replies = np.sort(pedal_pct[np.isfinite(pedal_pct)])
    upto = partial(np.searchsorted, replies, side="right")
    within = upto(replies + STOP_WIDTH_PCT) - np.arange(len(replies))
    common = np.flatnonzero(within >= max(STOP_REPLIES, STOP_SHARE * len(replies)))
    if not len(common):
        return None
    first = common[0]
    last = first + within[first]
    level = float(np.median(replies[first:last]))
    above = upto(replies[first] + 3 * STOP_WIDTH_PCT) - last
    return level if within[first] > 3 * above and level <= highest_pct else None


def pedal_of(pedal_pct: np.ndarray, params: Label) -> Pedal:
    """The threshold is a share of the pedal's travel, so where that is not 0..100 % of the sensor the reply is mapped.

    A reply that rests at 0 has been mapped by the car or the recorder: its travel is 100. A raw sensor rests higher and
    uses little of its range: the carOBD car rests at 16.08 % and gives full load 20 % above that. There the travel ends
    at the highest level that 5 replies reach (7.5 % of the whole sensor would call half of its accelerating coasting).
    If the rest is unknown it may be anywhere from 0 to `pedal_rest_max_pct`, and what depends on where stays unknown.
    """
    rest = params.pedal_rest_pct
    if rest is None:
        rest = resting_level(pedal_pct, params.pedal_rest_max_pct)
    if rest is None:
        return Pedal(None, None, STOP_WIDTH_PCT, params.pedal_rest_max_pct + params.coast_threshold_pct)
    replies = np.sort(pedal_pct[np.isfinite(pedal_pct)])
    travel = params.pedal_travel_pct
    if travel is None:
        mapped = rest <= STOP_WIDTH_PCT or len(replies) < STOP_REPLIES
        travel = 100.0 if mapped else float(replies[-STOP_REPLIES]) - rest
    threshold = rest + max(STOP_WIDTH_PCT, params.coast_threshold_pct / 100 * travel)
    return Pedal(rest, travel, threshold, threshold)


def row_at(t_ms: np.ndarray, segment: np.ndarray, offset_ms: int, tolerance_ms: int) -> tuple[np.ndarray, np.ndarray]:
    """For each row the one nearest to `offset_ms` later (the earlier of two as near), and whether it is near enough."""
    target = t_ms + offset_ms
    after = np.searchsorted(t_ms, target).clip(max=len(t_ms) - 1)
    before = (after - 1).clip(min=0)
    nearest = np.where(target - t_ms[before] <= np.abs(t_ms[after] - target), before, after)
    return nearest, (np.abs(t_ms[nearest] - target) <= tolerance_ms) & (segment[nearest] == segment)


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


def label_recording(folder: Path, out: Path, *, params: Label) -> dict:
    """Label one drive; the summary is what labels.json holds."""
    telemetry = recording.read_telemetry(folder)
    pedal = pedal_of(telemetry.rows["pedal_pct"].to_numpy(), params)
    if pedal.rest_pct is None and telemetry.rows["pedal_pct"].notna().any():
        log.warning("%s: the pedal never rests, so some coast labels stay unknown; set pedal_rest_pct", folder.name)
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


def run(params: Label, out: Path, ctx: Context = Context(), *, download: Path) -> dict[str, float]:
    """Returns row counts, and per label the rate over all drives and the share that is unknown."""
    folders = recording.recordings(download)
    settings = digest(params.model_dump(), ctx.code)
    fingerprints = {name: digest(settings, file_hash(folder / "telemetry.csv")) for name, folder in folders.items()}
    done = fan_out(partial(label_recording, params=params), folders, fingerprints, out, ctx)
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
    return metrics
