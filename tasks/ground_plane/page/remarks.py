"""What has to be said beside the numbers, computed from the counts behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.yard.reporting.words import counted

FEW_FRAMES = 40  # WILDTRACK's test split; below, a few crowded frames move MODA by more than networks differ
SHOWN_SCENES, SHOWN_PLACES = 3, 3
COLLAPSED = 0.5  # a control that keeps so much of MODA has not collapsed; one camera fewer should keep it


def of_frames(details: Mapping[str, Any]) -> list[str]:
    told = []
    frames, many = details["frames"], details["scenes"]
    where = counted(many["test"], "scene", "scenes")
    if not frames["test"]:
        return ["There is no labelled test frame: nothing could be judged."]
    if not details["people"]["test"]:
        return [f"Nobody is in the {counted(frames['test'], 'test frame', 'test frames')}: nothing could be judged."]
    if frames["test"] < FEW_FRAMES:
        told.append(f"{counted(frames['test'], 'test frame', 'test frames')} of {where}: the numbers are worth little.")
    if details["unseen"]:
        text = counted(details["unseen"], "labelled person of the test frames stands", "labelled people of test stand")
        told.append(f"{text} where no camera sees the ground or no cell is, and cannot be judged.")
    if details["leader_null_because"]:
        return [*told, f"No network leads: {details['leader_null_because']}."]
    if details["threshold"] is None:
        return [*told, "The leader has no threshold: nobody was there on validation to choose one by."]
    if frames["val"] < FEW_FRAMES:
        few = counted(frames["val"], "validation frame", "validation frames")
        told.append(f"Epoch, leader and threshold were chosen on {few}.")
    return told


def of_controls(details: Mapping[str, Any]) -> list[str]:
    """Controls that do not do what they must."""
    runs, leader = details["runs"], details["leader"]
    moda = runs[leader]["moda"] if leader else None
    if moda is None:
        return []
    told = []
    for run in details["baselines"]:
        other = runs[run]["moda"]
        if other is not None and moda <= other:
            told.append(f"{leader} is no better than {run}, which looks at no image (MODA {moda:.3f}, {other:.3f}).")
    if moda <= 0 or details["frames"]["test"] < FEW_FRAMES:
        return told
    shuffled = runs.get("shuffled", {}).get("moda")
    if shuffled is not None and shuffled > COLLAPSED * moda:
        told.append(f"With the wrong calibrations MODA is still {shuffled:.3f}: the places come from elsewhere.")
    without = details["cameras"]["without"]
    if without["worst"] is not None and without["worst"] < COLLAPSED * moda:
        told.append(
            f"Without {without['worst_camera']} MODA falls from {moda:.3f} to {without['worst']:.3f}: "
            "the network does not do with one camera fewer."
        )
    return told


def of_standing(standing: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """Of what is found at one place in many frames of a scene and is nobody, as visualize/summary.json has it."""
    told = []
    for scene, places in list(standing.items())[:SHOWN_SCENES]:
        where = " and ".join(f"({of['x_m']:.1f}, {of['y_m']:.1f}) m" for of in places[:SHOWN_PLACES])
        more = f" and {len(places) - SHOWN_PLACES} more places" if len(places) > SHOWN_PLACES else ""
        told.append(
            f"In {scene} somebody is found at {where}{more} in {places[0]['frames']} of {places[0]['of']} frames, and "
            "nobody is there: a thing that stands there, such as a pillar or a sign, is taken for a person."
        )
    if len(standing) > SHOWN_SCENES:
        told.append(f"So it is in {len(standing) - SHOWN_SCENES} more scenes.")
    return told


def remarks(details: Mapping[str, Any]) -> list[str]:
    """Sentences, the gravest first; none where all is well. `details`: as evaluate/details.json."""
    return [*of_frames(details), *of_controls(details)]
