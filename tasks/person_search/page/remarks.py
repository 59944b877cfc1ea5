"""What has to be said beside the numbers, computed from the counts behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.person_search.judging.runs import START, before
from tasks.yard.reporting.words import counted, other_leads

FEW_PEOPLE = 30  # below, a few lucky or unlucky people move mAP by more than networks differ
FEW_IMAGES = 50  # of a detector's test split
SHOWN_STANDING = 3  # of each camera
COLUMNS = ("rank1", "rank5", "rank10", "rank20", "map", "minp")  # of the table
CLAIMED = 0.2  # of the searches for somebody who is not there
OFF = 2.0  # a rate on test so many times the one that validation promised is worth a word


def of_choice(details: Mapping[str, Any]) -> list[str]:
    """A sentence, if the test people would have chosen another network."""
    on_test = {run: {key: details["runs"][run]["test"][key] for key in COLUMNS} for run in details["networks"]}
    said = other_leads(details["leader"], on_test)
    return [said] if said else []


def of_test(details: Mapping[str, Any]) -> list[str]:
    told = []
    if reason := details["test_null_because"]:
        return [f"Nobody could be judged on: {reason}."]
    run = details["leader"] or details["networks"][0]
    test = details["runs"][run]["test"]
    if test["people"] < FEW_PEOPLE:
        span = test["intervals"]["map"]
        wide = (
            f" The 95 % interval of mAP, {span['low']:.2f} to {span['high']:.2f}, is likely too narrow still."
            if span
            else ""
        )
        many = counted(test["people"], "person", "people")
        told.append(f"The test split holds {test['queries']} queries of {many}: these numbers mean little.{wide}")
    if test["skipped"]:
        many = counted(test["skipped"], "query has", "queries have")
        told.append(f"{many} no match on another camera and could not be judged.")
    over = {other: lead for other, lead in details["runs"][run]["over"].items() if lead}
    if over:
        best = min(over, key=lambda other: over[other]["difference"])
        lead, span = over[best], over[best]["interval"]
        if lead["difference"] <= 0:
            what = "its weights before training" if best.endswith(START) else "which nobody trained"
            told.append(f"{run} is no better than {best}, {what} (mAP {lead['difference']:+.3f}).")
        elif span is None or span["low"] <= 0:
            between = f", 95 % from {span['low']:+.3f} to {span['high']:+.3f}" if span else ""
            told.append(f"{run} is not surely better than {best}: mAP {lead['difference']:+.3f}{between}.")
    for run in details["networks"]:
        if not details["runs"][run]["learnt"]:
            told.append(
                f"{run} has learnt nothing from {' or '.join(details['datasets'])}: it is judged across data sets."
            )
    return told


def of_training(details: Mapping[str, Any]) -> list[str]:
    """Of each network that validation likes less than what its training started from."""
    told, runs, or_keep = [], details["runs"], ", or use the weights that it was given"
    for run in details["networks"]:
        start = before(run, runs)
        was, now = (runs[name]["validation"]["map"] if name else None for name in (start, run))
        if was is not None and now is not None and now < was:
            told.append(
                f"Training has made {run} worse: its best epoch has mAP {now:.3f} on the validation people, {start} "
                f"has {was:.3f}. Lower the learning rate{or_keep if start.endswith(START) else ''}."
            )
    return told


def of_threshold(details: Mapping[str, Any]) -> list[str]:
    told, of = [], details["threshold"]
    if details["leader_null_because"]:
        return [f"No network leads: {details['leader_null_because']}."]
    if of["null_because"]:
        told.append(
            f"Threshold: {of['null_because']}." + (" The one of equal errors stands in." if of["threshold"] else "")
        )
    if of["threshold"] is None:
        return told
    people = details["runs"][details["leader"]]["validation"]["people"]
    if people < FEW_PEOPLE:
        told.append(f"Leader and threshold were chosen on {counted(people, 'person', 'people')} of validation.")
    promised, kept = of["validation"][of["kind"]]["far"], (of["test"][of["kind"]] or {}).get("far")
    if kept is not None and kept > OFF * promised:
        rates = f"{promised:.2%} false accepts of single pairs on validation and gives {kept:.2%} on test"
        told.append(
            f"The threshold promised {rates}: the people of validation are too few, or too unlike those of test."
        )
    return told


def of_detector(detector: Mapping[str, Any]) -> list[str]:
    if not detector:
        return []
    if "test" not in detector:
        return ["The detector was judged on the data its best epoch was chosen on: there is no test split."]
    images = detector["test"].get("images") or 0
    few = f"The detector's test split holds {counted(images, 'image', 'images')}: its numbers mean little."
    return [few] if images < FEW_IMAGES else []


def of_search(search: Mapping[str, Any]) -> list[str]:
    told = []
    if reason := search.get("empty"):
        return [f"Nobody was searched for: {reason}."]
    if reason := search.get("metrics_null_because"):
        told.append(f"The search could not be judged: {reason}.")
    if skipped := search.get("skipped"):
        many = counted(len(skipped), "query image", "query images")
        told.append(f"{many} could not be read: {', '.join(map(str, skipped[:3]))}.")
    if wide := search.get("wide"):
        many = counted(len(wide), "query image is", "query images are")
        told.append(
            f"{many} wider than tall: {', '.join(map(str, wide[:3]))}. The whole image is what is looked for; crop it "
            "to one person."
        )
    if (search.get("metrics") or {}).get("detector_recall") == 0:
        told.append(
            "The detector took none of the true boxes, so nobody can be found: train it longer, or give weights."
        )
    if search.get("calibrated") is False and search.get("threshold") is not None:
        why = search.get("not_calibrated_because")
        told.append("The threshold knows nothing of how often a whole search errs" + (f": {why}." if why else "."))
    if (strangers := strangers_of(search)) and strangers["found"] > CLAIMED * strangers["asked"]:
        told.append(
            f"Of {counted(strangers['asked'], 'query', 'queries')} whose person no camera saw, {strangers['found']} "
            "were said to be found: among so many detections somebody is similar enough. Look at the sheets."
        )
    return told + [of_standing(unit, boxes) for unit, boxes in search.get("standing", {}).items() if boxes]


def of_standing(unit: str, boxes: Sequence[Mapping[str, Any]]) -> str:
    """One remark a camera: a detector that shows all it half believes in has many such boxes."""
    places = [
        f"({', '.join(f'{value:.0f}' for value in of['box'])} px) in {of['frames']} of {of['of']} frames"
        for of in boxes[:SHOWN_STANDING]
    ]
    if len(boxes) > SHOWN_STANDING:
        places.append(f"and {len(boxes) - SHOWN_STANDING} more")
    one, known = len(boxes) == 1, boxes[0]["person"] is not None
    stand = "a detection stands in one place:" if one else f"{len(boxes)} detections stand in one place each:"
    if known:
        things = "a thing, such as a sign or a bin, is" if one else "things, such as signs or bins, are"
        what = f"No person is there: {things} taken for {'one' if one else 'people'}."
    else:
        what = "It may be a thing, such as a sign or a bin, or somebody who does not move."
        if not one:
            what = "They may be things, such as signs or bins, or people who do not move."
    return f"In {unit} {stand} {', '.join(places)}. {what}"


def of_errors(search: Mapping[str, Any]) -> str:
    """Of the searches whose truth is known: strangers who were claimed, people who were found; and among how many
    detections, without which neither says anything."""
    opened, strangers = (search.get("metrics") or {}).get("open_set") or {}, strangers_of(search)
    told = []
    if strangers:
        asked = counted(strangers["asked"], "search", "searches")
        told.append(f"of {asked} for somebody whom no camera saw {strangers['found']} claimed to have found them")
    if opened.get("there") and opened.get("found_right") is not None:
        asked = counted(opened["there"], "search", "searches")
        told.append(f"of {asked} for somebody whom another camera saw {opened['found_right']:.0%} found them there")
    if not told:
        return ""
    text = "; ".join(told)
    return f"{text[0].upper()}{text[1:]} (among {search.get('detections', 0):,} detections)."


def strangers_of(search: Mapping[str, Any]) -> dict[str, int] | None:
    """{asked, found}: queries whose person no camera saw, and those of them who were said to be found."""
    opened = (search.get("metrics") or {}).get("open_set") or {}
    if not opened.get("nowhere") or opened.get("said_not_found") is None:
        return None
    found = round(opened["nowhere"] * (1 - opened["said_not_found"]))
    return {"asked": opened["nowhere"], "found": found}


def of_data(report: Mapping[str, Any]) -> list[str]:
    told = []
    if same := report.get("same_images"):
        splits = {split for entry in same for split in entry["splits"]}
        why = "a query finds itself"
        if "validation frames" in splits:
            why = "the threshold is made from frames that are searched"
        if any("train" in split for split in splits):
            why = "what is learnt is judged on"
        told.append(f"{counted(len(same), 'image is', 'images are')} in two splits or more: {why}.")
    if refused := report.get("quarantined"):
        told.append(
            f"{counted(len(refused), 'unit of the source is', 'units of the source are')} not usable; see Data."
        )
    return told


def remarks(
    details: Mapping[str, Any], detector: Mapping[str, Any], search: Mapping[str, Any], report: Mapping[str, Any]
) -> list[str]:
    """Sentences, the gravest first; none where all is well."""
    told = [*of_choice(details), *of_test(details), *of_training(details), *of_threshold(details)]
    return [*told, *of_search(search), *of_detector(detector), *of_data(report)]
