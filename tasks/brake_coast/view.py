"""One drive as a page that plays: frames with boxes, curves with a cursor, what each run predicts and what came true.

Reads   download/<recording>; annotate, label, pack, train and evaluate as far as they are there: what is missing is
        left out of the page, which says so
Writes  <out>.html, which needs nothing but a browser; pictures of more than `embed_mb` lie in <out>_frames beside it
Alone   python -m flows view brake_coast <recording>

Probabilities of a test drive are those that `evaluate` judged. Those of any other drive are predicted now, from its
packed frames, by the run that is best on validation; of a drive that is not packed, such as one alone or one that came
after the last training, from its annotations and labels.
"""

from __future__ import annotations

import base64
import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from tasks.brake_coast import label
from tasks.brake_coast.formats import predictions, recording, windows
from tasks.brake_coast.judging import events
from tasks.brake_coast.judging.runs import family, leader, ranked_runs, state_of
from tasks.brake_coast.learning.features import read_drive
from tasks.brake_coast.pack import joined
from tasks.brake_coast.params import Evaluate, Line, Pack
from tasks.yard.fanout import as_bad_input
from tasks.yard.files import read_if_there, read_json, replacing
from tasks.yard.reporting.viewer import EMBED_MB, unknown, write_page
from tasks.yard.reporting.words import rendered
from tasks.yard.step import BadInput, Context

PAGE = Path(__file__).parent / "page" / "view.html.j2"
WIDTH_PX, QUALITY = 640, 70
CURVES = ("speed_kmh", "rpm", "pedal_pct", "load_pct", "gear", "brake")


@dataclass(frozen=True)
class Foretold:
    """Probabilities of one drive, "<run>/<task>" columns over t_ms; the notes say whose they are, or why there are
    none."""

    table: pd.DataFrame
    thresholds: dict[str, dict[str, float | None]]
    best: str | None
    notes: list[str]


def find(name: str, download: Path) -> Path:
    """The recording's folder. Raises `BadInput` that names the nearest ones."""
    known = recording.recordings(download)
    name = Path(name).name  # a path to it will do, too
    if not known:
        raise BadInput(f"{download}: no recording to view; run the line first: python -m flows run brake_coast")
    if name not in known:
        raise unknown(name, "recording", known, download)
    return known[name]


def listed(values: Any, digits: int = 2) -> list:
    """A column for JSON: None where it is NaN, whole numbers without a point."""
    rounded = np.round(np.asarray(values, float), digits).tolist()
    return [None if v != v else int(v) if v == int(v) else v for v in rounded]


def jpeg(path: Path | None) -> bytes | None:
    """A frame as the page shows it, at most 640 px wide; None where there is none or it cannot be read."""
    if path is None:
        return None
    try:
        with path.open("rb") as file, Image.open(file) as picture:
            picture.draft("RGB", (WIDTH_PX, WIDTH_PX))  # a large JPEG is decoded at a half or a quarter
            picture = picture.convert("RGB")
    except OSError:
        return None
    if picture.width > WIDTH_PX:
        size = WIDTH_PX, max(1, round(picture.height * WIDTH_PX / picture.width))
        picture = picture.resize(size, Image.Resampling.BILINEAR)
    held = io.BytesIO()
    picture.save(held, "JPEG", quality=QUALITY)
    return held.getvalue()


def pictures(paths: list[Path | None], out: Path, embed_mb: float, ctx: Context) -> list[str | None]:
    """What each frame's <img> has as its source: the picture itself, or a file beside the page if they are too many."""
    with ThreadPoolExecutor() as pool:  # PIL lets go of the interpreter while it codes
        made = list(ctx.progress(pool.map(jpeg, paths), total=len(paths), desc="frames", unit="frame"))
    folder = out.with_name(f"{out.stem}_frames")
    beside = sum(len(data) for data in made if data) * 4 / 3 > embed_mb * 1e6
    names = [f"{i:06d}.jpg" if data and beside else None for i, data in enumerate(made)]
    for stale in folder.glob("[0-9]*.jpg"):
        if stale.name not in names:
            stale.unlink()
    if not beside:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
        return [data and f"data:image/jpeg;base64,{base64.b64encode(data).decode()}" for data in made]
    for name, data in zip(names, made, strict=True):
        if name:
            with replacing(folder / name) as temporary:
                temporary.write_bytes(data)
    return [name and f"{folder.name}/{name}" for name in names]


def camera(folder: Path, annotate: Path, times: pd.Series, out: Path, embed_mb: float, ctx: Context) -> dict | None:
    """Pictures and, in fractions of the picture, boxes [confidence, x1, y1, x2, y2] and ROI; None without a camera."""
    images = recording.images(folder)
    paths = [images.get(time) for time in times]
    if not any(paths):
        return None
    about, boxes, roi = read_if_there(annotate / "annotations.json"), [[] for _ in times], None
    if about.get("roi_px"):
        size = np.array([about["image_width_px"], about["image_height_px"]] * 2, float)
        x, y, width, height = about["roi_px"]
        roi = listed(np.array([x, y, x + width, y + height]) / size, 4)
        found = pd.read_csv(annotate / "annotations.csv", dtype={"Time": str, "status": str})
        found = found[found["status"] == "ok"]
        corners = (found[["x1", "y1", "x2", "y2"]].to_numpy(float) + np.array([x, y, x, y])) / size
        rows = np.column_stack([found["confidence"], corners])
        for frame, row in zip(pd.Index(times).get_indexer(found["Time"]).tolist(), rows, strict=True):
            if frame >= 0:
                boxes[frame].append(listed(row, 4))
    return {"pictures": pictures(paths, out, embed_mb, ctx), "boxes": boxes, "roi": roi}


def packed(name: str, pack: Path) -> tuple[str | None, windows.Frames | None]:
    """The split that a recording is in and its frames there, (None, None) if it is in none."""
    splits = read_if_there(pack / "dataset_config.json").get("splits", {})
    split = next((split for split, held in splits.items() if name in held["recordings"]), None)
    if split is None:
        return None, None
    frames = windows.load(pack / f"{split}.h5")
    mine = frames.recording == frames.recordings.index(name)
    arrays = [f.name for f in fields(frames) if isinstance(getattr(frames, f.name), np.ndarray)]
    return split, replace(frames, **{key: getattr(frames, key)[mine] for key in arrays})


def unpacked(name: str, data: Path, params: Pack) -> tuple[windows.Frames | None, str]:
    """The frames of a recording that is in no split, as packing would make them, or None and why not."""
    try:
        drive = read_drive(name, data / "download", data / "annotate", data / "label", params)
        return joined([drive], params), ""
    except Exception as error:
        return None, str(as_bad_input(error, name)).replace(f"{data}/", "")


def predicted(frames: windows.Frames, checkpoint: Path) -> pd.DataFrame:
    """Columns "<run>/<task>" as in evaluate/predictions, from a checkpoint alone."""
    from tasks.brake_coast.learning.inference import (  # torch takes seconds, which a test drive does not need
        load_model,
        predict,
    )

    model, config = load_model(checkpoint)
    starts = windows.window_starts(frames.segment, frames.window_frames)
    columns = [predictions.column(checkpoint.parent.name, task) for task in config["tasks"]]
    table = pd.DataFrame(predict(model, frames, starts), columns=columns)
    return table.assign(t_ms=frames.t_ms[starts + frames.window_frames - 1])


def foretell(name: str, data: Path, split: str | None, frames: windows.Frames | None, why: str = "") -> Foretold:
    """The probabilities that `evaluate` judged, or if the drive is not among its, those of the best run now."""
    evaluated, nothing = data / "evaluate", pd.DataFrame({"t_ms": []})
    details = read_if_there(evaluated / "details.json")
    if not details:
        return Foretold(nothing, {}, None, ["No probabilities: evaluate has not run yet, so there is no best run."])
    best, thresholds = leader(details), read_json(evaluated / "thresholds.json")
    table = predictions.read(evaluated, name)
    if table is not None:
        note = "Test drive: no run has learned from it."
        columns = [c for run in ranked_runs(details) for c in table if predictions.run_and_task(c)[0] == run]
        return Foretold(table[["t_ms", *columns]], thresholds, best, [note])
    if frames is None:
        left_out = read_if_there(data / "pack" / "dataset_config.json").get("left_out", {})
        why = left_out.get(name) or why or "it came after the last run of the line"
        return Foretold(nothing, {}, None, [f"No probabilities: this drive is not in the pack ({why})."])
    checkpoint = data / "train" / best / "best.pt"
    if not checkpoint.exists():
        return Foretold(nothing, {}, None, [f"No probabilities: {best} has no checkpoint; run the line again."])
    means = {
        "train": "which has learned from this drive: they look better than they are.",
        "val": "which was chosen, and its thresholds set, by drives of which this is one.",
        "test": "which has not learned from it.",
    }
    if split is None:
        note = f"Drive of no split: predicted now by the best run, {best}, which has not learned from it."
        return Foretold(predicted(frames, checkpoint), thresholds, best, [note])
    note = f"Drive of the {split} split, which evaluate does not judge: predicted now by the best run, {best},"
    return Foretold(predicted(frames, checkpoint), thresholds, best, [f"{note} {means[split]}"])


def outcomes(drive: events.Drive, threshold: float | None, params: Evaluate) -> dict[str, list]:
    """Frames of alarms, of false ones, of missed onsets, and [frame, lead time in s] of those warned of."""
    found: dict[str, list] = {"alarms": [], "false": [], "missed": [], "warned": []}
    if threshold is None:
        return found
    for pairs in events.pairs(drive, threshold, refractory_s=params.refractory_s, max_lead_s=params.max_lead_s):
        warned = np.isfinite(pairs.lead_s)
        found["alarms"] += pairs.alarms.tolist()
        found["false"] += pairs.alarms[pairs.false].tolist()
        found["missed"] += pairs.events[pairs.judged & ~warned].tolist()
        found["warned"] += [
            list(pair) for pair in zip(pairs.events[warned].tolist(), listed(pairs.lead_s[warned]), strict=True)
        ]
    return found


def onset_frames(t_ms: np.ndarray, segment: np.ndarray, state: np.ndarray, refractory_s: float) -> list[int]:
    frames = (np.flatnonzero(segment == s) for s in np.unique(segment))
    return [i for f in frames for i in f[events.onsets(t_ms[f], state[f], refractory_s)].tolist()]


def judge(states: pd.DataFrame, foretold: Foretold, params: Evaluate, t_ms: np.ndarray) -> tuple[dict, dict]:
    """Onsets per family, and per run and task its probabilities and outcomes; frames are numbered as in `t_ms`."""
    table = foretold.table[foretold.table["t_ms"].isin(t_ms)]
    at, rows = pd.Index(t_ms).get_indexer(states["t_ms"]), pd.Index(t_ms).get_indexer(table["t_ms"])
    stamps, segment = states["t_ms"].to_numpy(), states["segment"].to_numpy()
    onsets = {
        kind: at[onset_frames(stamps, segment, states[state_of(kind)].to_numpy(), params.refractory_s)].tolist()
        for kind in ("brake", "coast")
    }
    runs: dict[str, dict] = {}
    for column in table.columns.drop("t_ms"):
        run, task = predictions.run_and_task(column)
        p = np.full(len(t_ms), np.nan)
        p[rows] = table[column]
        threshold = foretold.thresholds.get(run, {}).get(task)
        drive = events.Drive(stamps, segment, states[state_of(task)].to_numpy(), p[at])
        found = outcomes(drive, threshold, params)
        found = {
            key: at[of].tolist() if key != "warned" else [[int(at[i]), s] for i, s in of] for key, of in found.items()
        }
        runs.setdefault(run, {})[task] = {"p": listed(p, 4), "threshold": threshold, **found}
    return onsets, runs


def drive_of(folder: Path, out: Path, params: Line, data: Path, embed_mb: float, ctx: Context) -> dict:
    """Everything the page shows, as JSON-able values; lists are as long as the drive has telemetry rows."""
    name, rows = folder.name, recording.read_telemetry(folder).rows
    t_ms, notes = rows["t_ms"].to_numpy(), []
    split, frames = packed(name, data / "pack")
    why = ""
    if frames is None:
        frames, why = unpacked(name, data, params.pack)
    foretold = foretell(name, data, split, frames, why)
    path, labels = data / "label" / name / "labels.csv", pd.DataFrame(columns=["t_ms", "segment", *label.NAMES])
    if path.exists():
        labels = pd.read_csv(path)
        labels = labels[labels["t_ms"].isin(t_ms)]
    else:
        notes.append("No labels, and so no events: label has not run on this drive, or its quarantine.json says why.")
    if frames is None:
        states = labels[["t_ms", "segment", "braking", "coasting"]].fillna(label.UNKNOWN).astype(int)
    else:
        of = {state: frames.labels[:, frames.label_names.index(state)] for state in ("braking", "coasting")}
        states = pd.DataFrame({"t_ms": frames.t_ms, "segment": frames.segment, **of})
        states = states[states["t_ms"].isin(t_ms)]
    onsets, runs = judge(states, foretold, params.evaluate, t_ms)
    shown = camera(folder, data / "annotate" / name, rows["time"], out, embed_mb, ctx)
    if shown is None:
        notes.append("This drive has no pictures: telemetry only.")
    elif shown["roi"] is None:
        notes.append("No boxes: annotate has not run on this drive, or its quarantine.json says why.")
    if world := rendered([recording.layout(folder)], "recordings"):
        notes.append(world)
    tasks = list(dict.fromkeys(task for of in runs.values() for task in of))
    wanted = [*tasks, "braking", "coasting"] if tasks else ["brake_1s", "coast_1s", "braking", "coasting"]
    known = labels.set_index("t_ms").reindex(t_ms)
    return {
        "name": name,
        "split": split,
        "notes": [*foretold.notes, *notes],
        "start_ms": int(t_ms[0]),
        "t_s": listed((t_ms - t_ms[0]) / 1000, 3),
        **{curve: listed(rows[curve]) for curve in CURVES},
        "labels": {task: listed(known[task]) for task in wanted},
        "tasks": [{"name": task, "family": family(task)} for task in (tasks or wanted[:2])],
        "onsets": onsets,
        "runs": runs,
        "best": foretold.best if foretold.best in runs else None,
        "camera": shown,
    }


def write(
    name: str, out: Path, params: Line, data: Path, ctx: Context = Context(), embed_mb: float = EMBED_MB
) -> list[str]:
    """The page of recording `name` of the line whose folders lie in `data`. Returns what a person should know of it."""
    folder = find(name, data / "download")
    drive = drive_of(folder, out, params, data, embed_mb, ctx)
    write_page(out, PAGE, drive=drive)
    return drive["notes"]
