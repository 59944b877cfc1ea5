"""`python -m flows status` says what has changed, and a flow refuses what nobody can have meant."""

from __future__ import annotations

import shutil
import urllib.request


def test_status_says_what_has_changed(yard_copy):  # that all was up to date before, `finished_yard` asserts
    assert (
        yard_copy.call(
            "python", "-c", "from tasks.yard.params import set_values; set_values(['toy.judge.scale=2.5'])"
        ).returncode
        == 0
    )
    with (yard_copy.root / "tasks/toy/helper.py").open("a") as file:
        file.write("\n# touched\n\n\ndef cube(number):\n    return number**3\n")
    now = yard_copy.status()
    assert now["toy-collect"] == "up to date"
    assert now["toy-square"] == "code tasks/toy/helper.py: cube"
    assert now["toy-judge@1"] == "param toy.judge.scale 0.5 -> 2.5"
    yard_copy.add_number("five", "5")  # DVC cannot see into a source; the flow can
    assert yard_copy.status()["toy-collect"] == "the source has changed"


def test_the_flow_knows_what_dvc_repro_has_read(new_yard):
    assert new_yard.dvc("repro", "toy-collect").returncode == 0
    new_yard.add_number("five", "5")  # before any flow has looked at the source
    shutil.rmtree(new_yard.root / ".trainyard", ignore_errors=True)  # of the clone, or the container, that read it
    assert new_yard.status()["toy-collect"] == "the source has changed"
    assert new_yard.dvc("repro", "-f", "toy-collect").returncode == 0
    assert new_yard.status()["toy-collect"] == "up to date"


def test_a_wrong_set_writes_nothing(yard_copy):
    before = (yard_copy.root / "params.yaml").read_text()
    for assignment, hint in [
        ("toy.square.ofset=3", "'offset'"),
        ("toy.square.offset=101", "less than or equal to 100"),
        ("toy.collect.source=nowhere", "toy.collect.source: nowhere: no such folder"),
        ("toy.collect.source=https://ada:hunter2@host/a.zip", "source holds a password"),
    ]:
        result = yard_copy.flow("run", "toy", "--set", assignment)
        assert result.returncode == 2 and hint in result.stderr, result.stderr
        assert "Traceback" not in result.stderr and "hunter2" not in result.stdout + result.stderr
    assert (yard_copy.root / "params.yaml").read_text() == before
    request = urllib.request.Request(f"{yard_copy.api}/flow_runs/filter", b"{}", {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        assert b"hunter2" not in reply.read()  # refused before a flow had it as its parameter


def test_a_deployment_that_cannot_run_is_said_below_the_stages(yard_copy):
    yard_copy.edit("prefect.yaml", "line: toy,", "line: tou,")
    result = yard_copy.flow("status")
    assert result.returncode == 2 and "toy-judge@2" in result.stdout
    (said,) = result.stderr.splitlines()
    assert said == "error: prefect.yaml: deployment toy-nightly: no line 'tou'; did you mean 'toy'?"
    yard_copy.edit("prefect.yaml", "line: tou,", "line: toy,")
    yard_copy.edit("prefect.yaml", "30 2 * * *", "30 25 * * *")
    result = yard_copy.flow("status")  # it remembers that Prefect took the schedule that stood there before
    assert result.returncode == 2 and 'Invalid cron string: "30 25' in result.stderr


def test_a_dvc_yaml_that_dvc_refuses_is_said_in_a_line(yard_copy):
    with (yard_copy.root / "dvc.yaml").open("a") as file:
        file.write("  toy-extra: {cmd: 'true', descr: a wrong key}\n")
    result = yard_copy.flow("status")
    assert result.returncode == 2 and "dvc.yaml' validation failed" in result.stderr, result.stderr
    assert "Traceback" not in result.stderr


def test_an_argument_of_a_step_that_stands_for_nothing_is_named(yard_copy):
    square = yard_copy.root / "tasks/toy/square.py"
    for wrong, meant in (("colect", "'collect'"), ("judg_params", "'judge_params'")):
        square.write_text(f"def run(params, out, ctx, *, {wrong}):\n    return {{}}\n")
        result = yard_copy.call("python", "-m", "tasks", "toy-square")
        assert result.returncode == 1 and wrong in result.stderr, result.stderr
        assert f"did you mean {meant}?" in result.stderr and "Traceback" not in result.stderr
