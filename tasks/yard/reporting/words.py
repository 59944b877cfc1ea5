"""Words of the remarks and pages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

# Layouts of what tasks/yard/worlds renders, as download calls them.
WORLDS = ("highway", "street", "plaza", "bikes", "town")


def counted(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def rendered(layouts: Iterable[str | None], what: str) -> str | None:
    """What a page says at its top where a computer drew what it is made from; None where nothing of it is.

    `layouts`: that of each recording, camera or data set, as download wrote it; `what` they are called.
    """
    known = [layout for layout in layouts if layout is not None]
    made = [layout for layout in known if layout in WORLDS]
    if not made:
        return None
    world = f"a computer drew what these pictures show (synth://{made[0]}); no camera filmed it"
    if len(made) == len(known):
        return f"Rendered world: {world}, and no number here says how well this does on real data."
    return f"Partly a rendered world: of {len(made)} of {len(known)} {what} {world}."


def other_leads(leader: str | None, test: Mapping[str, Mapping[str, float | None]]) -> str | None:
    """What stands beside a table in which another network than the leader has most of the highest numbers.

    `test`: {network: {column: its number, higher is better}} of those that might have led.
    """
    if leader is None:
        return None
    columns = {column: value for column, value in test[leader].items() if value is not None}
    above = {
        network: sum((value := numbers.get(column)) is not None and value > ours for column, ours in columns.items())
        for network, numbers in test.items()
        if network != leader
    }
    other = max(sorted(above), key=lambda network: above[network], default=None)
    if other is None or 2 * above[other] <= len(columns):
        return None
    return (
        f"{other} is above {leader} in {above[other]} of the {len(columns)} test columns, and {leader} leads all the "
        "same: validation chooses, for whoever is picked by the test data has no test left that says how good it is."
    )
