import numpy as np
import pytest

from tasks.open_loop_driving.formats.plans import betas
from tasks.open_loop_driving.judging import groups, moments, scores
from tests.tasks.open_loop_driving.roads import REPORTING, straight, write_manifest, write_route


def there(folder, poses, horizon=4, **columns):
    """The test moments of routes r0, r1, ... with these poses."""
    names = {f"r{i}": "test" for i in range(len(poses))}
    for name, pose in zip(names, poses, strict=True):
        write_route(folder, name, pose, horizon=horizon, **columns)
    return moments.read(write_manifest(folder, names, horizon=horizon), "test")


@pytest.mark.parametrize("yaw", [0.0, 2.0])
def test_the_two_conventions_of_l2_are_told_apart_by_their_names(tmp_path, yaw):
    """A plan that is 1, 2, 3, 4 m too far at its four steps, wherever the car is heading."""
    found = there(tmp_path, [straight(10, 6.0, yaw)])
    wrong = found.waypoints + np.array([(1.0, 0), (2.0, 0), (3.0, 0), (4.0, 0)])
    value = scores.judged(scores.errors(found, wrong, None, None), found.route, 2.0, REPORTING).value
    assert value["l2_at_1s"] == pytest.approx(2.0) and value["l2_mean_to_1s"] == pytest.approx(1.5)
    assert value["l2_at_2s"] == pytest.approx(4.0) and value["l2_mean_to_2s"] == pytest.approx(2.5)
    assert value["longitudinal"] == pytest.approx(2.5) and value["lateral"] == pytest.approx(0.0)
    assert value["brake_f1"] is None and value["steer_l1"] is None  # no controls were planned


def test_aside_of_the_way_is_lateral(tmp_path):
    found = there(tmp_path, [straight(10, 6.0, yaw=-1.2)])
    value = scores.judged(
        scores.errors(found, found.waypoints + np.array([0, 0.5]), None, None), found.route, 2.0, REPORTING
    ).value
    assert value["lateral"] == pytest.approx(0.5) and value["longitudinal"] == pytest.approx(0.0, abs=1e-9)


def test_pedals_and_wheel_are_compared_by_the_likeliest_value_of_the_betas(tmp_path):
    pose = straight(10, 5.0)
    control = np.tile([0.0, 0.2, 0.0], (10, 1))
    control[1:3, 2] = 0.6  # of the five moments the driver brakes in two
    found = there(tmp_path, [pose], control=control)
    pedals, steer = np.array([-0.6, 0.0, -0.4, 0.5, 0.0]), np.full(5, -0.1)
    of = scores.errors(found, found.waypoints, *betas(pedals, steer))
    told = scores.numbers(of, found, 2.0, REPORTING)
    assert told["brakes"] == {"right": 1, "planned": 2, "driver": 2, "moments": 5}
    assert told["brake_f1"] == pytest.approx(0.5)
    assert told["throttle_brake_l1"] == pytest.approx((0 + 0.6 + 0.4 + 0.5 + 0) / 5)
    assert told["steer_l1"] == pytest.approx(0.3)


def test_intervals_are_of_whole_routes(tmp_path):
    """Two routes, one planned perfectly and one 1 m off: a draw gives 0, .5 or 1 m, however many moments there are."""
    found = there(tmp_path, [straight(30, 5.0), straight(30, 5.0)])
    wrong = found.waypoints + np.where(found.route == "r0", 1.0, 0.0)[:, None, None] * [1, 0]
    told = scores.numbers(scores.errors(found, wrong, None, None), found, 2.0, REPORTING)
    assert told["l2_at_2s"] == pytest.approx(0.5)
    assert told["intervals"]["l2_at_2s"] == {"low": 0.0, "high": 1.0, "replicates": 200}
    alone = found[found.route == "r0"]
    told = scores.numbers(scores.errors(alone, wrong[found.route == "r0"], None, None), alone, 2.0, REPORTING)
    assert told["l2_at_2s"] == pytest.approx(1.0) and told["intervals"]["l2_at_2s"] is None


def test_a_lead_is_paired_over_the_same_routes(tmp_path):
    """Both are far off on one route and near on the other; one is .1 m better on each: that is sure."""
    found = there(tmp_path, [straight(30, 5.0), straight(30, 5.0)])
    far = np.where(found.route == "r0", 5.0, 1.0)[:, None, None] * [1, 0]
    one, other = (
        scores.judged(scores.errors(found, found.waypoints + off, None, None), found.route, 2.0, REPORTING)
        for off in (far - [0.1, 0], far)
    )
    lead = scores.lead(one, other, "l2_mean_to_2s")
    assert lead["difference"] == pytest.approx(-0.1)
    assert lead["interval"]["low"] == pytest.approx(-0.1) and lead["interval"]["high"] == pytest.approx(-0.1)


def test_what_a_source_does_not_tell_is_none_and_not_nought(tmp_path):
    found = there(tmp_path, [straight(10, 5.0)])
    told = scores.numbers(scores.errors(found, found.waypoints, *betas(*np.zeros((2, 5)))), found, 2.0, REPORTING)
    assert told["throttle_brake_l1"] is None and told["brake_f1"] is None and told["brakes"]["moments"] == 0
    assert told["collisions"]["unmasked"]["rate_up_to"] is None and told["collisions"]["unmasked"]["moments"] == 0


def test_moments_of_a_kind(tmp_path):
    stop = np.concatenate([straight(6, 6.0), np.tile(straight(6, 6.0)[-1:], (8, 1))])
    angle = np.linspace(0, np.pi / 2, 6)
    curve = np.column_stack([8 * np.sin(angle), 8 - 8 * np.cos(angle), angle])
    found = there(tmp_path, [stop, stop[::-1] * [-1, 1, 1], curve, straight(8, 6.0)])
    kinds = groups.situations(found, 2.0)
    assert sum(kind.astype(int) for kind in kinds.values()).tolist() == [1] * len(found)
    of = {
        route: {name for name, mine in kinds.items() if (mine & (found.route == route)).any()}
        for route in set(found.route)
    }
    assert of["r0"] == {"brakes", "stands", "cruises"} and "starts" in of["r1"] and "brakes" not in of["r1"]
    assert of["r2"] == {"turns"} and of["r3"] == {"cruises"}


def test_plans_of_a_shorter_way_are_judged_up_to_their_end(tmp_path):
    found = moments.up_to(there(tmp_path, [straight(12, 4.0)], horizon=6), 2)
    value = scores.judged(scores.errors(found, found.waypoints, None, None), found.route, 2.0, REPORTING).value
    assert value["l2_at_1s"] == 0 and "l2_at_2s" not in value
