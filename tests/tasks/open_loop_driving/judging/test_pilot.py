import numpy as np
import pytest

from tasks.open_loop_driving.formats.plans import Observation, Plan, betas
from tasks.open_loop_driving.judging import closed_loop
from tasks.open_loop_driving.judging.pid import Control, Follower, aim, off_axis
from tasks.open_loop_driving.judging.pilot import Pilot, mixed
from tasks.open_loop_driving.judging.rules import ConstantVelocity
from tasks.yard.worlds import town
from tasks.yard.worlds.town.ego import BRAKE_MPS2, DRAG_1PS, PUSH_MPS2, STEER_RAD

STEP_S = 0.5
WORLD = town.parse("synth://town?seconds=15&cameras=1&height=32&width=56")


def way(speed, turn=0.0, steps=4):
    """Waypoints of somebody who drives so fast, `turn` rad more to the left each step."""
    yaw = turn * np.arange(1, steps + 1)
    return np.cumsum(speed * STEP_S * np.column_stack([np.cos(yaw), np.sin(yaw)]), axis=0)


def follow(waypoints, speed, target=None):
    return Follower().control(waypoints, speed, target, STEP_S)


def test_a_plan_to_stand_brakes_and_a_faster_one_pushes():
    assert follow(way(0.1), 5.0) == (0.0, pytest.approx(0.0, abs=0.01), 1.0)
    assert follow(way(4.0), 5.0).brake == 1.0  # a quarter faster than its plan
    fast = follow(way(6.0), 5.0)
    assert fast.throttle == pytest.approx(0.75) and fast.brake == 0  # at most


@pytest.mark.parametrize("side", [1, -1])
def test_steer_is_to_the_right_where_the_way_goes_right(side):
    done = follow(way(5.0, side * 0.2), 5.0)
    assert np.sign(done.steer) == -side and abs(done.steer) > 0.05


def test_wheels_that_turn_less_are_turned_further():
    half, whole = (Follower(lock).control(way(5.0, 0.1), 5.0, None, STEP_S).steer for lock in (0.61, 1.22))
    assert half == pytest.approx(2 * whole)


def test_the_target_point_is_steered_at_where_the_plan_is_an_outlier():
    straight, left = way(5.0), way(5.0, 0.3)
    assert aim(left, np.array([20.0, 0.0])) == pytest.approx(0)  # it lies straighter ahead than the way
    assert aim(straight, np.array([30.0, 20.0])) == pytest.approx(off_axis(straight[1]))  # far: the way counts
    assert aim(straight, np.array([5.0, 5.0])) == pytest.approx(-0.5)  # near and far off the way


def test_both_branches_are_driven_and_the_harder_brake_is_pressed():
    traj, ctrl = Control(0.6, 0.2, 0.0), Control(0.2, -0.2, 0.04)
    assert mixed(traj, ctrl, turning=False) == pytest.approx((0.7 * 0.6 + 0.3 * 0.2, 0.7 * 0.2 - 0.3 * 0.2, 0.0))
    assert mixed(traj, ctrl, turning=True) == pytest.approx((0.3 * 0.6 + 0.7 * 0.2, 0.3 * 0.2 - 0.7 * 0.2, 0.0))
    assert mixed(traj, Control(0.0, 0.0, 0.8), turning=False) == pytest.approx((0.0, 0.7 * 0.2, 0.8))


class Told:
    """A planner that writes down what it is given."""

    def __init__(self):
        self.given = []

    def plan(self, before, now):
        self.given.append((before, now))
        alpha, beta = betas(np.full((1, 4), 0.5), np.zeros((1, 4)))
        return Plan(way(4.0)[None], alpha, beta)


def test_the_moment_before_is_a_step_ago_however_often_it_plans():
    pilot, told = Pilot(Told(), every_s=0.25), []
    for tick in range(24):
        time_s = tick * 0.05
        if pilot.wants(time_s):
            told.append(time_s)
            pilot.look(time_s, Observation((time_s, 0.0, 0.0), 1.0, 4, (10.0, 0.0)))
    assert told == pytest.approx([0, 0.25, 0.5, 0.75, 1.0])
    apart = [now.pose[0] - before.pose[0] for before, now in pilot.planner.given]
    assert apart == pytest.approx([0, 0.25, 0.5, 0.5, 0.5])


def test_a_plan_is_followed_in_the_world_while_the_car_drives_it():
    """Exactly on its way after .25 s: what is asked for is the same as at the start."""
    controls = []
    for gone in (0.0, 0.25):
        pilot = Pilot(Told(), every_s=0.5, follow="waypoints")
        pilot.look(0.0, Observation((7.0, 3.0, 1.0), 4.0, 4, (20.0, 0.0)))
        at = np.array([7.0, 3.0]) + 4.0 * gone * np.array([np.cos(1.0), np.sin(1.0)])
        controls.append(pilot.drive(gone, (*at, 1.0), 4.0, np.array([20.0, 0.0])))
    assert controls[0] == pytest.approx(controls[1], abs=1e-6)


class Stander:
    """Plans to stand, whatever it is given."""

    def plan(self, _before, _now):
        alpha, beta = betas(np.full((1, 4), -0.3), np.zeros((1, 4)))
        return Plan(np.zeros((1, 4, 2)), alpha, beta)


def stood(seconds, lidar=None, **options):
    """When it pressed the gas, in a car that does not move; and that it braked at all other times."""
    pilot, pushed = Pilot(Stander(), **options), []
    for tick in range(round(seconds / 0.05)):
        time_s = tick * 0.05
        if pilot.wants(time_s):
            pilot.look(time_s, Observation((0.0, 0.0, 0.0), 0.0, 4, (10.0, 0.0), lidar=lidar))
        done = pilot.drive(time_s, (0.0, 0.0, 0.0), 0.0, np.array([10.0, 0.0]))
        assert (done.throttle > 0) != (done.brake > 0)
        pushed += [time_s] * (done.throttle > 0)
    return pushed


def test_who_has_stood_for_long_creeps_on_and_not_into_what_its_lidar_sees():
    assert stood(12.0) == []
    pushed = stood(12.0, creep_s=4.0)
    assert pushed == pytest.approx([*np.arange(4.0, 5.5, 0.05), *np.arange(8.0, 9.5, 0.05)], abs=1e-6)
    ground, car, beside = [3.0, 0.0, 0.0, 1.0], [5.0, 0.5, 0.8, 1.0], [5.0, 3.0, 0.8, 1.0]
    assert stood(6.0, np.array([ground, beside]), creep_s=4.0) and not stood(6.0, np.array([ground, car]), creep_s=4.0)


@pytest.mark.slow
def test_who_creeps_comes_forward_slowly():
    sim = town.begin(WORLD, "town05_r001", traffic=1)
    sim.judge.limit_s = 12.0
    found, way_of = closed_loop.drive(
        sim, Pilot(Stander(), lock_rad=STEER_RAD, creep_s=3.0), closed_loop.Needs({})
    )  # fmt: skip
    assert 3 < 1000 * found["km"] < 15 and way_of[:, 4].max() < 2.5


class Oracle:
    """Plans what the expert would: along the route, faster or slower as it presses its pedals."""

    def __init__(self, sim):
        self.sim = sim

    def plan(self, _before, now):
        sim, done = self.sim, self.sim.expert()
        change = done.throttle * PUSH_MPS2 - done.brake * BRAKE_MPS2 - DRAG_1PS * now.speed_ms
        speed = np.clip(now.speed_ms + change * 0.1 * np.arange(1, 21), 0, 8)
        rows = sim.along_m + np.cumsum(speed * 0.1)[4::5]
        points = np.stack([np.interp(rows, np.arange(len(axis)), axis) for axis in sim.route.points.T], -1)
        alpha, beta = betas(np.full((1, 4), done.throttle - done.brake), np.full((1, 4), done.steer))
        return Plan(sim.ego.local(points)[None], alpha, beta)


@pytest.mark.slow
@pytest.mark.parametrize("follow", ["both", "waypoints", "controls"])
def test_who_plans_as_the_expert_drives_arrives_without_a_fault(follow):
    """So what a network's driving score lacks is the fault of its plans."""
    sim = town.begin(WORLD, "town05_r001", traffic=1)
    pilot = Pilot(Oracle(sim), every_s=0.25, lock_rad=STEER_RAD, follow=follow)
    found, way_of = closed_loop.drive(sim, pilot, closed_loop.Needs({}))
    assert found["completed"] and found["score_composed"] == 100 and found["infractions"] == []
    assert way_of[-1, 0] < 35 and (np.diff(way_of[:, -1]) >= 0).all()


@pytest.mark.slow
def test_constant_velocity_never_leaves_its_place():
    sim = town.begin(WORLD, "town05_r001", traffic=1)
    found, _ = closed_loop.drive(sim, Pilot(ConstantVelocity(4), lock_rad=STEER_RAD), closed_loop.Needs({}))
    assert found["score_composed"] == 0 and found["ended_by"] == "vehicle_blocked" and found["km"] == 0


@pytest.mark.slow
def test_a_planner_is_given_what_it_needs_and_who_needs_nothing_costs_no_picture():
    sim = town.begin(WORLD, "town02_r000")
    blind, seen = (
        closed_loop.observed(sim, needs)
        for needs in (closed_loop.Needs({}), closed_loop.Needs({"front": (16, 28)}, lidar=True))
    )
    assert blind.images is None and blind.lidar is None
    assert seen.images["front"].shape == (16, 28, 3) and seen.lidar.shape[1] == 4
    assert (blind.command, blind.target, blind.pose) == (seen.command, seen.target, seen.pose)
    told = sim.observe(masks=False).target
    assert np.allclose(sim.ego.local(np.array(told[:2])), blind.target) and told[2] == blind.command


def test_the_expert_may_drive_first_and_the_planner_then_knows_the_moment_before():
    sim, told = town.begin(WORLD, "town02_r000", traffic=1), Told()
    pilot = Pilot(told, lock_rad=STEER_RAD)
    sim.judge.limit_s = 2.6  # so long is enough to see it
    _, way_of = closed_loop.drive(sim, pilot, closed_loop.Needs({}), begin_s=2.0)
    before, now = told.given[0]
    assert now.speed_ms > before.speed_ms > 0.5  # it is under way
    apart = np.hypot(now.pose[0] - before.pose[0], now.pose[1] - before.pose[1])
    assert apart == pytest.approx(0.5 * (now.speed_ms + before.speed_ms) / 2, rel=0.05)
    assert way_of[0, 4] == 0 and len(told.given) == 2
