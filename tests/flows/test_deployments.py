"""prefect.yaml is checked as a whole: a deployment that cannot run is one sentence, not a night that stays away."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.deployments import described
from tasks.yard import params
from tasks.yard.step import BadInput

ROOT = Path(__file__).parents[2]


def test_the_deployments_of_this_yard_can_run():
    assert {deployment.parameters.line for deployment in described(ROOT / "prefect.yaml")} == set(params.lines())


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("line: brake_coast,", "line: brake_cost,", "brake_coast-nightly: no line 'brake_cost'; did you mean"),
        ("30 2 * * *", "30 25 * * *", r'brake_coast-nightly: schedules\[0\]: cron: Invalid cron string: "30 25'),
        ("timezone: Europe/Berlin}", "timezone: Berlin}", r"schedules\[0\]: timezone"),
        ('cron: "30 2', 'crom: "30 2', r"schedules\[0\]: (cron: Field|unknown key 'crom'; did you mean 'cron')"),
        ("line: brake_coast, wait", "line: brake_coast, wiat", "unknown key 'parameters.wiat'; did you mean 'wait'"),
        ("line: brake_coast, wait: true", "line: brake_coast, assignments: [brake_coast.label.x=1]", "unknown key 'x'"),
        ("name: person_search-nightly", "name: brake_coast-nightly", "two deployments are called brake_coast-nightly"),
        ("flows/line.py:run_line", "flows/line.py:run", "has to be flows/line.py:run_line"),
        ("deployments:", "deployment:", "cannot read its deployments"),
    ],
)  # fmt: skip
def test_a_deployment_that_cannot_run_is_named(tmp_path, monkeypatch, old, new, said):
    monkeypatch.chdir(ROOT)
    text = (ROOT / "prefect.yaml").read_text()
    assert old in text
    path = tmp_path / "prefect.yaml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(BadInput, match=said) as refused:
        described(path)
    assert str(refused.value).startswith(f"{path}: ") and "\n" not in str(refused.value)
