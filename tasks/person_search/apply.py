"""Was this person here? Films that nobody has labelled, searched for the people of some photographs.

    python -m flows apply person_search door.mp4 --query ann.jpg bob.jpg
    python -m flows apply person_search films/ --query ann.jpg --weights osnet_x0_25_msmt17.pt --detector yolov8n.pt

Reads   a film, a folder of stills, a folder or an archive of some, wherever in it they lie; cameras/ as `download`
        reads them, with queries/ beside where no --query is given. A query is a photograph, which the detector cuts to
        the person, or a crop
Writes  search/<query>/ranked.jpg     the most similar people, each once, with where and when: look at this first
        search/<query>/search.mp4     the cameras side by side, the person marked; for the first few queries
        search/<query>/sheet.png      the best frame of each camera
        search/<query>/results.{csv,json}, search/{queries.csv,search.json}   as the step `search` writes them
        sightings.csv                 query, camera, film or still, frame, second, box, similarity, expected false ones
        steps/{download,index}        what those steps make of the cameras: nothing is done twice
Alone   python -m flows apply person_search <source> --query <image>

The steps are the stages' own, and so are the results. How often a search errs comes with the model, and gives the
threshold for as many detections as these cameras have. Weights that others have trained (torchreid's OSNet) come
without: people are ranked, and how similar strangers are is measured on the cameras themselves, by the pairs of people
who are in one frame.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models.person_search.variants import NETWORKS
from tasks.person_search import download, index, search
from tasks.person_search.formats import cameras
from tasks.person_search.formats.results import cell, table
from tasks.person_search.importers import photographs, queries
from tasks.person_search.importers.queries import Query
from tasks.person_search.judging import calibration
from tasks.person_search.judging.answers import nearest_of
from tasks.person_search.judging.leader import leader_of
from tasks.person_search.judging.strangers import ERRORS
from tasks.person_search.learning import weights
from tasks.person_search.params import Line
from tasks.yard.applying import MADE_WITH, Applied, Model, reason_of
from tasks.yard.detector.network import weights_file
from tasks.yard.files import file_hash, read_if_there, read_json, replacing, write_json, write_text
from tasks.yard.layouts.images import image_size
from tasks.yard.step import BadInput, Context
from tasks.yard.training import checkpoint

DETECTOR, THRESHOLD, STRANGERS, CAMERAS = "detector.pt", "threshold.json", "errors.csv", "cameras.json"
FAR = 2  # times larger, smaller, faster, slower is said
LARGER = (
    "the longer side of its pictures is {} px, that of the model's cameras {}: people have other sizes in it, and how "
    "often a search errs is not known for them"
)
FASTER = (
    "{:.4g} frames a second, of the model's cameras {}: whoever passes is seen in more or fewer of them, and the "
    "threshold, which goes by the number of detections, is that much too high or too low"
)
OTHER_DETECTOR = (
    "how often a search errs was calibrated with another detector: the thresholds are those of the model's own"
)
STEPS = ("index", "search")  # whose params belong to a model
READS = ("download", *STEPS)
FILMS = 5  # at most; each takes as long as a minute of a film is searched
NO_THRESHOLD = "none came with the weights"
CLAIM = "no threshold came with the weights, so people are ranked; --set person_search.search.threshold=0.8 claims some"
SIGHTINGS = [
    "query", "found", "camera", "name", "file", "frame", "time_s", "x1", "y1", "x2", "y2", "confidence", "similarity",
    "from_s", "to_s", "frames", "expected_false", "image",
]  # fmt: skip


def belongings(data: Path, item: str, line: Line, folder: Path) -> None:
    """The detector whose boxes it was searched by, how often its searches err, its threshold, what the cameras are like
    for which that holds, and params."""
    own = data / "train_detector" / "best.pt"
    if line.index.weights or own.exists():
        (folder / DETECTOR).write_bytes(weights_file(line.index.weights or own).read_bytes())
    details = read_if_there(data / "evaluate" / "details.json")
    if details and details["leader"] == item:  # the threshold is the leader's alone
        write_json(folder / THRESHOLD, details["threshold"])
        if (errors := data / "evaluate" / ERRORS).exists():
            shutil.copyfile(errors, folder / STRANGERS)
        if (known := data / "calibrate" / calibration.FILE).exists():
            shutil.copyfile(known, folder / calibration.FILE)
    looked = {path.parent.name for step in ("index", "calibrate") for path in (data / step).glob("*/camera.json")}
    held = [cameras.camera_of(unit) for name in sorted(looked) if (unit := data / "download" / name).is_dir()]
    write_json(folder / CAMERAS, {
        "longer_px": spanned(map(longer_px, held)), "fps": spanned(camera.fps for camera in held),
    })  # fmt: skip
    kept = {step: getattr(line, step).model_dump(mode="json") for step in STEPS}
    kept["index"]["weights"] = kept["search"]["queries"] = None  # one comes as a file, the others are of today
    write_json(folder / MADE_WITH, kept)


def longer_px(camera: cameras.Camera) -> int | None:
    """The longer side of its pictures, by the first that can be read."""
    sizes = (image_size(path) for path in camera.files.values())
    return next((max(size) for size in sizes if size), None)


def spanned(values: Iterable[float | None]) -> list[float] | None:
    known = [value for value in values if value is not None]
    return [min(known), max(known)] if known else None


def unlike(camera: cameras.Camera, known: Mapping[str, list[float] | None]) -> list[str]:
    """What is said of a camera that is far from those for which it is known how often a search errs."""
    told = {"longer_px": (longer_px(camera), LARGER), "fps": (camera.fps, FASTER)}
    said = []
    for key, (value, text) in told.items():
        if value is not None and (span := known.get(key)) and not span[0] / FAR <= value <= span[1] * FAR:
            low, high = (f"{number:.4g}" for number in span)
            said.append(f"{camera.unit}: {text.format(value, low if low == high else f'{low} to {high}')}")
    return said


def network_of(model: Model, steps: Path) -> dict[str, Path]:
    """{network: folder with its best.pt}, as `train` leaves them; weights of others are brought into this form."""
    if not model.weights.is_file():
        raise BadInput(f"{model.weights}: no such file; give --weights another, or --model a registered one")
    try:
        config = weights.config_of(model.weights)
        state = None if config else weights.as_they_are(model.weights)
    except BadInput as error:
        raise BadInput(f"{error}; give a best.pt of person_search, or weights of torchreid's OSNet") from None
    if state is None:
        name = config["network"].get("name") if isinstance(config["network"], dict) else None
        if name not in NETWORKS:
            raise BadInput(
                f"{model.weights}: made by another line than person_search; give a best.pt of person_search, or "
                "weights of torchreid's OSNet"
            )
        with replacing(steps / "train" / name / "best.pt") as temporary:
            shutil.copyfile(model.weights, temporary)
    else:
        name = state["config"]["network"]["name"]
        checkpoint.save(steps / "train" / name, "best", state, {"weights": model.name, "sha256": model.sha256})
    return {name: steps / "train" / name}


def as_evaluated(model: Model, network: str, evaluate: Path) -> None:
    """What `evaluate` says of the model, as far as it came along."""
    none = {"threshold": None, "from": None, "null_because": NO_THRESHOLD}
    write_json(
        evaluate / "details.json",
        {"leader": network, "threshold": read_if_there(model.belongings / THRESHOLD) or none},
    )
    if own := model.belonging(STRANGERS):
        write_text(evaluate / ERRORS, own.read_text(encoding="utf-8"))
    else:
        (evaluate / ERRORS).unlink(missing_ok=True)


def calibrated(model: Model, calibrate: Path) -> None:
    """What `calibrate` says of the model, if it came along."""
    if own := model.belonging(calibration.FILE):
        write_text(calibrate / calibration.FILE, own.read_text(encoding="utf-8"))
    else:
        (calibrate / calibration.FILE).unlink(missing_ok=True)


def detector_of(model: Model, line: Line, given: str | Path | None) -> Path:
    own = given or model.belonging(DETECTOR) or line.index.weights
    if not own:
        raise BadInput(
            f"{model.name} comes without a detector of people; give --detector FILE, or the name of published weights "
            "such as yolov8n.pt"
        )
    return weights_file(own)


def brought(source: str, line: Line, steps: Path, ctx: Context) -> Applied:
    """Bring the cameras; those that cannot be used, and what was said of the others."""
    asked = {"source": source, "extra_sources": [], "min_units": 1}
    try:
        download.run(line.download.model_copy(update=asked), steps / "download", ctx, learning=False)
    except BadInput as error:
        raise reason_of(steps / "download", error) from None
    units = read_json(steps / "download" / "report.json")["units"]
    said = []
    for name, about in units.items():
        said += [f"{name}: the film {remark}" for remark in about["said"].get("film", ())]
        said += [f"{name}: {text}" for key in ("without_times",) if (text := about["said"].get(key))]
    return Applied(units, read_if_there(steps / "download" / "quarantine.json"), said)


def asked_for(
    places: Sequence[str | Path], look: Callable[[np.ndarray], np.ndarray], out: Path
) -> tuple[list[Query], dict[str, str], list[str]]:
    """(whom to find, images that are of no use with the reason, what was cut). Raises `BadInput` if none is left."""
    asked, bad, said = [], {}, []
    found = queries.several(map(Path, places))
    for query in found:
        try:
            one, text = photographs.cropped(query, look, out)
        except BadInput as error:
            bad[query.shown] = str(error)
            continue
        asked.append(one)
        said += [text] if text else []
    if not asked:
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        raise BadInput(f"{next(iter(bad.values()))}{more}")
    return asked, bad, said


def indexed(line: Line, steps: Path, train: dict[str, Path], ctx: Context) -> dict[str, str]:
    """Look through the cameras. Returns those that cannot be used."""
    try:
        index.run(
            line.index, steps / "index", ctx, download=steps / "download", train_detector=steps / "train_detector",
            train=train, evaluate=steps / "evaluate", calibrate=steps / "calibrate",
        )  # fmt: skip
    except BadInput as error:
        raise reason_of(steps / "index", error) from None
    said = read_json(steps / "index" / "index.json")
    if said["empty"]:
        raise BadInput(f"{said['empty']}; give a film or a folder of stills")
    return read_if_there(steps / "index" / "quarantine.json")


def lines_of(answer: dict[str, Any]) -> list[list]:
    """What sightings.csv says of one query: its sightings, or without a threshold each camera's most similar one."""
    rows = []
    seen = [(one["best"], one) for one in answer["sightings"]]
    if answer["threshold"] is None:
        best = [(one["best"], one) for one in answer["cameras"] if one["best"]]
        seen = sorted(best, key=lambda pair: -pair[0]["similarity"])
    for hit, of in seen:
        rows.append([
            answer["query"], "" if answer["threshold"] is None else 1, of["unit"], of["name"], hit["file"],
            hit["frame"],
            cell(hit["time_s"], 3), *(f"{value:.2f}" for value in hit["box"]), f"{hit['confidence']:.4f}",
            f"{hit['similarity']:.6f}", cell(of.get("from_s"), 3), cell(of.get("to_s"), 3),
            of.get("frames", 1), cell(hit["expected_false"], 4), answer["image"],
        ])  # fmt: skip
    return rows


def result_of(answer: dict[str, Any], folder: Path, out: Path) -> dict[str, Any]:
    top = nearest_of(answer["cameras"])
    files = [path.relative_to(out).as_posix() for path in sorted(folder.iterdir()) if path.is_file()]
    return {
        "image": answer["image"], "says": answer["says"], "found": answer["found"],
        "sightings": len(answer["sightings"]), "best": top, "expected_false": answer["expected_false"],
        "by_chance": answer["by_chance"], "files": files,
    }  # fmt: skip


def run(
    source: str,
    model: Model,
    out: Path,
    line: Line,
    ctx: Context = Context(),
    *,
    query: Sequence[str | Path] | None = None,
    detector: str | Path | None = None,
    no_film: bool = False,
) -> Applied:
    """Raises `BadInput` if no camera or no query can be used, or the weights are not of this line."""
    steps = out / "steps"
    line = line.model_copy(
        update={"index": line.index.model_copy(update={"weights": str(detector_of(model, line, detector))})}
    )
    train = network_of(model, steps)
    (network,) = train
    as_evaluated(model, network, steps / "evaluate")
    calibrated(model, steps / "calibrate")
    known = calibration.read(steps / "calibrate" / calibration.FILE)
    asked, bad, said = None, {}, []
    confidence = index.confidence_of(line.index, steps / "calibrate")
    file, eyes = index.opened_detector(line.index, steps / "train_detector", confidence)
    if query:  # before hours of films are looked through
        asked, bad, said = asked_for(query, lambda image: index.detected([image], eyes)[0], out / "queries")
    came = brought(source, line, steps, ctx)
    if asked is None and not (asked := queries.of_units(steps / "download")):
        raise BadInput(f"{source}: says not whom to find; give --query IMAGE, a photograph of one person")
    quarantined = {**came.quarantined, **bad, **indexed(line, steps, train, ctx)}
    leader = leader_of(steps / "evaluate")
    films = 0 if no_film else min(FILMS, len(asked))
    params = line.search.model_copy(update={"sheet_queries": len(asked), "video_queries": films})
    held = cameras.read_index(steps / "index", steps / "download")
    (out / "search").mkdir(parents=True, exist_ok=True)
    search.find(params, out / "search", ctx, asked, held, leader, leader.checkpoint(train), known)
    answers = [
        read_json(out / "search" / one.key / "results.json")
        for one in asked
        if (out / "search" / one.key / "results.json").exists()
    ]
    rows = [row for one in answers for row in lines_of(one)]
    write_text(out / "sightings.csv", table(SIGHTINGS, rows))
    usual = read_if_there(model.belongings / CAMERAS)
    said += [text for one in held for text in unlike(one.camera, usual)]
    if known.detector not in (None, file_hash(file)):
        said.append(OTHER_DETECTOR)
    results = {one["query"]: result_of(one, out / "search" / one["query"], out) for one in answers}
    if not no_film and len(asked) > films:
        said.append(f"films of {films} of {len(asked)} queries, those that most cameras saw")
    if any(one["threshold"] is None and nearest_of(one["cameras"]) for one in answers):
        said.append(CLAIM)
    told = [f"{name}: {one['says']}" for name, one in results.items()]
    return Applied(results, quarantined, [*said, *came.said, *told])
