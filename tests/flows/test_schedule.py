"""A schedule of prefect.yaml comes due on a real server. A file of its own: it waits for the clock beside others."""

from __future__ import annotations

from tests.flows.serving import serving
from tests.flows.waiting import wait_until


def test_a_run_that_is_scheduled_every_minute_appears_and_completes(lone_yard):
    """The first cron minute may be over before the runner has registered; the yard is new, so all its steps run."""
    lone_yard.edit("prefect.yaml", '"30 2 * * *"', '"* * * * *"')
    with serving(lone_yard) as served:
        (deployment,) = served.ask("deployments/filter", {})
        mine = {"deployments": {"id": {"any_": [deployment["id"]]}}}

        def ended() -> list[dict]:
            runs = served.ask("flow_runs/filter", mine)
            return [run for run in runs if run["state"]["type"] in ("COMPLETED", "FAILED", "CRASHED")]

        wait_until(ended, "a scheduled run", seconds=300)
        run = min(ended(), key=lambda run: run["expected_start_time"])
        assert run["auto_scheduled"] and run["state"]["type"] == "COMPLETED", run
    assert (lone_yard.root / "data/toy/square/sum.txt").read_text() == "15"
