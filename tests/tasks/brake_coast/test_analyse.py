"""The six analyses through the step itself, on small projects with a camera, without one, and without a braking."""

from __future__ import annotations

import html
import json
import shutil

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from sklearn.metrics import average_precision_score

from models.brake_coast.factory import Config, build
from models.brake_coast.layers import Attention
from models.brake_coast.variants import VARIANTS
from tasks.brake_coast import analyse, evaluate
from tasks.brake_coast.analyse import QUESTIONS
from tasks.brake_coast.judging.analyses import attention, calibration, cost, horizons
from tasks.brake_coast.params import ANALYSES, Line
from tasks.yard.files import folder_hash, read_json
from tasks.yard.reporting.stamp import PLACE
from tasks.yard.step import BadInput
from tests.tasks.brake_coast import drives
from tests.tasks.brake_coast.test_evaluate import cells, train_tiny
from tests.tasks.brake_coast.test_report import finished
from tests.tasks.yard.shared import reporting

pytestmark = pytest.mark.slow

BEST, BLIND, ASKED = RUNS = ("simple_concat_lstm", "simple_concat_lstm-telemetry", "attention_query_transformer")
PARAMS = drives.section("analyse", cost={"windows": 5})
JUDGING = drives.section("evaluate")
FEW = reporting(bootstrap_replicates=100)


def judged(root, runs):
    train_tiny(root / "pack", root / "train", [run for run in runs if not (root / "train" / run).exists()])
    held = {name: path for name, path in cells(root / "train").items() if name in runs}
    evaluate.run(JUDGING, root / "evaluate", pack=root / "pack", train=held, reporting_params=FEW)
    return root


def run(root, out, analysis):
    inputs = {step: root / step for step in ("download", "annotate", "pack", "evaluate")}
    return analyse.run(
        PARAMS, out / analysis, analysis=analysis, train=cells(root / "train"), reporting_params=FEW, **inputs
    )


def all_of(root):
    return root, {name: run(root, root / "analyse", name) for name in ANALYSES}


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    return all_of(judged(finished(tmp_path_factory.mktemp("seen"), camera=True, brake=True), RUNS))


@pytest.fixture(scope="module")
def unseen(tmp_path_factory):
    return all_of(finished(tmp_path_factory.mktemp("unseen"), camera=False, brake=False))


@pytest.fixture(scope="module")
def quiet(seen, tmp_path_factory):
    """One run, and test drives on which nobody brakes or coasts."""
    root = tmp_path_factory.mktemp("quiet")
    for step in ("download", "annotate", "pack"):
        shutil.copytree(seen[0] / step, root / step)
    shutil.copytree(seen[0] / "train" / BEST, root / "train" / BEST)
    with h5py.File(root / "pack" / "test.h5", "r+") as file:
        file["frames/labels"][:] = 0
    return all_of(judged(root, [BEST]))


def answer(root, analysis):
    path = root / "analyse" / analysis / f"{analysis}.json"
    return json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} in {path}"))


def pictures(root):
    return {path.stem for path in (root / "analyse").rglob("*.png")}


def test_every_analysis_has_its_picture(seen):
    root, _ = seen
    always = {
        "misses",
        "attention_time",
        "attention_boxes",
        "calibration",
        "corrections",
        "horizons",
        "ablation",
        "cost",
    }
    assert always <= pictures(root)
    assert all(answer(root, name) for name in ANALYSES)


def test_every_analysis_is_a_page(seen):
    root, found = seen
    for name in ANALYSES:
        text = (root / "analyse" / name / "report.html").read_text()
        assert QUESTIONS[name] in html.unescape(text) and PLACE in text
        for picture in (root / "analyse" / name).glob("*.png"):
            assert f'alt="{picture.stem}" src="data:image/png;base64,' in text
        assert f"<summary>{name}.json</summary>" in text and all(f"<td>{key}</td>" in text for key in found[name])


@pytest.mark.parametrize("project", ["unseen", "quiet"])
def test_without_camera_brake_signal_or_any_event_they_still_answer(project, request):
    root, _ = request.getfixturevalue(project)
    assert all(answer(root, name) for name in ANALYSES)
    assert {"ablation", "cost"} <= pictures(root)
    if project == "unseen":
        assert not {"attention_boxes", "misses_brake_1s", "misses_coast_1s"} & pictures(root)
        assert all(row["boxes"] is None for row in answer(root, "misses")["tasks"]["coast_1s"]["events"])
    else:
        assert not {"misses", "horizons"} & pictures(root)
        assert answer(root, "misses")["null_because"]["brake_1s"] == "no onset in the test drives"
        assert answer(root, "horizons")["labels"]["brake_1s"]["all"]["null_because"].startswith("no positive among")


def test_the_events_are_those_that_evaluate_counted(seen):
    root, flat = seen
    found, details = answer(root, "misses"), read_json(root / "evaluate" / "details.json")
    for task, of in found["tasks"].items():
        counted = details[found["run"]][task]["events"]
        assert (of["caught"], of["missed"] + of["caught"]) == (counted["recalled"], counted["events"])
        assert flat["misses"][f"{task}/missed"] == of["missed"]
        leads = [row["lead_s"] for row in of["events"] if row["caught"]]
        assert np.median(leads) == counted["lead_s_median"] if leads else counted["lead_s_median"] is None
        has_sheet = (root / "analyse" / "misses" / f"misses_{task}.png").exists()
        assert has_sheet == (of["missed"] > 0)


def test_an_event_says_how_hard_the_braking_was_and_what_was_in_view(seen):
    root, _ = seen
    row = answer(root, "misses")["tasks"]["brake_1s"]["events"][-1]
    table = pd.read_csv(root / "download" / row["recording"] / "telemetry.csv")
    onset = table.index[table["Time"] == row["onset"]][0]
    on = table["BRAKE_SIGNAL"].to_numpy()
    assert on[onset] and not on[onset - 1]
    frames = int(2 * row["duration_s"]) + 1
    assert on[onset : onset + frames].all() and not on[onset + frames]
    speed = table["SPEED"][onset - 1 : onset + frames].to_numpy()
    assert row["speed_lost_kmh"] == pytest.approx(speed[0] - speed.min())
    assert row["peak_deceleration_ms2"] == pytest.approx((speed[:-2] - speed[2:]).max() / 3.6)
    due = table["Time"][onset - 2]  # brake_1s at 2 Hz
    assert row["speed_kmh"] == table["SPEED"][onset - 2]
    boxes = pd.read_csv(root / "annotate" / row["recording"] / "annotations.csv")
    assert row["boxes"] == ((boxes["Time"] == due) & (boxes["status"] == "ok")).sum()
    assert row["brightness"] == pytest.approx(90 / 255, abs=0.01)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_weights_are_those_the_layers_use(variant):
    torch.manual_seed(0)
    network = build(Config(variant, {"brake_1s": 0.1}, embedding=16, hidden=32, heads=2, layers=2)).eval()
    mask = torch.arange(12) < torch.tensor([0, 1, 5, 12])[:, None, None].expand(4, 20, 1)
    inputs = (torch.rand(4, 20, 10), torch.rand(4, 20, 12, 6), mask)
    with torch.no_grad(), attention.watched(network) as layers:
        plain = network(*inputs)
    for layer, args in layers.values():
        with torch.no_grad():
            if isinstance(layer, Attention):
                values = layer.key_value(args[1]).chunk(2, -1)[1].unflatten(-1, (layer.heads, -1)).transpose(1, 2)
                again = layer.out((attention.attention_weights(layer, *args) @ values).transpose(1, 2).flatten(2))
            else:
                again = (layer.shares(*args)[..., None] * args[0].spread(args[2])).sum(-2)
            torch.testing.assert_close(again, layer(*args), rtol=1e-4, atol=1e-5)
    look = attention.looks(network, inputs)
    total = look.boxes.sum(1) + (0 if look.no_object is None else look.no_object)
    assert np.allclose(total[1:], 1, atol=1e-5) and not look.boxes[~mask[:, -1].numpy()].any()
    assert set(look.time) == {
        *(["encoder"] if "attention_" in variant[:10] else []),
        *(["decoder 1", "decoder 2"] if "transformer" in variant else []),
    }
    assert all(
        weights.shape == (4, 2, 20) and np.allclose(weights.sum(-1), 1, atol=1e-5) for weights in look.time.values()
    )
    assert not any(layer._forward_pre_hooks for layer in network.modules())  # the network is as it was
    torch.testing.assert_close(network(*inputs), plain)


def test_runs_without_anything_to_show_are_left_out_with_a_reason(seen):
    found = answer(seen[0], "attention")
    assert set(found["left_out"]) == {BLIND} and set(found["runs"]) == {BEST, ASKED}
    assert set(found["runs"][ASKED]["groups"]["negatives"]["time"]) == {"encoder", "decoder 1"}
    assert found["runs"][ASKED]["groups"]["negatives"]["boxes"]["no_object"] > 0


def test_corrections_find_what_is_wrong_with_the_scores():
    rng = np.random.default_rng(0)
    z = rng.normal(-2, 1.5, 40_000)
    y = (rng.random(len(z)) < calibration.sigmoid(2 * z + 1)).astype(float)
    fitted = calibration.fit(y, z, train_rate=0.5)
    assert fitted["platt"] == pytest.approx((2, 1), abs=0.1)
    assert fitted["prior"] == (1, pytest.approx(float(calibration.logit(y.mean()))))
    half = (rng.random(len(z)) < calibration.sigmoid(0.5 * z)).astype(float)
    assert calibration.fit(half, z, 0.5)["temperature"] == (pytest.approx(0.5, abs=0.02), 0)
    certain = calibration.fit((z > 0).astype(float)[:50], z[:50], 0.5)  # separable: no finite maximum without smoothing
    assert certain["platt"][0] <= calibration.SLOPES[1] and certain["temperature"][0] == calibration.SLOPES[1]


def test_corrections_are_fitted_on_validation_and_judged_on_test(seen, quiet):
    before, after = (answer(root, "calibration")["runs"][BEST]["coast_1s"] for root, _ in (seen, quiet))
    assert before["validation"] == after["validation"] and before["test"] != after["test"]
    details = read_json(seen[0] / "evaluate" / "details.json")[BEST]["coast_1s"]["all"]
    for name, of in before["corrections"].items():
        other = after["corrections"][name]
        assert (of["slope"], of["shift"]) == (other["slope"], other["shift"])
    none = before["corrections"]["none"]
    assert (none["brier"], none["ece"], before["test"]["windows"]) == (
        pytest.approx(details["brier"], abs=2e-6), pytest.approx(details["ece"], abs=2e-6), details["windows"],
    )  # fmt: skip


def test_a_head_is_scored_against_every_horizon_of_its_family(seen):
    root, _ = seen
    found = answer(root, "horizons")
    assert set(found["runs"][BEST]["brake_1s"]) == {
        f"{kind}_{h}s" for kind in ("brake", "brake_onset") for h in range(1, 6)
    }
    predictions = pd.concat([pd.read_csv(path) for path in sorted((root / "evaluate" / "predictions").glob("*.csv"))])
    with h5py.File(root / "pack" / "test.h5") as file:
        names, labels, t_ms = (
            list(file["frames/labels"].attrs["names"]),
            file["frames/labels"][:],
            file["frames/t_ms"][:],
        )
    rows = pd.DataFrame(labels, columns=names, index=t_ms).loc[predictions["t_ms"]]
    for label, subset in (("coast_4s", "all"), ("coast_4s", "not_yet")):
        use = ((rows[label] >= 0) & ((rows["coasting"] == 0) | (subset == "all"))).to_numpy()
        area = average_precision_score(rows[label][use], predictions[f"{BEST}/coast_2s"][use])
        assert found["runs"][BEST]["coast_2s"][label][subset] == pytest.approx(area, abs=2e-6)
        assert found["labels"][label][subset]["prevalence"] == pytest.approx(rows[label][use].mean(), abs=2e-6)
    assert (
        found["lines"][BEST]["coast_5s"]["head"] == "coast_2s"
        and found["lines"][BEST]["brake_onset_1s"]["head"] == "brake_1s"
    )


def test_analyses_mark_numbers_of_mostly_unknown_labels(seen, tmp_path):
    root, _ = seen
    for step in ("download", "annotate", "train"):
        (tmp_path / step).symlink_to(root / step)
    shutil.copytree(root / "pack", tmp_path / "pack")
    with h5py.File(tmp_path / "pack/test.h5", "r+") as file:
        labels = file["frames/labels"][:]
        labels[np.arange(len(labels)) % 5 < 2, list(file["frames/labels"].attrs["names"]).index("coast_1s")] = -1
        file["frames/labels"][:] = labels
    judged(tmp_path, RUNS)
    for name in ("horizons", "calibration", "ablation"):
        run(tmp_path, tmp_path / "analyse", name)
    share = read_json(tmp_path / "evaluate/details.json")[BEST]["coast_1s"]["all"]["unknown_share"]
    found = read_json(tmp_path / "analyse/horizons/horizons.json")["labels"]
    assert found["coast_1s"]["all"]["unknown_share"] == share > 0.4 and found["coast_1s"]["all"]["not_meaningful"]
    assert not found["brake_1s"]["all"]["not_meaningful"]
    of = read_json(tmp_path / "analyse/calibration/calibration.json")
    of = of.get("runs", of)[BEST]
    assert of["coast_1s"]["test"]["not_meaningful"] and not of["brake_1s"]["test"]["not_meaningful"]
    text = (tmp_path / "analyse/ablation/ablation.md").read_text()
    coast, brake = (text.split(f"## {task}, all test windows")[1].split("##")[0] for task in ("coast_1s", "brake_1s"))
    assert f"unknown {100 * share:.1f} % (!)" in coast and " (!) " in coast.split("| variant")[1] and "(!)" not in brake


def test_a_line_takes_the_head_trained_nearest():
    heads = ["brake_1s", "brake_3s", "brake_onset_3s"]
    assert horizons.nearest_head(heads, "brake_2s") == "brake_1s"
    assert horizons.nearest_head(heads, "brake_3s") == "brake_3s"
    assert horizons.nearest_head(heads, "brake_onset_5s") == "brake_onset_3s"
    assert horizons.nearest_head(heads, "coast_1s") is None


def test_the_ablation_table_leaves_blank_what_was_not_trained(seen):
    root, _ = seen
    text = (root / "analyse" / "ablation" / "ablation.md").read_text()
    details = read_json(root / "evaluate" / "details.json")
    block = text.split("## ")[1]
    assert block.startswith("brake_1s, all test windows")
    rows = {
        line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:5]]
        for line in block.splitlines()
        if line[:1] == "|"
    }
    value = {run: f"{details[run]['brake_1s']['all']['pr_auc']:.3f}" for run in RUNS}
    assert rows[BEST][0].startswith(value[BEST]) and rows[BEST][1].startswith(value[BLIND]) and rows[BEST][2] == ""
    assert rows[ASKED][0].startswith(value[ASKED]) and rows[ASKED][1:] == ["", ""]
    cell = answer(root, "ablation")["all"]["brake_1s"][BEST]["all"]
    assert cell["over_telemetry"] == details[BEST]["brake_1s"]["all"]["pr_auc_over_telemetry"]


def test_macs_are_those_of_the_formula_and_costs_those_of_the_checkpoint(seen):
    shape = {"embedding": 16, "hidden": 32, "heads": 2}
    one, two = (cost.macs(build(Config(BEST, {"brake_1s": 0.1}, layers=layers, **shape)), 12) for layers in (1, 2))
    assert two - one == 20 * 4 * 32 * (32 + 32)  # of an LSTM layer: 4 gates a frame, from its input and its state
    found = answer(seen[0], "cost")["runs"]
    assert set(found) == set(RUNS)
    for name, of in found.items():
        path = seen[0] / "train" / name / "best.pt"
        weights = torch.load(path, weights_only=True)["model"]
        buffers = sum(value.numel() for key, value in weights.items() if key.startswith("scale_"))
        assert of["checkpoint_bytes"] == path.stat().st_size
        assert of["parameters"] == sum(value.numel() for value in weights.values()) - buffers
        assert 0 < of["latency_ms_p50"] <= of["latency_ms_p95"]


@pytest.mark.parametrize("analysis", ["misses", "attention", "horizons"])  # those with draws, networks and photographs
def test_same_input_same_bytes_and_nothing_left_of_before(seen, tmp_path, analysis):
    root, _ = seen
    (tmp_path / analysis).mkdir()
    (tmp_path / analysis / "misses_brake_5s.png").write_bytes(b"of a task no longer trained")
    run(root, tmp_path, analysis)
    assert folder_hash(tmp_path / analysis) == folder_hash(root / "analyse" / analysis)


def test_what_does_not_fit_together_is_named(seen, tmp_path):
    root, _ = seen
    for step in ("download", "annotate", "pack", "train"):
        (tmp_path / step).symlink_to(root / step)
    (tmp_path / "evaluate").mkdir()
    with pytest.raises(BadInput, match=r"details\.json: no such file; run brake_coast-evaluate first"):
        run(tmp_path, tmp_path / "out", "ablation")
    shutil.copy(root / "evaluate" / "details.json", tmp_path / "evaluate")
    with pytest.raises(BadInput, match="run brake_coast-evaluate again"):
        run(tmp_path, tmp_path / "out", "horizons")
    with pytest.raises(BadInput, match="no analysis 'mises'"):
        run(root, tmp_path / "out", "mises")
    values = yaml.safe_load((drives.REPO / "params.yaml").read_text())["brake_coast"]
    values["evaluate"]["refractory_s"] = 2.0
    with pytest.raises(
        ValueError, match=r"analyse\.misses\.refractory_s = 3\.0 must be evaluate\.refractory_s = 2\.0: set both"
    ):
        Line.model_validate(values)
