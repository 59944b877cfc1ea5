"""How sure a detection must be, and how similar, before a search says that somebody was seen: tried among validation.

Reads    download/<unit>/{frames/, camera.json, truth.csv} of the cameras for validation; pack/val.h5, whose queries
         ask; the detector and the leading network, as the step `index` does
Writes   calibrate/calibration.json      {confidence: with the best search mAP, or as index.confidence says;
                                         confidence_weight: of a detection's confidence in how similar it is;
                                         0 without impostors;
                                         confidences: what each gave; impostors: {best: the highest similarity of each
                                         search for somebody who was taken out of the index, detections: that it looked
                                         through};
                                         tested: true boxes of people of test, which are left out;
                                         strangers: how many detections of others are how similar; promised: thresholds
                                         by rate of errors, and what they find; null_because: why something is null}
         calibrate/<unit>/               as the step `index` writes it, at the lowest confidence
         calibrate/quarantine.json       cameras that cannot be used, and why
Alone    python -m tasks person_search-calibrate

Nobody of test is seen: where a truth.csv names some, their boxes and what is detected there are left out. `search`
makes its threshold of `impostors` for the index that it has (judging/impostors.py), and a model in the registry carries
the file along. Without cameras for validation the file says why it knows nothing.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from tasks.person_search import index
from tasks.person_search.formats import cameras, crops
from tasks.person_search.formats.crops import QUERY
from tasks.person_search.judging import calibration
from tasks.person_search.judging.calibration import Asked
from tasks.person_search.judging.leader import leader_of
from tasks.person_search.learning.embed import embed
from tasks.person_search.params import Calibrate, Index
from tasks.yard.fanout import fan_out
from tasks.yard.files import read_json, write_json
from tasks.yard.metrics.rounding import as_metrics
from tasks.yard.step import Context

log = logging.getLogger(__name__)
NO_CAMERAS = (
    "the sources hold no camera for validation (validation_cameras/<name>/ with a truth.csv, beside cameras/), so that "
    "nobody knows how often a search errs"
)
NO_PEOPLE = "pack has no people of validation to search for"
TESTED = "%d true boxes in the frames for validation show people of test: they are left out, and what is detected there"
LEARNT = "%d of the %d people in the frames for validation are learnt from, and are not searched for"


def asked_of(pack: Path, eyes: index.Eyes) -> Asked:
    """The queries of validation."""
    split, config = crops.load(pack / "val.h5"), read_json(pack / "dataset_config.json")
    rows = np.flatnonzero((split.role == QUERY) & (split.identity >= 0))
    keys = [config["identities"]["val"][number].rpartition(":") for number in split.identity[rows]]
    vectors = (
        embed(eyes.network, split.images[rows], eyes.config) if len(rows) else np.empty((0, eyes.length), np.float32)
    )
    return Asked(vectors, [key[0] for key in keys], [int(key[2]) for key in keys], split.camera[rows].tolist())


def learnt_of(folders: dict[str, Path], pack: Path) -> tuple[int, int]:
    """(people in the frames who are learnt from, people in the frames)."""
    train = set(read_json(pack / "dataset_config.json")["identities"]["train"])
    shown = cameras.shown_in(folders.values())
    return len(shown & train), len(shown)


def nothing(out: Path, why: str, params: Index) -> dict[str, float]:
    log.warning("%s; the threshold is the one of single pairs", why)
    write_json(out / calibration.FILE, {
        "confidence": params.confidence, "confidences": [], "impostors": None, "strangers": None, "promised": None,
        "null_because": why,
    })  # fmt: skip
    return {"cameras": 0}


def run(
    params: Calibrate,
    out: Path,
    ctx: Context = Context(),
    *,
    download: Path,
    pack: Path,
    train_detector: Path,
    train: dict[str, Path],
    evaluate: Path,
    index_params: Index,
) -> dict[str, float]:
    """Returns the confidence, search mAP on validation with it, and the thresholds by rate of errors."""
    folders = cameras.units_with_frames(download, "validation")
    if not folders:
        fan_out(len, {}, {}, out, ctx)
        return nothing(out, NO_CAMERAS, index_params)
    eyes, about = index.opened_eyes(
        index_params, train_detector, leader_of(evaluate), train, lowest(params, index_params)
    )
    asked = asked_of(pack, eyes)
    if not len(asked.vectors):
        return nothing(out, NO_PEOPLE, index_params)
    learnt, shown = learnt_of(folders, pack)
    if learnt:
        log.warning(LEARNT, learnt, shown)
    done = index.index_all(folders, out, index_params, eyes, about, ctx)
    if not done.summaries:
        return nothing(
            out, f"no camera for validation can be used: {next(iter(done.quarantined.values()))}", index_params
        )
    indexed = cameras.read_cameras(done.summaries, out, download)
    tested = set(read_json(pack / "dataset_config.json")["identities"]["test"])
    indexed, left_out = calibration.without(indexed, tested)
    if left_out:
        log.warning(TESTED, left_out)
    limits = params.confidences if index_params.confidence is None else [index_params.confidence]
    for weights in (params.confidence_weights, [0.0]):
        found, weight, tried = calibration.chosen(asked, indexed, limits, weights)
        confidence = index_params.confidence if found is None else found
        kept = calibration.surer(indexed, index.CONFIDENCE if confidence is None else confidence)
        calibrated = calibration.calibrated(asked, kept, weight)
        if calibrated["null_because"] is None:
            break  # else the threshold will be that of pairs, which nothing weighs
    told: dict[str, Any] = {
        "confidence": confidence, "confidence_weight": weight, "confidences": tried, **about,
        "people": asked.people, "learnt": learnt, "tested": left_out, **calibrated,
    }  # fmt: skip
    write_json(out / calibration.FILE, told)
    best = next((one for one in tried if one["confidence"] == confidence), {})
    numbers = {
        "confidence": confidence, "confidence_weight": weight, "search_map": best.get("map"),
        "box_recall": best.get("box_recall"),
    }  # fmt: skip
    numbers |= {f"threshold_at_{one['rate']:g}": one["threshold"] for one in told["promised"] or ()}
    numbers |= {f"found_right_at_{one['rate']:g}": one["found_right"] for one in told["promised"] or ()}
    return {"cameras": len(indexed), "searches": told["impostors"]["searches"], **as_metrics(numbers)}


def lowest(params: Calibrate, of: Index) -> float:
    return min(params.confidences) if of.confidence is None else of.confidence
