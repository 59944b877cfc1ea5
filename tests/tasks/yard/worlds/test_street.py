import re
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml

from tasks.yard.files import folder_hash, read_json
from tasks.yard.step import BadInput
from tasks.yard.worlds import street
from tasks.yard.worlds.street.camera import Standing

pytestmark = pytest.mark.slow

MARKET = re.compile(r"(-1|\d{4})_c(\d)s(\d+)_(\d{6})_(\d{2})\.jpg")
QUERY = "sessions=2&cameras=3&identities=4&val_identities=3&test_identities=5&images=6&frames=6&seed=3"


@pytest.fixture(scope="module")
def world():
    return street.parse(f"synth://street?{QUERY}")


@pytest.fixture(scope="module")
def units(world, tmp_path_factory):
    """Every unit of a small world, with what was returned for it."""
    folder = tmp_path_factory.mktemp("street")
    counts = {name: street.write_unit(world, name, folder / name) for name in street.unit_names(world)}
    return folder, counts


def market(folder):
    """(pid, camera, session) of every crop in a folder."""
    return [tuple(int(part) for part in MARKET.fullmatch(p.name).groups()[:3]) for p in sorted(folder.glob("*"))]


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


def test_another_world_and_another_unit_are_refused(world, tmp_path):
    with pytest.raises(BadInput, match="expected synth://street"):
        street.parse("synth://highway?seed=0")
    with pytest.raises(BadInput, match="train3-c1: no unit of this world; it has train1-c1"):
        street.write_unit(world, "train3-c1", tmp_path)


@pytest.mark.parametrize("name", ["train1-c3", "test1-c2"])
def test_a_unit_has_the_same_bytes_however_many_sessions_there_are(units, tmp_path, name):
    more = street.parse(f"synth://street?{QUERY.replace('sessions=2', 'sessions=5')}")
    np.random.seed(1)
    street.write_unit(more, name, tmp_path / name)
    assert folder_hash(tmp_path / name) == folder_hash(units[0] / name)


def test_another_seed_is_another_world(world, units, tmp_path):
    street.write_unit(replace(world, seed=4), "val1-c1", tmp_path)
    hashes = [folder_hash(folder / "images") for folder in (tmp_path, units[0] / "val1-c1")]
    assert hashes[0] != hashes[1]


def test_a_unit_holds_the_parts_that_it_names(units):
    folder, counts = units
    for name, count in counts.items():
        about = read_json(folder / name / "unit.json")
        test = name.startswith("test")
        assert about["parts"] == (["reid", "detect", "frames"] if test else ["reid", "detect"])
        assert about["counts"] == count
        assert (folder / name / "frames").exists() == test
        for part in ("bounding_box_train", "query", "bounding_box_test"):
            assert count.get(part, 0) == len(list((folder / name / part).glob("*")))


def test_names_are_those_of_market_and_sessions_share_nobody(units):
    folder, _ = units
    people = {}
    for unit in sorted(folder.glob("*")):
        session, camera = re.fullmatch(r"(\w+?\d)-c(\d)", unit.name).groups()
        for part in ("bounding_box_train", "query", "bounding_box_test"):
            for pid, number, _ in market(unit / part):
                assert number == int(camera)
                if pid > 0:
                    people.setdefault(session, set()).add(pid)
    assert {session: len(pids) for session, pids in people.items()} == {"train1": 4, "train2": 4, "val1": 3, "test1": 5}
    assert len(set.union(*people.values())) == 16


def test_every_query_has_a_match_in_another_camera(units):
    """One query for a person and a camera; the gallery also has distractors."""
    folder, _ = units
    queries = [crop for unit in sorted(folder.glob("test1-*")) for crop in market(unit / "query")]
    gallery = [crop for unit in sorted(folder.glob("test1-*")) for crop in market(unit / "bounding_box_test")]
    assert len(queries) == len(set(queries))
    for pid, camera, _ in queries:
        assert any(p == pid and c != camera for p, c, _ in gallery)
    assert sum(pid == 0 for pid, _, _ in gallery) == 3 * street.crops.DISTRACTORS


def test_a_training_identity_has_several_crops_in_several_cameras(units):
    crops = pd.DataFrame(
        [crop for unit in units[0].glob("train*") for crop in market(unit / "bounding_box_train")],
        columns=["pid", "camera", "session"],
    )
    assert crops.groupby(["pid", "camera"]).size().min() >= 2
    assert crops.groupby("pid").camera.nunique().min() >= 2


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


def test_detector_images_are_labelled_and_some_are_empty(tmp_path):
    world = street.parse("synth://street?sessions=1&cameras=2&identities=1&images=40")
    street.write_unit(world, "train1-c1", tmp_path)
    description = yaml.safe_load((tmp_path / "data.yaml").read_text())
    images = sorted((tmp_path / description["train"]).glob("*.jpg"))
    assert len(images) == 40
    assert description["names"] == {0: "person"}
    labels = [(tmp_path / "labels/train" / f"{image.stem}.txt").read_text().splitlines() for image in images]
    assert 0 < sum(not lines for lines in labels) < 20
    rows = np.array([[float(value) for value in line.split()] for lines in labels for line in lines])
    assert len(rows) > 60
    assert (rows[:, 0] == 0).all()
    assert (rows[:, 1:] > 0).all() and (rows[:, 1:] <= 1).all()
    assert (rows[:, 1:3] - rows[:, 3:] / 2 > -1e-5).all() and (rows[:, 1:3] + rows[:, 3:] / 2 < 1 + 1e-5).all()
    heights_px = rows[:, 4] * cv2.imread(str(images[0])).shape[0]
    assert 45 < np.median(heights_px) < 120


def test_a_film_shows_known_people_where_its_truth_says(world, units):
    folder, _ = units
    known = {pid for unit in folder.glob("test1-*") for pid, _, _ in market(unit / "query")}
    for unit in sorted(folder.glob("test1-*")):
        camera = read_json(unit / "camera.json")
        assert camera == {"camera": int(unit.name[-1]), "fps": 4.0, "name": unit.name}
        frames = sorted(path.stem for path in (unit / "frames").glob("*.jpg"))
        assert frames == [f"{index:06d}" for index in range(world.frames)]
        truth = pd.read_csv(unit / "truth.csv")
        assert list(truth) == ["frame", "pid", "x1", "y1", "x2", "y2"]
        assert len(truth) and set(truth.pid) <= known
        assert truth.frame.between(0, world.frames - 1).all()
        assert (truth.x1 < truth.x2).all() and (truth.y1 < truth.y2).all()
        assert truth[["x1", "y1"]].min().min() >= 0
        assert truth.x2.max() <= 320 and truth.y2.max() <= 192
        assert not truth.duplicated(["frame", "pid"]).any()
        whom, crops = ({path.name for path in (unit / part).glob("*")} for part in ("queries", "query"))
        assert whom == crops


def test_colour_alone_does_not_find_a_person(units):
    """Mean colour of upper and lower half: what a camera's cast does to it is more than what tells people apart."""
    folder, _ = units
    crops = []
    for unit in sorted(folder.glob("t*")):
        for part in ("bounding_box_train", "query"):
            for path, (pid, camera, _) in zip(sorted((unit / part).glob("*")), market(unit / part)):
                picture = cv2.resize(cv2.imread(str(path)), (8, 16), interpolation=cv2.INTER_AREA).astype(float)
                crops.append((pid, camera, np.concatenate([picture[:8].mean((0, 1)), picture[8:].mean((0, 1))])))
    nearest = [
        min((c for c in crops if c[:2] != (pid, camera)), key=lambda c: np.linalg.norm(c[2] - colour))[0] == pid
        for pid, camera, colour in crops
    ]
    assert np.mean(nearest) < 0.4
