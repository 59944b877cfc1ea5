import numpy as np
import pytest

from tasks.open_loop_driving.judging import collisions, moments
from tests.tasks.open_loop_driving.roads import box, straight, write_manifest, write_route


def rectangle(x, y, yaw=0.0, length=4.0, width=2.0):
    return np.array([[x, y, yaw, length, width]])


@pytest.mark.parametrize(
    ("other", "meets"),
    [
        (rectangle(3.9, 0), True),
        (rectangle(4.1, 0), False),
        (rectangle(3.1, 0, np.pi / 2), False),  # across: 2 + 1 m
        (rectangle(2.9, 0, np.pi / 2), True),
        (rectangle(3.4, 2.4, np.pi / 4), True),  # boxes that stand square around both would meet at (3.9, 2.9) too
        (rectangle(3.9, 2.9, np.pi / 4), False),
        (rectangle(0, 0, 0.3, 0.2, 0.2), True),  # inside
    ],
)
def test_rectangles_meet_where_they_share_ground(other, meets):
    assert collisions.overlap(rectangle(0, 0), other)[0] == meets
    assert collisions.overlap(other, rectangle(0, 0))[0] == meets


def test_the_car_points_along_its_way_and_as_before_where_it_stands():
    way = np.array([[(2.0, 0), (4.0, 2.0), (4.0, 2.0), (4.0, 4.0)]])
    assert collisions.headings(way)[0] == pytest.approx([0, np.pi / 4, np.pi / 4, np.pi / 2])


def test_whoever_stands_in_the_world_is_met_where_the_plan_goes(tmp_path):
    """A car stands 12 m ahead, in a world in which ours is turned: a plan that goes on is in it at two steps."""
    pose = np.tile(straight(1, 0, yaw=1.0, at=(50.0, -20.0)), (8, 1))
    boxes = [[box(12, 0), box(0, 6, kind="traffic_light")]] * 8
    write_route(tmp_path, "r0", pose, boxes)
    found = moments.read(write_manifest(tmp_path, {"r0": "test"}), "test")
    plan = np.tile(np.array([(5.0, 0), (10.0, 0), (15.0, 0), (20.0, 0)]), (len(found), 1, 1))
    assert collisions.hits(plan, found).tolist() == [[False, True, True, False]] * len(found)
    assert not collisions.hits(found.waypoints, found).any()


def test_they_are_where_they_are_at_that_step_and_not_at_the_first(tmp_path):
    """Someone crosses: beside the lane at first, in it at the third step, beyond it later."""
    pose = straight(7, 0)
    across = [-9.0, -9.0, -6.0, -3.0, 0.0, 3.0, 6.0]
    write_route(tmp_path, "r0", pose, [[box(8, y, kind="walker", length=0.6, width=0.6)] for y in across])
    found = moments.read(write_manifest(tmp_path, {"r0": "test"}), "test")[np.array([True, False])]
    plan = np.tile(np.array([(8.0, 0.0)]), (1, 4, 1))
    assert collisions.hits(plan, found).tolist() == [[False, False, True, False]]


def test_boxes_of_a_car_whose_origin_is_its_rear_axle_reach_further_ahead(tmp_path):
    met = {}
    for origin in ("on the ground below the middle of the rear axle", "on the ground below the middle of the car"):
        write_route(tmp_path, "r0", straight(7, 0), [[box(5.2, 0)]] * 7, origin=origin)
        found = moments.read(write_manifest(tmp_path, {"r0": "test"}), "test")
        met[origin] = bool(collisions.hits(np.zeros((len(found), 4, 2)), found).any())
    assert list(met.values()) == [True, False]


def test_masked_rates_leave_out_where_the_driver_met_somebody_too(tmp_path):
    known = np.array([True, True, True, False])
    plan = np.array([[0, 1], [1, 0], [0, 0], [1, 1]], bool)
    truth = np.array([[0, 0], [0, 1], [0, 0], [0, 0]], bool)
    told = collisions.rates(plan, truth, known)
    assert told["unmasked"]["moments"] == 3 and told["unmasked"]["at"] == [1, 1] and told["unmasked"]["up_to"] == [1, 2]
    assert told["masked"]["moments"] == 2 and told["masked"]["up_to"] == [0, 1]
    assert told["masked"]["rate_up_to"] == [0, 0.5] and told["of_the_driver"] == 1
