"""Networks judged on people they have not seen, beside what nobody trained; the page; the challenge."""

from __future__ import annotations

import re
import shutil

import h5py
import numpy as np
import pytest
import yaml

from tasks import params as params_file
from tasks.files import read_json, write_json
from tasks.person_search import champion, evaluate, report
from tasks.person_search.ranking import rank
from tasks.person_search.train import run as train
from tests.tasks.person_search.test_train import settings
from tests.tasks.person_search.tiny_people import write_pack

SECTIONS = params_file.load().person_search
EVALUATE = SECTIONS.evaluate.model_copy(update={"bootstrap_replicates": 100, "false_accept_rate": 0.05})
NAME = SECTIONS.train.networks[0]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A little trained, and a little more: data/person_search in small."""
    root = tmp_path_factory.mktemp("data")
    write_pack(root / "pack", {"train": 10, "val": 8, "test": 9})
    for name, epochs in (("worse", 1), ("better", 6)):
        params = settings(engine={"epochs": epochs}, evaluate_every=epochs)
        train(params, root / "train" / name, network=NAME, pack=root / "pack")
    (root / "numbers.yaml").write_text(yaml.safe_dump(judge(root, root / "evaluate")))
    return root


def judge(root, out, params=EVALUATE):
    cells = {path.name: path for path in (root / "train").iterdir()}
    return evaluate.run(params, out, pack=root / "pack", train=cells)


def test_the_numbers_are_those_of_the_embeddings_it_writes(root):
    details = read_json(root / "evaluate" / "details.json")
    with h5py.File(root / "evaluate" / "embeddings.h5") as file:
        role, who, where = (file[name][:] for name in ("role", "identity", "camera"))
        for name in ("worse", "better"):
            vectors = file[f"embeddings/{name}"][:]
            q, g = role == 1, role == 2
            found = rank(vectors[q], vectors[g], who[q], where[q], who[g], where[g])
            told = details["runs"][name]["test"]
            assert told["map"] == pytest.approx(found.map) and told["rank1"] == pytest.approx(found.cmc[1])
            assert told["queries"] == 36 and told["people"] == 9 and told["gallery"] == 36
            assert told["intervals"]["map"]["low"] <= told["map"] <= told["intervals"]["map"]["high"]
    returned = yaml.safe_load((root / "numbers.yaml").read_text())
    assert returned["test/better/map"] == pytest.approx(details["runs"]["better"]["test"]["map"], abs=1e-6)


def test_what_nobody_trained_stands_beside_the_networks(root):
    runs = read_json(root / "evaluate" / "details.json")["runs"]
    assert set(runs) == {"worse", "better", "worse-untrained", "better-untrained", *evaluate.BASELINES}
    areas = {name: told["test"]["map"] for name, told in runs.items()}
    assert areas["better"] > 2 * areas["chance"]
    assert all("map" in read_json(root / "evaluate" / "metrics" / f"{name}.json") for name in runs)


def test_validation_chooses_the_leader_and_the_threshold_and_the_test_people_nothing(root, tmp_path):
    details = read_json(root / "evaluate" / "details.json")
    val = {name: details["runs"][name]["validation"]["map"] for name in ("worse", "better")}
    assert details["leader"] == max(val, key=val.get)
    shutil.copytree(root, tmp_path / "data")
    with h5py.File(tmp_path / "data" / "pack" / "test.h5", "r+") as file:
        file["identity"][:] = np.random.default_rng(0).permutation(file["identity"][:])
    judge(tmp_path / "data", tmp_path / "again")
    again = read_json(tmp_path / "again" / "details.json")
    assert again["leader"] == details["leader"] and again["threshold"]["threshold"] == details["threshold"]["threshold"]
    assert again["threshold"]["test"]["frr"] > details["threshold"]["test"]["frr"]


def test_the_same_bytes_again(root, tmp_path):
    judge(root, tmp_path)
    files = [path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()]
    assert {"details.json", "embeddings.h5", "ranked.png", "cmc.png", "similarities.png", "errors.png"} <= set(
        map(str, files)
    )
    for name in files:
        assert (tmp_path / name).read_bytes() == (root / "evaluate" / name).read_bytes(), name


@pytest.mark.parametrize("split", ["val", "test"])
def test_without_people_to_judge_by_it_says_so_and_goes_on(root, tmp_path, split):
    shutil.copytree(root / "train", tmp_path / "train")
    write_pack(tmp_path / "pack", {"train": 10, "val": 8, "test": 9} | {split: 0})
    judge(tmp_path, tmp_path / "evaluate")
    details = read_json(tmp_path / "evaluate" / "details.json")
    why = details["leader_null_because" if split == "val" else "test_null_because"]
    assert why == "nobody is left for it"
    assert (details["leader"] is None) == (split == "val")
    page(tmp_path, tmp_path / "report")
    assert "nobody is left for it" in (tmp_path / "report" / "report.html").read_text()


def page(root, out):
    for step in ("download", "train_detector", "search"):
        (root / step).mkdir(exist_ok=True)
    inputs = {step: root / step for step in ("download", "pack", "train_detector", "evaluate", "search")}
    return report.run(SECTIONS.report, out, train={path.name: path for path in (root / "train").iterdir()}, **inputs)


def test_the_page_needs_nothing_but_a_browser_and_tells_the_numbers(root, tmp_path):
    numbers = page(root, tmp_path)
    text = (tmp_path / "report.html").read_text()
    assert not re.search(r'(src|href)="(?!data:|#)', text)
    leader = read_json(root / "evaluate" / "details.json")["leader"]
    assert f"{numbers['map']:.3f}" in text and leader in text
    assert "9 people: so few" in text
    table = (tmp_path / "table.md").read_text()
    assert table.splitlines()[0].startswith("| re-identification") and f"{numbers['rank1']:.3f}" in table
    assert (tmp_path / "leaderboard.png").stat().st_size > 2000


def test_the_page_shows_a_search(root, tmp_path):
    shutil.copytree(root, tmp_path / "data")
    scores = {
        key: {"map": 0.25 * i, "top1": 0.5, "queries": 3} for i, key in enumerate(("chance", "detector", "oracle"))
    }
    write_json(tmp_path / "data" / "search" / "search.json", {
        "empty": None, "cameras": ["a", "b"], "queries": {}, "sheets": [], "videos": [], "metrics_null_because": None,
        "metrics": {**scores, "detector_recall": 0.5},
    })  # fmt: skip
    found = page(tmp_path / "data", tmp_path / "report")
    assert found["search_map_detector"] == 0.25 and found["search_map_oracle"] == 0.5
    assert "detector's boxes 0.250, true boxes 0.500, chance 0.000" in (tmp_path / "report" / "table.md").read_text()


def test_a_challenge_is_a_paired_one(root):
    assert champion.challenger(root) == read_json(root / "evaluate" / "details.json")["leader"]
    worse, better = (root / "train" / name / "best.pt" for name in ("worse", "better"))
    section = SECTIONS.model_copy(update={"evaluate": EVALUATE})
    even = champion.compare(better, better, root, section)
    assert even.challenger == even.champion and even.low == even.high == 0
    won = champion.compare(better, worse, root, section)
    assert won.low <= won.challenger - won.champion <= won.high
