"""The evaluate step: its numbers can be computed again from the detections, and its controls are what they say."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy.optimize import linear_sum_assignment

from tasks.ground_plane import champion, detect, evaluate
from tasks.ground_plane.formats import scenes
from tasks.ground_plane.formats.detections import FILE, read_detections
from tasks.ground_plane.judging import controls, matching
from tasks.ground_plane.judging.matching import METRICS, Counts
from tasks.ground_plane.judging.scores import intervals
from tasks.ground_plane.learning.network import load_network
from tasks.ground_plane.page.curves import thinned
from tasks.ground_plane.params import Decode, Line
from tasks.yard.files import folder_hash, read_json, write_json
from tasks.yard.geometry import camera as geometry
from tasks.yard.metrics import bootstrap
from tasks.yard.step import BadInput
from tests.figures import measured
from tests.tasks.ground_plane.tiny_project import section, write_network, write_pack
from tests.tasks.yard.shared import reporting

pytestmark = pytest.mark.slow

REPORTING = reporting(bootstrap_replicates=200)
LOUD, SILENT = 0.0, 1.1  # thresholds: everything is kept, or nothing
UNITS = {"first": {"frames": 16}, "held-out": {"splits": ["test"], "people": 3}}
CAMERAS = ("cam1", "cam2", "cam3")
MATCH_M = 0.5


def evaluated(root: Path, out: str = "evaluate", anew: bool = True) -> tuple[dict, dict]:
    """(what the step returns, details.json), after detect; networks are those in train/."""
    train = {path.name: path for path in sorted((root / "train").iterdir())}
    detected = {item: root / "detect" / item for item in train}
    for item, folder in detected.items() if anew else ():
        detect.run(section("detect"), folder, network=item, pack=root / "pack", train=train)
    flat = evaluate.run(None, root / out, pack=root / "pack", train=train, detect=detected, reporting_params=REPORTING)
    return flat, read_json(root / out / "details.json")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    write_pack(root, guard_frames=10, **UNITS)
    write_network(root, "loud", threshold=LOUD)
    flat, details = evaluated(root)
    return root, flat, details


def textbook(root: Path, split: str, match_m: float) -> dict[str, float]:
    """The loud network's counts from its file and the pack alone, frame after frame."""
    people = read_json(root / "pack/scenes.json")["scenes"]
    tp = fp = fn = near = 0
    with h5py.File(root / "detect/loud/model_evaluation.hdf5") as file:
        of = file["evaluation"]
        for i in np.flatnonzero(of["Split"][:] == {"val": 1, "test": 2}[split]):
            found = of["Detections"][of["NbDetection"][i] : of["NbDetection"][i + 1]]
            scene = people[of["Scene"].attrs["scenes"][of["Scene"][i]]]
            there = np.array(scene["people"][scene["frames"].index(of["Frame"][i])])[:, 1:]
            gap = np.linalg.norm(found[:, None] - there[None], axis=-1)
            rows, cols = linear_sum_assignment(np.where(gap <= match_m, gap, 1e3))
            hits = gap[rows, cols][gap[rows, cols] <= match_m]
            tp, fp, fn = tp + len(hits), fp + len(found) - len(hits), fn + len(there) - len(hits)
            near += (1 - hits / match_m).sum()
    return {
        "tp": tp, "fp": fp, "fn": fn, "moda": 1 - (fp + fn) / (tp + fn), "modp": near / tp,
        "precision": tp / (tp + fp), "recall": tp / (tp + fn),
    }  # fmt: skip


def test_the_numbers_can_be_computed_again_from_the_detections(project):
    root, flat, details = project
    assert details["unseen"] == 0 and details["threshold"] == LOUD and details["match_m"] == MATCH_M
    told = details["runs"]["loud"]
    for split, of in (("test", told), ("val", told["validation"])):
        expected = textbook(root, split, MATCH_M)
        assert {key: of[key] for key in expected} == pytest.approx(expected, abs=1e-5)
    assert flat["test/loud/moda"] == told["moda"] == read_json(root / "evaluate/metrics/loud.json")["moda"]
    for row in told["by_match_m"]:
        expected = textbook(root, "test", row["match_m"])
        assert {key: row[key] for key in METRICS} == pytest.approx({key: expected[key] for key in METRICS}, abs=1e-5)
    assert [row["match_m"] for row in told["by_match_m"]][::6] == [0.2, 0.5]
    for key in ("tp", "fp", "fn", "frames", "people"):
        assert sum(of[key] for of in details["per_scene"].values()) == told[key]
    assert set(details["per_scene"]) == {"first", "held-out"}
    figures = measured.ground_plane(root)
    rows = {"blind", "shuffled", "one camera alone, the best", "one camera taken away, the worst", "loud"}
    found = dict(figures["rows"])
    assert set(found) == rows and found["loud"]["MODA"] == told["moda"]
    assert figures["said"]["MODA in the worst scene"] <= told["moda"] <= figures["said"]["MODA in the best scene"]
    assert figures["on"].endswith(f"{told['people']} people, one to one within 0.5 m")


def test_the_interval_is_of_frames_drawn_with_replacement():
    rng = np.random.default_rng(0)
    counts = [Counts(*map(int, rng.integers(0, 6, 3)), float(rng.random())) for _ in range(9)]
    draws = bootstrap.resamples(9, 200, REPORTING.bootstrap_seed)
    anew = [
        sum((one for one, n in zip(counts, draw, strict=True) for _ in range(n)), Counts()).metrics(MATCH_M)
        for draw in draws
    ]
    told = intervals(counts, MATCH_M, REPORTING)
    for name in METRICS:
        values = np.array([np.nan if one[name] is None else one[name] for one in anew])
        assert told[name] == pytest.approx(bootstrap.interval(values))
    assert intervals(counts[:1], MATCH_M, REPORTING) == dict.fromkeys(METRICS)


def test_whole_scenes_are_drawn_where_there_are_several(project):
    _, _, details = project
    scenes = [Counts(of["tp"], of["fp"], of["fn"]) for of in details["per_scene"].values()]
    told = details["runs"]["loud"]["intervals"]["recall"]
    anew = intervals(scenes, MATCH_M, REPORTING)["recall"]
    assert told == pytest.approx(anew, abs=1e-5)


def test_every_run_has_its_file_and_the_cameras_their_summary(project):
    root, flat, details = project
    alone, fewer = [f"only_{name}" for name in CAMERAS], [f"without_{name}" for name in CAMERAS]
    assert set(details["controls"]) == {"shuffled", "off_1px", "off_5px", *alone, *fewer}
    assert set(details["runs"]) == {"loud", "blind", "empty", *details["controls"]}
    assert {path.stem for path in (root / "evaluate/metrics").iterdir()} == set(details["runs"])
    for run, of in details["runs"].items():
        assert of["frames"] == details["frames"]["test"] and of["tp"] + of["fn"] == details["people"]["test"], run
        assert run in ("blind", "empty") or of["threshold"] == LOUD
    for kind, runs in (("alone", alone), ("without", fewer)):
        moda, of = [details["runs"][run]["moda"] for run in runs], details["cameras"][kind]
        assert (of["mean"], of["worst"]) == pytest.approx((np.mean(moda), min(moda)), abs=1e-6)
        assert flat[f"test/{kind}/worst"] == of["worst"] == of["moda"][of["worst_camera"]]
    empty = details["runs"]["empty"]
    assert (empty["moda"], empty["recall"], empty["precision"], empty["modp"]) == (0, 0, None, None)


def test_the_curve_goes_through_the_numbers_at_the_threshold(project):
    root, _, details = project
    told = details["runs"]["loud"]
    for split, of in (("test", told), ("val", told["validation"])):  # all is kept: the end of the curve
        assert details["curve"][split][-1][1:] == pytest.approx([of[key] for key in ("moda", "precision", "recall")])
    table = pd.read_csv(root / "evaluate/plots/threshold.csv")
    assert list(table.columns) == ["split", "threshold", "moda", "precision", "recall"]
    assert len(table) == sum(map(len, details["curve"].values())) and set(table["split"]) == {"val", "test"}
    assert (root / "evaluate/threshold.png").stat().st_size > 5000


def tiny_scene(root: Path) -> scenes.Scene:
    return scenes.load(root / "pack")[0]


def test_shuffled_looks_up_each_image_with_the_calibration_of_another_camera(project):
    scene = tiny_scene(project[0])
    centres = geometry.cells(scene.grid, scene.cell_m)
    sampling, visible = controls.shuffled(scene)["sampling"]
    for number in range(len(scene.views)):
        other = scene.views[number - 1].camera
        at, seen = geometry.looked_up(other, scene.plane, centres)
        np.testing.assert_array_equal(sampling[number], at)
        np.testing.assert_array_equal(visible[number], seen & scene.plane.holds(centres))


def test_a_principal_point_off_by_so_many_pixels_moves_what_is_looked_up_by_so_many(project):
    scene = tiny_scene(project[0])
    right, seen = scene.looked_up
    for px in (1, 5):
        wrong, still = controls.off(px)(scene)["sampling"]
        both = seen & still
        moved = (wrong - right)[both] * np.array(scene.views[0].camera.size[::-1]) / 2
        np.testing.assert_allclose(moved, np.broadcast_to([px, 0], moved.shape), atol=1e-3)
        assert both.sum() > 100


def test_what_is_judged_anew_is_what_detect_wrote(project):
    """The way of the controls and of the challenge, with nothing taken away, is the way of the file."""
    root, _, details = project
    network, config, _ = load_network(root / "train/loud/best.pt")
    frames = scenes.of_split(scenes.load(root / "pack"), "test")
    for change in (lambda _: {}, controls.off(0)):
        found = controls.look(network, config, frames, LOUD, "cpu", change)
        whole = sum(matching.counts_at([one for _, one in found], LOUD, MATCH_M), Counts())
        assert [place for place, _ in found] == list(range(len(frames)))
        assert whole.metrics(MATCH_M)["moda"] == pytest.approx(details["runs"]["loud"]["moda"], abs=1e-6)
    missing = controls.look(network, config, frames, LOUD, "cpu", controls.without("cam9"))
    assert missing == []


def test_where_people_always_stand_the_blind_guess_is_right(project):
    """Two places in training, one of them taken in validation: one guess is best there."""
    scene = tiny_scene(project[0])
    here, there = [1.0, 2.05, 1.5], [2.0, 4.35, 2.5]
    people = {"train": [here, here, there], "val": [here], "test": [here, there], "guard": [there] * 9}
    scene = replace(scene, people=tuple(np.array(people[str(split)]) for split in scene.split))
    frames = {split: scenes.of_split([scene], split) for split in scenes.SPLITS}
    decode = Decode(**section("train").decode.model_dump())
    _, test, threshold = controls.blind(frames["train"], frames["val"], frames["test"], decode)
    counts = sum(matching.counts_at(test, threshold, MATCH_M), Counts())
    assert (counts.tp, counts.fp, counts.fn) == (len(test), 0, len(test))
    assert counts.distance_m / len(test) < scene.cell_m * 0.71  # to the middle of a cell
    assert controls.blind([], frames["val"], frames["test"], decode) is None
    assert controls.blind(frames["train"], [], frames["test"], decode) is None


def peopled(root: Path, **found: bool) -> None:
    """In each split, as the loud network has it: everybody where it finds somebody, or one person alone."""
    about = read_json(root / "pack/scenes.json")
    numbers = {name: split for split, name in enumerate(("val", "test"), 1)}
    for one in read_detections(root / "detect/loud" / FILE):
        for split, everywhere in found.items():
            if one.split == numbers[split]:
                scene = about["scenes"][one.scene]
                there = one.xy.tolist() if everywhere else [[0.3, 0.3]]
                scene["people"][scene["frames"].index(one.frame)] = [[i, *xy] for i, xy in enumerate(there)]
    write_json(root / "pack/scenes.json", about)


@pytest.mark.parametrize("best", ["loud", "silent"])
def test_validation_names_the_leader_and_the_test_people_choose_nothing(project, tmp_path, best):
    """On test the order is the other way round: of two networks the one finds whom it must, the other nobody."""
    shutil.copytree(project[0] / "pack", tmp_path / "pack")
    write_network(tmp_path, "loud", threshold=LOUD)
    write_network(tmp_path, "silent", threshold=SILENT)
    train = {item: tmp_path / "train" / item for item in ("loud", "silent")}
    for item in train:
        detect.run(section("detect"), tmp_path / "detect" / item, network=item, pack=tmp_path / "pack", train=train)
    peopled(tmp_path, val=best == "loud", test=best != "loud")
    flat, told = evaluated(tmp_path, anew=False)
    of, other = told["runs"]["loud"], told["runs"]["silent"]
    assert (of["validation"]["moda"] > 0.9) == (best == "loud") == (of["moda"] < 0)
    assert other["validation"]["moda"] == other["moda"] == 0
    assert told["leader"] == best and told["threshold"] == flat["threshold"] == {"loud": LOUD, "silent": SILENT}[best]
    assert all(told["runs"][run]["threshold"] == told["threshold"] for run in told["controls"])


def test_a_curve_is_thinned_to_what_each_threshold_keeps():
    """A short one is left as it is; of a long one each row is the last at or above a threshold asked for."""
    few = np.array([[0.9, 0.1, 1, 0.1], [0.5, 0.3, 0.9, 0.3], [0.1, -0.2, 0.5, 0.6]])
    np.testing.assert_array_equal(thinned(few), few)
    thresholds = np.linspace(1, 0, 1991)
    many = np.column_stack([thresholds, *[thresholds] * 3])
    kept = thinned(many)
    asked = np.linspace(1, 0, 200)
    np.testing.assert_array_equal(kept, many[[(thresholds >= one).sum() - 1 for one in asked]])
    assert thinned(few[:0]).shape == thinned(few * [1, np.nan, 1, np.nan]).shape == (0, 4)


def test_people_whom_no_camera_can_see_are_counted_and_not_judged(project, tmp_path):
    root, _, details = project
    shutil.copytree(root, tmp_path / "root")
    about = read_json(tmp_path / "root/pack/scenes.json")
    for scene in about["scenes"].values():
        for people in scene["people"]:
            people.append([99, -0.4, 1.0])
    write_json(tmp_path / "root/pack/scenes.json", about)
    _, told = evaluated(tmp_path / "root", anew=False)
    assert told["unseen"] == details["frames"]["test"] and any("no camera sees" in text for text in told["remarks"])
    assert told["runs"] == details["runs"]


def test_same_input_same_bytes_and_nothing_stale(project, tmp_path):
    root, _, _ = project
    shutil.copytree(root, tmp_path / "root")
    for stale in ("metrics/gone.json", "plots/gone.csv", "gone.png"):
        (tmp_path / "root/evaluate" / stale).write_text("left by an earlier run")
    evaluated(tmp_path / "root", anew=False)
    assert folder_hash(tmp_path / "root/evaluate") == folder_hash(root / "evaluate")


@pytest.mark.parametrize("name", ["small-mean_max", "small-concat"])
def test_ten_frames_are_judged_and_said_to_be_worth_little(tmp_path, name):
    write_pack(tmp_path, val=0.1, test=0.1, guard_frames=10, ten={"frames": 10})
    write_network(tmp_path, "loud", name, threshold=LOUD)
    flat, details = evaluated(tmp_path)
    assert details["frames"] == {"train": 4, "val": 1, "test": 1}  # two guards of 2: training keeps half of its 8
    assert details["runs"]["loud"]["intervals"] == dict.fromkeys(METRICS)
    assert flat["test/loud/moda"] == details["runs"]["loud"]["moda"] is not None
    assert "1 test frame of 1 scene: the numbers are worth little." in details["remarks"]


def emptied(root: Path, *splits: str) -> None:
    about = read_json(root / "pack/scenes.json")
    for scene in about["scenes"].values():
        scene["people"] = [
            [] if of in splits else people for of, people in zip(scene["split"], scene["people"], strict=True)
        ]
    write_json(root / "pack/scenes.json", about)


@pytest.mark.parametrize("case", ["nobody in test", "no test", "nobody on validation", "nobody at all"])
def test_what_cannot_be_judged_is_null_with_the_reason(tmp_path, case):
    splits = ["train", "val"] if case == "no test" else ["train", "val", "test"]
    write_pack(tmp_path, only={"splits": splits})
    gone = {"nobody in test": ("test",), "nobody on validation": ("val",), "nobody at all": ("train", "val", "test")}
    emptied(tmp_path, *gone.get(case, ()))
    write_network(tmp_path, "one", threshold=None if "validation" in case or "all" in case else LOUD)
    flat, details = evaluated(tmp_path)
    told = details["runs"]["one"]
    assert told["moda"] is None and details["leader"] == "one" and "test/one/moda" not in flat
    why = {"nobody in test": "nobody in 3 frames", "no test": "no labelled frame"}
    assert why.get(case, "no threshold") in told["null_because"]
    assert details["remarks"] and read_json(tmp_path / "evaluate/metrics/one.json")["moda"] is None


def test_several_networks_that_nobody_could_judge_have_no_leader(tmp_path):
    write_pack(tmp_path)
    emptied(tmp_path, "val")
    for item in ("one", "other"):
        write_network(tmp_path, item, threshold=LOUD)
    _, details = evaluated(tmp_path)
    assert details["leader"] is None and details["threshold"] is None and details["controls"] == []
    assert details["runs"]["one"]["moda"] is not None and any("No network leads" in text for text in details["remarks"])


def test_detections_of_another_pack_are_refused(project, tmp_path):
    root, _, _ = project
    shutil.copytree(root / "train", tmp_path / "train")
    shutil.copytree(root / "detect", tmp_path / "detect")
    write_pack(tmp_path, first={"frames": 10})
    with pytest.raises(BadInput, match=r"loud/model_evaluation\.hdf5: not of the val .* run ground_plane-detect again"):
        evaluated(tmp_path, anew=False)


def test_the_challenge_is_over_the_same_draws_of_the_same_frames(project, tmp_path):
    root, flat, details = project
    line = Line.model_validate({name: section(name).model_dump() for name in Line.model_fields})
    compare = partial(champion.compare, section=line, reporting=REPORTING)
    shutil.copytree(root / "pack", tmp_path / "pack")
    loud, silent = root / "train/loud/best.pt", write_network(tmp_path, "silent", threshold=SILENT) / "best.pt"
    details["runs"]["loud"]["moda"] = 0.9
    for best, why in ((0.9, None), (0.0, "its MODA on validation is 0.000, no better than ")):
        details["runs"]["loud"]["validation"]["moda"] = best
        write_json(tmp_path / "evaluate/details.json", details)
        leader = champion.challenger(tmp_path)
        assert leader.item == "loud" and (leader.unfit == why if why is None else leader.unfit.startswith(why))
    found = compare(loud, silent, root)
    assert (found.challenger, found.champion) == (pytest.approx(flat["test/loud/moda"], abs=1e-6), 0)
    again = compare(silent, loud, root)
    assert found.error > 0 and again.error == pytest.approx(found.error)
    itself = compare(loud, loud, root)
    assert itself.error == 0 and "what the champion and the challenger learnt from is unknown" in itself.metric
    drawn = [of.split("/")[0] for of in found.groups]
    assert "held-out" in drawn, "the test frames of two scenes"
    old = {"held-out": None}  # its whole test scene was in training once
    part = compare(loud, write_network(tmp_path, "old", threshold=SILENT, learnt=old) / "best.pt", root)
    assert {of.split("/")[0] for of in part.groups} == {"first"} and "test frames (they have learnt" in part.metric
    first = next(scene for scene in scenes.load(root / "pack") if scene.name == "first")
    held = first.frames[first.rows("test")]
    before = int(2 * held[0] - held[1])  # the labelled frame before the first
    beside = {"held-out": None, "first": [[before, before]]}
    part = compare(loud, write_network(tmp_path, "beside", threshold=SILENT, learnt=beside) / "best.pt", root)
    assert len(part.groups) == len(held) - 2, "a neighbour is nearly the same picture; today's guard is of two frames"
    old = {"held-out": None, "first": [[0, 10**9]]}
    with pytest.raises(BadInput, match=r"no verdict: of \d+ test frames none is left"):
        compare(loud, write_network(tmp_path, "older", learnt=old) / "best.pt", root)
    emptied(tmp_path, "test")
    with pytest.raises(BadInput, match="nobody to find"):
        compare(loud, silent, tmp_path)
