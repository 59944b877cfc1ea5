"""What has to be said beside the numbers, computed from the counts behind them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.yard.reporting.words import counted, other_leads

FEW_PHOTOS, FEW_RARE = 50, 20  # below, one bike more or less moves the numbers
COLLAPSED = 0.5  # a network that is shown another photograph and keeps so much of AP50 has learnt the layout


def of_data(details: Mapping[str, Any]) -> list[str]:
    told = []
    test, val = details["counts"]["test"], details["counts"]["val"]
    if not test["photos"]:
        return ["There is no test photograph: nothing could be judged."]
    if test["photos"] < FEW_PHOTOS:
        what = counted(test["photos"], "photograph", "photographs")
        told.append(
            f"The test split is {what} of {counted(test['groups'], 'vehicle', 'vehicles')}: the numbers are rough."
        )
    labelled = sum(test["states"].values())
    if not labelled:
        told.append("No state is labelled: parts are judged, states are not.")
    else:
        rare = {name: count for name, count in test["states"].items() if count < FEW_RARE}
        if rare:
            what = ", ".join(f"{name} {count}" for name, count in rare.items())
            told.append(f"Of some states test holds few parts ({what}): macro-F1 hangs on them.")
    if val["photos"] < FEW_PHOTOS:
        what = counted(val["photos"], "photograph", "photographs")
        told.append(f"Epoch, leader, thresholds and calibration were chosen on {what}.")
    if (val["pairs"] or test["pairs"]) and details["claim"] is None:
        told.append("No ride of validation says what was done: no change between photographs is claimed.")
    return told


def of_controls(details: Mapping[str, Any]) -> list[str]:
    """Baselines that the leader has to beat, and a control that has to fall."""
    runs, leader = details["runs"], details["leader"]
    if leader is None or runs[leader]["ap50"] is None:
        return []
    top, told = runs[leader], []
    for name, key, what in (("mean_box", "ap50", "AP50"), ("majority_state", "state_macro_f1", "macro-F1 of states")):
        ours, theirs = top[key], runs.get(name, {}).get(key)
        if ours is not None and theirs is not None and ours <= theirs:
            told.append(
                f"{leader} is no better than {name}, which knows what is usual and no more ({what} {ours:.3f}, "
                f"{theirs:.3f})."
            )
    blind = runs.get("blind", {}).get("ap50")
    if blind is not None and blind > COLLAPSED * top["ap50"]:
        told.append(f"Shown another photograph it still has an AP50 of {blind:.3f}: it knows the usual layout.")
    test = details["changes"]["test"]
    allowed = details["changes"]["validation"].get("false_a_pair")
    if test.get("false_a_pair") is not None and allowed is not None and test["false_a_pair"] > 2 * max(allowed, 0.05):
        told.append(
            f"On test {test['false_a_pair']:.2f} changes a ride are claimed falsely, on validation {allowed:.2f}: "
            "a claim is worth less than the threshold promises."
        )
    return told


def remarks_of(details: Mapping[str, Any], checked: Mapping[str, Any]) -> list[str]:
    """Sentences, the gravest first; none where all is well. `details`: as evaluate/details.json."""
    told = []
    if details["leader"] is None:
        told.append(f"No network leads: {details['leader_null_because']}.")
    else:
        columns = ("ap50", "ap", "state_macro_f1", "damaged_f1", "absent_f1", "recall")
        on_test = {run: {key: details["runs"][run][key] for key in columns} for run in details["networks"]}
        if said := other_leads(details["leader"], on_test):
            told.append(said)
    return [*told, *of_data(details), *of_controls(details)]
