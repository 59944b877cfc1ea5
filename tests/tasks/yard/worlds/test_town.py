import itertools
import re
from dataclasses import replace

import numpy as np
import pytest

from tasks.yard.step import BadInput
from tasks.yard.worlds import town
from tasks.yard.worlds.town import birdview, boxes, ego, expert, judge, rig
from tasks.yard.worlds.town.boxes import Boxes
from tasks.yard.worlds.town.ego import Control, Ego
from tasks.yard.worlds.town.simulation import sensors
from tasks.yard.worlds.town.tracks import GREEN, RED

WORLD = town.parse("synth://town?seconds=15&cameras=2&seed=0")
STAND = Control(0.0, 0.0, 1.0)


def drive(sim, seconds):
    """The expert's drive, for so long."""
    while sim.time_s < seconds - 1e-6 and not sim.over:
        sim.step(*sim.expert(), 0.1)
    return sim


def always(sim, state):
    sim.lights.states = lambda time_s: np.full(len(sim.lights.cycle_s), state)
    return sim


def put(sim, lane, at_m, speed=0.0):
    """The car on a lane."""
    points, yaw = sim.place.tracks.pose(np.array([lane]), np.array([at_m]))
    sim.ego = sim.checked = Ego(float(points[0, 0]), float(points[0, 1]), float(yaw[0]), speed)
    return sim


@pytest.fixture(scope="module")
def driven():
    """Four seconds into a route: cars, people, a crossing."""
    return drive(town.begin(WORLD, "town05_r000"), 4.0)


@pytest.fixture(scope="module")
def seen(driven):
    return driven.observe()


def test_a_uri_gives_the_world_and_its_routes():
    world = town.parse("synth://town?routes=8&cameras=3&seed=7")
    assert (world.routes, world.cameras, world.width, world.seed) == (8, 3, 112, 7)
    names = town.route_names(world)
    assert names[:2] == ["town01_r000", "town02_r000"] and names[-1] == "town02_r001" and len(set(names)) == 8
    assert names == town.route_names(replace(world, routes=20))[:8]
    for held in town.HELD_OUT.values():
        assert any(name.startswith(held) for name in names)


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("camera=4", "'camera'; did you mean 'cameras'"),
        ("weather=rain", "unknown key 'weather'"),
        ("cameras=5", "cameras = 5 must be from 1 to 4"),
        ("seconds=long", "seconds = 'long' must be a number"),
    ],
)
def test_a_wrong_query_is_named(query, says):
    with pytest.raises(BadInput, match=re.escape(says)):
        town.parse(f"synth://town?{query}")


@pytest.mark.parametrize("name", ["town09_r000", "town01", "town01_r000/.."])
def test_a_route_that_there_is_not_is_refused(name):
    with pytest.raises(BadInput, match="no route of this world; they are called town01_r000"):
        town.begin(WORLD, name)


def test_equal_seeds_are_equal_bytes_and_other_seeds_are_not(seen):
    again = drive(town.begin(replace(WORLD, routes=99), "town05_r000"), 4.0).observe()
    assert again.lidar.tobytes() == seen.lidar.tobytes() and again.masks.tobytes() == seen.masks.tobytes()
    assert (again.x, again.y, again.yaw, again.boxes) == (seen.x, seen.y, seen.yaw, seen.boxes)
    for name, view in seen.views.items():
        assert view.picture.tobytes() == again.views[name].picture.tobytes()
        assert view.depth.tobytes() == again.views[name].depth.tobytes()
    other = town.begin(WORLD, "town05_r000", traffic=1)
    first = town.begin(WORLD, "town05_r000")
    assert np.array_equal(other.route.points, first.route.points)
    assert not np.array_equal(other.people.xy, first.people.xy)


def test_every_agent_meets_the_same_traffic_until_it_is_in_its_way():
    one, other = (town.begin(WORLD, "town01_r000") for _ in range(2))
    for _ in range(40):
        one.step(*STAND, 0.1)
        other.step(*other.expert(), 0.1)
    far = np.linalg.norm(one.vehicles.xy - other.ego.xy, axis=1) > 70
    moved = far[: len(one.cars.speed)] & (one.cars.speed > 1)
    assert moved.sum() > 5
    assert np.array_equal(one.vehicles.xy[far], other.vehicles.xy[far])
    assert np.array_equal(one.lights.states(one.time_s), other.lights.states(other.time_s))


@pytest.fixture(scope="module")
def drives():
    """Of the expert, one a town: the drive, and twice a second what made it brake and how fast it was."""
    found = []
    for number in town.TOWNS:
        sim, rows = town.begin(WORLD, f"town{number:02d}_r002"), []
        while not sim.over:
            rows.append((sim.hazard(), sim.ego.speed))
            drive(sim, sim.time_s + 0.5)
        found.append((sim, rows))
    return found


@pytest.mark.slow
def test_the_expert_comes_to_the_end_without_a_fault(drives):
    for sim, _ in drives:
        assert sim.route_completion == 1 and sim.infractions == []


@pytest.mark.slow
def test_of_a_car_led_astray_only_its_coming_back_is_recorded():
    """It does nothing wrong, stands before free roads and drives on, leaves the middle of its lane and returns; and
    from no moment that has one before it does it go on otherwise than the expert drives."""
    world = town.parse("synth://town?seconds=24&cameras=1&height=32&width=32&astray=1")
    set_out, returned, led = 0, 0, 0
    for name in town.route_names(world)[:4]:
        sim = town.begin(world, name)
        kept, others, step = [], [], sim.step

        def noted(*control, sim=sim, others=others, step=step):
            if np.abs(np.array(control[:3]) - sim.expert()).max() > 0.05:  # more than the wheel's noise
                others.append(sim.time_s * town.RATE_HZ)
            step(*control)

        sim.step = noted
        for moment in town.recording(world, sim):
            aside = float(np.abs(sim.ego.local(sim.route.points)[:, 1])[sim.row])
            kept.append((moment.frame, sim.ego.speed, moment.control.throttle, moment.hazard, aside))
        frame, speed, throttle, hazard, aside = (np.array(column) for column in zip(*kept, strict=True))
        assert not sim.infractions and (np.diff(frame) > 0).all()
        follows = np.flatnonzero(np.diff(frame) == 1) + 1
        onward = follows[:-1][np.diff(frame)[follows[:-1]] == 1]
        told = (np.array(others) >= frame[onward][:, None]) & (np.array(others) < frame[onward][:, None] + 1)
        assert not told.any()
        led += len(others)
        set_out += ((speed[follows] == 0) & (throttle[follows] > 0) & (hazard[follows] == "")).sum()
        back = follows[follows + 4 < len(frame)]
        returned += ((aside[back] > 0.3) & (aside[back + 4] < 0.15)).sum()
    assert set_out >= 4 and returned >= 1 and led > 50


def test_who_is_driven_by_another_than_the_recorder_is_not_led_astray():
    ways = [drive(town.begin(replace(WORLD, astray=astray), "town05_r000"), 5.0).ego for astray in (0, 1)]
    assert ways[0] == ways[1]


@pytest.mark.slow
def test_braking_must_be_seen(drives):
    """Of the moments about two in five are ones where something in view forces braking, also while the car drives."""
    rows = [row for _, rows in drives for row in rows]
    hazards, moving = np.array([bool(why) for why, _ in rows]), np.array([speed > 1.0 for _, speed in rows])
    assert {why for why, _ in rows} == {"", expert.LIGHT, expert.VEHICLE, expert.WALKER}
    assert 0.2 < hazards.mean() < 0.6
    assert 0.08 < hazards[moving].mean() < 0.5


def empty(sim):
    """Without cars on the lanes, and nobody on the crossings."""
    for name, value in vars(sim.cars).items():
        if isinstance(value, np.ndarray):
            setattr(sim.cars, name, value[:0])
    sim.vehicles = sim.place.things.parked
    sim.walkers.wait_s[:] = 1e9
    sim.walkers.way[:] = 0
    return sim


def lit_route():
    """An empty town, and a route that comes to a light within 50 m."""
    for number in range(40):
        sim = town.begin(WORLD, f"town01_r{number:03d}")
        if sim.route.stops and sim.route.stops[0][0] < 50 and not sim.route.changes:
            return empty(sim)
    raise AssertionError("no such route")


@pytest.mark.slow
def test_a_red_light_stops_the_expert_and_a_green_one_does_not():
    sim = always(lit_route(), RED)
    line = sim.route.stops[0][0]
    drive(sim, 25)
    assert sim.ego.speed < 0.05 and sim.hazard() == expert.LIGHT
    assert 0 < line - (sim.along_m + ego.SIZE_M[0] / 2) < 3
    assert sim.infractions == []
    always(sim, GREEN)
    drive(sim, 45)
    assert sim.along_m > line + 5 and sim.infractions == []


def test_who_drives_over_a_red_light_is_told_where_and_when():
    sim = always(lit_route(), RED)
    line = sim.route.stops[0][0]
    route = replace(sim.route, stops=())
    while sim.along_m < line + 3 and sim.time_s < 60:
        whole, sim.route = sim.route, route
        control = sim.expert()  # of one who does not know that there is a light
        sim.route = whole
        sim.step(*control, 0.1)
    (found,) = sim.infractions
    assert found.kind == judge.RED_LIGHT
    assert np.linalg.norm([found.x, found.y] - sim.route.points[round(line)]) < 4
    assert judge.scores(1.0, sim.infractions, 0.0)["score_composed"] == pytest.approx(70)


@pytest.mark.slow
def test_who_does_not_steer_leaves_the_road_and_who_hits_a_thing_does_not_go_through_it():
    sim = town.begin(WORLD, "town02_r001")
    sim.step(0.7, 0.4, 0.0, 30.0)
    kinds = {found.kind for found in sim.infractions}
    assert kinds & {judge.OUTSIDE, judge.LAYOUT, judge.VEHICLE}
    assert all(0 < found.time_s <= 30 for found in sim.infractions)
    solid = sim.place.things.houses
    assert not boxes.overlap(sim.ego.box, replace(solid, size=solid.size - [1, 1, 0])).any()


@pytest.mark.parametrize(("left_m", "outside"), [(0.0, 0), (1.5, 0), (3.5, 1), (-5.5, 1)])
def test_the_way_among_those_who_come_towards_it_or_off_the_road_is_taken_off(left_m, outside):
    sim = empty(town.begin(WORLD, "town05_r000"))  # it begins straight on a street with one lane each way
    yaw = float(sim.route.yaw[0])
    x, y = sim.route.points[0] + left_m * np.array([-np.sin(yaw), np.cos(yaw)])
    sim.ego = sim.checked = Ego(float(x), float(y), yaw)
    sim.vehicles, sim._solid = sim.vehicles[:0], sim._solid[:0]
    sim.step(0.5, 0.0, 0.0, 5.0)
    assert sim.along_m > 5 and sim.outside == outside
    assert [found.kind for found in sim.infractions] == [judge.OUTSIDE] * outside
    assert sim.scores["score_composed"] == 100 * sim.route_completion * (1 - outside)


@pytest.mark.slow
def test_who_stands_on_a_zebra_crossing_is_not_to_blame_and_who_drives_on_is():
    def crossed(control):
        sims = (town.begin(WORLD, f"town01_r{number:03d}") for number in range(20))
        sim = empty(next(sim for sim in sims if sim.route.zebras))
        sim.row = round(sim.route.zebras[0][0] - 2.5)
        x, y = sim.route.points[sim.row]
        sim.ego = sim.checked = Ego(float(x), float(y), float(sim.route.yaw[sim.row]))
        sim.walkers.at_m[:], sim.walkers.way[:] = 0.0, 1.0
        sim.step(*control, 14.0)
        return {found.kind for found in sim.infractions}

    assert crossed(STAND) == set()
    assert judge.PEDESTRIAN in crossed(Control(0.06, 0.0, 0.0))


@pytest.mark.slow
def test_who_stands_for_ever_is_blocked_and_the_drive_is_over():
    sim = town.begin(WORLD, "town01_r000")
    sim.step(*STAND, judge.BLOCKED_S + 2)
    assert [found.kind for found in sim.infractions] == [judge.BLOCKED]
    assert sim.over and sim.route_completion < 0.1
    before = sim.time_s
    sim.step(1, 0, 0, 1.0)
    assert sim.time_s == before


def test_a_control_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="must be finite"):
        town.begin(WORLD, "town01_r000").step(float("nan"), 0, 0)


def test_steering_to_the_right_turns_right():
    car = Ego(0.0, 0.0, 0.0, 5.0)
    for _ in range(20):
        car = car.moved(Control(0.2, 0.5, 0.0), 0.05)
    assert car.yaw < -0.2 and car.y < -0.2


def points_of(view, eye, kinds):
    """Where the pixels of some classes are, in the car's frame."""
    row, column = np.nonzero(np.isin(view.kinds, kinds))
    rays = np.column_stack([column + 0.5, row + 0.5, np.ones(len(row))]) @ np.linalg.inv(eye.K).T
    back = np.linalg.inv(eye.camera_from_ego)
    return (rays * view.depth[row, column][:, None]) @ back[:3, :3].T + back[:3, 3]


def outside(points, those: Boxes) -> np.ndarray:
    """Metres from points (n, 3) to the nearest box; 0 within."""
    best = np.full(len(points), np.inf)
    for one in range(len(those)):
        c, s = np.cos(those.yaw[one]), np.sin(those.yaw[one])
        local = (points[:, :2] - those.xy[one]) @ np.array([[c, -s], [s, c]])
        high = those.size[one, 2] / 2
        up = np.abs(points[:, 2] - those.base[one] - high) - high
        off = np.column_stack([np.abs(local) - those.size[one, :2] / 2, up])
        best = np.minimum(best, np.linalg.norm(np.maximum(off, 0), axis=1))
    return best


def in_world(sim, points):
    c, s = np.cos(sim.ego.yaw), np.sin(sim.ego.yaw)
    return np.column_stack([points[:, :2] @ np.array([[c, s], [-s, c]]) + sim.ego.xy, points[:, 2]])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["front", "back"])
def test_a_pixel_and_its_depth_give_a_point_on_the_thing_of_its_class(driven, seen, name):
    eye = next(one for one in town.eyes(2, 64, 112) if one.name == name)
    view, things = seen.views[name], driven.place.things
    ground = points_of(view, eye, [boxes.ROAD, boxes.ROAD_LINE, boxes.PAVEMENT])
    assert len(ground) > 900 and np.abs(ground[:, 2]).max() < 0.01
    where = in_world(driven, ground[ground[:, 0] < 40])[:, :2]
    apart = np.abs(where[:, None] - driven.place.tracks.points).max(-1).min(1)
    assert np.quantile(apart, 0.99) < 8
    of_class = {
        boxes.VEHICLE: driven.vehicles, boxes.PEDESTRIAN: driven.people, boxes.BUILDING: things.houses,
        boxes.TRAFFIC_LIGHT: things.heads, boxes.POLE: things.posts,
        boxes.VEGETATION: boxes.together(things.trunks, things.crowns),
    }  # fmt: skip
    found = 0
    for kind, those in of_class.items():
        points = points_of(view, eye, [kind])
        if len(points):
            far = np.linalg.norm(points, axis=1)
            off = outside(in_world(driven, points), those)
            assert np.quantile(off - 0.02 * far, 0.98) < 0.05, kind  # at its edge a pixel may be of a side seen askance
            assert off.max() < 2.0
            found += 1
    assert found >= 3
    assert (view.depth[view.kinds == boxes.SKY] == 1000).all()


def test_boxes_lie_over_the_pixels_of_their_class():
    """The middle of a car or of somebody that nothing hides is a pixel of it, as far away as it is."""
    sim, looked = town.begin(WORLD, "town05_r000"), 0
    while looked < 5 and sim.time_s < 15:
        now = drive(sim, sim.time_s + 1).observe(masks=False)
        for eye, one in itertools.product(town.eyes(2, 64, 112), now.boxes):
            (pixel,), (depth,) = eye.project(np.array([one.centre]))
            if one.kind == "traffic_light" or not 4 < depth < 30 or not (4 <= pixel[0] < 108 and 0 <= pixel[1] < 64):
                continue
            u, v = np.floor(pixel).astype(int)
            view = now.views[eye.name]
            if view.depth[v, u] > depth - 0.75 * one.size[0]:  # nothing is before it
                looked += 1
                assert view.kinds[v, u] in (boxes.VEHICLE, boxes.PEDESTRIAN)
                assert abs(view.depth[v, u] - depth) < one.size[0]
    assert looked >= 5


def test_lidar_points_lie_on_the_ground_and_on_what_stands_there(driven, seen):
    points = in_world(driven, seen.lidar[:, :3].astype(float))
    assert 2000 < len(points) < 3200 and seen.lidar.dtype == np.float32
    things = driven.place.things
    everything = boxes.together(
        driven.vehicles, driven.people, things.houses, things.trunks, things.crowns, things.posts, things.heads
    )
    off = np.minimum(np.abs(points[:, 2]), outside(points, everything))
    assert off.max() < 0.15
    assert (outside(points, everything)[points[:, 2] > 0.5] < 0.15).all()
    assert ((seen.lidar[:, 3] > 0) & (seen.lidar[:, 3] <= 1)).all()


def test_masks_have_everybody_where_he_is(driven, seen):
    masks = seen.masks
    assert masks.shape == (15, 192, 192) and masks.dtype == np.uint8
    assert set(np.unique(masks[2])) <= {0, 120, 255} and set(np.unique(masks[11:])) <= {0, 80, 170, 255}
    inside = 0
    for one in seen.boxes:
        column, row = (birdview.LEFT_M - one.centre[1]) * 5, (birdview.AHEAD_M - one.centre[0]) * 5
        if 2 < column < 190 and 2 < row < 190 and one.kind != "traffic_light":
            inside += 1
            assert masks[6 if one.kind == "vehicle" else 10][int(row), int(column)] == 255
    assert inside >= 2
    # The car is in the middle, 8 m from the lower edge, on its lane and on its route.
    assert masks[0][152, 96] == 255 and masks[1][148, 96] == 255
    area = sum(one.size[0] * one.size[1] for one in seen.boxes if one.kind == "vehicle" and -8 < one.centre[0] < 30.4)
    assert (masks[6] > 0).sum() / 25 < 1.3 * area + 1


def test_masks_of_the_past_have_a_car_where_it_was(driven):
    """A car that drives away: 4 m ahead and 2 m to the left 1.5 s ago, 10 m ahead now."""
    car, nobody = driven.ego, driven.people[:0]
    c, s = np.cos(car.yaw), np.sin(car.yaw)

    def moment(ahead):
        at = car.xy + ahead * np.array([c, s]) + 2 * np.array([-s, c])
        return birdview.Moment(boxes.boxes([at], car.yaw, (4, 1.8, 1.5)), nobody, driven.lights.states(0))

    moments = [moment(4 + 6 * step / 15) for step in range(16)]
    ground = sensors(0, driven.place.town, 2, 64, 112).ground
    judged = driven.judge
    masks = birdview.masks(car, ground, driven.route.points, judged.ends, judged.arms, moments)
    for channel, ahead in zip((3, 4, 5, 6), (4, 6, 8, 10), strict=True):
        rows, columns = np.nonzero(masks[channel])
        assert birdview.AHEAD_M - (rows.mean() + 0.5) / 5 == pytest.approx(ahead, abs=0.11)
        assert birdview.LEFT_M - (columns.mean() + 0.5) / 5 == pytest.approx(2, abs=0.11)
    assert not masks[7:11].any()
    first = birdview.masks(car, ground, driven.route.points, judged.ends, judged.arms, moments[-1:])
    assert np.array_equal(first[3], first[6])  # before the first moment there was none


@pytest.mark.slow
def test_lights_of_the_masks_lie_where_cars_stop(driven):
    sim = always(lit_route(), RED)
    at, *_ = sim.route.stops[0]
    drive(sim, 25)
    masks = sim.observe().masks
    ahead = int((birdview.AHEAD_M - (at - sim.along_m)) * 5)
    assert masks[14][ahead - 6 : ahead + 7, 96].max() == 255
    assert masks[14][150:, 96].max() == 0


def light_and_pixels(distance_m, state):
    """The front camera's picture around the lamp that is on, from so far before a light."""
    sim = always(town.begin(WORLD, "town01_r000"), state)
    sim.weather = replace(sim.weather, noise=0.0)
    lane = next(
        i for i, one in enumerate(sim.place.streets.lanes) if one.arm >= 0 and one.length_m > distance_m + 5 and i > 3
    )
    put(sim, lane, sim.place.streets.lanes[lane].length_m - distance_m - 1.5)
    empty(sim)
    head = sim.place.things.heads.xy[np.flatnonzero(sim.place.things.arms == sim.place.streets.lanes[lane].arm)]
    head = head[np.linalg.norm(head - sim.place.streets.lanes[lane].points[-1], axis=1).argmin()]
    up = 3.3 + {RED: 1.42, GREEN: 0.32}[state]
    pixel, _ = town.eyes(1, 64, 112)[0].project(np.array([[*sim.ego.local(head), up]]))
    u, v = np.floor(pixel[0]).astype(int)
    return sim.observe(masks=False).views["front"].picture[v - 1 : v + 2, u - 1 : u + 2].astype(int).reshape(-1, 3)


@pytest.mark.parametrize("distance_m", [10, 20, 30])
def test_a_red_light_is_red_in_the_picture_and_a_green_one_green(distance_m):
    red, green = light_and_pixels(distance_m, RED), light_and_pixels(distance_m, GREEN)
    least = 90 if distance_m <= 20 else 50
    assert (red[:, 2] - red[:, 1]).max() > least
    assert (green[:, 1] - green[:, 2]).max() > least
    if distance_m <= 20:
        assert (red[:, 2] - red[:, 1] > 45).sum() >= 3


def test_the_rig_is_a_right_handed_camera():
    for one in town.eyes(4, 64, 112):
        rotation = one.camera_from_ego[:3, :3]
        assert np.allclose(rotation @ rotation.T, np.eye(3)) and np.linalg.det(rotation) == pytest.approx(1)
    front, left, right, back = town.eyes(4, 64, 112)
    for eye, ahead in ((front, [20, 0, 2.5]), (back, [-20, 0, 2.5])):
        pixel, depth = eye.project(np.array([ahead]))
        assert np.allclose(pixel, [[56, 32]]) and 18 < depth[0] < 19
    assert front.project(np.array([[20, 3, 2.5]]))[0][0, 0] < 56  # to the left is to the left
    assert left.project(np.array([[5, 10, 2.5]]))[1][0] > 0 > right.project(np.array([[5, 10, 2.5]]))[1][0] - 8
    assert pytest.approx(2 * np.arctan(56 / front.K[0, 0])) == rig.FOV_RAD
