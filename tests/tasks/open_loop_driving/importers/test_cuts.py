"""How much of a drive is used: nothing is cut of a good one, and what went wrong is not learnt from."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.open_loop_driving.importers import cuts

FRAMES = np.arange(40)
DRIVES = np.where(FRAMES < 20, 5.0, 0.0)  # stands from frame 20 on


def record(status="Completed", **infractions):
    return {"status": status, "infractions": infractions}


@pytest.mark.parametrize(
    "said, frames, why",
    [
        (None, 40, None),
        (record(), 40, None),
        (record("Failed - Agent got blocked"), 25, "Failed - Agent got blocked"),
        (record("Failed", vehicle_blocked=["at (1, 2)"]), 25, "vehicle_blocked"),
        (record("Failed - Agent timed out", route_timeout=["Route timeout."]), 25, "route_timeout"),
        (record(collisions_vehicle=["against car at (1, 2)"]), 30, "collisions_vehicle: the last 10"),
        (record(red_light=["at 15.20 s, (1.0, 2.0)", "at 12.20 s, (1.0, 2.0)"]), 15, "red_light at 12.2 s"),
        (record(outside_route_lanes=["x"]), 30, "outside_route_lanes"),
        (record("Failed", vehicle_blocked=["x"], red_light=["at 10.00 s"]), 11, "red_light at 10.0 s"),
        (record(red_light=["at 1.00 s"]), 0, "red_light"),
    ],
)
def test_usable_lengths(said, frames, why):
    found = cuts.usable(said, FRAMES, DRIVES, 2.0)
    assert found[0] == frames and (found[1] is None if why is None else found[1].startswith(why))


def test_numbers_that_are_missing_do_not_lengthen_it():
    numbers = np.delete(FRAMES, [3, 4, 5])
    assert cuts.usable(record("Failed - Agent got blocked"), numbers, np.delete(DRIVES, [3, 4, 5]), 2.0)[0] == 25
