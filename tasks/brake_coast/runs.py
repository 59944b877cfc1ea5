"""What the name of a run and the name of a task say; the baselines are runs that nobody trained."""

from __future__ import annotations

BASELINES = ("prevalence", "persistence")
BLIND = ("telemetry", "detections")  # <run>-telemetry sees no camera, <run>-detections no telemetry
SUBSETS = ("all", "not_yet")  # all windows, and those on which what the task foretells is not the case yet


def split_name(run: str) -> tuple[str, str]:
    """'simple_concat_lstm-telemetry' -> ('simple_concat_lstm', 'telemetry'); '' where the run sees everything."""
    base, _, last = run.rpartition("-")
    return (base, last) if base and last in BLIND else (run, "")


def family(task: str) -> str:
    """'brake' or 'coast'."""
    return "brake" if task.startswith("brake") else "coast"


def state_of(task: str) -> str:
    """The label column that says whether what `task` foretells is the case now."""
    return {"brake": "braking", "coast": "coasting"}[family(task)]
