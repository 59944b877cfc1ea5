"""How those who were not trained drive the same routes: the expert, who knows everything, and constant velocity.

Reads    pack/manifest.json and the world that its routes are of
Writes   drive_rules/<driver>/   see judging/drives.py
Alone    python -m tasks open_loop_driving-drive_rules
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from tasks.open_loop_driving.formats import pack as packs
from tasks.open_loop_driving.judging import rules
from tasks.open_loop_driving.judging.closed_loop import Needs
from tasks.open_loop_driving.judging.drives import Crew, drive_all
from tasks.open_loop_driving.judging.pilot import Pilot
from tasks.open_loop_driving.params import Drive
from tasks.yard.files import digest
from tasks.yard.params import Reporting
from tasks.yard.step import Context
from tasks.yard.worlds.town.ego import STEER_RAD


def crew_of(driver: str, params: Drive, steps: int) -> Crew:
    blind = Needs({})
    if driver == rules.EXPERT:
        return None, blind
    planner = rules.ConstantVelocity(steps)
    return Pilot(
        planner, every_s=params.plan_every_s, lock_rad=STEER_RAD, follow=params.follow, creep_s=params.creep_s
    ), blind


def run(
    _params: None,
    out: Path,
    ctx: Context = Context(),
    *,
    pack: Path,
    drive_params: Drive,
    reporting_params: Reporting,
) -> dict[str, float]:
    """Returns the numbers of `drive` for each of them."""
    steps, found = packs.manifest(pack)["horizon"], {}
    for driver in rules.RULES:
        crew = partial(crew_of, driver, drive_params, steps)
        made_from = digest(driver, steps, drive_params.plan_every_s, drive_params.follow, drive_params.creep_s)
        numbers = drive_all(driver, pack, out / driver, ctx, drive_params, reporting_params, crew, made_from)
        found |= {f"{driver}/{name}": value for name, value in numbers.items()}
    return found
