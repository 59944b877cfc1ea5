"""A trained network on photographs that nobody has labelled: what is broken or missing, and was it before the ride?

Reads   what `inspect` reads: a folder of photographs, an archive, a bucket, one photograph; pairs by their names
        (<name>_before, <name>_after), or by pairs.csv beside them
Writes  verdicts.json, report.html and looked/, as `inspect` does; what was looked at is not looked at again
Alone   python -m flows apply bike_parts <source>

It is `inspect`: of the photographs of the test split it says what that says. Thresholds, calibration and what rides do
come with the model; of weights that come without them parts are found from a score of one half on, states are as the
network says them, and nothing is compared. `--detector yolov8n.pt` cuts each bicycle out where it is small.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tasks.bike_parts import inspect
from tasks.bike_parts.formats import photos
from tasks.bike_parts.importers.inspected import Request, request
from tasks.bike_parts.judging import known as knowing
from tasks.bike_parts.judging.believed import BELIEVED
from tasks.bike_parts.judging.known import Known
from tasks.bike_parts.learning.network import load_network
from tasks.bike_parts.page.distance import grounds
from tasks.bike_parts.params import Line
from tasks.yard.applying import MADE_WITH, Applied, Model
from tasks.yard.files import read_if_there, write_json
from tasks.yard.params import Reporting
from tasks.yard.sources import uri as source_uri
from tasks.yard.step import BadInput, Context

READS = ("inspect",)
SERVED = (knowing.FILE,)
FILES = ["verdicts.json", "report.html"]
RIDE = ("name", "damaged_in_ride", "claimed", "says")  # of a pair in verdicts.json
OF_THE_READER = ("photos", "pairs", "detector")  # params of inspect that no model brings


def belongings(data: Path, item: str, line: Line, folder: Path) -> None:
    """What evaluate has decided, if it was for this network, and the params of inspect."""
    if read_if_there(data / "evaluate" / "details.json").get("leader") == item:
        detect = {item: data / "detect" / item}
        test = photos.read(data / "split", "test")
        known = inspect.known_of(data / "download", data / "split", data / "evaluate", detect, test)
        knowing.write(folder, known)
    section = line.inspect.model_dump(mode="json") | dict.fromkeys(OF_THE_READER)
    write_json(folder / MADE_WITH, {"inspect": section})


def known_by(model: Model) -> Known:
    """Raises `BadInput` if the weights are of another line, or what lies beside them is of another network."""
    _, config, _ = load_network(model.weights)
    if (file := model.belonging(knowing.FILE)) is None:
        return knowing.unknown(config["network"]["name"], config["parts"], grounds([]))
    known = knowing.read(file)
    if known.judge.parts != config["parts"]:
        raise BadInput(
            f"{file}: of a network with the parts {', '.join(known.judge.parts)}, and {model.name} knows "
            f"{', '.join(config['parts'])}; put what belongs to it beside it"
        )
    return known


def compared(asked: Request, known: Known, model: Model) -> tuple[Request, list[str]]:
    """Without what validation decided nothing can be said of a ride."""
    if known.decided:
        return asked, []
    said = [
        f"{model.name} comes without thresholds and calibration: parts are found from a score of {BELIEVED:g} "
        "on, and their states are as sure as the network says, which is too sure"
    ]
    if asked.pairs:
        said.append(f"{len(asked.pairs)} pairs of photographs are looked at, and not compared")
    return Request(asked.photos, [], asked.remarks), said


def results_of(said: dict[str, Any]) -> dict[str, dict]:
    """{photograph: what was found}; the one after a ride says what that has done."""
    told = ("says", "damaged", "absent", "occluded", "not_found")
    found = {
        of["file"]: {"parts": len(of["parts"]), **{key: of[key] for key in told}, "files": FILES}
        for of in said["photos"].values()
    }
    for pair in said["pairs"]:
        ride = {"before": said["photos"][pair["before"]]["file"], **{key: pair[key] for key in RIDE}}
        found[said["photos"][pair["after"]]["file"]]["ride"] = ride
    return found


def run(
    source: str,
    model: Model,
    out: Path,
    line: Line,
    ctx: Context = Context(),
    *,
    detector: str | None = None,
    reporting_params: Reporting,
) -> Applied:
    """Raises `BadInput` if no photograph of the source can be used, or the weights are not of this line."""
    known, shown = known_by(model), source_uri.redacted(source)
    params = line.inspect.model_copy(update={"photos": source, "detector": detector or line.inspect.detector})
    asked, remarks = compared(request(source, params.pairs, ctx.progress), known, model)
    asked.remarks[:0] = remarks
    who = model.name if known.judge.network == model.name else f"{model.name} ({known.judge.network})"
    said = inspect.inspected(
        params, out, ctx, asked=asked, shown=shown, checkpoint=model.weights, known=known, test=None,
        reporting=reporting_params, who=who, made_by=f"python -m flows apply bike_parts {shown}",
    )  # fmt: skip
    return Applied(results_of(said), {name: f"{name} {why}" for name, why in said["unusable"].items()}, said["remarks"])
