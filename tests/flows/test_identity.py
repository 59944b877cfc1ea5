"""A run has a name that people can tell from others, and its pages say which run made them."""

from __future__ import annotations

import re
import subprocess

from flows import naming

# The step takes no time, and on a busy machine it would end before MLflow has been told that its flow run has begun.
ONCE_TRACKED = """    import os, sqlite3, time
    running = "select 1 from runs where status = 'RUNNING'"
    while "DVC_STAGE" not in os.environ and not sqlite3.connect("mlflow.db", timeout=60).execute(running).fetchall():
        time.sleep(0.1)
"""


def test_runs_of_a_line_are_numbered_in_a_checkout(tmp_path):
    names = [naming.named("brake_coast", tmp_path) for _ in range(2)] + [naming.named("bike_parts", tmp_path)]
    assert [name.partition(" ")[2][11:] for name in names] == ["#1", "#2", "#1"]
    assert re.fullmatch(r"brake_coast \d{4}-\d\d-\d\d #1", names[0])
    (tmp_path / "numbers" / "brake_coast").write_text("no number")
    assert naming.named("brake_coast", tmp_path).endswith("#1")
    assert "#" not in naming.named("../misspelt", tmp_path)


def test_a_page_says_which_run_commit_and_data_made_it_at_both_doors(yard_copy):
    square = yard_copy.root / "tasks/toy/square.py"
    text = square.read_text().replace(
        "    return", f'    (out / "report.html").write_text("<!-- origin -->")\n{ONCE_TRACKED}    return'
    )
    square.write_text(text)
    licence = "tasks/yard/reporting/licence.html.j2"
    deps = "deps: [data/code/toy-square, data/toy/collect"
    yard_copy.edit("dvc.yaml", f"{deps}]", f"{deps}, {licence}]")
    page = yard_copy.root / "data/toy/square/report.html"

    ran = yard_copy.flow("run", "toy")
    assert ran.returncode == 0, ran.stderr
    (name,) = set(re.findall(r"Flow run '(toy [^']+)' - Finished", ran.stderr))
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=yard_copy.root, capture_output=True, text=True).stdout
    made = page.read_text()
    assert f"by the run <b>{name}</b>" in made and head.strip() in made and "with uncommitted changes" in made
    assert re.search(r"data/toy/collect</td><td><code>[0-9a-f]{32}\.dir", made) and "offset: 1" in made
    assert re.search(
        r'href="http://127\.0\.0\.1:5000/#/experiments/\d+/runs/[0-9a-f]{32}\?workflowType=machine_learning"', made
    )

    assert yard_copy.dvc("repro", "-f", "-s", "toy-square").returncode == 0
    made = page.read_text()
    assert "by <code>toy-square</code>" in made and "MLflow run" not in made
    assert "up to date" in yard_copy.dvc("status", "toy-square").stdout
