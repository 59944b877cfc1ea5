"""What a network finds in every frame: where it stands in the file, a kill in the middle, and what cannot be used."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from tasks.ground_plane import detect
from tasks.ground_plane.formats import scenes
from tasks.ground_plane.formats.detections import FILE, read_detections
from tasks.ground_plane.learning.network import load_network, maps
from tasks.ground_plane.learning.peaks import peaks
from tasks.ground_plane.params import Decode
from tasks.yard.files import folder_hash, read_json, write_json
from tasks.yard.geometry import camera as geometry
from tasks.yard.step import BadInput, Context
from tests.tasks.ground_plane.tiny_project import section, write_network, write_pack
from tests.tasks.yard import killed

pytestmark = pytest.mark.slow

UNITS = {
    "four": {"cameras": 4, "splits": ["train", "val", "test"], "frames": 24},
    "three": {"cameras": 3, "splits": ["test"]},
    "learnt": {"splits": ["train"]},
}
FLOOR = 0.001  # low, for the network is not trained


def detected(root: Path, out: str = "detect/one", ctx: Context = Context(), **params) -> dict:
    train = {"one": root / "train/one"}
    told = section("detect", **{"floor": FLOOR, **params})
    return detect.run(told, root / out, ctx, network="one", pack=root / "pack", train=train)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    write_pack(folder, **UNITS)
    about = folder / "pack/four-cam2/camera.json"
    write_json(about, read_json(about) | {"roi": [[0, 0], [24, 0], [24, 32], [0, 32]]})  # it sees half of its image
    write_network(folder, "one", threshold=0.3)
    detected(folder)
    return folder


def columns(root: Path, out: str = "detect/one") -> dict[str, np.ndarray]:
    with h5py.File(root / out / FILE) as file:
        return {name.rpartition("/")[2]: file[name][:] for name in (
            *(f"evaluation/{key}" for key in file["evaluation"]), "heatmaps/pred_0"
        )}  # fmt: skip


def test_every_frame_of_validation_and_test_is_in_the_file_in_order(root):
    held, found = scenes.load(root / "pack"), read_detections(root / "detect/one" / FILE)
    expected = [
        (scene.name, int(scene.frames[row]), number)
        for number, split in ((1, "val"), (2, "test")) for scene, row in scenes.of_split(held, split)
    ]  # fmt: skip
    assert [(one.scene, one.frame, one.split) for one in found] == expected and len(expected) > 12
    assert {name for name, *_ in expected} == {"four", "three"}
    of = columns(root)
    assert of["NbDetection"][0] == 0 and of["NbDetection"].dtype == np.int32
    assert np.diff(of["NbDetection"]).tolist() == [len(one.xy) for one in found]
    assert of["pred_0"].shape == (len(expected), *held[0].grid)  # no dummy row
    about = read_json(root / "detect/one/summary.json")
    assert about["frames"] == len(expected) and about["threshold"] == 0.3
    assert about["detections"] == of["NbDetection"][-1] == len(of["Detections"]) == len(of["AppearanceFeatures"]) > 0


def test_the_detections_are_the_peaks_of_the_maps(root):
    held = {scene.name: scene for scene in scenes.load(root / "pack")}
    network, config, _ = load_network(root / "train/one/best.pt")
    for one in read_detections(root / "detect/one" / FILE)[::3]:
        scene = held[one.scene]
        row = scene.frames.tolist().index(one.frame)
        scores = maps(network, config, scene, [row], "cpu")[0]
        np.testing.assert_allclose(one.scores, scores, atol=1e-5)
        xy, confidence = peaks(one.scores, scene.mask, scene.cell_m, Decode(**config["decode"]), FLOOR)
        np.testing.assert_allclose(one.xy, xy, atol=1e-5)
        np.testing.assert_array_equal(one.confidence, confidence)


def test_the_appearance_is_what_each_view_has_at_the_place(root):
    """The long way round: the feature map of a view, looked up by hand at the pixel where the place is seen."""
    of, found = columns(root), read_detections(root / "detect/one" / FILE)
    held = {scene.name: scene for scene in scenes.load(root / "pack")}
    network, config, _ = load_network(root / "train/one/best.pt")
    hidden = 0
    for place, one in list(enumerate(found))[::4]:
        scene = held[one.scene]
        inputs = detect.inputs(scene, [scene.frames.tolist().index(one.frame)], config, torch.device("cpu"))
        with torch.inference_mode():
            _, ground, views = (values[0].numpy() for values in network.features(*inputs))
        length, below = views.shape[1], ground.shape[0]
        vectors = of["AppearanceFeatures"][of["NbDetection"][place] : of["NbDetection"][place + 1]]
        assert vectors.shape == (len(one.xy), 4 * length + below)  # the scene with the most views has four
        by_view = vectors[:, : 4 * length].reshape(len(one.xy), 4, length)
        assert not by_view[:, len(scene.views) :].any()
        for xy, vector, mine in zip(one.xy, by_view, vectors[:, 4 * length :], strict=True):
            column, row = (xy / scene.cell_m).astype(int)
            np.testing.assert_allclose(mine, ground[:, row, column], atol=1e-4)
            seen = np.array([geometry.looked_up(view.camera, scene.plane, xy[None])[1][0] for view in scene.views])
            hidden += (~seen).sum()
            assert not vector[: len(seen)][~seen].any()
            for number in np.flatnonzero(seen):
                camera = scene.views[number].camera
                world = scene.plane.to_world(xy[None].astype(float))
                (u, v), stride = camera.project(np.column_stack([world, [0.0]]))[0][0], camera.size[1] / views.shape[3]
                x, y = (u + 0.5) / stride - 0.5, (v + 0.5) / stride - 0.5
                np.testing.assert_allclose(vector[number], bilinear(views[number], x, y), atol=1e-3)
    assert hidden  # some are out of the sight of cam2


def bilinear(values: np.ndarray, x: float, y: float) -> np.ndarray:
    """(D, h, w) at a place in its pixels; 0 beyond the edge."""
    padded = np.pad(values, ((0, 0), (1, 1), (1, 1)))
    left, top = int(np.floor(x)), int(np.floor(y))
    a, b = x - left, y - top
    four = padded[:, top + 1 : top + 3, left + 1 : left + 3]
    return (four * np.outer([1 - b, b], [1 - a, a])).sum((1, 2))


def test_the_floor_never_lies_above_the_threshold(root, tmp_path):
    shutil.copytree(root / "pack", tmp_path / "pack")
    write_network(tmp_path, "one", threshold=0.001)
    detected(tmp_path, floor=0.9)
    assert columns(tmp_path)["DetectionsConf"].min() < 0.9


def test_a_kill_in_the_middle_is_made_good_to_the_byte(root, tmp_path, monkeypatch):
    for step in ("pack", "train"):
        (tmp_path / step).symlink_to(root / step)
    monkeypatch.setattr(detect, "BLOCK_FRAMES", 4)
    killed.run(detected, tmp_path, done=8, batch=2)
    blocks = tmp_path / "detect/one/.blocks"
    assert len(list(blocks.glob("[0-9]*.npz"))) == 2 and not (tmp_path / "detect/one" / FILE).exists()

    looked: list[int] = []
    found = detect.detected
    monkeypatch.setattr(detect, "detected", lambda batch, *told: looked.append(len(batch)) or found(batch, *told))
    metrics = detected(tmp_path, batch=2)
    assert sum(looked) == metrics["frames"] - 8  # gone on, not begun anew
    assert detected(tmp_path, "detect/whole", batch=2) == metrics
    assert folder_hash(tmp_path / "detect/one") == folder_hash(tmp_path / "detect/whole")


def test_blocks_of_another_network_are_not_gone_on_from(root, tmp_path, monkeypatch):
    shutil.copytree(root / "pack", tmp_path / "pack")
    write_network(tmp_path, "one", seed=1)
    with monkeypatch.context() as patch:
        patch.setattr(detect, "write_detections", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            detected(tmp_path)
    shutil.rmtree(tmp_path / "train")
    write_network(tmp_path, "one", threshold=0.3)
    detected(tmp_path)
    assert folder_hash(tmp_path / "detect/one") == folder_hash(root / "detect/one")


def test_a_network_of_another_size_is_named(root, tmp_path):
    shutil.copytree(root / "pack", tmp_path / "pack")
    write_network(tmp_path, "one", height_px=64)
    with pytest.raises(BadInput, match=r"one/best\.pt: .*32x48 px for a network trained on 64x48"):
        detected(tmp_path)
    with pytest.raises(BadInput, match="run it again"):
        read_detections(tmp_path / "detect/one" / FILE)


def test_without_validation_and_test_the_file_is_empty(tmp_path):
    write_pack(tmp_path, learnt={"splits": ["train"]})
    write_network(tmp_path, "one", threshold=None)
    assert detected(tmp_path)["frames"] == 0
    assert read_detections(tmp_path / "detect/one" / FILE) == []


def test_a_sequence_that_nobody_has_labelled_is_looked_through_and_changes_nothing_else(root, tmp_path):
    """A copy of a labelled one: what is found in it is what is found in that."""
    labels = [f"bare/1-annotation/labels/train/tiny_{5 * row}.json" for row in range(12)]
    write_pack(tmp_path, missing=labels, **UNITS, bare={"cameras": 3, "splits": ["train", "val", "test"], "seed": 1})
    for name in ("scenes.json", "splits.json"):
        assert (tmp_path / "pack" / name).read_bytes() == (root / "pack" / name).read_bytes(), name
    check = read_json(tmp_path / "check_data/check.json")["units"]["bare"]
    assert check["usable"] and any("nobody has labelled it" in line for line in check["findings"])
    assert len(check["findings"]) == 1
    write_network(tmp_path, "one", threshold=0.3)
    told = detected(tmp_path)
    bare = read_detections(tmp_path / "detect/one/unlabelled" / FILE)
    same = [one for one in read_detections(tmp_path / "detect/one" / FILE) if one.scene == "three"]
    assert {one.scene for one in bare} == {"bare"} and {one.split for one in bare} == {0} and len(bare) == 12
    assert told["unlabelled/frames"] == 12 and told["unlabelled/detections"] == sum(len(one.xy) for one in same) > 0
    for one, other in zip(bare, same, strict=True):
        assert one.frame == other.frame and np.array_equal(one.xy, other.xy)
        assert np.array_equal(one.scores, other.scores)
    assert {one.scene for one in read_detections(tmp_path / "detect/one" / FILE)} == {"four", "three"}


def test_one_that_the_network_cannot_look_at_is_named_and_the_others_go_on(tmp_path):
    labels = [f"bare/1-annotation/labels/train/tiny_{5 * row}.json" for row in range(12)]
    write_pack(tmp_path, missing=labels, learnt={}, bare={"cameras": 4})
    write_network(tmp_path, "one", name="small-concat", views=3, threshold=0.3)
    assert detected(tmp_path)["frames"] > 0
    why = read_json(tmp_path / "detect/one/summary.json")["left_out"]["bare"]
    assert "4 cameras for small-concat, which was trained on 3" in why
    assert not (tmp_path / "detect/one/unlabelled").exists()
