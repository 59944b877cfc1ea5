"""Photographs that nobody has labelled: the verdicts that `inspect` gives, with what the model brings and no more."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tasks.bike_parts import apply
from tasks.bike_parts.formats.photos import STATES
from tasks.bike_parts.learning import served
from tasks.yard import params
from tasks.yard.applying import Model, made_with
from tasks.yard.files import file_hash, read_json, write_json
from tasks.yard.layouts.images import write_image
from tasks.yard.step import BadInput
from tests.tasks.bike_parts.tiny_photos import drawn, write_network
from tests.tasks.bike_parts.tiny_rides import BIKES, NETWORK, inspected, write_project
from tests.tasks.yard import killed
from tests.tasks.yard.shared import reporting

LINE = params.load(Path(__file__).parents[3] / "params.yaml").bike_parts


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = write_project(tmp_path_factory.mktemp("project"))
    inspected(folder)
    return folder


@pytest.fixture
def model(root, tmp_path) -> Model:
    """The trained network as the registry would give it: with all that belongs to it, and nothing else."""
    (tmp_path / "model/belongings").mkdir(parents=True)
    weights = shutil.copy(root / "train" / NETWORK / "best.pt", tmp_path / "model/best.pt")
    apply.belongings(root, NETWORK, LINE, tmp_path / "model/belongings")
    return Model("models:/bike_parts/1", weights, tmp_path / "model/belongings", sha256=file_hash(weights))


def applied(source: Path, model: Model, out: Path, changes: dict | None = None, **more):
    line = made_with(LINE, model, changes or {})
    return apply.run(str(source), model, out, line, reporting_params=reporting(), **more)


@pytest.mark.slow
def test_of_the_test_photographs_it_says_what_inspect_says_to_the_last_digit(root, model, tmp_path):
    names = [f"bike{bike}_0_{turn}.png" for bike in BIKES["test"] for turn in ("before", "after")]
    for name in names:
        (tmp_path / "in").mkdir(exist_ok=True)
        shutil.copy(root / "download/unit/images" / name, tmp_path / "in")
    done = applied(tmp_path / "in", model, tmp_path / "out")
    ours, theirs = read_json(tmp_path / "out/verdicts.json"), read_json(root / "inspect/verdicts.json")
    by_file = {Path(of["file"]).name: of for of in theirs["photos"].values()}
    assert len(ours["photos"]) == len(by_file) == len(names)
    for of in ours["photos"].values():
        assert of == {**by_file[of["file"]], "file": of["file"]}
    assert [pair["changes"] for pair in ours["pairs"]] == [pair["changes"] for pair in theirs["pairs"]]
    assert (ours["believe"], ours["claim"]) == (theirs["believe"], theirs["claim"])
    for pair in ours["pairs"]:
        after = ours["photos"][pair["after"]]
        ride = done.results[after["file"]]["ride"]
        assert ride["damaged_in_ride"] == pair["damaged_in_ride"] and ride["before"].endswith("_before.png")
        assert done.results[after["file"]]["damaged"] == after["damaged"]
    assert "a world that a computer drew" in " ".join(done.said)
    page = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert "looked at by models:/bike_parts/1 (small)" in page and "flows apply bike_parts" in page


def test_weights_that_come_alone_find_parts_and_compare_nothing_aloud(root, tmp_path):
    (tmp_path / "none").mkdir()
    bare = Model("mine.pt", root / "train" / NETWORK / "best.pt", tmp_path / "none")
    (tmp_path / "in").mkdir()
    for turn in ("before", "after"):
        shutil.copy(root / f"download/unit/images/bike10_0_{turn}.png", tmp_path / "in")
    done = applied(tmp_path / "in", bare, tmp_path / "out")
    said = " ".join(done.said)
    assert "mine.pt comes without thresholds and calibration: parts are found from a score of 0.5 on" in said
    assert "1 pairs of photographs are looked at, and not compared" in said
    told = read_json(tmp_path / "out/verdicts.json")
    assert len(done.results) == 2 and not told["pairs"] and told["claim"] is None
    assert all(part["score"] >= 0.5 for of in told["photos"].values() for part in of["parts"])


@pytest.mark.slow
@pytest.mark.parametrize("judged", [True, False])
def test_the_served_model_says_of_a_photograph_what_apply_writes(root, model, tmp_path, judged):
    """With what belongs to it beside its weights, as a version has it once it was judged, and alone."""
    names = [f"bike{bike}_0_before.png" for bike in BIKES["test"]]
    (tmp_path / "in").mkdir()
    for name in names:
        shutil.copy(root / "download/unit/images" / name, tmp_path / "in")
    texts = [base64.b64encode((tmp_path / "in" / name).read_bytes()).decode() for name in names]
    if judged:
        score = np.sort(served.Served(str(model.weights)).predict({"images": np.array(texts)})["score"])
        between = float(score[(at := np.diff(score).argmax()) : at + 2].mean())
        fitted = {"temperature": 2.0, "bias": [0.5, 0, 0, -1.0], "slope": 1.5, "offset": -0.2}
        known = read_json(model.belongings / "known.json") | {"calibration": fitted, "believe": between}
        write_json(model.belongings / "known.json", {**known, "several": [1, 2, 3, 4, 5]})
        shutil.copy(model.belongings / "known.json", model.weights.parent)
    else:
        shutil.rmtree(model.belongings)
        model.belongings.mkdir()
    applied(tmp_path / "in", model, tmp_path / "out")
    said = read_json(tmp_path / "out/verdicts.json")
    of = served.Served(str(model.weights))
    told = of.predict({"images": np.array(texts)})
    found, count = told["found"] == 1, 0
    for number, name in enumerate(names):
        (theirs,) = [one for one in said["photos"].values() if one["file"] == name]
        mine = np.flatnonzero(found & (told["image"] == number))
        names_of = np.array([of.config["parts"][part - 1] for part in told["part"][mine]], object)
        assert sorted(names_of) == sorted(one["part"] for one in theirs["parts"])
        for one in theirs["parts"]:
            of_part = mine[names_of == one["part"]]
            row = of_part[np.abs(told["box"][of_part] - one["box"]).max(1).argmin()]
            np.testing.assert_allclose(told["score"][row], one["score"], atol=2e-4)
            np.testing.assert_allclose(told["states"][row], [one["states"][name] for name in STATES], atol=2e-4)
            np.testing.assert_allclose(told["box"][row], one["box"], atol=0.06)
            count += 1
    assert (0 < count < len(found)) == judged, "nobody has trained it: no score is a half"


def test_the_served_model_answers_in_json_where_no_state_was_learnt(root, model):
    write_json(model.weights.parent / "known.json", read_json(model.belongings / "known.json") | {"learnt": []})
    picture = (root / "download/unit/images" / f"bike{BIKES['test'][0]}_0_before.png").read_bytes()
    told = served.Served(str(model.weights)).predict({"images": np.array([base64.b64encode(picture).decode()])})
    json.dumps({name: values.tolist() for name, values in told.items()}, allow_nan=False)
    assert len(told["states"]) == len(told["part"]) > 0 and not told["states"].any()


def test_what_is_no_photograph_is_named_and_the_others_go_on(model, tmp_path):
    write_image(tmp_path / "in/good.png", drawn(np.random.default_rng(1))[0])
    (tmp_path / "in/bad.jpg").write_text("text")
    done = applied(tmp_path / "in", model, tmp_path / "out")
    assert list(done.results) == ["good.png"] and done.quarantined == {"bad.jpg": "bad.jpg is no image"}


def test_input_and_weights_that_cannot_be_used_are_refused_by_name(root, model, tmp_path):
    (tmp_path / "in").mkdir()
    with pytest.raises(BadInput, match=r"holds no photograph .*it is empty"):
        applied(tmp_path / "in", model, tmp_path / "out")
    write_image(tmp_path / "in/good.png", drawn(np.random.default_rng(1))[0])
    (tmp_path / "foreign.pt").write_bytes(b"no network")
    with pytest.raises(BadInput, match=r"foreign\.pt: not a checkpoint"):
        applied(tmp_path / "in", Model("x", tmp_path / "foreign.pt", tmp_path / "in"), tmp_path / "out")
    other = write_network(tmp_path, "few", parts=["bell", "chain"]) / "best.pt"
    with pytest.raises(BadInput, match=r"known\.json: of a network with the parts bell, chain, lock, saddle, and few"):
        applied(tmp_path / "in", Model("few", other, model.belongings), tmp_path / "out")
    write_json(model.belongings / "known.json", {"network": "small"})
    with pytest.raises(BadInput, match=r"known\.json: not what bike_parts keeps beside its weights"):
        applied(tmp_path / "in", model, tmp_path / "out")


@pytest.mark.slow
def test_pairs_of_a_table_that_is_asked_for_and_none_of_this_checkouts_params(model, tmp_path):
    for name in ("a", "b"):
        write_image(tmp_path / f"in/{name}.png", drawn(np.random.default_rng(3))[0])
    (tmp_path / "rides.csv").write_text("before,after\na.png,b.png\n")
    of_here = LINE.model_copy(update={"inspect": LINE.inspect.model_copy(update={"photos": "x", "pairs": "gone.csv"})})
    alone = apply.run(
        str(tmp_path / "in"), model, tmp_path / "out", made_with(of_here, model, {}), reporting_params=reporting()
    )
    assert not any("ride" in of for of in alone.results.values())
    done = applied(tmp_path / "in", model, tmp_path / "out", {"inspect.pairs": str(tmp_path / "rides.csv")})
    assert done.results["b.png"]["ride"]["before"] == "a.png"


@pytest.mark.slow
def test_a_killed_run_goes_on_and_looks_at_nothing_twice(model, tmp_path, monkeypatch):
    monkeypatch.setattr("tasks.bike_parts.formats.looked.MOST", 1)
    for name in ("a", "b", "c"):
        write_image(tmp_path / f"in/{name}.png", drawn(np.random.default_rng(3))[0])
    killed.run(applied, tmp_path / "in", model, tmp_path / "out", done=2, desc="looked")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("seen.json")}
    assert 1 <= len(before) < 3 and not (tmp_path / "out/report.html").exists()
    done = applied(tmp_path / "in", model, tmp_path / "out")
    assert len(done.results) == 3 and all(path.stat().st_mtime_ns == at for path, at in before.items())
