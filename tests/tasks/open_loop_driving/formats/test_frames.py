"""Axes: every source's turn to the left is one here, and what stands still stays where it is."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.open_loop_driving.formats import frames

PLACES = st.floats(-500, 500)
POSES = st.tuples(PLACES, PLACES, st.floats(-math.pi, math.pi)).map(np.array)


@pytest.mark.slow
def test_a_quarter_turn_to_the_left():
    """The car stands at (2, 1) and looks along the world's y: what is 3 m ahead lies at (2, 4), its left is -x."""
    pose = np.array([2.0, 1.0, math.pi / 2])
    assert frames.ego_from_world(np.array([2.0, 4.0]), pose) == pytest.approx([3, 0])
    assert frames.ego_from_world(np.array([1.0, 1.0]), pose) == pytest.approx([0, 1])


@pytest.mark.parametrize("of", ["thinktwice", "bench2drive", "carla"])
def test_a_left_turn_of_each_source_is_a_left_turn_here(of):
    """In CARLA, with Y to the right, a car goes along X, turns left and ends along -Y."""
    carla = [((0.0, 0.0), 0.0), ((10.0, 0.0), 0.0), ((14.0, -4.0), -math.pi / 2), ((14.0, -14.0), -math.pi / 2)]
    ours = {
        "thinktwice": lambda x, y, yaw: frames.thinktwice_pose(-y, x, yaw + math.pi / 2),
        "bench2drive": lambda x, y, yaw: frames.bench2drive_pose(x, y, yaw + math.pi / 2),
        "carla": frames.carla_pose,
    }[of]
    poses = np.array([ours(*place, yaw) for place, yaw in carla])
    assert poses[:, 2] == pytest.approx([0, 0, math.pi / 2, math.pi / 2])
    ahead = frames.ego_from_world(poses[:, :2], poses[0])
    assert ahead == pytest.approx(np.array([[0, 0], [10, 0], [14, 4], [14, 14]]))
    assert frames.ego_from_world(poses[3, :2], poses[2]) == pytest.approx([10, 0])


@given(POSES, st.tuples(PLACES, PLACES).map(np.array))
def test_there_and_back(pose, place):
    assert frames.world_from_ego(frames.ego_from_world(place, pose), pose) == pytest.approx(place, abs=1e-9)
    by_matrix = np.linalg.inv(frames.matrix(pose)) @ [*place, 0, 1]
    assert by_matrix[:2] == pytest.approx(frames.ego_from_world(place, pose), abs=1e-9)


@given(POSES, POSES, st.lists(st.tuples(PLACES, PLACES, st.floats(-3, 20)), min_size=1, max_size=5))
def test_what_stands_still_stays_where_it_is_under_motion_compensation(then, now, world):
    """Half a second ago the lidar saw it from elsewhere; carried along, it lies where it is seen now."""
    world = np.array(world)

    def seen(pose):
        sweep = np.column_stack([frames.ego_from_world(world[:, :2], pose), world[:, 2], np.ones(len(world))])
        return sweep.astype(float)

    carried = frames.moved(seen(then), frames.now_from_then(now, then))
    assert carried == pytest.approx(seen(now), abs=1e-8)


def test_unreals_camera_becomes_an_optical_one():
    """A camera 2 m ahead, 1 m to the right and 1.6 m up, turned right by 90 degrees: what is right of it is ahead."""
    yaw = math.pi / 2  # CARLA turns clockwise
    cam2ego = np.array(
        [[math.cos(yaw), -math.sin(yaw), 0, 2], [math.sin(yaw), math.cos(yaw), 0, 1], [0, 0, 1, 1.6], [0, 0, 0, 1]]
    )
    pose = frames.carla_camera(cam2ego)
    right, up_behind = pose @ [2, -1 - 10, 1.6, 1], pose @ [0, -1 - 10, 2.6, 1]
    assert right[:3] == pytest.approx([0, 0, 10])
    assert up_behind[:3] == pytest.approx([2, -1, 10])  # what is behind the car is right of a camera that looks right


def test_quaternions_turn_as_their_yaw_says():
    for yaw in (-3.0, -0.4, 0.0, 1.2, 3.1):
        w, z = math.cos(yaw / 2), math.sin(yaw / 2)
        assert frames.quaternion_yaw(w, 0.0, 0.0, z) == pytest.approx(yaw)
        assert frames.quaternion_matrix(2 * w, 0.0, 0.0, 2 * z)[:2, :2] == pytest.approx(frames.turn(yaw))
