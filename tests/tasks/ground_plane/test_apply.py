"""Sequences that nobody has labelled: what `detect` found, with other numbers of cameras, and what cannot be used."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from tasks.ground_plane import apply, detect
from tasks.ground_plane.formats import calibration, scenes
from tasks.ground_plane.formats.detections import FILE, TEST, read_detections
from tasks.ground_plane.formats.sequence import ANNOTATION, CALIBS
from tasks.ground_plane.learning import served
from tasks.ground_plane.learning.network import load_network, maps
from tasks.yard import params
from tasks.yard.applying import Model, made_with
from tasks.yard.files import file_hash, read_json, write_json
from tasks.yard.geometry.camera import Camera
from tasks.yard.step import BadInput
from tests.tasks.ground_plane.tiny_project import REPO, section, write_network, write_pack
from tests.tasks.ground_plane.tiny_scene import write_unit

pytestmark = pytest.mark.slow

LINE = params.load(REPO / "params.yaml").ground_plane


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    write_pack(folder, learnt={"splits": ["train"]}, tested={"splits": ["test"]})
    write_network(folder, "one", threshold=0.002)
    train = {"one": folder / "train/one"}
    detect.run(section("detect", floor=0.001), folder / "detect/one", network="one", pack=folder / "pack", train=train)
    return folder


@pytest.fixture
def model(root, tmp_path) -> Model:
    (tmp_path / "belongings").mkdir()
    weights = root / "train/one/best.pt"
    return Model("mine", weights, tmp_path / "belongings", sha256=file_hash(weights))


def applied(source: Path, model: Model, out: Path, no_film: bool = True):
    line = made_with(LINE, model, {"detect.floor": 0.001, "visualize.height_px": 160})
    return apply.run(str(source), model, out, line, no_film=no_film)


def test_a_test_sequence_has_the_detections_that_evaluate_judged_to_the_last_digit(root, model, tmp_path):
    shutil.copytree(root / "download/tested", tmp_path / "in/tested")
    shutil.rmtree(tmp_path / "in/tested/1-annotation/labels")
    done = applied(tmp_path / "in", model, tmp_path / "out", no_film=False)
    ours = read_detections(tmp_path / "out/sequences/tested" / FILE)
    theirs = [one for one in read_detections(root / "detect/one" / FILE) if one.split == TEST]
    assert [one.frame for one in ours] == [one.frame for one in theirs] and sum(len(one.xy) for one in ours)
    for one, other in zip(ours, theirs, strict=True):
        assert np.array_equal(one.xy, other.xy) and np.array_equal(one.confidence, other.confidence)
        assert np.array_equal(one.scores, other.scores)
    table = pd.read_csv(tmp_path / "out/sequences/tested/detections.csv")
    assert len(table) == sum((one.confidence >= 0.002).sum() for one in ours)
    assert done.results["tested"]["frames"] == len(ours) and (tmp_path / "out/films/tested/plane.mp4").stat().st_size


def test_a_model_of_four_cameras_looks_through_three_and_six_aloud(root, model, tmp_path):
    """Neither is refused: what the cameras see of a place is put together by mean and maximum, of however many."""
    folder = write_network(root, "four", views=4, threshold=0.002)
    four = Model("four", folder / "best.pt", model.belongings, sha256=file_hash(folder / "best.pt"))
    for cameras in (3, 4, 6):
        write_unit(tmp_path / "in", f"of_{cameras}", cameras=cameras, frames=3, people=2, seed=1)
    done = applied(tmp_path / "in", four, tmp_path / "out")
    assert {name: one["cameras"] for name, one in done.results.items()} == {"of_3": 3, "of_4": 4, "of_6": 6}
    told = [text for text in done.said if "the model was trained on" in text]
    assert told == [f"of_{n}: {n} cameras, the model was trained on up to 4" for n in (3, 6)]
    for name in done.results:
        (scene,) = [one for one in scenes.load(tmp_path / "out/steps/pack") if one.name == name]
        found = read_detections(tmp_path / "out/sequences" / name / FILE)
        assert len(found) == 3 and all(scene.plane.holds(one.xy).all() for one in found)


def widened(unit: Path, size_m: list[float]) -> None:
    about = read_json(unit / "scene.json")
    write_json(unit / "scene.json", about | {"plane": about["plane"] | {"size_m": size_m}})


def test_what_is_found_in_a_sequence_does_not_depend_on_those_beside_it(model, tmp_path):
    """The norms of a network are over all cells of a map, those beyond a small plane too."""
    write_unit(tmp_path / "alone", "small", frames=3, people=3, seed=1)
    write_unit(tmp_path / "beside", "small", frames=3, people=3, seed=1)
    widened(write_unit(tmp_path / "beside", "wide", frames=3, people=3, seed=2), [14.0, 9.0])
    found = []
    for name in ("alone", "beside"):
        applied(tmp_path / name, model, tmp_path / "out" / name)
        found.append(read_detections(tmp_path / "out" / name / "sequences/small" / FILE))
    assert found[0][0].scores.shape != found[1][0].scores.shape and len(found[0][0].xy)
    for one, other in zip(*found, strict=True):
        assert np.array_equal(one.xy, other.xy) and np.array_equal(one.confidence, other.confidence)


def test_a_model_of_larger_planes_finds_the_same_wherever_it_looks(root, model, tmp_path):
    """Applied, and served, as on the map it was trained on."""
    folder = write_network(root, "wide", threshold=0.002, grid=[36, 56])
    wide = Model("wide", folder / "best.pt", model.belongings, sha256=file_hash(folder / "best.pt"))
    applied(root / "download/tested", wide, tmp_path / "out")
    (scene,) = [one for one in scenes.load(root / "pack") if one.name == "tested"]
    network, config, _ = load_network(folder / "best.pt")
    trained = maps(network, config, replace(scene, grid=(36, 56)), [0], "cpu")[0]
    (here,) = (tmp_path / "out/sequences").glob("*/" + FILE)
    one, rows = read_detections(here)[0], scene.grid
    np.testing.assert_allclose(one.scores, trained[: rows[0], : rows[1]], atol=1e-6)
    assert not np.allclose(one.scores, maps(network, config, scene, [0], "cpu")[0], atol=1e-4)
    answer = served.Served(str(folder / "best.pt")).predict(served.request(scene, [int(scene.frames[0])]))
    sure = one.confidence >= 0.002
    np.testing.assert_allclose(np.stack([answer["x_m"], answer["y_m"]], 1), one.xy[sure], atol=1e-3)


def test_served_without_a_threshold_it_tells_no_more_than_applied(root):
    """A low peak in every corner is nobody."""
    folder = write_network(root, "unsure", threshold=None)
    (scene,) = [one for one in scenes.load(root / "pack") if one.name == "tested"]
    answer = served.Served(str(folder / "best.pt")).predict(served.request(scene, [int(scene.frames[0])]))
    assert not (answer["confidence"] < LINE.detect.floor).any()


def test_a_network_with_a_place_for_each_camera_takes_fewer_and_refuses_more(root, model, tmp_path):
    folder = write_network(root, "concat", "small-concat", views=4, threshold=0.002)
    four = Model("four", folder / "best.pt", model.belongings, sha256=file_hash(folder / "best.pt"))
    for cameras in (3, 6):
        write_unit(tmp_path / "in", f"of_{cameras}", cameras=cameras, frames=3, people=2, seed=1)
    done = applied(tmp_path / "in", four, tmp_path / "out")
    assert list(done.results) == ["of_3"]
    assert "6 cameras for small-concat, which was trained on 4" in done.quarantined["of_6"]


def test_a_sequence_without_calibration_is_named_and_the_others_go_on(model, tmp_path):
    for name in ("good", "bad"):
        write_unit(tmp_path / "in", name, cameras=3, frames=3, people=2, seed=1)
    shutil.rmtree(tmp_path / "in/bad/0-calibration")
    done = applied(tmp_path / "in", model, tmp_path / "out")
    assert list(done.results) == ["good"] and "calib" in done.quarantined["bad"]


def filmed_at(unit: Path, to: Path, size: tuple[int, int]) -> Path:
    """The same sequence by cameras with so many pixels, height and width."""
    shutil.copytree(unit, to)
    for file in (to / CALIBS).iterdir():
        of = calibration.read(file)
        as_filmed, flat = (Camera(K, of.R, of.T, of.size, of.roi).resized(*size) for K in (of.K, of.K_new))
        more = replace(of, K=as_filmed.K, K_new=flat.K, size=size, roi=flat.roi)
        write_json(file, calibration.document(more))
    for file in (to / ANNOTATION).glob("*/cam*/*.png"):
        cv2.imwrite(str(file), cv2.resize(cv2.imread(str(file)), size[::-1]))
    return to


def test_another_resolution_is_brought_to_the_models_aloud_and_places_stay_right(root, model, tmp_path):
    """Also of another shape: a calibration is scaled along both axes as its image is."""
    apply.belongings(root, "one", LINE, model.belongings)
    shutil.copytree(root / "download/tested", tmp_path / "in/same")
    larger, taller = (128, 192), (128, 96)
    filmed_at(root / "download/tested", tmp_path / "in/larger", larger)
    filmed_at(root / "download/tested", tmp_path / "in/taller", taller)
    done = applied(tmp_path / "in", model, tmp_path / "out")
    assert sorted(done.results) == ["larger", "same", "taller"]
    assert [text for text in done.said if "brought to" in text] == [
        "larger: cam1, cam2, cam3: 192 x 128 px, brought to 48 x 32; the model was trained on 96 x 64",
        "taller: cam1, cam2, cam3: 96 x 128 px, brought to 48 x 32; the model was trained on 96 x 64, and people look "
        "2.00 times as wide as there",
    ]
    held = {scene.name: scene for scene in scenes.load(tmp_path / "out/steps/pack")}
    for name in ("larger", "taller"):
        for ours, theirs in zip(held[name].views, held["same"].views, strict=True):
            np.testing.assert_allclose(ours.camera.K, theirs.camera.K, atol=1e-6)
            np.testing.assert_allclose(ours.camera.roi, theirs.camera.roi, atol=1e-6)


def test_a_model_whose_pack_is_not_here_is_applied_all_the_same(root, model, tmp_path):
    apply.belongings(tmp_path / "nothing", "one", LINE, model.belongings)
    done = applied(root / "download/tested", model, tmp_path / "out")
    assert list(done.results) == ["tested"]
    assert not any("the model was trained on" in text for text in done.said), (
        "of the sizes of its images nothing is known"
    )


def test_an_empty_folder_and_weights_of_another_network_are_refused(model, tmp_path):
    (tmp_path / "in").mkdir()
    with pytest.raises(BadInput, match="holds nothing, and no known layout"):
        applied(tmp_path / "in", model, tmp_path / "out")
    (tmp_path / "foreign.pt").write_bytes(b"no network")
    with pytest.raises(BadInput, match="not a checkpoint"):
        applied(tmp_path / "in", Model("x", tmp_path / "foreign.pt", model.belongings), tmp_path / "out")
