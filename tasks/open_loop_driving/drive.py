"""How one network drives: closed loop, in towns and traffic that it has not seen.

Reads    pack/manifest.json and the world that its routes are of, train/<network>/best.pt
Writes   drive/<network>/   see judging/drives.py
Alone    python -m tasks open_loop_driving-drive@<network>

Waypoints are followed by PID, controls taken from the Betas, both mixed as TCP's agent does (judging/pilot.py). Driving
scores by the rule of CARLA's leaderboard 1.0. Routes that were recorded elsewhere have no simulator: then this says so
and judges nothing. A killed run keeps the routes that were driven.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch

from tasks.open_loop_driving.judging.closed_loop import Needs
from tasks.open_loop_driving.judging.drives import Crew, drive_all, stands_still
from tasks.open_loop_driving.judging.pilot import Pilot
from tasks.open_loop_driving.learning import untrained
from tasks.open_loop_driving.learning.planner import Planner
from tasks.open_loop_driving.params import Drive
from tasks.yard.files import digest, file_hash
from tasks.yard.params import Reporting
from tasks.yard.step import Context
from tasks.yard.training.accelerator import accelerator
from tasks.yard.worlds.town.ego import STEER_RAD


def crew_of(checkpoint: Path, device: torch.device, params: Drive) -> Crew:
    torch.set_num_threads(1)  # routes are driven side by side; and another number of threads gives other last bits
    planner = Planner.load(checkpoint, device)
    looks = planner.needs.cameras if "rgb" in planner.needs.sensors else ()
    sizes = {name: planner.calibration[name].size for name in looks}
    pilot = Pilot(
        planner, every_s=params.plan_every_s, lock_rad=STEER_RAD, follow=params.follow, creep_s=params.creep_s
    )
    return pilot, Needs(sizes, "lidar" in planner.needs.sensors)


def run(
    params: Drive,
    out: Path,
    ctx: Context = Context(),
    *,
    network: str,
    pack: Path,
    train: dict[str, Path],
    reporting_params: Reporting,
) -> dict[str, float]:
    """Returns driving score, route completion, infraction penalty and infractions a kilometre, by split."""
    if why := untrained.why_not(train[network]):
        return stands_still(network, out, ctx, params, f"{network} is not trained: {why}")
    checkpoint, device = train[network] / "best.pt", accelerator()
    made_from = digest(file_hash(checkpoint), params.plan_every_s, params.follow, params.creep_s)
    crew = partial(crew_of, checkpoint, device, params)
    threads, parallel = torch.get_num_threads(), device.type == "cpu"
    try:
        return drive_all(network, pack, out, ctx, params, reporting_params, crew, made_from, parallel)
    finally:
        torch.set_num_threads(threads)
