import os
import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest

from tasks.ground_plane.formats import labels, sequence
from tasks.ground_plane.importers import plaza as importer
from tasks.yard.files import folder_hash, read_json
from tasks.yard.worlds import plaza

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


@pytest.fixture(scope="module")
def units(world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("plaza")
    for name in ("train-01", "val-00", "test-00"):
        importer.write_unit(world, name, folder / name)
    return folder


def test_a_unit_has_the_same_bytes_in_another_process_and_however_many_scenes_there_are(units, tmp_path):
    code = (
        "import sys, pathlib, numpy as np; from tasks.yard.worlds import plaza; np.random.seed(1);"
        "from tasks.ground_plane.importers import plaza as importer;"
        f"world = plaza.parse('synth://plaza?{QUERY.replace('scenes=2', 'scenes=9')}');"
        "importer.write_unit(world, 'train-01', pathlib.Path(sys.argv[1]))"
    )
    environment = os.environ | {"PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, env=environment)
    assert folder_hash(tmp_path) == folder_hash(units / "train-01")


def test_a_unit_is_a_marmot_root_of_one_part(world, units):
    for name, part in (("train-01", "train"), ("val-00", "val"), ("test-00", "train")):
        found = sequence.read(units / name)
        assert (found.splits, found.part, found.layout) == ((name.split("-")[0],), part, "plaza")
        assert (found.plane.origin_m, found.plane.size_m, found.plane.angle_rad) == ((0, 0), (8, 8), 0)
        assert list(found.calibrations) == ["cam1", "cam2", "cam3"]
        ids = list(range(0, 5 * {"train": 3, "val": 5, "test": 10}[name.split("-")[0]], 5))
        assert found.joined == found.frame_ids == ids
        for camera, frames in found.frames.items():
            assert sorted(frames) == ids
            assert cv2.imread(str(frames[5])).shape[:2] == found.calibrations[camera].size == (HEIGHT, WIDTH)
        calib = read_json(units / name / "0-calibration/calibs/cam2.json")
        assert set(calib) == {"K", "K_new", "R", "T", "dist", "view_id", "ROI", "bounding_box", "size"}
        files = {path.relative_to(units / name).parts[0] for path in (units / name).rglob("*.*")}
        assert files == {"0-calibration", "1-annotation", "scene.json"}


def test_cameras_hang_high_around_the_square_and_bend_what_they_see(units):
    for name in ("train-01", "val-00", "test-00"):
        for found in sequence.read(units / name).calibrations.values():
            x, y, up = found.camera().centre
            assert 2.5 <= up <= 3.5  # metres, so that T in the file is in cm
            assert max(abs(x - 4), abs(y - 4)) > 4.25
            assert -0.3 <= found.dist[0] <= -0.15 and found.dist[1] > 0 and found.dist[2] * found.dist[3] != 0
            assert not np.allclose(found.K, found.K_new)
            left, middle, right = found.as_filmed(np.array([[8.0, 10.0], [128.0, 10.0], [248.0, 10.0]]))
            assert (left[1] + right[1]) / 2 - middle[1] > 1  # a straight line near the top is filmed as an arch


def test_labels_hold_everybody_on_the_square_and_nobody_beside_it(scene, units):
    found = sequence.read(units / "test-00")
    beside = 0
    for row, standing in enumerate(scene.frames):
        people = {int(person): (x, y) for person, x, y in found.people(5 * row)}
        on_it = {one.person: one.xy_m for one in standing if min(one.xy_m) >= 0 and max(one.xy_m) <= 8}
        beside += len(standing) - len(on_it)
        assert people == {person: pytest.approx(xy, abs=1e-4) for person, xy in on_it.items()}
    assert beside  # somebody who is about to come


def test_labelled_boxes_stand_on_the_labelled_places(units):
    """In the images as filmed: the lower edge at the feet, the top at the height of a person above them."""
    off, tall, boxes, hidden = [], [], 0, 0
    for name in ("train-01", "val-00", "test-00"):
        found = sequence.read(units / name)
        for frame in found.joined:
            places = {int(person): xy for person, *xy in found.people(frame)}
            for camera, rows in found.boxes(frame).items():
                lens = found.calibrations[camera]
                for person, x1, y1, x2, y2 in rows:
                    ends = np.array([[*places[int(person)], up] for up in (0.0, 1.72)])
                    (u, v), (_, top) = lens.as_filmed(lens.camera().project(ends)[0])
                    assert -0.5 <= u <= WIDTH - 0.5 and -0.5 <= v <= HEIGHT - 0.5
                    assert x1 - 1 < u < x2 + 1
                    off.append(abs(y2 - v))
                    tall.append((y2 - y1) / (v - top))
            boxes += sum(map(len, found.boxes(frame).values()))
            hidden += np.isnan(labels.read(found.labels[frame]).boxes[..., 0]).sum()
    assert boxes > 60 and hidden > 10
    assert np.median(off) < 1.5
    assert min(tall) > 0.85 and max(tall) < 1.25


def test_scenes_share_neither_poses_nor_lenses_nor_looks(units):
    read = [sequence.read(units / name) for name in ("train-01", "val-00", "test-00")]
    cameras = [one for found in read for one in found.calibrations.values()]
    pictures = [cv2.imread(str(frames[0])).astype(float) for found in read for frames in found.frames.values()]
    assert len(cameras) == 9
    for i, one in enumerate(cameras):
        for j, other in enumerate(cameras[:i]):
            assert np.linalg.norm(one.camera().centre - other.camera().centre) > 0.1
            assert np.abs(one.dist - other.dist).max() > 1e-4 and one.K[0, 0] != other.K[0, 0]
            assert np.abs(pictures[i] - pictures[j]).mean() > 8


def test_another_seed_is_another_world(world, units, tmp_path):
    importer.write_unit(replace(world, seed=6, frames=1), "val-00", tmp_path)
    first = "1-annotation/val/cam1/cam1_0.png"
    one, other = (cv2.imread(str(folder / first)).astype(float) for folder in (tmp_path, units / "val-00"))
    assert np.abs(one - other).mean() > 8
