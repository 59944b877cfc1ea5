"""What is exported gives torch's numbers on another runtime, at any number of windows, from the files alone."""

from __future__ import annotations

import json
import shutil
import signal

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from models.brake_coast.factory import Config, build
from tasks.brake_coast import evaluate, export
from tasks.brake_coast.formats import windows
from tasks.brake_coast.learning.inference import load_model, predict
from tasks.yard.detector.look import Detector
from tasks.yard.files import read_json
from tasks.yard.reporting.stamp import PLACE
from tests.tasks.brake_coast import drives, scenes
from tests.tasks.brake_coast.test_evaluate import cells
from tests.tasks.brake_coast.test_report import finished
from tests.tasks.yard.shared import reporting

pytestmark = pytest.mark.slow

PARAMS = drives.section("export", frames=6)
EXACT = ("model.onnx", "model.int8.onnx", "detector.onnx", "export.json")


def run(root, out, params=PARAMS, download="download"):
    sight = {"imgsz": 64, "confidence": {"vehicle": 0.0}, "device": "cpu"}
    inputs = {step: root / step for step in ("annotate", "pack", "evaluate", "train_detector")}
    return export.run(
        params,
        out,
        annotate_params=drives.section("annotate", **sight),
        train=cells(root / "train"),
        download=root / download,
        reporting_params=reporting(),
        **inputs,
    )


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    root = finished(tmp_path_factory.mktemp("project"), camera=True, brake=True)
    scenes.write_weights(root / "train_detector" / "best.pt")
    for name in cells(root / "download"):
        (root / "blank" / name).mkdir(parents=True)
    (root / "export").mkdir()
    # int8 decides nothing here: two epochs give no ranking to lose
    return root, run(root, root / "export", PARAMS.model_copy(update={"int8_max_loss": 1.0}))


def test_the_file_alone_gives_the_probabilities_of_torch(exported):
    root, found = exported
    session = onnxruntime.InferenceSession(root / "export" / "model.onnx", providers=["CPUExecutionProvider"])
    about = {key: json.loads(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}
    model, config = load_model(root / "train" / about["run"] / "best.pt")
    assert about["tasks"] == config["tasks"] and about["telemetry_ranges"]["speed_kmh"] == [0, 250]
    frames = windows.load(root / "pack" / "test.h5")
    for count in (1, 7):
        starts = windows.window_starts(frames.segment, 20)[:count]
        rows = starts[:, None] + np.arange(20)
        inputs = {name: getattr(frames, name)[rows] for name in export.INPUTS}
        np.testing.assert_allclose(session.run(None, inputs)[0], predict(model, frames, starts), atol=1e-6)
    assert 0 <= found["max_difference"] < 1e-5


@pytest.mark.parametrize(
    "variant",
    [
        "simple_concat_lstm",
        "attention_query_transformer",
        "simple_cross_attention_lstm",
        "attention_concat_transformer",
    ],
)
def test_every_part_of_the_networks_is_the_same_on_both_runtimes(variant, tmp_path):
    """OpenVINO once lost a slice, and added a wrong bias wherever there was more than one row."""
    torch.manual_seed(0)
    priors = {"brake_1s": 0.1, "coast_1s": 0.2}
    model = export.Probabilities(build(Config(variant, priors, embedding=16, hidden=32, heads=2, layers=2))).eval()

    def inputs(rows, filled):
        return torch.rand(rows, 20, 10), torch.rand(rows, 20, 12, 6), torch.rand(rows, 20, 12) < filled

    export.write_onnx(model, inputs(2, 0.3), export.INPUTS, "p", {}, tmp_path / "m.onnx")
    runners = [on(tmp_path / "m.onnx", 1) for on in (export.on_onnxruntime, export.on_openvino)]
    for rows, filled in ((1, 0.3), (5, 0.0), (5, 0.3), (9, 1.1)):
        some = inputs(rows, filled)
        with torch.inference_mode():
            expected = model(*some).numpy()
        for runner in runners:
            np.testing.assert_allclose(runner(*(tensor.numpy() for tensor in some)), expected, atol=1e-6)


def test_a_signal_does_not_end_a_process_that_used_openvino(exported):
    """OpenVINO leaves its thread a signal stack too small for processors with AMX: this was a segmentation fault."""
    export.on_openvino(exported[0] / "export" / "model.onnx", 1)
    heard = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: heard.append(number))
    try:
        signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert heard == [signal.SIGUSR1]


def test_the_exported_detector_sees_the_same_boxes(exported):
    root, _ = exported
    model = Detector(
        root / "train_detector" / "best.pt", {"vehicle": "vehicle"}, {"vehicle": 0.0}, imgsz=64, iou=0.6, device="cpu"
    )
    image = scenes.scene(np.random.default_rng(0), 320, 96, cars=2)[0]
    pixels = torch.from_numpy(model.frame(image, model.canvas(320, 96)).pixels).permute(2, 0, 1)[None].float() / 255
    elsewhere = export.Elsewhere(export.on_onnxruntime(root / "export" / "detector.onnx", 1))
    with torch.inference_mode():  # not after the suppression: an untrained network says much the same of all boxes
        torch.testing.assert_close(elsewhere(pixels), export.FirstOutput(model.network)(pixels), atol=1e-3, rtol=1e-3)
    assert read_json(root / "export" / "export.json")["detector"]["canvas_px"] == [64, 32]
    assert read_json(root / "export" / "export.json")["detector"]["weights"] == str(root / "train_detector" / "best.pt")


def test_every_exported_file_names_its_licence(exported):
    root, _ = exported
    for name in (name for name in EXACT if name.endswith(".onnx")):
        props = {prop.key: prop.value for prop in onnx.load(root / "export" / name).metadata_props}
        assert json.loads(props["license"]) == "AGPL-3.0", name


def test_it_tells_how_fast_each_runtime_is(exported):
    root, found = exported
    told = read_json(root / "export" / "latency.json")
    assert (
        set(told["ms"]) == {"torch", "onnxruntime", "onnxruntime int8", "openvino"}
        and told["measured_on"]["frames"] == 6
    )
    for parts in told["ms"].values():
        assert set(parts) == {"detector", "network", "frame"}
        assert all(0 < of["p50"] <= of["p95"] for of in parts.values())
        assert parts["frame"]["p50"] > max(parts["detector"]["p50"], parts["network"]["p50"])
    assert found["onnxruntime/frame_ms_p50"] > 0 and (root / "export" / "latency.png").stat().st_size > 5000
    page = (root / "export" / "report.html").read_text()
    assert 'alt="latency" src="data:image/png' in page and "<td>onnxruntime/frame_ms_p50</td>" in page
    assert "latency.json" in page and "max_difference_from_torch" in page and PLACE in page


def test_without_pictures_or_with_an_int8_that_loses_these_are_left_out(exported, tmp_path):
    root, whole = exported
    shutil.copytree(root / "export", tmp_path / "export")
    found = run(root, tmp_path / "export", PARAMS.model_copy(update={"int8_max_loss": -1.0}), download="blank")
    told = read_json(tmp_path / "export" / "export.json")
    assert {path.name for path in (tmp_path / "export").iterdir()} == {
        "model.onnx",
        "export.json",
        "latency.json",
        "latency.png",
        "report.html",
    }
    assert "no picture" in told["detector"]["null_because"] and not told["int8"]["kept"]
    assert "above int8_max_loss" in told["int8"]["because"]
    assert not any("detector" in key or "int8/network" in key for key in found)
    assert found["test/onnxruntime_int8/pr_auc"] == whole["test/onnxruntime_int8/pr_auc"]


def test_all_but_the_latencies_are_the_same_bytes_again(exported, tmp_path):
    root, _ = exported
    run(root, tmp_path, PARAMS.model_copy(update={"int8_max_loss": 1.0}))
    for name in EXACT:
        assert (tmp_path / name).read_bytes() == (root / "export" / name).read_bytes(), name
    onnx.checker.check_model(tmp_path / "detector.onnx", full_check=True)


def test_a_network_that_is_not_the_same_elsewhere_is_an_error(exported, tmp_path):
    root, _ = exported
    with pytest.raises(RuntimeError, match=r"differs from torch by .*brake_coast\.export\.max_difference = 1e-12"):
        run(root, tmp_path, PARAMS.model_copy(update={"max_difference": 1e-12}))


def test_a_blind_network_is_not_exported(exported, tmp_path):
    root, _ = exported
    blind = {name: path for name, path in cells(root / "train").items() if "-" in name}
    assert blind
    judging = {"pack": root / "pack", "train": blind, "reporting_params": reporting(bootstrap_replicates=100)}
    evaluate.run(drives.section("evaluate"), tmp_path / "evaluate", **judging)
    for step in ("pack", "annotate", "train", "train_detector"):
        (tmp_path / step).symlink_to(root / step)
    (tmp_path / "export").mkdir()
    assert run(tmp_path, tmp_path / "export") == {}
    assert "blind" in read_json(tmp_path / "export" / "export.json")["null_because"]
