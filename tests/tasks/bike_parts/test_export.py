from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

from tasks.bike_parts import export
from tasks.yard.files import read_json
from tasks.yard.step import BadInput
from tests.tasks.bike_parts.tiny_photos import CLOSER, HEIGHT, PARTS, WIDTH, section, write_network, write_split
from tests.tasks.yard.shared import reporting

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    write_split(folder, train=0, val=0, test=3)
    write_network(folder, "small", "small", score=0.4)
    write_network(folder, "small_points", "small_points", score=0.6, close=CLOSER)
    return folder


def exported(root, out, networks=("small", "small_points"), **params):
    out.mkdir(exist_ok=True)
    train = {name: root / "train" / name for name in networks}
    told = {"compared_photos": 3, "timed_photos": 2, **params}
    folders = {"download": root / "download", "split": root / "split"}
    return export.run(section("export", **told), out, train=train, reporting_params=reporting(), **folders)


@pytest.mark.parametrize("names", [["small"], ["small", "small_points"]])
def test_the_graph_finds_what_torch_finds(root, tmp_path, names):
    found = exported(root, tmp_path, names)
    assert found["max_difference"] < 1e-3 and found["onnxruntime_ms_median"] > 0
    assert "<td>onnxruntime_ms_median</td>" in (tmp_path / "report.html").read_text()
    about = read_json(tmp_path / "export.json")
    assert about["network"] == names[-1]  # the better one on validation
    assert about["compared_boxes"] > 10
    graph = onnx.load(tmp_path / "model.onnx")
    told = {prop.key: prop.value for prop in graph.metadata_props}
    assert json.loads(told["parts"]) == PARTS and json.loads(told["license"])
    runner = export.on_onnxruntime(tmp_path / "model.onnx", 1)
    boxes, parts, scores, states = runner(np.zeros((HEIGHT, WIDTH, 3), np.uint8))  # another number of boxes
    assert boxes.shape == (len(parts), 4) and states.shape == (len(scores), 4)


def test_two_results_differ_by_what_one_says_of_a_box_that_the_other_has():
    boxes = np.array([[0, 0, 10, 10], [20, 20, 40, 40]], np.float32)
    parts, scores = np.array([1, 2]), np.array([0.9, 0.8], np.float32)
    states = np.full((2, 4), 0.25, np.float32)
    a = [boxes, parts, scores, states]
    assert export.difference(a, [of[::-1] for of in a], 0.05) == 0  # another order
    other = states.copy()
    other[1] = [0.35, 0.15, 0.25, 0.25]
    assert export.difference(a, [boxes, parts, scores, other], 0.05) == pytest.approx(0.1)
    assert export.difference(a, [of[:1] for of in a], 0.05) == 1.0
    assert export.difference([boxes, parts, np.float32([0.9, 0.055]), states], [of[:1] for of in a], 0.05) == 0


def test_a_difference_is_an_error_and_nothing_to_compare_on_too(root, tmp_path, monkeypatch):
    with pytest.raises(BadInput, match=r"test_coco\.json: holds no photograph to compare the runtimes on"):
        write_split(tmp_path / "none", test=0)
        (tmp_path / "none/train").symlink_to(root / "train")
        exported(tmp_path / "none", tmp_path / "out", ["small"])
    monkeypatch.setattr(export, "difference", lambda *_: 0.5)
    with pytest.raises(RuntimeError, match=r"onnxruntime differs from torch by 0\.5 .*max_difference = 0\.001"):
        exported(root, tmp_path / "out", ["small_points"])
