import re
from dataclasses import replace

import cv2
import numpy as np
import pytest

from tasks.yard.step import BadInput
from tasks.yard.worlds import plaza
from tasks.yard.worlds.plaza import crowd, rig, scenery
from tasks.yard.worlds.plaza.crowd import Standing, Thing
from tasks.yard.worlds.plaza.film import Drawing, Eye

pytestmark = pytest.mark.slow

QUERY = "cameras=3&scenes=2&frames=3&seed=1"


HEIGHT, WIDTH = 144, 256


@pytest.fixture(scope="module")
def world():
    return plaza.parse(f"synth://plaza?{QUERY}")


@pytest.fixture(scope="module")
def scene(world):
    """What test-00 is drawn from."""
    return plaza.draw_scene(world, "test-00")


def bare(eye, things=(), **light):
    """The same camera on an empty square, or one with other things on it."""
    around = eye.scenery
    colours = (((60, 60, 60), (90, 90, 90)),) * len(things)
    around = replace(around, things=things, poles=(), colours=colours, light=replace(around.light, **light))
    return Eye(eye.calibration, around, eye.sensor, -1)


def test_a_uri_gives_the_world_and_what_it_leaves_out_has_a_default():
    world = plaza.parse("synth://plaza?cameras=6&seed=7")
    assert (world.cameras, world.frames, world.seed) == (6, 5, 7)
    names = plaza.unit_names(plaza.parse("synth://plaza?cameras=4&seed=0"))
    assert {"train-00", "train-95", "val-07", "test-07"} <= set(names)
    assert len(names) == len(set(names)) == 112


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("camera=4", "'camera'; did you mean 'cameras'"),
        ("weather=rain", "known keys: cameras, scenes, frames, seed"),
        ("cameras=1", "cameras = 1 must be from 2 to 8"),
        ("scenes=many", "scenes = 'many' must be a whole number"),
        ("seed=-1", "seed = -1 must be from 0"),
        ("frames=", "frames = ''"),
    ],
)
def test_a_wrong_query_is_named(query, says):
    with pytest.raises(BadInput, match=re.escape(says)):
        plaza.parse(f"synth://plaza?{query}")


def test_another_world_and_another_unit_are_refused(world):
    with pytest.raises(BadInput, match="expected synth://plaza"):
        plaza.parse("synth://street?seed=0")
    with pytest.raises(BadInput, match="train-02: no unit of this world; it has train-00"):
        plaza.draw_scene(world, "train-02")


def test_a_region_is_the_part_of_the_square_that_is_filmed(scene):
    """Places of the square are in the region if and only if their pixel as filmed is in the image, but for an edge."""
    x, y = (axis.ravel() for axis in np.meshgrid(np.linspace(0.3, 7.7, 30), np.linspace(0.3, 7.7, 30)))
    beside = np.array([[-0.4, 4, 0], [8.4, 4, 0], [4, -0.4, 0], [4, 8.4, 0]])
    for eye in scene.eyes:
        camera = eye.calibration.camera()
        places = np.column_stack([x, y, 0 * x])
        pixels, depth = camera.project(places)
        filmed = eye.calibration.as_filmed(pixels)
        edge = np.minimum(filmed + 0.5, [WIDTH - 0.5, HEIGHT - 0.5] - filmed).min(1)  # px inside the image
        flat = np.minimum(pixels + 0.5, [WIDTH - 0.5, HEIGHT - 0.5] - pixels).min(1)
        inside = camera.sees(pixels, depth)
        certain = (depth > 0) & (np.minimum(edge, flat) > 2)
        assert certain.sum() > 300
        assert inside[certain].all()
        assert not inside[(depth <= 0) | (np.minimum(edge, flat) < -2)].any()
        assert not camera.sees(*camera.project(beside)).any()


def test_every_place_of_the_square_is_seen_by_two_of_the_four_default_cameras():
    x, y = (axis.ravel() for axis in np.meshgrid(np.arange(0.1, 8, 0.2), np.arange(0.1, 8, 0.2)))
    for seed in range(4):
        cameras = [one.camera() for one in rig.draw(np.random.default_rng(seed), 4)]
        seen = [camera.sees(*camera.project(np.column_stack([x, y, 0 * x]))) for camera in cameras]
        assert (np.sum(seen, 0) >= 2).mean() > 0.97
        assert np.any(seen, 0).mean() > 0.995


def test_what_stands_somewhere_is_filmed_where_the_calibration_says(scene):
    """A small disc around the feet: its middle in the samples of the picture against the pixel as filmed."""
    disc = np.zeros((41, 41, 4), np.uint8)
    cv2.circle(disc, (20, 20), 16, (255, 255, 255, 255), -1)
    marker = Drawing(disc, (20.0, 20.0), 400.0)  # 4 cm around
    worst, checked = 0.0, 0
    for eye in map(bare, scene.eyes):
        for place in np.stack(np.meshgrid(np.arange(0.5, 8, 1.0), np.arange(0.5, 8, 1.0)), -1).reshape(-1, 2):
            pixel, depth = eye.filmed(np.array([[*place, 0.0]]))
            if depth[0] < 1 or not ((pixel > 8) & (pixel < [WIDTH - 8, HEIGHT - 8])).all():
                continue
            # The lower half of the disc is below the ground, which is in front of it: raise it by its radius.
            raised = replace(marker, feet=(20.0, 36.0))
            owner = np.zeros(eye.flat.shape[:2], np.uint8)
            eye.paste(eye.empty.picture.copy(), owner, 1, raised, tuple(place))
            rows, columns = np.nonzero(owner)
            middle = (np.array([columns.mean(), rows.mean()]) + 0.5) / 2 - 0.5
            expected = eye.filmed(np.array([[*place, 0.04]]))[0][0]
            worst, checked = max(worst, float(np.abs(middle - expected).max())), checked + 1
    assert checked > 100
    assert worst < 0.25  # of which the samples of a disc this small are the most


def test_a_box_is_what_a_lone_person_changes(scene):
    """As filmed, without shadow and things. Between the edges of a box and its pixels lies up to one."""
    look = scene.looks[0]
    checked = 0
    for eye in (bare(eye, shadow=0.0) for eye in scene.eyes):
        for place, heading in (((4.0, 4.0), 0.3), ((2.1, 5.2), 2.0), ((5.5, 6.3), -1.0), ((6.2, 2.4), 3.0)):
            picture, boxes = eye.seen([Standing(0, place, heading, 1.0, 1.0)], {0: look})
            if 0 not in boxes or min(boxes[0]) < 2 or boxes[0][2] > WIDTH - 3 or boxes[0][3] > HEIGHT - 3:
                continue
            empty, _ = eye.seen([], {})
            changed = np.abs(picture.astype(int) - empty).max(-1) > 12
            x, y, w, h = cv2.boundingRect(changed.astype(np.uint8))
            assert np.abs(np.array(boxes[0]) - (x - 0.5, y - 0.5, x + w - 0.5, y + h - 0.5)).max() < 1.5
            foot = eye.filmed(np.array([[*place, 0.0]]))[0][0]
            assert abs(boxes[0][3] - foot[1]) < 0.12 * (boxes[0][3] - boxes[0][1])
            checked += 1
    assert checked >= 6


def test_who_stands_behind_a_pillar_or_a_kiosk_is_not_seen(scene):
    eye, look = scene.eyes[0], {0: replace(scene.looks[0], height_m=1.6)}
    middle = np.array([4.0, 4.0])
    away = (middle - eye.centre[:2]) / np.linalg.norm(middle - eye.centre[:2])
    behind = Standing(0, tuple(middle + 1.0 * away), 0.0, 0.0, 0.0)
    before = Standing(0, tuple(middle - 1.2 * away), 0.0, 0.0, 0.0)
    for thing in (Thing((4.0, 4.0), 0.7, 3.4), Thing((4.0, 4.0), 0.9, 3.4, (0.6, 0.6))):
        blocked = bare(eye, (thing,))
        assert 0 not in blocked.seen([behind], look)[1]
        assert 0 in blocked.seen([before], look)[1]
        assert 0 in bare(eye).seen([behind], look)[1]


def test_people_hide_one_another_and_the_nearer_one_is_in_front(scene):
    eye = bare(scene.eyes[0])
    looks = {0: replace(scene.looks[0], height_m=1.9, build=1.3), 1: replace(scene.looks[1], height_m=1.55)}
    middle = np.array([4.0, 4.0])
    away = (middle - eye.centre[:2]) / np.linalg.norm(middle - eye.centre[:2])
    front = Standing(0, tuple(middle), 0.0, 0.0, 0.0)
    back = Standing(1, tuple(middle + 0.5 * away), 0.0, 0.0, 0.0)
    alone = eye.seen([front], looks)[0]
    both = [eye.seen(order, looks)[0] for order in ([front, back], [back, front])]
    assert (both[0] == both[1]).all()
    x1, y1, x2, y2 = eye.seen([front], looks)[1][0]
    middle = int((x1 + x2) / 2)
    chest = slice(int(0.7 * y1 + 0.3 * y2), int(0.55 * y1 + 0.45 * y2)), slice(middle - 1, middle + 2)
    assert np.abs(both[0][chest].astype(int) - alone[chest]).max() < 12


def test_people_keep_clear_of_each_other_and_of_things_and_walk_smoothly():
    counts, strangers, came, speeds = [], 0, 0, []
    for seed in range(8):
        things = scenery.draw_things(np.random.default_rng(seed))
        frames = crowd.walk([seed], 20, things)
        assert len(frames) == 20
        for before, standing in zip([frames[0], *frames], frames, strict=False):
            xy = np.array([one.xy_m for one in standing])
            gaps = np.linalg.norm(xy[:, None] - xy, axis=-1) + 9 * np.eye(len(xy))
            assert gaps.min() >= 0.5
            for thing in things:
                assert np.linalg.norm(xy - thing.xy_m, axis=1).min() >= thing.radius_m + 0.25
            on_it = rig.PLANE.holds(xy)
            counts.append(int(on_it.sum()))
            strangers += int((~on_it).sum())
            known = {one.person: np.array(one.xy_m) for one in before}
            speeds += [2 * np.linalg.norm(one.xy_m - known[one.person]) for one in standing if one.person in known]
        came += len({one.person for one in frames[-1]} - {one.person for one in frames[0]})
    assert min(counts) >= 4 and max(counts) <= 9
    assert strangers and came
    assert max(speeds) < 2.5 and 0.3 < np.mean(speeds) < 1.3
