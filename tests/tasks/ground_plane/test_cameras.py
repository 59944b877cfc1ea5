"""Cameras taken away, exchanged, moved, or without the image of a frame: what is found is what the others see."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pytest

from tasks.ground_plane import detect
from tasks.ground_plane.formats import scenes
from tasks.ground_plane.formats.detections import FILE, read_detections
from tasks.ground_plane.formats.scenes import Scene
from tasks.ground_plane.judging import controls
from tasks.ground_plane.learning.network import load_network, maps
from tasks.yard.files import read_json, write_json
from tasks.yard.geometry import camera as geometry
from tests.tasks.ground_plane.tiny_project import HEIGHT, WIDTH, section, write_network, write_pack

LACKS = {"val": 30, "test": 50}  # frames without an image of cam2
CAMERAS = ["cam1", "cam2", "cam3"]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """cam2 sees half of its image, and part of the cells lie beyond the plane."""
    folder = tmp_path_factory.mktemp("project")
    write_pack(folder, missing=[f"tiny/1-annotation/train/cam2/cam2_{frame}.png" for frame in LACKS.values()])
    about = folder / "pack/tiny-cam2/camera.json"
    half = [[0, 0], [WIDTH // 2, 0], [WIDTH // 2, HEIGHT], [0, HEIGHT]]
    write_json(about, read_json(about) | {"roi": half})
    about = read_json(folder / "pack/scenes.json")
    about["scenes"]["tiny"]["plane"]["size_m"] = [4.6, 3.1]
    write_json(folder / "pack/scenes.json", about)
    write_network(folder, "one")
    return folder


@pytest.fixture(scope="module")
def scene(root) -> Scene:
    return scenes.load(root / "pack")[0]


def rebuilt(scene: Scene, *cameras: str) -> Scene:
    """As if there never had been others."""
    return replace(scene, views=tuple(view for view in scene.views if view.name in cameras))


def place(scene: Scene, frame: int) -> int:
    return scene.frames.tolist().index(frame)


def told(scene: Scene, run: str) -> dict:
    return controls.controls_of([scene])[run].change(scene)


def test_some_of_the_cameras_are_as_a_scene_that_has_no_others(root, scene):
    network, config, _ = load_network(root / "train/one/best.pt")
    rows = [place(scene, frame) for frame in (35, 45)]
    whole = maps(network, config, scene, rows, "cpu")
    for camera in CAMERAS:
        others = [name for name in CAMERAS if name != camera]
        for run, left in ((f"only_{camera}", [camera]), (f"without_{camera}", others)):
            found = maps(network, config, scene, rows, "cpu", **told(scene, run))
            expected = maps(network, config, rebuilt(scene, *left), rows, "cpu")
            np.testing.assert_allclose(found, expected, atol=1e-6)
            assert np.abs(found - whole).max() > 1e-3
    assert controls.without("cam1")(rebuilt(scene, "cam1")) is None  # nobody would be left
    assert set(controls.controls_of([rebuilt(scene, "cam1")])) == {"shuffled", "off_1px", "off_5px"}


def test_a_network_that_knows_cameras_by_their_place_keeps_their_places(root, scene):
    write_network(root, "concat", "small-concat")
    network, config, _ = load_network(root / "train/concat/best.pt")
    sampling, visible = scene.looked_up
    row = [place(scene, 45)]
    for number, camera in enumerate(CAMERAS):
        one = visible & (np.arange(3) == number)[:, None, None]
        expected = maps(network, config, scene, row, "cpu", sampling=(sampling, one))
        found = maps(network, config, scene, row, "cpu", **told(scene, f"only_{camera}"))
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_shuffled_cameras_see_what_the_calibration_of_another_sees(root, scene):
    sampling, visible = told(scene, "shuffled")["sampling"]
    centres = geometry.cells(scene.grid, scene.cell_m)
    inside = scene.plane.holds(centres)
    areas = set()
    for number in range(3):
        at, seen = geometry.looked_up(scene.views[number - 1].camera, scene.plane, centres)
        np.testing.assert_array_equal(visible[number], seen & inside)
        np.testing.assert_array_equal(sampling[number], at)
        areas.add(int(visible[number].sum()))
    assert len(areas) > 1  # or it could not be told whose they are
    assert controls.shuffled(rebuilt(scene, "cam1")) is None


@pytest.mark.parametrize("run", ["off_1px", "off_5px", "shuffled"])
def test_a_wrong_calibration_shows_nothing_beyond_the_plane(root, scene, run):
    inside = scene.plane.holds(geometry.cells(scene.grid, scene.cell_m))
    _, visible = told(scene, run)["sampling"]
    assert not inside.all() and visible.any() and not visible[:, ~inside].any()
    network, config, _ = load_network(root / "train/one/best.pt")
    found = maps(network, config, scene, [place(scene, 45)], "cpu", **told(scene, run))
    assert found[0][~inside].max() < 1e-9 and (found[0] > 1e-9).sum() > 100


def test_a_camera_that_is_wrong_by_pixels_loses_sight_of_what_leaves_its_region(scene):
    """5 px to the right in half an image: what was seen within 5 px of the region's right edge is seen no more."""
    right, seen = (values[1] for values in scene.looked_up)
    still = told(scene, "off_5px")["sampling"][1][1]
    u = (right[..., 0] + 1) / 2 * WIDTH - 0.5
    lost = seen & ~still
    assert lost.any() and (u[lost] > WIDTH // 2 - 5.01).all() and not (still & seen & (u > WIDTH // 2 - 4.99)).any()


def test_a_frame_that_a_camera_lacks_is_seen_by_the_others_alone(root, scene):
    network, config, _ = load_network(root / "train/one/best.pt")
    others, frames = rebuilt(scene, "cam1", "cam3"), [45, LACKS["test"], 55]
    rows = [place(scene, frame) for frame in frames]
    found, expected = (maps(network, config, of, rows, "cpu") for of in (scene, others))
    np.testing.assert_allclose(found[1], expected[1], atol=1e-6)
    for whole in (0, 2):  # frames beside it, in the same pass
        assert np.abs(found[whole] - expected[whole]).max() > 1e-3
    alone = maps(network, config, scene, rows, "cpu", **told(scene, "only_cam2"))
    assert alone[0].max() > 1e-3 and alone[1].max() < 1e-9


@pytest.mark.parametrize("split", LACKS)
def test_detections_of_a_frame_that_a_camera_lacks_are_those_of_the_others(root, scene, split, tmp_path):
    params, train = section("detect", floor=0.001), {"one": root / "train/one"}
    detect.run(params, tmp_path, network="one", pack=root / "pack", train=train)
    found = read_detections(tmp_path / FILE)
    at = [one.frame for one in found].index(LACKS[split])
    network, config, _ = load_network(root / "train/one/best.pt")
    row = [place(scene, LACKS[split])]
    expected = maps(network, config, rebuilt(scene, "cam1", "cam3"), row, "cpu")[0]
    np.testing.assert_allclose(found[at].scores, expected, atol=1e-5)
    with h5py.File(tmp_path / FILE) as file:
        of = file["evaluation"]
        ends, vectors = of["NbDetection"][:], of["AppearanceFeatures"][:]
    length = (vectors.shape[1] - 48) // 3  # of each view; the rest is of the ground
    views = [vectors[a:b, : 3 * length].reshape(-1, 3, length).any((0, 2)) for a, b in pairwise(ends)]
    assert views[at].tolist() == [True, False, True] and views[at + 1].tolist() == [True] * 3
