"""A comment reruns no stage, a helper reruns the stages that use it and no other, and both doors agree on which."""

from __future__ import annotations

import re

STAGES = {"code", "toy-collect", "toy-square", "toy-judge@1", "toy-judge@2"}
SQUARE = ("tasks/toy/helper.py", "return number * number", "return number**2")  # the same numbers in other words


def document(yard) -> None:
    """A comment, and a docstring, in a helper that all steps use and in one that a single step uses."""
    for file in ("tasks/yard/files.py", "tasks/toy/helper.py"):
        path = yard.root / file
        path.write_text(path.read_text().replace('"""', '"""In other words: ', 1) + "\n# a comment\n")


def ran_by_dvc(yard) -> set[str]:
    result = yard.dvc("repro")
    assert result.returncode == 0, result.stderr
    return set(re.findall(r"Running stage '(.+)'", result.stdout))


def ran_by_flow(yard, *arguments: str) -> dict[str, str]:
    """{stage: its state, which says why it ran}"""
    result = yard.flow("run", "toy", *arguments)
    assert result.returncode == 0, result.stderr
    ended = dict(re.findall(r"Task run '(\S+)' - Finished in state (Up to date|Completed.*)", result.stderr))
    ran = {stage: said for stage, said in ended.items() if said != "Up to date"}
    assert set(ended) == STAGES and f"{len(ran)} of 5 stages ran" in result.stdout, result.stderr
    return ran


def assert_both_doors_have_nothing_to_do(yard) -> None:
    assert "up to date" in yard.dvc("status").stdout
    assert set(yard.status().values()) == {"up to date"}


def test_a_comment_reruns_no_step_and_an_edited_helper_the_stages_that_use_it_by_dvc(yard_copy):
    document(yard_copy)
    assert ran_by_dvc(yard_copy) == {"code"}
    assert_both_doors_have_nothing_to_do(yard_copy)
    yard_copy.edit(*SQUARE)
    assert ran_by_dvc(yard_copy) == {"code", "toy-square"}  # its numbers are the same, so what reads them stays
    assert_both_doors_have_nothing_to_do(yard_copy)


def test_a_comment_reruns_no_step_and_an_edited_helper_the_stages_that_use_it_by_a_flow(yard_copy):
    document(yard_copy)
    assert set(ran_by_flow(yard_copy)) == {"code"}
    assert_both_doors_have_nothing_to_do(yard_copy)
    yard_copy.edit(*SQUARE)
    ran = ran_by_flow(yard_copy, "--force", "collect")  # the same bytes again: no other stage has to run for it
    assert set(ran) == {"code", "toy-collect", "toy-square"} and "forced" in ran["toy-collect"]
    assert "'code tasks/toy/helper.py: square'" in ran["toy-square"]
    assert_both_doors_have_nothing_to_do(yard_copy)


def test_status_names_the_functions_before_and_after_the_code_was_listed_anew(yard_copy):
    yard_copy.edit(*SQUARE)
    yard_copy.edit("tasks/yard/files.py", "def sweep(", "def unused() -> None: ...\n\n\ndef sweep(")
    wanted = {
        "toy-collect": "code tasks/yard/files.py: unused",
        "toy-square": "code tasks/toy/helper.py: square; code tasks/yard/files.py: unused",
        "toy-judge@1": "code tasks/yard/files.py: unused",
        "toy-judge@2": "code tasks/yard/files.py: unused",
    }
    before = yard_copy.status()
    assert before.pop("code") != "up to date" and before == wanted
    assert yard_copy.call("python", "-m", "tasks", "code").returncode == 0  # the listing is new, the record is old
    listed = yard_copy.status()
    assert listed.pop("code") != "up to date" and listed == wanted
    assert yard_copy.dvc("commit", "-f", "code").returncode == 0
    assert yard_copy.status() == {"code": "up to date", **wanted}


def test_status_names_them_after_dvc_has_run_the_code_stage_alone(yard_copy):
    yard_copy.edit(*SQUARE)
    assert yard_copy.dvc("repro", "code").returncode == 0
    now = yard_copy.status()
    assert now.pop("toy-square") == "code tasks/toy/helper.py: square"
    assert set(now.values()) == {"up to date"}
