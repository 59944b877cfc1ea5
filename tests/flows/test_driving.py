"""A real line through Prefect's door: every stage of open_loop_driving, in a town of five short routes."""

from __future__ import annotations

import json
import shutil

from tests.faults.yards import small
from tests.flows.conftest import Yard
from tests.flows.waiting import PATIENCE_S


def test_all_of_open_loop_driving_runs_by_the_flow_and_dvc_then_has_nothing_to_do(api, shims, empty_store, tmp_path):
    made = small("open_loop_driving", tmp_path / "yard")
    shutil.copy(empty_store, made.root)
    yard = Yard(made.root, api, shims, patience_s=3 * PATIENCE_S)  # of more than one command
    # A network of one epoch stands, or creeps, until the judge ends its drive: sooner here.
    judge = "tasks/yard/worlds/town/judge.py"
    yard.edit(judge, "BLOCKED_S, DEVIATION_M = 60.0", "BLOCKED_S, DEVIATION_M = 4.0")
    yard.edit(judge, "SLOWEST_MPS, LATE_S = 1.6, 40.0", "SLOWEST_MPS, LATE_S = 4.0, 4.0")
    result = yard.flow("run", "open_loop_driving")
    assert result.returncode == 0, result.stderr[-4000:]
    data = yard.root / "data/open_loop_driving"
    headline = json.loads((data / "report/headline.json").read_text())
    assert {"l2_mean_to_2s", "l2_at_2s", "driving_score", "route_completion"} <= headline.keys()
    assert (data / "visualize/town05_r000/drive.mp4").stat().st_size > 10_000
    page = (data / "report/report.html").read_text(encoding="utf-8")
    assert "See, plan, look again" in page and "Who drove how" in page and "<video" in page
    assert "on test" in result.stdout and "thinktwice_small" in result.stdout, "the table ends the run"
    assert "open_loop_driving" not in yard.dvc("status").stdout, "of the other lines nothing has run"
