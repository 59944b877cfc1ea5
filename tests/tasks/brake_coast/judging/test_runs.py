"""Who leads, by known answers."""

from __future__ import annotations

from tasks.brake_coast.judging.runs import leader


def judged(validation: float | None, test: float) -> dict[str, dict]:
    """details.json of a run: a task that validation could judge, if at all, and one that it could not."""
    on_test = {"pr_auc": test}
    return {
        "brake_1s": {"validation": {"pr_auc": validation}, "all": on_test, "not_yet": on_test},
        "coast_1s": {"validation": {"pr_auc": None}, "all": on_test, "not_yet": on_test},
    }


BASELINES = {"prevalence": judged(0.95, 0.95), "persistence": judged(0.99, 0.99)}


def test_validation_names_the_leader_and_the_test_drives_choose_nothing():
    networks = {"wary": judged(0.6, 0.1), "lucky": judged(0.5, 0.9)}
    assert leader({**BASELINES, **networks}) == "wary"


def test_a_blind_network_leads_only_where_no_other_was_trained():
    blind = {"seeing-telemetry": judged(0.9, 0.9), "seeing-detections": judged(0.8, 0.8)}
    assert leader({**BASELINES, "seeing": judged(0.2, 0.2), **blind}) == "seeing"
    assert leader({**BASELINES, **blind}) == "seeing-telemetry"


def test_a_network_that_validation_could_not_judge_comes_last():
    assert leader({**BASELINES, "unknown": judged(None, 0.9), "known": judged(0.0, 0.1)}) == "known"
