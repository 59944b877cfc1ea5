"""What inspect.html.j2 is handed: rides and photographs in the order in which somebody wants to see them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.bike_parts.judging.verdicts import words
from tasks.bike_parts.page.drawing import legend
from tasks.bike_parts.page.verdict_pictures import BROKEN, CLOSE, closeups, drawn, drawn_pair, marks_of
from tasks.yard.reporting.words import counted
from tasks.yard.step import Context

INSPECT_PAGE = Path(__file__).parent / "inspect.html.j2"
SIDES = ("before", "after")
RIDES = 200  # that the table lists
OPEN = 10, 30  # of them stand open: those that are claimed, and at least and at most so many; the others are folded
FEW = 3  # are not worth a fold


def worst(photo: Mapping[str, Any]) -> tuple:
    """Sort key of photographs: most that is broken or missing first, then the surest."""
    broken = [part["confidence"] for part in photo["parts"] if part["state"] in BROKEN]
    return -len(broken), -sum(broken), photo["file"]


def by_sureness(part: Mapping[str, Any]) -> float:
    return -part["confidence"]


def done(pair: Mapping[str, Any]) -> str | None:
    """What was done in a ride whose truth is known."""
    if "truth" not in pair:
        return None
    return words(pair["truth"]) or "nothing that can be seen in both"


def counts_of(verdicts: Mapping[str, Any]) -> dict[str, int]:
    photos, pairs = verdicts["photos"].values(), verdicts["pairs"]
    found = {
        "photos": len(photos), "unusable": len(verdicts["unusable"]), "pairs": len(pairs),
        "claimed": sum(pair["claimed"] for pair in pairs),
    }  # fmt: skip
    for state in ("damaged", "absent"):
        found[state] = sum(len(photo[state]) for photo in photos)
        found[f"with_{state}"] = sum(bool(photo[state]) for photo in photos)
    return found


def opened(claimed: int, rides: int) -> int:
    """How many rides of the table are not folded."""
    low, high = OPEN
    shown = min(max(claimed, low), high)
    return rides if rides <= shown + FEW else shown


def lead_of(verdicts: Mapping[str, Any], counts: Mapping[str, int], who: str) -> str:
    of = "" if verdicts["photos_from"] else " of the test split, which no training has seen"
    told = f"{counted(counts['photos'], 'photograph', 'photographs')}{of}, looked at by {who}."
    if counts["pairs"]:
        told += f" {counted(counts['pairs'], 'ride has', 'rides have')} one before and one after."
    return told


def page_of(
    verdicts: Mapping[str, Any],
    paths: Mapping[str, Path],
    truths: Mapping[str, Mapping[str, str]],
    most: int,
    ctx: Context,
    who: str,
) -> dict[str, Any]:
    """`verdicts` as verdicts.json; `paths` and, where it is known, `truths` by the key of a photograph; at most `most`
    pairs, and photographs by themselves, are drawn; `who`: the network's name."""
    photos, counts = verdicts["photos"], counts_of(verdicts)
    pairs = sorted(verdicts["pairs"], key=lambda pair: (not pair["claimed"], -pair["damaged_in_ride"], pair["name"]))
    paired = {pair[side] for pair in pairs for side in SIDES}
    singles = sorted((key for key in photos if key not in paired), key=lambda key: worst(photos[key]))
    room = max(0, most - min(most, len(pairs)))
    drawings = ctx.progress(total=2 * min(most, len(pairs)) + min(room, len(singles)), desc="pictures", unit="picture")

    def both(pair: Mapping[str, Any]) -> dict[str, Any]:
        keys = [pair[side] for side in SIDES]
        changed = [change["part"] for change in pair["changes"] if change["claimed"]]
        uris = drawn_pair([paths[key] for key in keys], [marks_of(photos[key], changed) for key in keys])
        drawings.update(2)
        shown = [change for change in pair["changes"] if change["claimed"]][:CLOSE]
        return {
            side: {
                **photos[key], "uri": uri, "truth": truths.get(key),
                "close": closeups(paths[key], [change[side] for change in shown if change[side]]),
            }
            for side, key, uri in zip(SIDES, keys, uris, strict=True)
        }  # fmt: skip

    with drawings:
        rides = [
            {**pair, "truth_says": done(pair), "anchor": f"ride-{number + 1}", "shown": number < most}
            | (both(pair) if number < most else {})
            for number, pair in enumerate(pairs[:RIDES])
        ]
        alone = []
        for number, key in enumerate(singles[:room]):
            uri = drawn(paths[key], marks_of(photos[key]))
            drawings.update()
            broken = sorted((part for part in photos[key]["parts"] if part["state"] in BROKEN), key=by_sureness)[:CLOSE]
            alone.append({
                **photos[key], "anchor": f"photo-{number + 1}", "uri": uri, "truth": truths.get(key),
                "close": closeups(paths[key], broken),
            })  # fmt: skip
    return {
        "pairs": rides, "open": opened(counts["claimed"], len(rides)), "more_pairs": len(pairs) - len(rides),
        "singles": alone, "more_singles": len(singles) - len(alone), "counts": counts, "legend": legend(),
        "lead": lead_of(verdicts, counts, who), "unusable": verdicts["unusable"],
        "remarks": verdicts["remarks"], "judged": verdicts["judged"], "known": verdicts["judged"] is not None,
        "believe": verdicts["believe"], "claim": verdicts["claim"], "parts": verdicts["parts"],
        "found_each": sum(len(photo["parts"]) for photo in photos.values()) / max(1, len(photos)),
    }  # fmt: skip
