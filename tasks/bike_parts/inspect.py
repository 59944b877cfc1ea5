"""Photographs in, verdicts out: what is broken or missing, and of a ride's two photographs, was it before?

Reads    the photographs that the param names, or those of the test split (download/, split/); train/<leader>/best.pt,
         evaluate/details.json (thresholds and calibration from validation), detect/<leader>/ (what is usual)
Writes   inspect/report.html          rides and photographs, the worst first; what the verdicts are worth
         inspect/verdicts.json        {network, threshold, photos: {key: file, width, height, crop, parts: [part, box,
                                      state, confidence, score, states], damaged, absent, occluded, not_found, says},
                                      pairs: [name, before, after, damaged_in_ride, claimed, says, changes], unusable:
                                      {file: why}, remarks, judged: where the truth is known}
         inspect/looked/<block>/      what the network sees in some photographs: kept from run to run
         inspect/again/<block>/       and by a second look at some rides, where both photographs expect each part
Alone    python -m tasks bike_parts-inspect
Yours    python -m flows run bike_parts --set bike_parts.inspect.photos=<folder>

Confidences are calibrated on validation. A part that is nowhere sure enough is not found, which is not called missing.
A killed run goes on after the last block of photographs; a photograph that is none is named, and the others go on.
"""

from __future__ import annotations

import filecmp
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tasks.bike_parts.formats import detections, photos
from tasks.bike_parts.formats.annotations import BATCHES
from tasks.bike_parts.formats.looked import seen_of
from tasks.bike_parts.formats.photos import STATES, Photos
from tasks.bike_parts.importers.inspected import Request, of_test, request
from tasks.bike_parts.judging import changes, pairs
from tasks.bike_parts.judging.judge import Judge, judge_of, ride
from tasks.bike_parts.judging.known import Known
from tasks.bike_parts.judging.verdicts import Again, Seen, truth_of
from tasks.bike_parts.learning.again import layout_of_rides
from tasks.bike_parts.learning.looking import looked_again_at, looked_at, opened
from tasks.bike_parts.page.distance import distance, far, grounds
from tasks.bike_parts.page.verdict_page import INSPECT_PAGE, counts_of, page_of
from tasks.bike_parts.params import Inspect
from tasks.yard import saying
from tasks.yard.files import read_json, write_json, write_text
from tasks.yard.metrics.rounding import rounded
from tasks.yard.params import Reporting
from tasks.yard.reporting.pages import render
from tasks.yard.reporting.words import rendered
from tasks.yard.sources import uri as source_uri
from tasks.yard.step import BadInput, Context

log = logging.getLogger(__name__)

NO_CLAIM = (
    "No ride whose states are labelled is among the validation photographs, so that nothing has decided from which "
    "probability on damage in a ride is claimed: probabilities are told as they are, and nothing is claimed."
)
NOT_LEARNT = "The network has learnt no states, for its training photographs say none: it finds parts, and no more."


def asked_for(params: Inspect, download: Path, test: Photos, ctx: Context) -> tuple[Request, str]:
    """The photographs, and what they are called as a whole."""
    if params.photos is None and params.pairs is not None:
        raise BadInput(f"bike_parts.inspect.pairs = {params.pairs}: photos is null; name the folder of its photographs")
    if params.photos is None:
        return of_test(download, [photo.name for photo in test.photos]), "the test split"
    return request(params.photos, params.pairs, ctx.progress), source_uri.redacted(params.photos)


def usual(test: Photos, found: detections.Detections, judge: Judge) -> dict[str, Any]:
    """What is usual of the photographs of the test split: sizes, and how much is found in them."""
    held = []
    for photo in test.photos:
        rows = found.image == photo.id
        seen = judge.found(Seen(found.part[rows], found.box[rows], found.score[rows], found.states[rows]))
        held.append(((photo.width, photo.height), seen.box, seen.score))
    return grounds(held)


def remarks_of(asked: Request, held: Mapping[str, dict]) -> list[str]:
    """On pairs of which a photograph cannot be used, and those whose two files hold the same bytes."""
    paths = {photo.key: photo.path for photo in asked.photos}
    lost = [pair for pair in asked.pairs if any("why" in held[key] for key in (pair.before, pair.after))]
    there = [pair for pair in asked.pairs if pair not in lost]
    same = [pair for pair in there if filecmp.cmp(paths[pair.before], paths[pair.after], shallow=False)]
    return [
        *(f"{pair.name}: one of its two photographs cannot be used, so nothing is compared." for pair in lost),
        *(f"{pair.name}: before and after are one and the same photograph." for pair in same),
    ]


def is_rendered(download: Path) -> str | None:
    units = [read_json(file) for file in sorted(download.glob("*/unit.json"))]
    return rendered(("bikes" if unit["rendered"] else "photographs" for unit in units), BATCHES[1])


def known_of(download: Path, split: Path, evaluate: Path, detect: Mapping[str, Path], test: Photos) -> Known:
    """Of the network that evaluate names as the best."""
    train = photos.read(split, "train")
    judge = judge_of(evaluate, train)
    layout = layout_of_rides(train) if judge.together else None
    detected, _ = detections.read(detect[judge.network] / detections.FILE, "test")
    told = read_json(evaluate / "details.json")["changes"]
    return Known(judge, usual(test, detected, judge), is_rendered(download), {"test": told["test"]}, layout)


def warnings(params: Inspect, known: Known, these: Mapping, own: bool, rides: bool) -> list[str]:
    """What has to be said before anybody believes a verdict, the gravest first. `rides`: some are compared."""
    told, judge = [], known.judge
    if not judge.learnt:
        told.append(NOT_LEARNT)
    elif lacking := [STATES[state] for state in range(len(STATES)) if state not in judge.learnt]:
        told.append(f"No training photograph shows a part that is {' or '.join(lacking)}: that state is never said.")
    if rides and judge.learnt and judge.claim is None:
        told.append(NO_CLAIM)
    if not own:
        return told
    if known.world is not None:
        told.append(
            "The network has learnt from a world that a computer drew, not from photographs. Of real ones it says "
            "little that can be relied on: train it on labelled photographs (bike_parts.download.source) first."
        )
    return told + far(known.usual, these, params.detector is not None)


def verdicts_of(
    asked: Request, held: Mapping[str, dict], again: Mapping[str, dict[str, Again]], judge: Judge
) -> dict[str, Any]:
    """The part of verdicts.json that says what is seen in the photographs, and of each ride."""
    names = {photo.key: photo.name for photo in asked.photos}
    seen = {key: seen_of(held[key]) for key in names if "why" not in held[key]}
    about = {key: {of: held[key][of] for of in ("width", "height", "crop")} for key in seen}
    found = {key: {"file": names[key], **about[key], **judge.verdict(seen[key])} for key in seen}
    told = []
    for pair in asked.pairs:
        keys = [pair.before, pair.after]
        if all(key in seen for key in keys):
            more = [again[pair.name][key] for key in keys] if pair.name in again else None
            one = ride(judge, [seen[key] for key in keys], [found[key] for key in keys], more)
            told.append({"name": pair.name, "before": pair.before, "after": pair.after, **one})
    return {
        "photos": found, "pairs": told,
        "unusable": {names[key]: held[key]["why"] for key in names if "why" in held[key]},
    }  # fmt: skip


def judged(test: Photos, asked: Request, told: list[dict], judge: Judge) -> dict[str, Any] | None:
    """How often a change is found, and claimed where none is; `truth` of each ride: the parts that are worse. None if
    nobody knows."""
    ids = {photo.name: photo.id for photo in test.photos}
    of_key = {photo.key: ids[photo.name] for photo in asked.photos}
    true = pairs.truth(test, [(of_key[one["before"]], of_key[one["after"]]) for one in told])
    if judge.claim is None or not (true >= 0).any():
        return None
    claims = np.zeros(true.shape)
    for row, one in enumerate(told):
        claims[row, [judge.parts.index(change["part"]) for change in one["changes"] if change["claimed"]]] = 1
        one["truth"] = [part for part, worse in zip(judge.parts, true[row], strict=True) if worse == 1]
    return rounded(changes.judged(claims, true, 1.0))


def these(held: Mapping[str, dict], judge: Judge) -> dict[str, Any]:
    """What the photographs are like."""
    usable = [of for of in held.values() if "why" not in of]
    found = [judge.found(seen_of(of)) for of in usable]
    return grounds([((of["width"], of["height"]), one.box, one.score) for of, one in zip(usable, found, strict=True)])


def inspected(
    params: Inspect,
    out: Path,
    ctx: Context,
    *,
    asked: Request,
    shown: str,
    checkpoint: Path,
    known: Known,
    test: Photos | None,
    reporting: Reporting,
    who: str,
    made_by: str,
) -> dict[str, Any]:
    """What verdicts.json says. `test`: the photographs are those of this split, whose truth is known; `who` looks, as
    the page calls it, and `made_by` is the command."""
    judge, own = known.judge, test is None
    eyes, made_from = opened(params, checkpoint)
    held = looked_at(asked.photos, shown, eyes, made_from, out / "looked", ctx)
    again = looked_again_at(asked, held, known.layout, eyes, made_from, out / "again", ctx)
    said = verdicts_of(asked, held, again, judge)
    now = these(held, judge)
    remarks = [*warnings(params, known, now, own, bool(said["pairs"])), *asked.remarks, *remarks_of(asked, held)]
    said |= {
        "photos_from": shown if own else None, "network": judge.network, "parts": judge.parts,
        "believe": judge.believe, "claim": judge.claim, "remarks": remarks,
        "judged": None if test is None else judged(test, asked, said["pairs"], judge),
    }  # fmt: skip
    write_json(out / "verdicts.json", said)
    truths = {}
    if test is not None:
        ids = {photo.name: photo.id for photo in test.photos}
        truths = {photo.key: truth_of(test, ids[photo.name]) for photo in asked.photos}
    page = page_of(said, {photo.key: photo.path for photo in asked.photos}, truths, params.pictures, ctx, who)
    page |= {
        "rendered": None if own else known.world, "source_url": reporting.source_url, "made_by": made_by,
        "distance": distance(known.usual, now, len(judge.parts)), "evaluated": known.changes,
    }  # fmt: skip
    write_text(out / "report.html", render(INSPECT_PAGE, page))
    return said


def run(
    params: Inspect,
    out: Path,
    ctx: Context = Context(),
    *,
    download: Path,
    split: Path,
    train: dict[str, Path],
    detect: dict[str, Path],
    evaluate: Path,
    reporting_params: Reporting,
) -> dict[str, float]:
    """Returns counts, and where the truth is known how often a change is found, and claimed where there is none.

    Raises `BadInput` if there is no photograph, or none that can be used.
    """
    test = photos.read(split, "test")
    known = known_of(download, split, evaluate, detect, test)
    asked, shown = asked_for(params, download, test, ctx)
    said = inspected(
        params, out, ctx, asked=asked, shown=shown, checkpoint=known.judge.checkpoint(train), known=known,
        test=test if params.photos is None else None, reporting=reporting_params, who=known.judge.network,
        made_by="python -m flows run bike_parts --set bike_parts.inspect.photos=<folder>",
    )  # fmt: skip
    saying.few(log, said["remarks"], "are on the page")
    saying.few(log, [f"{name} {why}; left out" for name, why in said["unusable"].items()], "cannot be used, left out")
    return counts_of(said) | {key: value for key, value in (said["judged"] or {}).items() if value is not None}
