"""From known plans and known drives to the page: both loops side by side, and what must be said of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest

from tasks.open_loop_driving import evaluate, report, train, visualize
from tasks.open_loop_driving.formats import plans
from tasks.open_loop_driving.judging import driving_scores
from tasks.open_loop_driving.page import charts, remarks, results
from tasks.yard.files import read_json, write_json
from tests.figures import measured
from tests.tasks.brake_coast.test_report import Page
from tests.tasks.open_loop_driving import tiny_drives as tiny
from tests.tasks.open_loop_driving.shared import section
from tests.tasks.open_loop_driving.test_evaluate import short_of
from tests.tasks.yard.shared import reporting

pytestmark = pytest.mark.slow

SEES, BLIND = "thinktwice_small", "blind"
SPLITS = {"town01_r000": "train", "town02_r000": "val", "town05_r000": "test", "town05_r001": "test"}
SCORES = {SEES: (60.0, 80.0), BLIND: (40.0, 90.0), "expert": (100.0, 100.0), "constant_velocity": (0.0, 0.0)}


def write_drives(folder: Path, score: float, completion: float, simulator: bool = True) -> None:
    """drives.json of two test routes, both alike; who completes less than all has run a red light."""
    light = [{"kind": "red_light", "time_s": 1.0, "x": 0.0, "y": 0.0}]
    one = {
        "split": "test", "score_composed": score, "score_route": completion, "score_penalty": 0.7, "km": 0.5,
        "completed": completion == 100, "infractions": light if completion < 100 else [],
    }  # fmt: skip
    routes = {"a": one, "b": one} if simulator else {}
    splits = {"val": {}, "test": driving_scores.numbers(routes, reporting(bootstrap_replicates=200))}
    write_json(folder / "drives.json", {
        "agent": folder.name, "simulator": simulator, "why_not": None if simulator else "no simulator here",
        "routes": routes, "splits": splits, "quarantined": {},
    })  # fmt: skip


def paged(root: Path, **changes) -> dict:
    (root / "report").mkdir(exist_ok=True)
    of = {step: {name: root / step / name for name in (SEES, BLIND)} for step in ("train", "drive")}
    inputs = {step: root / step for step in ("check_data", "pack", "evaluate", "drive_rules", "visualize")}
    return report.run(None, root / "report", **of, **inputs, reporting_params=reporting(**changes))


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    for name in SPLITS:
        tiny.write_route(root / "pack", name)
    tiny.write_manifest(root / "pack", SPLITS)
    held = {split: [name for name, of in SPLITS.items() if of == split] for split in ("val", "test")}
    tiny.write_plans(root / "plan" / SEES, root / "pack", held)
    tiny.write_plans(root / "plan" / BLIND, root / "pack", held, off_m=(1.5,), looks=False)
    plan = {name: root / "plan" / name for name in (SEES, BLIND)}
    few = reporting(bootstrap_replicates=200)
    evaluate.run(None, root / "evaluate", pack=root / "pack", plan=plan, reporting_params=few)
    (root / "visualize").mkdir()
    params = section("visualize", height_px=480, seconds=0.5, fps=4.0)
    inputs = {"pack": root / "pack", "plan": plan, "evaluate": root / "evaluate"}
    visualize.run(params, root / "visualize", **inputs)
    for name, (score, completion) in SCORES.items():
        write_drives(root / ("drive" if name in plan else "drive_rules") / name, score, completion)
    for name in plan:
        rows = [
            {"epoch": n, "train": {"loss": 3.0 - n, "waypoints": 2.0 - n}, "val": {"l2_mean": 2.0 - n}, "best": n == 1}
            for n in (0, 1)
        ]
        (root / "train" / name).mkdir(parents=True)
        (root / "train" / name / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    findings = {"town05_r000": {"usable": True, "findings": ["frame 3 has no picture"]}}
    routes = {**findings, "town09_r000": {"usable": False, "why": "no frame can be read", "findings": []}}
    write_json(root / "check_data/check.json", {"verdict": "5 routes of 4 towns.", "routes": routes})
    return root, paged(root)


def page_of(root: Path) -> str:
    return (root / "report/report.html").read_text(encoding="utf-8")


@pytest.fixture
def text(project) -> str:
    return page_of(project[0])


def test_the_page_is_whole_and_fetches_nothing(text):
    page = Page(text)
    assert not page.open and not page.unbalanced and len(page.ids) == len(set(page.ids))
    assert page.fetched and all(uri.startswith("data:") for uri in page.fetched)
    assert text.count("<video") == 2, "a film a test route"


def test_every_term_of_the_loss_is_drawn():
    every = [term for terms in train.GROUPS.values() for term in terms]
    rows = [{"train": {"loss": 3.0, **dict.fromkeys(every, 1.0)}}]
    assert sorted(charts.terms_of(rows)) == sorted(every)


def test_the_table_has_both_loops_side_by_side(project):
    table = (project[0] / "report/table.md").read_text().splitlines()
    heads, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table if line.startswith("| ")]
    rows = {cells[0]: dict(zip(heads, cells, strict=True)) for cells in rows}
    assert set(rows) == {SEES, BLIND, "constant_velocity", "mean_path"}
    assert rows[SEES]["L2 mean to 2 s"] == "1.000" and rows[BLIND]["L2 at 2 s"] == "1.500"
    assert rows[SEES]["driving score"] == "60.0" and rows[BLIND]["route completion"] == "90.0"
    assert rows[SEES]["aside"] == "1.000" and rows[SEES]["ahead"] == "0.000"
    assert list(rows)[-1] == SEES, "the nearest network last"
    remark = "In closed loop thinktwice_small scores 60.0, and blind, which sees nothing, 40.0"
    assert [line for line in table if line.startswith(remark)], "remarks stand below the table"


def test_the_headline_has_the_leaders_numbers_of_both_loops(project):
    root, metrics = project
    told = read_json(root / "report/headline.json")
    assert told["l2_mean_to_2s"] == told["l2_at_2s"] == 1.0
    assert told["driving_score"] == 60.0 and told["route_completion"] == 80.0
    assert metrics == pytest.approx({**told, "page_mb": metrics["page_mb"]}, abs=1e-4) and metrics["page_mb"] > 0


def test_the_readmes_table_has_the_numbers_of_both_loops(project):
    found = measured.open_loop_driving(project[0])
    rows = dict(found["rows"])
    assert set(rows) == {"mean path", "constant velocity", "told speed, command, target", SEES, "the expert"}
    assert rows[SEES] == {
        "L2 mean to 2 s": 1.0, "L2 at 2 s": 1.0, "brake F1": None, "driving score": 60.0, "route completion": 80.0
    }  # fmt: skip
    assert rows["the expert"]["driving score"] == 100 and rows["the expert"]["L2 at 2 s"] is None
    assert found["said"][f"L2 mean to 2 s of `{SEES}`, layer coarse"] == 4.0
    assert found["on"] == "18 moments of 2 routes held out; L2 in metres"


def test_who_drove_how_with_the_expert_and_infractions_a_kilometre(text):
    part = text[text.index("Who drove how") : text.index("Layer by layer</h2>")]
    names = [name for name in ("expert", SEES, BLIND, "constant velocity") if f"<td>{name}</td>" in part]
    assert names == ["expert", SEES, BLIND, "constant velocity"]
    assert [part.index(f"<td>{name}</td>") for name in names] == sorted(part.index(f"<td>{n}</td>") for n in names)
    assert "red light a km" in part and "2.00" in part, "one in half a kilometre"
    assert "outside route lanes" not in part, "nobody left the road"


def test_where_the_loops_disagree_it_is_counted_and_named():
    runs = {
        "near": run_of({"a": 0.2}, {"a": 30.0}),
        "far": run_of({"a": 0.5}, {"a": 70.0}),
        "blind": run_of({"a": 1.0}, {"a": 10.0}),
    }
    found = results.disagreement(runs, "l2")
    assert found == {
        "judged": 3, "pairs": 3, "against": 1, "examples": [("near", "far")], "moments": [10], "drives": [1],
    }  # fmt: skip
    del runs["near"]
    assert results.disagreement(runs, "l2")["against"] == 0


def run_of(off: dict[str, float], scores: dict[str, float]) -> dict:
    """Of a run that was judged on ten moments of each of these routes, and drove these."""
    return {
        "kind": "network", "l2": fmean(off.values()), "driving_score": fmean(scores.values()), "by_drive": scores,
        "by_route": {route: {"moments": 10, "l2_mean": value} for route, value in off.items()},
    }  # fmt: skip


def test_networks_that_lack_different_routes_are_compared_on_those_that_both_have():
    """One has the easy route to itself, the other the hard one; where both are, it is the other way round."""
    one, other = {"easy": 0.1, "shared": 0.8}, {"shared": 0.5, "hard": 3.0}
    alike = {"a": 40.0, "b": 40.0}, {"a": 60.0, "b": 60.0}
    runs = {"one": run_of(one, alike[0]), "other": run_of(other, alike[1])}
    found = results.disagreement(runs, "l2")
    assert (found["against"], found["moments"], found["drives"]) == (0, [10], [2])
    drawn = results.both(runs, "l2")
    assert [(row["run"], row["open"]) for row in drawn] == [("other", 0.5), ("one", 0.8)]
    expert = {"by_drive": {"a": 90.0, "b": 100.0, "alone": 5.0}}
    assert results.expert_on(drawn[0]["on"], {"expert": expert}) == 95.0
    runs["other"] = run_of(one, {"b": 30.0, "c": 100.0})  # it drove another route, and was spared one
    runs["one"] = run_of({"easy": 0.2, "shared": 0.9}, alike[0])
    found = results.disagreement(runs, "l2")
    assert (found["against"], found["moments"], found["drives"]) == (1, [20], [1])
    details = {"leader": "other", "baselines": ["one"], "headline": "l2", "remarks": []}
    said = remarks.of_page(details, runs, runs)
    assert "In closed loop other scores 30.0, and one, which sees nothing, 40.0" in said[0]
    runs["one"] = run_of({"hard": 1.0}, alike[0])
    assert results.both(runs, "l2") == [] and results.disagreement(runs, "l2")["pairs"] == 0


def test_what_the_drives_do_not_show_is_said(project):
    details = read_json(project[0] / "evaluate/details.json")
    scores = {SEES: 30.0, BLIND: 20.0, "expert": 90.0}
    closed = {name: {"driving_score": score, "by_drive": {"a": score}} for name, score in scores.items()}
    runs = results.joined(details, closed)
    told = " ".join(remarks.of_page(details, runs, closed))
    assert "30.0, and blind, which sees nothing, 20.0" in told and "less than half of the expert's 90.0" in told
    good = {**closed, SEES: {"driving_score": 80.0, "by_drive": {"a": 80.0}}}
    assert remarks.of_driving(details, good) == []
    (nothing,) = remarks.of_driving(details, {})
    assert nothing.startswith("Nothing was driven")


def test_both_loops_are_compared_on_the_moments_that_both_of_a_pair_have(project, tmp_path):
    """There the blind one comes nearer than the leader, and elsewhere it does not."""
    root, alone = shutil.copytree(project[0], tmp_path / "project"), "town05_r001"
    short_of(root / "plan" / SEES, {"test": [alone]})
    file = root / "plan" / BLIND / plans.FILE
    found = plans.read(file)
    for of in found.splits.values():
        of.waypoints[:, of.route.astype(str) != alone] += np.array([0, -1.0])  # 0.5 m off
    plans.write(file, found)
    given = {"pack": root / "pack", "plan": {name: root / "plan" / name for name in (SEES, BLIND)}}
    evaluate.run(None, root / "evaluate", **given, reporting_params=reporting(bootstrap_replicates=200))
    paged(root)
    assert "each compared on what both have (9 to 18 moments, 2 drives)" in page_of(root)
    assert "All on what each of them has: 9 moments in open loop, 2 drives." in page_of(root)

    def told(folder: Path) -> str:
        return next(
            one for one in read_json(folder / "report/summary.json")["remarks"] if "closed loop disagree" in one
        )

    assert "blind against thinktwice_small" in page_of(root)
    assert told(root) != told(project[0]), "one pair more"
    before, after = ((folder / "report/loops.png").read_bytes() for folder in (project[0], root))
    assert before != after


def test_what_no_training_has_seen_is_called_what_it_is(text):
    assert "Towns that no training has seen; every number" in text and "18 moments of 2 routes in town05" in text
    towns = {"train": ["a"], "val": [], "test": ["a"]}
    assert results.unseen(towns, {"one": {}, "two": {}}) == "Routes that no training has seen"
    assert results.unseen(towns, {"one-train": {}, "one-test": {}}) == "Parts of routes that no training has seen"
    assert results.unseen({**towns, "train": []}, {}) == "Nothing was trained on this source"


def test_stills_findings_and_what_is_left_out_stand_on_the_page(text):
    assert "Worst: the last layer&#39;s waypoints are farthest off" in text
    assert "frame 3 has no picture" in text and "no frame can be read" in text and "5 routes of 4 towns." in text
    assert "What open loop does not tell" in text and "Open loop is not driving" in text


def test_layers_are_drawn_in_their_order_with_what_each_one_is_worth(text):
    part = text[text.index("Layer by layer</h2>") : text.index("The best and the worst moments")]
    assert part.index(">coarse</text>") < part.index(">1</text>") < part.index(">2</text>")
    assert "2 - coarse" in part and "-3.000" in part, "4 m off became 1 m"


def test_a_source_that_cannot_be_driven_says_so_and_a_rendered_world_too(project, tmp_path, text):
    assert "Rendered world" not in text and "Nothing was driven" not in text
    root = tmp_path / "project"
    shutil.copytree(project[0], root)
    for folder in [*(root / "drive").iterdir(), *(root / "drive_rules").iterdir()]:
        write_drives(folder, 0, 0, simulator=False)
    write_json(root / "pack/manifest.json", {**read_json(root / "pack/manifest.json"), "rendered": True})
    numbers = paged(root, embed_mb=0.0)
    page = (root / "report/report.html").read_text(encoding="utf-8")
    assert page.index("Rendered world") < page.index("See, plan, look again</h1>")
    assert "Nothing was driven here: no simulator here" in page and "driving_score" not in numbers
    assert {path.name for path in (root / "report").glob("*.mp4")} == {"town05_r000.mp4", "town05_r001.mp4"}
    assert 'src="town05_r000.mp4"' in page, "films that are too large lie beside the page"
