"""A run of a part of a line: until a step, a step alone, or none at all."""

from __future__ import annotations

import json
import re


def test_until_runs_what_the_step_needs_and_only_that_step_alone(new_yard):
    first = new_yard.flow("run", "toy", "--until", "square")
    assert first.returncode == 0 and "3 of 3 stages ran" in first.stdout, first.stdout + first.stderr
    assert "brings the rest of toy up to date" in first.stdout and "report" not in first.stdout
    assert re.search(r"Flow run 'toy \d{4}-\d\d-\d\d #1 until square' - Finished in state Completed", first.stderr)
    assert new_yard.status()["toy-judge@1"] == "never run"
    took = json.loads(new_yard.flow("status", "--json").stdout)["lines"]["toy"]["took"]
    assert took.keys() == {"toy-collect", "toy-square"} and min(took.values()) > 0

    new_yard.add_number("five", "5")
    alone = new_yard.flow("run", "toy", "--only", "judge@2")
    assert alone.returncode == 0 and "1 of 2 stages ran" in alone.stdout, alone.stdout + alone.stderr
    assert "toy-collect is read as it lies there: the source has changed" in alone.stderr
    assert not (new_yard.root / "data/toy/judge/1").exists() and (new_yard.root / "data/toy/judge/2").exists()
    assert (new_yard.root / ".trainyard/unjudged/toy").exists()  # nobody was judged by half a run


def test_a_dry_run_says_why_and_writes_nothing(yard_copy):
    before = yard_copy.outputs(), (yard_copy.root / "params.yaml").read_bytes()
    told = yard_copy.flow("run", "toy", "--dry-run", "--set", "toy.square.offset=3", "--force", "judge@1")
    assert told.returncode == 0, told.stderr
    lines = dict(line.split(None, 1) for line in told.stdout.splitlines()[:-1])
    assert lines["toy-collect"] == "up to date" and lines["toy-square"] == "param toy.square.offset 1 -> 3"
    assert lines["toy-judge@1"] == "forced" and lines["toy-judge@2"] == "toy-square may make something else"
    assert told.stdout.splitlines()[-1].startswith("3 of 5 stages would run")
    assert "Flow run" not in told.stderr
    assert before == (yard_copy.outputs(), (yard_copy.root / "params.yaml").read_bytes())


def test_a_step_that_is_not_there_or_not_part_of_it_is_refused(yard_copy):
    for arguments, hint in (
        (["--until", "squar"], "--until squar: toy has no such step; its steps: collect, square, judge"),
        (["--until", "square", "--force", "judge"], "--force judge: toy has no such step; its steps: collect, square"),
        (["--until", "square", "--only", "judge"], "not allowed with argument"),
    ):
        told = yard_copy.flow("run", "toy", *arguments)
        assert told.returncode == 2 and hint in told.stderr, told.stderr


def test_status_for_scripts_gives_the_reasons_of_each_stage(yard_copy):
    yard_copy.add_number("five", "5")
    told = yard_copy.flow("status", "--json")
    said = json.loads(told.stdout)
    assert told.returncode == 0 and said["running"] is None and said["owed"] is None and said["code"] == []
    assert said["deployments"] is None
    toy = said["lines"]["toy"]
    assert toy["up_to_date"] is False
    assert toy["stages"] == {
        "toy-collect": ["the source has changed"], "toy-square": [], "toy-judge@1": [], "toy-judge@2": [],
    }  # fmt: skip
    yard_copy.edit("prefect.yaml", "line: toy", "line: toi")
    told = yard_copy.flow("status", "--json")
    assert told.returncode == 0 and "no line 'toi'" in json.loads(told.stdout)["deployments"]
