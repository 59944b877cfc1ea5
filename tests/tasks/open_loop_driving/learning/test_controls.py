"""What is taken from a network is taken, and nothing else."""

import numpy as np
import pytest

from tasks.open_loop_driving.formats import pack as packs
from tasks.open_loop_driving.importers import town as importer
from tasks.open_loop_driving.learning import controls
from tasks.open_loop_driving.learning.batches import Rows
from tasks.open_loop_driving.learning.drives import Drives
from tasks.open_loop_driving.learning.network import load_network, plans_of
from tasks.yard.worlds import town
from tests.tasks.open_loop_driving.networks import write_checkpoint
from tests.tasks.open_loop_driving.roads import straight, write_manifest

WORLD = town.parse("synth://town?cameras=1&height=32&width=56")


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    """Two routes of noise: every moment has its own pictures and points."""
    folder, rng = tmp_path_factory.mktemp("pack"), np.random.default_rng(0)
    cameras = {
        name: packs.calibration.parse({key: of[key] for key in packs.calibration.KEYS}, name, "here")
        for name, of in importer.calibration(WORLD)["cameras"].items()
    }
    for number, name in enumerate(("town05_r000", "town05_r001")):
        rows = [
            packs.Frame(images={"front": rng.integers(0, 255, (32, 56, 3), np.uint8)},
                        lidar=rng.uniform([-5, -15, 0, 0], [25, 15, 2, 1], (400, 4)).astype(np.float32))
            for _ in range(9)
        ]  # fmt: skip
        columns = {
            "frame": np.arange(9), "time_s": np.arange(9) / 2, "pose": straight(9, 3.0 + number),
            "speed_ms": rng.uniform(0, 8, 9), "control": rng.uniform(0, 1, (9, 3)), "command": rng.integers(1, 7, 9),
            "target": rng.uniform(5, 30, (9, 2)), "windows": packs.windows(np.arange(9), 4),
        }  # fmt: skip
        head = packs.Head("town05", "here", 2.0, "", cameras, ("rgb", "lidar"))
        packs.path(folder, name).parent.mkdir()
        packs.write(packs.path(folder, name), head, columns, rows)
    return write_manifest(folder, {"town05_r000": "test", "town05_r001": "test"})


def of(pack, folder, name):
    network, config, _ = load_network(write_checkpoint(folder, name, WORLD))
    return network, Rows(Drives(pack, ("test",)), name, list(config["cameras"]) or ["front"], 4)


def test_another_moment_is_of_another_route_as_far_as_there_is_one():
    route = np.repeat([0, 1, 2], [3, 5, 4])
    found = controls.others(route)
    assert sorted(found) == list(range(12)) and (route[found] != route).all()
    alone = controls.others(np.zeros(6, int))
    assert (alone != np.arange(6)).all() and sorted(alone) == list(range(6))


@pytest.mark.slow
def test_each_control_changes_the_plan_and_the_network_is_as_it_was(pack, tmp_path):
    network, rows = of(pack, tmp_path, "thinktwice_small")
    own = plans_of(network, rows, 4)
    found = controls.controls_of(network, rows, 4)
    assert set(found) == {controls.CAMERAS, controls.LIDAR, controls.LOOK, controls.SPEED}
    for plans in found.values():
        assert (plans.t == own.t).all() and (plans.route == own.route).all()
        assert np.abs(plans.waypoints - own.waypoints).max() > 1e-6
    # the coarse plan looks at nothing again; only what is refined is another's
    assert np.allclose(found[controls.LOOK].waypoints[0], own.waypoints[0], atol=1e-5)
    again = plans_of(network, rows, 4)
    assert (again.waypoints == own.waypoints).all()


def test_shuffled_cameras_are_those_of_the_other_moment(pack, tmp_path):
    """tcp sees the picture and its state: with the other's picture and its own state it plans the control."""
    network, rows = of(pack, tmp_path, "tcp_small")
    found = controls.controls_of(network, rows, 4)
    assert set(found) == {controls.CAMERAS, controls.SPEED}
    theirs = rows.windows[controls.others(rows.drives.route_of[rows.windows])]
    swap = controls.Swapped(rows, lambda frames, raw: controls.replace(raw, images=rows.raw(theirs).images))
    assert np.allclose(plans_of(network, swap, 100, mixed=True).waypoints, found[controls.CAMERAS].waypoints, atol=1e-5)


def test_a_network_that_sees_nothing_has_no_control(pack, tmp_path):
    assert controls.controls_of(*of(pack, tmp_path, "blind"), 4) == {}
