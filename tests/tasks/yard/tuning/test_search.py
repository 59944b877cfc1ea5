"""The search itself, over a training small enough to be done a hundred times: descent into a parabola."""

from __future__ import annotations

import csv
import json

import pytest

from tasks.yard.files import folder_hash, read_json, write_json
from tasks.yard.params import Section
from tasks.yard.step import BadInput, Context
from tasks.yard.tuning import search as tuning
from tasks.yard.tuning.search import Search
from tasks.yard.tuning.section import Tuning

pytestmark = pytest.mark.slow


class Engine(Section):
    epochs: int


class Model(Section):
    width: int
    heads: int


class Toy(Section):
    rate: float
    kind: str
    engine: Engine
    model: Model


BASE = Toy(rate=0.001, kind="plain", engine=Engine(epochs=9), model=Model(width=8, heads=1))
SPACE = {
    "rate": {"low": 0.001, "high": 0.5, "log": True},
    "kind": {"choices": ["plain", "twice"]},
    "model.width": {"low": 4, "high": 16, "log": False},
}
TUNING = {
    "trials": 12, "at_once": 1, "sampler": "tpe", "seed": 0, "epochs": None, "space": SPACE,
    "pruner": {"kind": "asha", "min_epochs": 1, "reduction": 3},
}  # fmt: skip


class Diverged(Exception):
    pass


def descend(section: Toy, folder, until: int) -> list[dict]:
    """x -> 0 by steps of the rate; resumes from last.json, as the engine does from last.pt."""
    if section.model.width % section.model.heads:
        raise Diverged(f"width {section.model.width} is no multiple of heads {section.model.heads}")
    state = folder / "last.json"
    history = read_json(state) if state.exists() else []
    x = history[-1]["x"] if history else 1.0
    for epoch in range(len(history), until):
        x *= 1 - section.rate * (2 if section.kind == "twice" else 1)
        history.append({"epoch": epoch, "x": x, "val": {"score": -abs(x)}})
        write_json(state, history)
    (folder / "history.jsonl").write_text("".join(json.dumps(row, sort_keys=True) + "\n" for row in history))
    return history


def search(out, train=descend, base=BASE, data="data", **changes) -> dict:
    params = Tuning.model_validate({**TUNING, **changes})
    out.mkdir(parents=True, exist_ok=True)
    return tuning.run(Search("toy.train", base, train, data, (Diverged,)), params, out, Context())


def rows(out) -> dict[int, dict]:
    with (out / "trials.csv").open() as file:
        return {int(row["trial"]): row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    out = tmp_path_factory.mktemp("searched")
    return out, search(out)


def test_it_finds_better_values_with_less_training(searched):
    out, found = searched
    best = read_json(out / "best.json")
    assert found["gain"] > 0.3 and best["best"]["score"] == found["best_score"]
    assert found["standing_score"] == pytest.approx(-(0.999**9))
    assert found["complete"] + found["pruned"] == 12 and found["pruned"] > 0
    assert best["epochs_trained"] == found["epochs_trained"] < best["epochs_without_pruning"] == 108
    assert f"--set toy.train.rate={best['best']['params']['rate']}" in best["write_back"]
    assert '--set toy.train.kind="' in best["write_back"]
    table = rows(out)
    assert table[0]["rate"] == "0.001" and {row["epochs"] for row in table.values()} <= {"1", "3", "9"}
    assert all(row["epochs"] == "9" for row in table.values() if row["state"] == "complete")
    assert {"history.png", "space.png"} <= {path.name for path in out.iterdir()}
    assert not list(out.rglob("last.json"))  # what a trial needed to go on is gone


def test_a_trial_that_stops_early_was_among_the_worse_at_its_rung(searched):
    out, _ = searched
    trials = [read_json(path) for path in sorted(out.glob("runs/*/trial.json"))]
    first = [trial["rungs"]["1"] for trial in trials]
    for trial in trials:
        seen = sorted(first[: trial["number"] + 1], reverse=True)
        goes_on = trial["rungs"]["1"] >= seen[max(len(seen) // 3 - 1, 0)]
        assert goes_on == (trial["epochs"] > 1), trial["number"]


@pytest.mark.slow
def test_interrupted_anywhere_it_ends_with_the_bytes_of_a_search_in_one_go(searched, tmp_path):
    whole, found = searched
    calls = iter(range(1000))

    def interrupted(section, folder, until):
        history = descend(section, folder, until)
        if next(calls) % 5 == 4:
            raise KeyboardInterrupt
        return history

    for _ in range(100):
        try:
            assert search(tmp_path, interrupted) == found
            break
        except KeyboardInterrupt:
            pass
    else:
        pytest.fail("never ended")
    assert folder_hash(tmp_path) == folder_hash(whole)


def test_more_trials_go_on_from_those_there_are_and_other_data_start_over(searched, tmp_path):
    whole, found = searched
    search(tmp_path, trials=5)

    def only_new(section, folder, until):
        assert int(folder.name[-3:]) >= 5, "trained again"
        return descend(section, folder, until)

    assert search(tmp_path, only_new) == found and folder_hash(tmp_path) == folder_hash(whole)
    search(tmp_path, trials=5)
    assert len(list(tmp_path.glob("runs/*/params.json"))) == len(rows(tmp_path)) == 5
    seen = []
    search(tmp_path, lambda *a: (seen.append(a[1].name), descend(*a))[1], data="other", trials=2)
    assert set(seen) == {"trial-000", "trial-001"}


def test_a_grid_tries_each_choice_once_and_what_stands_first(tmp_path):
    space = {"rate": {"choices": [0.1, 0.001]}, "kind": {"choices": ["plain", "twice"]}}
    pruner = {"kind": "none", "min_epochs": 1, "reduction": 2}
    search(tmp_path, sampler="grid", trials=99, space=space, pruner=pruner)
    tried = [(row["rate"], row["kind"]) for _, row in sorted(rows(tmp_path).items())]
    assert tried[0] == ("0.001", "plain") and len(tried) == 4 == len(set(tried))
    assert read_json(tmp_path / "best.json")["best"]["params"] == {"rate": 0.1, "kind": "twice"}


def test_values_that_do_not_go_together_cost_one_trial(tmp_path):
    space = {"model.heads": {"choices": [1, 2, 3]}, "rate": SPACE["rate"]}
    found = search(tmp_path, space=space, sampler="random", trials=9)
    assert 0 < found["failed"] < 9
    failed = [row for row in rows(tmp_path).values() if row["state"] == "failed"]
    assert {row["model.heads"] for row in failed} == {"3"} and "no multiple of heads 3" in failed[0]["reason"]


def test_with_enough_whole_trials_it_tells_what_matters(tmp_path):
    space = {"rate": SPACE["rate"], "model.width": SPACE["model.width"] | {"low": 8, "high": 10}}
    search(tmp_path, space=space, sampler="random", pruner={"kind": "none", "min_epochs": 1, "reduction": 2}, trials=10)
    importance = read_json(tmp_path / "best.json")["importance"]
    assert importance["rate"] > 0.7 > importance["model.width"] and (tmp_path / "importance.png").exists()


def test_nothing_asked_for_nothing_done(tmp_path):
    search(tmp_path, trials=2)
    assert tuning.none("toy.train", tmp_path) == {"trials": 0}
    assert [path.name for path in tmp_path.iterdir()] == ["best.json"]
    assert "--set toy.tune.trials=20" in read_json(tmp_path / "best.json")["how"]


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({"rat": {"choices": [1.0]}}, r"toy\.tune\.space: rat: no such key in toy\.train; did you mean 'rate'"),
        ({"model": {"choices": [1]}}, r"model: is no single value"),
        ({"rate.low": {"choices": [1]}}, r"known keys: none"),
        (
            {"engine.epochs": {"low": 1.5, "high": 3.0, "log": False}},
            r"toy\.train\.engine\.epochs = 1\.5: Input should be a valid integer",
        ),
    ],
)
def test_a_wrong_key_or_value_is_named_before_anything_is_trained(tmp_path, space, said):
    with pytest.raises(BadInput, match=said):
        search(tmp_path, lambda *_: pytest.fail("trained"), space=space)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"space": {}}, "name at least one key"),
        ({"sampler": "grid"}, "a grid needs choices, not an interval, for rate, model.width"),
        ({"space": {"rate": {"low": 0.0, "high": 1.0, "log": True}}}, "above 0 for log"),
        ({"space": {"rate": {"low": 1.0, "log": True}}}, "rate.interval.high"),
    ],
)
def test_a_search_that_cannot_be_is_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        Tuning.model_validate({**TUNING, **changes})
