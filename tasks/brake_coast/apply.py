"""A trained network on drives that nobody has labelled: probabilities of every frame, alarms, and a film of each drive.

Reads   what the importers of `download` read: a folder of drives, films with telemetry, an archive, a bucket
Writes  recordings/<name>/probabilities.csv   Time, t_ms, <task>, <task>_alarm: 1 where an alarm is raised, blank where
                                              the model came without a threshold for the task
        recordings/<name>/drive.mp4           the whole drive: camera, boxes, telemetry, probabilities, alarms
        steps/{download,annotate,label}       what those steps make of the drives: nothing is done twice
        steps/foretell                        the tables, of which recordings/ has copies
Alone   python -m flows apply brake_coast <source>

The steps are the stages' own, and so are the features and the probabilities: of a test drive they are those that
`evaluate` judged. `label` is asked for the gap-free runs of frames alone; a drive needs no brake signal.
"""

from __future__ import annotations

import glob
import shutil
from collections.abc import Iterable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from models.brake_coast.factory import Network
from models.brake_coast.variants import parse
from tasks.brake_coast import annotate, download, label
from tasks.brake_coast.formats import predictions, recording, windows
from tasks.brake_coast.judging import events
from tasks.brake_coast.judging.runs import state_of
from tasks.brake_coast.learning.features import features, read_drive
from tasks.brake_coast.learning.inference import load_model, predict
from tasks.brake_coast.learning.pedal import Pedal
from tasks.brake_coast.pack import joined
from tasks.brake_coast.page import video
from tasks.brake_coast.params import Annotate, Line, Roi
from tasks.yard.applying import MADE_WITH, Applied, Model, reason_of
from tasks.yard.detector.network import weights_file
from tasks.yard.fanout import DONE, as_bad_input, fan_out
from tasks.yard.files import digest, file_hash, read_if_there, read_json, write_json, write_table
from tasks.yard.sources.units import passed_over_words
from tasks.yard.step import BadInput, Context

DETECTOR, THRESHOLDS, CAMERAS, PEDALS = "detector.pt", "thresholds.json", "cameras.json", "pedals.json"
STEPS = ("download", "annotate", "label", "pack", "evaluate")  # whose params belong to a model
READS = (*STEPS, "report")
PAGE_FRAMES = 160  # 80 s of driving: as much as one time line shows well
MUTE = "has no telemetry; put a table beside it, <name of the film>.csv with speed, rpm, pedal and load"
NO_PEDALS = (
    "the model brings no pedals of its cars: what counts as released, and with that when an alarm of coasting is "
    "raised, is told by the drives at hand alone"
)
OTHER_CAR = (
    "{}: the pedal is not seen to rest where that of a car of the model's drives does; what counts as released, and "
    "with that when an alarm of coasting is raised, is told by the drives at hand alone"
)
TABLE = "probabilities.csv"
SAME_SHAPE = 0.01  # of the ratio of width to height


def belongings(data: Path, item: str, line: Line, folder: Path) -> None:
    """The detector that looked for it, its thresholds, the cameras and the pedals of its drives' cars, and the params
    of the steps."""
    own, bare = data / "train_detector" / "best.pt", line.annotate.weights == Annotate.NO_DETECTOR
    if not bare and (line.annotate.weights or own.exists()):
        (folder / DETECTOR).write_bytes(weights_file(line.annotate.weights or own).read_bytes())
    if thresholds := read_if_there(data / "evaluate" / "thresholds.json").get(item):
        write_json(folder / THRESHOLDS, thresholds)
    sizes = set()
    for split, held in read_if_there(data / "pack" / "dataset_config.json").get("splits", {}).items():
        for name in held["recordings"] if split == "train" else ():
            about = read_if_there(data / "annotate" / name / "annotations.json")
            sizes |= {(about["image_width_px"], about["image_height_px"])} if about.get("roi_px") else set()
    write_json(folder / CAMERAS, {"sizes_px": sorted(map(list, sizes))})
    labelled = (read_json(path)["pedal"] for path in sorted((data / "label").glob("*/labels.json")))
    cars = dict.fromkeys(Pedal(**of) for of in labelled if of["rest_pct"] is not None)
    write_json(folder / PEDALS, [asdict(pedal) for pedal in cars])
    kept = {step: getattr(line, step).model_dump(mode="json") for step in STEPS}
    kept["annotate"]["weights"] = Annotate.NO_DETECTOR if bare else None  # it comes as a file
    kept["download"] |= {"layout": "auto", "carla_hz": None, "piece_minutes": None}  # of other drives
    write_json(folder / MADE_WITH, kept)


def as_trained(line: Line, config: dict, window: int) -> Line:
    """The line's params with what the checkpoint says of its inputs."""
    data = config["data"]
    pack = line.pack.model_dump(mode="json") | {
        "window_frames": window,
        "max_detections": data["max_detections"],
        "ranges": data["telemetry_ranges"],
        "brake_signal": "BRAKE_SIGNAL" in data["telemetry_features"],
    }
    made = line.model_copy(update={"pack": type(line.pack).model_validate(pack)})
    if features(made.pack) != list(data["telemetry_features"]):
        raise BadInput(
            f"the model was trained on the telemetry {', '.join(data['telemetry_features'])}, which this Trainyard "
            "does not make; check out the commit that made it, or train again"
        )
    return made


def regions(line: Line, download: Path, known: list[list[int]]) -> tuple[list[Roi], dict[str, str], list[str]]:
    """The rules of `annotate.roi` for these drives, the drives whose pictures have another shape than those that the
    model learnt from, and what was scaled. A rule that names the size of a drive's pictures is believed."""
    rules, refused, said = list(line.annotate.roi), {}, []
    for name, folder in recording.recordings(download).items():
        about = recording.description(folder)
        size = [about["image_width_px"], about["image_height_px"]]
        named = any(rule.image_size_px == size for rule in line.annotate.roi)
        if not about["has_images"] or not known or size in known or named:
            continue
        ours = size[0] / size[1]
        width, height = min(known, key=lambda one: abs(one[0] / one[1] / ours - 1))
        if abs(width / height / ours - 1) > SAME_SHAPE:
            refused[name] = (
                f"{name}: its pictures are {size[0]} x {size[1]} px, the model was trained on {width} x {height}: "
                "another shape shows another part of the road; crop the film, or say where to look: --set "
                f"'brake_coast.annotate.roi=[{{pattern: \"*\", image_size_px: {size}, roi_px: [x, y, w, h]}}]'"
            )
            continue
        roi = annotate.roi_of(line.annotate, name, (width, height))
        scaled = [round(value * size[0] / width) for value in roi]
        scaled[2:] = [min(scaled[2], size[0] - scaled[0]), min(scaled[3], size[1] - scaled[1])]
        rules.insert(0, Roi(pattern=glob.escape(name), image_size_px=size, roi_px=scaled))
        said.append(
            f"{name}: pictures of {size[0]} x {size[1]} px, the model was trained on {width} x {height}: its region is "
            f"scaled by {size[0] / width:.3g}"
        )
    return rules, refused, said


def alarms(frames: windows.Frames, task: str, p: np.ndarray, threshold: float, refractory_s: float) -> np.ndarray:
    """(F) 1 on the frames on which an alarm is raised, as `evaluate` counts them: of a car that the model knows the
    pedal is released where it was for `evaluate`."""
    state = frames.labels[:, frames.label_names.index(state_of(task))]
    raised = np.zeros(len(p), int)
    for segment in np.unique(frames.segment):
        mine = np.flatnonzero(frames.segment == segment)
        at = events.alarms(frames.t_ms[mine], state[mine], p[mine], threshold, refractory_s)
        raised[mine[at]] = 1
    return raised


def foretell(
    name: str,
    out: Path,
    *,
    network: Network,
    tasks: list[str],
    steps: Path,
    line: Line,
    thresholds: dict[str, float | None],
) -> dict:
    """Write the table of one drive, of the frames that `pack` makes of it. Returns how many windows, and alarms of each
    task."""
    try:
        drive = read_drive(name, *(steps / step for step in ("download", "annotate", "label")), line.pack)
    except Exception as fault:
        raise BadInput(str(as_bad_input(fault, name)).replace(f"{steps}/", "")) from None
    frames = joined([drive], line.pack)
    starts = windows.window_starts(frames.segment, frames.window_frames)
    ends = starts + frames.window_frames - 1
    probabilities = predictions.rounded(predict(network, frames, starts, line.evaluate.batch))
    columns: dict[str, np.ndarray] = {}
    counts: dict[str, int | None] = {}
    for task, p in zip(tasks, probabilities.T, strict=True):
        columns[task], counts[task] = p, None
        columns[f"{task}_alarm"] = np.full(len(ends), "", object)
        if (threshold := thresholds.get(task)) is not None:
            score = np.full(len(frames.t_ms), np.nan)
            score[ends] = p
            columns[f"{task}_alarm"] = alarms(frames, task, score, threshold, line.evaluate.refractory_s)[ends]
            counts[task] = int(columns[f"{task}_alarm"].sum())
    write_table(out / TABLE, predictions.table_of(frames, ends, columns))
    last = frames.t_ms[ends]
    return {"windows": len(ends), "first_ms": int(last[0]), "last_ms": int(last[-1]), "alarms": counts}


def finished(
    item: tuple[str, dict],
    out: Path,
    *,
    steps: Path,
    title: str,
    tasks: list[str],
    thresholds: dict[str, float | None],
    fps: int | None,
) -> dict:
    """The table of one drive, and with `fps` its film beside it. Returns what `foretell` did."""
    name, summary = item
    shutil.copyfile(steps / "foretell" / name / TABLE, out / TABLE)
    if fps is not None:
        table = pd.read_csv(out / TABLE, dtype={"Time": str}, float_precision="round_trip")
        write_film(out / "drive.mp4", name, steps, title, table, tasks, thresholds, fps)
    return summary


def write_film(
    path: Path,
    name: str,
    steps: Path,
    title: str,
    table: pd.DataFrame,
    tasks: list[str],
    thresholds: dict[str, float | None],
    fps: int,
) -> None:
    labels = pd.read_csv(steps / "label" / name / "labels.csv")[["t_ms", "segment", "braking", "coasting"]]
    labels[["braking", "coasting"]] = labels[["braking", "coasting"]].fillna(label.UNKNOWN).astype(int)
    rows = recording.read_telemetry(steps / "download" / name).rows.merge(labels, on="t_ms", validate="1:1")
    told = table[["t_ms", *tasks, *(f"{task}_alarm" for task in tasks)]]
    rows = rows.merge(told, on="t_ms", how="left", validate="1:1").rename(columns={"time": "Time"})
    camera = video.camera_of(name, rows["Time"], steps / "download", steps / "annotate")
    shown = video.Stretch(name, title, rows, {task: thresholds.get(task) for task in tasks}, *camera)
    video.write_whole(shown, path, fps, PAGE_FRAMES)


def prepared(
    source: str,
    line: Line,
    detector: Path | None,
    steps: Path,
    known: list[list[int]],
    cars: list[Pedal] | None,
    ctx: Context,
) -> Applied:
    """Bring the drives, look at their pictures and number their gap-free runs; what is refused, and what was said."""
    asked = {"source": source, "piece_minutes": None, "min_recordings": 1}
    try:
        download.run(line.download.model_copy(update=asked), steps / "download", ctx)
    except BadInput as error:
        raise reason_of(steps / "download", error) from None
    rules, refused, said = regions(line, steps / "download", known)
    looked = line.annotate.model_copy(update={"weights": str(detector or Annotate.NO_DETECTOR), "roi": rules})
    folders = {"download": steps / "download"}
    for step, call in (
        ("annotate", partial(annotate.run, looked, train_detector=steps)),
        ("label", partial(label.run, line.label, cars=cars or ())),
    ):
        try:
            call(steps / step, ctx, **folders)
        except BadInput as error:
            raise reason_of(steps / step, error) from None
    bad = {
        **read_if_there(steps / "label" / "quarantine.json"),
        **read_if_there(steps / "annotate" / "quarantine.json"),
    }
    bad |= read_if_there(steps / "download" / "quarantine.json") | refused
    report = read_json(steps / "download" / "report.json")
    found = report["recordings"]
    said += passed_over_words(report.get("passed_over", {}))
    said += [f"{name}: {text}" for name, about in found.items() for text in about["warnings"]]
    labelled = {name: read_if_there(steps / "label" / name / "labels.json") for name in found}
    pedals = {name: Pedal(**of["pedal"]) for name, of in labelled.items() if of and found[name]["has_telemetry"]}
    if cars is None and pedals:
        said.append(NO_PEDALS)
    elif others := sorted(name for name, pedal in pedals.items() if pedal not in (cars or ())):
        said.append(OTHER_CAR.format(", ".join(others[:3]) + (f" and {len(others) - 3} more" if others[3:] else "")))
    return Applied(found, bad, said)


def detector_of(model: Model, line: Line, given: Path | None) -> Path | None:
    """The detector that the model was trained behind, None if behind none; another one is asked for, and never taken
    silently."""
    if given is not None:
        return weights_file(given)
    if line.annotate.weights == Annotate.NO_DETECTOR:
        return None
    own = model.belonging(DETECTOR) or (line.annotate.weights and weights_file(line.annotate.weights))
    if own:
        return Path(own)
    raise BadInput(
        f"{model.name} comes without the detector whose boxes it was trained on; give --detector FILE, such as "
        "data/brake_coast/train_detector/best.pt"
    )


def without_pictures(variant: str, found: Iterable[str], download: Path) -> tuple[dict[str, str], list[str]]:
    """Drives without a picture, for a network that learnt with a camera: those that are refused, as it sees nothing
    else, and what is said of the others."""
    sees = parse(variant).modality
    bare = [name for name in found if not recording.description(download / name)["has_images"]]
    if sees == "telemetry":
        return {}, []
    if sees == "detections":
        return {name: f"{name}: has no pictures, and {variant} looks at nothing else" for name in bare}, []
    return {}, [
        f"{name}: has no pictures; {variant} was trained with a camera, and takes the road for empty: a network of "
        "telemetry alone, such as simple_concat_lstm-telemetry, suits it better"
        for name in bare
    ]


def run(
    source: str,
    model: Model,
    out: Path,
    line: Line,
    ctx: Context = Context(),
    *,
    detector: Path | None = None,
    no_film: bool = False,
) -> Applied:
    """Raises `BadInput` if no drive of the source can be used, or the weights are not of this line."""
    network, config = load_model(model.weights)
    line = as_trained(line, config, network.config.window)
    thresholds = read_if_there(model.belongings / THRESHOLDS)
    known = read_if_there(model.belongings / CAMERAS).get("sizes_px", [])
    pedals = model.belongings / PEDALS
    cars = [Pedal(**of) for of in read_json(pedals)] if pedals.exists() else None  # an older model knows of none
    steps = out / "steps"
    brought = prepared(source, line, detector_of(model, line, detector), steps, known, cars, ctx)
    blind, remarks = without_pictures(config["network"]["variant"], brought.results, steps / "download")
    mute = {name: f"{name}: {MUTE}" for name, about in brought.results.items() if not about["has_telemetry"]}
    quarantined, said = {**brought.quarantined, **blind, **mute}, [*brought.said, *remarks]
    if not thresholds:
        said.append(f"{model.name} comes without thresholds: probabilities, and no alarms")
    if not (usable := [name for name in brought.results if name not in quarantined]):
        raise BadInput("; ".join(quarantined.values()))
    settings = digest(
        model.fingerprint, line.pack.model_dump(mode="json"), line.evaluate.batch, line.evaluate.refractory_s, ctx.code
    )
    made = {name: [steps / step / name / DONE for step in ("download", "annotate", "label")] for name in usable}
    fingerprints = {name: digest(settings, *map(file_hash, made[name])) for name in usable}
    asked: dict[str, Any] = {"steps": steps, "tasks": list(config["tasks"]), "thresholds": thresholds}
    told = fan_out(
        partial(foretell, network=network, line=line, **asked), {name: name for name in usable}, fingerprints,
        steps / "foretell", ctx, parallel=False,
    )  # fmt: skip
    quarantined |= told.quarantined
    if not told.summaries:
        raise BadInput("; ".join(quarantined.values()))
    fps = None if no_film else line.report.video_fps
    done = fan_out(
        partial(finished, title=model.name, fps=fps, **asked),
        {name: (name, summary) for name, summary in told.summaries.items()},
        {name: digest(fingerprints[name], model.name, fps) for name in told.summaries},
        out / "recordings",
        ctx,
    )
    files = (TABLE, *(() if no_film else ("drive.mp4",)))
    results = {
        name: {**summary, "files": [f"recordings/{name}/{file}" for file in files]}
        for name, summary in done.summaries.items()
    }
    return Applied(results, {**quarantined, **done.quarantined}, said)
