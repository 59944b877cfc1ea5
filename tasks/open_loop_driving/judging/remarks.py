"""What has to be said beside the numbers, computed from the counts behind them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.open_loop_driving.judging import scores
from tasks.open_loop_driving.judging.groups import STAYS_M
from tasks.yard.reporting.words import counted

FEW_ROUTES = 4  # below, an interval over routes is a guess
COLLAPSED = 1.25  # a control whose distance is less than this times the leader's has not collapsed


def of_data(details: Mapping[str, Any]) -> list[str]:
    many, routes = details["moments"]["test"], details["routes"]["test"]
    if not many:
        return ["There is no moment to test on: nothing could be judged."]
    told = [f"{name} is not trained: {why}." for name, why in details["untrained"].items()]
    for name, of in details["left_out"].items():
        lacks = [f"{route} {why}" for mine in of.values() for route, why in mine.items()]
        told.append(
            f"{name} does without {counted(len(lacks), 'route', 'routes')}, as {lacks[0]}{', ...' * (len(lacks) > 1)}: "
            f"it is judged on {details['runs'][name]['moments']} of {many} test moments."
        )
    if routes < FEW_ROUTES:
        text = "there is no interval" if routes == 1 else "the intervals are rather too narrow"
        told.append(f"All test moments are of {counted(routes, 'route', 'routes')}: {text}.")
    if details["leader_null_because"]:
        told.append(f"No network leads: {details['leader_null_because']}.")
    for what, lacks in details["not_told"].items():
        if lacks == many:
            told.append(f"The source does not tell {what}: what is judged by it is empty.")
        elif lacks:
            told.append(f"{lacks} of {many} test moments do not tell {what}, and are left out where it is judged.")
    return told


def of_leader(details: Mapping[str, Any]) -> list[str]:
    """Where the leader is no better than what sees nothing, and refinement or a control does not do what it must."""
    leader, name = details["leader"], details["headline"]
    runs = details["runs"] | details["beside_leader"]
    if not leader or runs[leader][name] is None:
        return []
    mine, said, told = runs[leader][name], scores.words(name), []
    if beside := {other: of[name] for other, of in details["beside_leader"].items() if of[name] is not None}:
        others = ", ".join(f"{other.replace('_', ' ')} {value:.3f} m" for other, value in beside.items())
        told.append(f"On the test moments that {leader} can use, {said} is {mine:.3f} m; {others}.")
    for other in details["baselines"]:
        theirs = runs[other][name]
        if other != leader and theirs is not None and theirs <= mine:
            told.append(
                f"{leader} is no better than {other.replace('_', ' ')}, which sees nothing ({said} {mine:.3f} m, "
                f"{theirs:.3f} m)."
            )
    for pair, leads in runs[leader]["refinement"].items():
        if leads[name] and leads[name]["difference"] > 0:
            told.append(
                f"Layers {pair}: {said} grows by {leads[name]['difference']:.3f} m; this layer spoils the plan."
            )
    for control in details["controls"]:
        theirs = runs[control][name]
        if theirs is not None and theirs < COLLAPSED * mine:
            worse = (runs[control].get("against_own") or {}).get(name)
            surely = worse and worse["interval"] and worse["interval"]["low"] > 0
            use = "is used, but little depends on it" if surely else "is hardly used"
            told.append(
                f"{control.replace('_', ' ')}: {runs[control]['what']}, and {said} is {theirs:.3f} m after "
                f"{mine:.3f} m: what was taken away {use}."
            )
    return told


def of_holding(details: Mapping[str, Any]) -> list[str]:
    """Of everybody who was trained and goes where the driver stands and stays."""
    told = []
    for name, of in details["runs"].items():
        holds = of.get("holds")
        if holds and holds["creeps"] and (of["kind"] == "network" or name == "blind"):
            told.append(
                f"{name} does not hold: in {holds['creeps']} of {counted(holds['moments'], 'moment', 'moments')} in "
                f"which the driver stands and stays, its plan goes on by more than {STAYS_M:g} m (on average "
                f"{holds['mean_m']:.2f} m)."
            )
    return told


def remarks(details: Mapping[str, Any]) -> list[str]:
    return of_data(details) + of_leader(details) + of_holding(details)
