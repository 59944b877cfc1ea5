"""What one network would do at every moment of validation and test, layer by layer.

Reads    pack/, train/<network>/best.pt
Writes   plan/<network>/plans.h5   see formats/plans.py; beside val and test groups of test moments from which
                                   something is taken (learning/controls.py); untrained.json in its place of a network
                                   that this source cannot train
         plan/<network>/left_out.json   {split: {route: why}} of the routes that lack what the network needs
Alone    python -m tasks open_loop_driving-plan@<network>
"""

from __future__ import annotations

from pathlib import Path

from models.open_loop_driving.factory import layers_of
from tasks.open_loop_driving.formats import plans
from tasks.open_loop_driving.formats.plans import FILE, SPLITS, Planned
from tasks.open_loop_driving.learning import suited, untrained
from tasks.open_loop_driving.learning.batches import TOLD, Rows
from tasks.open_loop_driving.learning.controls import controls_of
from tasks.open_loop_driving.learning.drives import Drives
from tasks.open_loop_driving.learning.network import load_network, plans_of
from tasks.open_loop_driving.params import Plan
from tasks.yard.step import BadInput, Context
from tasks.yard.training.accelerator import accelerator


def run(
    params: Plan, out: Path, ctx: Context = Context(), *, network: str, pack: Path, train: dict[str, Path]
) -> dict[str, float]:
    """Returns how many moments of each split were planned."""
    if why := untrained.why_not(train[network]):
        untrained.say(out, network, why, "plans nothing")
        return {}
    device = accelerator()
    model, config, _ = load_network(train[network] / "best.pt", device)
    of, found, controls, cameras = config["network"], {}, {}, list(config["cameras"])
    suited.write(out, suited.say(Drives(pack, suited.EVERY), network, cameras))
    for split in SPLITS:
        drives = suited.suited(Drives(pack, (split,)), network, cameras)
        if drives.routes:
            if drives.rate_hz != config["rate_hz"]:
                raise BadInput(
                    f"{pack}: {drives.rate_hz:g} frames a second for a network that was trained on "
                    f"{config['rate_hz']:g}; train it again"
                )
            rows = Rows(drives, network, cameras, of["steps"], device=device, told=config.get("told", TOLD))
            found[split] = plans_of(model, rows, params.batch)
            if split == "test":
                controls = controls_of(model, rows, params.batch)
    if not found:
        raise BadInput(f"{pack / 'manifest.json'}: validation and test have no moment to plan; add routes")
    plans.write(out / FILE, Planned(network, layers_of(network), of["steps"], config["rate_hz"], found | controls))
    return {f"{split}/moments": len(of.t) for split, of in found.items()}
