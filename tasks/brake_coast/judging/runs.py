"""What the name of a run and the name of a task say; the baselines are runs that nobody trained."""

from __future__ import annotations

from statistics import mean

BASELINES = ("prevalence", "persistence")
BLIND = ("telemetry", "detections")  # <run>-telemetry sees no camera, <run>-detections no telemetry
SUBSETS = ("all", "not_yet")  # all windows, and those on which what the task predicts is not the case yet


def split_name(run: str) -> tuple[str, str]:
    """'simple_concat_lstm-telemetry' -> ('simple_concat_lstm', 'telemetry'); '' where the run sees everything."""
    base, _, last = run.rpartition("-")
    return (base, last) if base and last in BLIND else (run, "")


def family(task: str) -> str:
    """'brake' or 'coast'."""
    return "brake" if task.startswith("brake") else "coast"


def state_of(task: str) -> str:
    """The label column that says whether what `task` predicts is the case now."""
    return {"brake": "braking", "coast": "coasting"}[family(task)]


def ranked_runs(details: dict) -> list[str]:
    """Runs as they stand in tables: baselines, then each network with its blind versions above it."""
    trained = [run for run in details if run not in BASELINES]
    return [*BASELINES, *sorted(trained, key=lambda run: (split_name(run)[0], split_name(run)[1] == "", run))]


def leader(details: dict) -> str:
    """The network that sees everything and has the best mean PR-AUC on validation: the test drives choose nothing."""
    whole = [run for run in details if run not in BASELINES and not split_name(run)[1]]
    candidates = whole or [run for run in details if run not in BASELINES]

    def score(run: str) -> float:
        areas = [area for task in details[run].values() if (area := task["validation"]["pr_auc"]) is not None]
        return mean(areas) if areas else -1.0

    return max(candidates, key=lambda run: (score(run), run))
