"""What has to be said beside the numbers of both loops, computed from them; those of evaluate go first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.open_loop_driving.judging.driving_scores import alike
from tasks.open_loop_driving.page import results
from tasks.open_loop_driving.page.results import EXPERT

TIMES_BLIND = 2.0  # a network that sees should drive so much better than one that does not
HALF = 0.5  # of the expert's score


def of_driving(details: Mapping[str, Any], closed: Mapping[str, Mapping]) -> list[str]:
    leader = details["leader"]
    if not leader:
        return []
    if not any(of.get("driving_score") is not None for of in closed.values()):
        return ["Nothing was driven: all numbers are of open loop, and do not tell how well anything drives."]
    told, mine = [], closed.get(leader)
    if mine is None:
        return told
    for other in details["baselines"]:
        both = alike({leader: mine, other: closed[other]}) if other in closed else {}
        if both and both[leader] < TIMES_BLIND * both[other]:
            told.append(
                f"In closed loop {leader} scores {both[leader]:.1f}, and {other}, which sees nothing, "
                f"{both[other]:.1f}: what it sees helps it little to drive."
            )
    both = alike({leader: mine, EXPERT: closed[EXPERT]}) if EXPERT in closed else {}
    if both and both[leader] < HALF * both[EXPERT]:
        told.append(f"{leader} scores less than half of the expert's {both[EXPERT]:.1f}.")
    return told


def of_both(details: Mapping[str, Any], runs: Mapping[str, Mapping]) -> list[str]:
    found = results.disagreement(runs, details["headline"])
    if not found["against"]:
        return []
    near, far = found["examples"][0]
    return [
        f"Open and closed loop disagree in {found['against']} of {found['pairs']} pairs of runs: {near} comes nearer "
        f"to the expert's way than {far}, and drives worse."
    ]


def of_page(details: Mapping[str, Any], runs: Mapping[str, Mapping], closed: Mapping[str, Mapping]) -> list[str]:
    """Sentences, the gravest first."""
    return [*details["remarks"], *of_driving(details, closed), *of_both(details, runs)]
