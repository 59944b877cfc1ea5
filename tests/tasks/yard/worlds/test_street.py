import re
from dataclasses import replace

import cv2
import numpy as np
import pytest

from tasks.yard.step import BadInput
from tasks.yard.worlds import street
from tasks.yard.worlds.street.camera import Standing

pytestmark = pytest.mark.slow

MARKET = re.compile(r"(-1|\d{4})_c(\d)s(\d+)_(\d{6})_(\d{2})\.jpg")


QUERY = "sessions=2&cameras=3&identities=4&val_identities=3&test_identities=5&images=6&frames=6&seed=3"


@pytest.fixture(scope="module")
def world():
    return street.parse(f"synth://street?{QUERY}")


def test_a_uri_gives_the_world_and_what_it_leaves_out_has_a_default():
    world = street.parse("synth://street?sessions=2&seed=7")
    assert (world.sessions, world.cameras, world.seed) == (2, 5, 7)
    names = street.unit_names(street.parse("synth://street"))
    assert {"train1-c2", "train4-c5", "val1-c1", "test1-c5"} <= set(names)
    assert len(names) == len(set(names)) == 30


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("camera=4", "'camera'; did you mean 'cameras'"),
        ("weather=rain", "known keys: sessions, cameras"),
        ("cameras=7", "cameras = 7 must be from 2 to 6"),
        ("identities=many", "identities = 'many' must be a whole number"),
        ("seed=-1", "seed = -1 must be from 0"),
        ("frames=", "frames = ''"),
    ],
)
def test_a_wrong_query_is_named(query, says):
    with pytest.raises(BadInput, match=re.escape(says)):
        street.parse(f"synth://street?{query}")


def test_another_world_and_another_unit_are_refused(world):
    with pytest.raises(BadInput, match="expected synth://street"):
        street.parse("synth://highway?seed=0")
    with pytest.raises(BadInput, match="train3-c1: no unit of this world; it has train1-c1"):
        street.unit(world, "train3-c1")


def test_backdrops_of_two_sessions_differ(world):
    backdrops = [
        street.camera_of(world, session, camera).scene.backdrop.astype(float)
        for session in street.sessions(world)
        for camera in range(1, world.cameras + 1)
    ]
    differences = [np.abs(a - b).mean() for i, a in enumerate(backdrops) for b in backdrops[:i]]
    assert len(backdrops) == 12
    assert min(differences) > 8


@pytest.mark.parametrize("camera", range(1, 7))
def test_a_box_is_what_a_lone_person_changes(world, camera):
    """Without shadow, blur and noise, on a street without furniture."""
    cam = street.camera_of(replace(world, cameras=6), street.sessions(world)[0], camera)
    cam.light = replace(cam.light, shadow=0.0)
    cam.scene = replace(cam.scene, things=())
    cam.develop = lambda picture, rng: picture
    rng = np.random.default_rng(camera)
    checked = 0
    for _ in range(8):
        walker = cam.walker(rng, street.draw_look(rng), 0.0)
        picture, boxes = cam.frame([walker.at(0.3)], rng)
        for box in boxes:
            changed = np.abs(picture.astype(int) - cam.scene.backdrop).max(-1) > 12
            x, y, w, h = cv2.boundingRect(changed.astype(np.uint8))
            assert np.abs(np.array(box.xyxy) - (x, y, x + w, y + h)).max() <= 2
            checked += 1
    assert checked >= 4


def test_who_is_hidden_is_not_labelled_and_who_is_half_hidden_is_labelled_where_seen(world):
    cam = street.camera_of(world, street.sessions(world)[0], 1)
    cam.scene = replace(cam.scene, things=())
    rng = np.random.default_rng(0)
    look = replace(street.draw_look(rng), height_m=1.7, build=1.0)
    wide = replace(look, height_m=1.9, build=1.35)
    z = cam.nearest_m + 1
    front = Standing(wide, 0.0, z, 0.0, 0.0)

    def boxes(x_m, z_m):
        return {box.index: box for box in cam.frame([front, Standing(look, x_m, z_m, 0.0, 0.0)], rng)[1]}

    assert set(boxes(0.0, z + 0.1)) == {0}
    beside, half = boxes(1.5, z + 0.1)[1], boxes(0.3, z + 0.1)[1]
    assert beside.visible > 0.98
    assert 0.25 < half.visible < 0.9
    assert half.xyxy[2] - half.xyxy[0] < beside.xyxy[2] - beside.xyxy[0]
