import re
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml

from tasks.person_search.importers import street as importer
from tasks.yard.files import folder_hash, read_json
from tasks.yard.worlds import street

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
    counts = {name: importer.write_unit(world, name, folder / name) for name in street.unit_names(world)}
    return folder, counts


def market(folder):
    """(pid, camera, session) of every crop in a folder."""
    return [tuple(int(part) for part in MARKET.fullmatch(p.name).groups()[:3]) for p in sorted(folder.glob("*"))]


@pytest.mark.parametrize("name", ["train1-c3", "test1-c2"])
def test_a_unit_has_the_same_bytes_however_many_sessions_there_are(units, tmp_path, name):
    more = street.parse(f"synth://street?{QUERY.replace('sessions=2', 'sessions=5')}")
    np.random.seed(1)
    importer.write_unit(more, name, tmp_path / name)
    assert folder_hash(tmp_path / name) == folder_hash(units[0] / name)


def test_another_seed_is_another_world(world, units, tmp_path):
    importer.write_unit(replace(world, seed=4), "val1-c1", tmp_path)
    hashes = [folder_hash(folder / "images") for folder in (tmp_path, units[0] / "val1-c1")]
    assert hashes[0] != hashes[1]


def test_a_unit_holds_the_parts_that_it_names(units):
    folder, counts = units
    for name, count in counts.items():
        about = read_json(folder / name / "unit.json")
        film = {"tes": ["frames"], "val": ["validation"]}.get(name[:3], [])
        assert about["parts"] == ["reid", "detect", *film]
        assert about["counts"] == count
        assert (folder / name / "frames").exists() == bool(film)
        assert (folder / name / "queries").exists() == name.startswith("test")
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


def test_detector_images_are_labelled_and_some_are_empty(tmp_path):
    world = street.parse("synth://street?sessions=1&cameras=2&identities=1&images=40")
    importer.write_unit(world, "train1-c1", tmp_path)
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


def test_frames_for_validation_show_the_people_of_validation(world, units):
    folder, _ = units
    people = {pid for unit in folder.glob("val1-*") for pid, _, _ in market(unit / "bounding_box_train")}
    shown = set()
    for unit in folder.glob("val1-*"):
        assert read_json(unit / "camera.json")["split"] == "val"
        truth = pd.read_csv(unit / "truth.csv")
        assert len(truth) and truth.frame.between(0, world.frames - 1).all()
        shown |= set(truth.pid)
    assert shown <= people and len(shown) == len(people) == 3


def test_the_detector_learns_on_pictures_as_full_and_people_as_small_as_it_searches_among(tmp_path):
    """Of the film 23 % of the boxes are below 48 px, with 8 people in a frame."""
    world = street.parse("synth://street?sessions=1&cameras=5&images=16&frames=8")
    heights, counts = [], []
    for camera in range(1, 6):
        for _, boxes in street.unit(world, f"train1-c{camera}").detector_images():
            heights += [box.xyxy[3] - box.xyxy[1] for box in boxes]
            counts.append(len(boxes))
    assert 0.13 < np.mean(np.array(heights) < 48) < 0.33
    assert np.mean(np.array(counts) >= 7) > 0.3 and np.mean(counts) > 5


def test_colour_alone_does_not_find_a_person(units):
    """Mean colour of upper and lower half: what a camera's cast does to it is more than what tells people apart."""
    folder, _ = units
    crops = []
    for unit in sorted(folder.glob("t*")):
        for part in ("bounding_box_train", "query"):
            for path, (pid, camera, _) in zip(sorted((unit / part).glob("*")), market(unit / part), strict=True):
                picture = cv2.resize(cv2.imread(str(path)), (8, 16), interpolation=cv2.INTER_AREA).astype(float)
                crops.append((pid, camera, np.concatenate([picture[:8].mean((0, 1)), picture[8:].mean((0, 1))])))
    nearest = [
        min((c for c in crops if c[:2] != (pid, camera)), key=lambda c: np.linalg.norm(c[2] - colour))[0] == pid
        for pid, camera, colour in crops
    ]
    assert np.mean(nearest) < 0.4
