"""The README's tables: what they are made of is shown beside each line's evaluate, with its own results."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tasks.yard.files import write_json
from tasks.yard.step import BadInput
from tests.figures import __main__ as figures
from tests.figures import size, tables
from tests.figures.__main__ import main

NETS = {"lstm": (0.555, 0.517, 0.488), "tf": (0.546, 0.6, 0.59), "blind": (0.2, 0.21, 0.22)}


def result(cpu: str = "A CPU, 2 cores", shift: float = 0.0) -> dict:
    seeds = {}
    for seed in range(3):
        rows = {"prevalence": {"brake_1s": 0.05}} | {net: {"brake_1s": of[seed] + shift} for net, of in NETS.items()}
        named = {"rows": [[name, of] for name, of in rows.items()], "columns": ["brake_1s"], "said": {"mAP50": None}}
        seeds[str(seed)] = {**named, "on": "3 drives", "cpu": cpu}
    return {"of": "code and params", "set": ["x.y=1"], "seeds": seeds}


def test_a_number_is_the_median_of_its_seeds_with_their_range():
    text = tables.block("brake_coast", result())
    row = {line.split("|")[1].strip(): line.split("|")[2].strip() for line in text.splitlines() if line.startswith("|")}
    assert row["`lstm`"] == "0.517 (0.488 to 0.555)" and row["prevalence"] == "0.050"
    assert "median over seeds 0, 1, 2" in text and "on A CPU, 2 cores; the digits depend on the model of CPU" in text


def test_networks_whose_ranges_overlap_are_not_ranked():
    text = tables.block("brake_coast", result())
    assert "Ranges overlap, so that nothing here ranks the two: `lstm` and `tf` in brake_1s." in text
    assert "`blind` and" not in text and "and `blind`" not in text


def test_what_another_world_does_not_confirm_is_said():
    near, far = result(), result(shift=-0.1)
    assert "another world" not in tables.block("brake_coast", near, [("seed=1", near)])
    said = tables.block("brake_coast", near, [("seed=1", far)])
    assert "On another world (seed=1) outside of these ranges: `lstm` brake_1s 0.417 (0.388 to 0.455)" in said


def test_only_what_lies_between_the_markers_is_written(tmp_path):
    readme, results = tmp_path / "README.md", tmp_path / "figures"
    readme.write_text("before\n<!-- figures:brake_coast -->\nold\n<!-- /figures -->\nafter\n")
    write_json(results / "brake_coast.json", result())
    asked = ["brake_coast", "--write", "--results", str(results), "--readme", str(readme)]
    assert main(asked) == 0
    text = readme.read_text()
    assert text.startswith("before\n<!-- figures:brake_coast -->\n| PR-AUC on test") and "old" not in text
    assert text.endswith("\n<!-- /figures -->\nafter\n")
    assert main(asked) == 0 and readme.read_text() == text
    readme.write_text("nothing to write into\n")
    with pytest.raises(BadInput, match="put both where the table goes"):
        tables.write(readme, {"brake_coast": "x"})


@pytest.mark.slow
def test_a_seed_is_trained_once_and_anew_after_a_change_on_the_splits_of_a_fresh_checkout(tmp_path, monkeypatch):
    shutil.copy(Path(__file__).parents[1] / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "-q"], check=True)
    network = Path("models/brake_coast/highway.yaml")
    network.parent.mkdir(parents=True)
    network.write_text("layers: 1")
    Path("README.md").write_text("<!-- figures:brake_coast -->\n\n<!-- /figures -->")
    kept = Path("data/brake_coast/pack/splits.json")
    kept.parent.mkdir(parents=True)
    kept.write_text("of other data")
    made = [Path("data/sources/brake_coast-download.json"), Path(".dvc/cache/files/md5/ab/c")]
    for file in made:  # without them DVC makes anew what a run has made
        file.parent.mkdir(parents=True)
        file.write_text("of a run")
    trained = []

    def repro(line: str, root: Path) -> None:
        assert [(root / file).read_text() for file in made] == ["of a run"] * 2
        trained.append((root / kept).exists())
        (root / kept).write_text("of these data")

    monkeypatch.setattr(figures, "repro", repro)  # minutes of training
    monkeypatch.setitem(figures.LINES, "brake_coast", lambda data: result()["seeds"]["0"])
    asked = ["brake_coast", "--seeds", "0", "1"]
    assert main(asked) == 0 and main(asked) == 0
    assert trained == [False, True], "both seeds once, on splits that the first of them drew"
    network.write_text("layers: 2")
    assert main(asked) == 0 and trained[2:] == [False, True]
    assert main([*asked, "--set", "brake_coast.pack.seed=5"]) == 0 and trained[4:] == [False, True]
    assert kept.read_text() == "of other data", "this checkout is left alone"


def test_the_page_of_sizes_is_what_its_result_file_says(tmp_path, monkeypatch):
    page = tmp_path / "size.md"
    shutil.copy(size.PAGE, page)
    said = page.read_text(encoding="utf-8")
    stale = [line.replace("1", "7") if line.startswith("|") else line for line in said.splitlines()]
    page.write_text("\n".join(stale) + "\n", encoding="utf-8")
    monkeypatch.setattr(size, "PAGE", page)
    assert size.main() == 0
    assert page.read_text(encoding="utf-8") == said
