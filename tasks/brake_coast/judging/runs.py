"""What the name of a run and the name of a task say; the baselines are runs that nobody trained."""

from __future__ import annotations

from statistics import mean

BASELINES = ("prevalence", "persistence")
BLIND = ("telemetry", "detections")  # <run>-telemetry sees no camera, <run>-detections no telemetry
# Where more labels than this are unknown, those that are known are no sample of the drives: of a pedal whose rest is
# unknown only the extremes are left. A number of them is shown, and marked as not meaningful.
DOUBTFUL_SHARE = 0.3
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


def unknown_share(windows: int, unknown: int) -> float | None:
    """Of the windows that a number is of, known or not; None where there is none."""
    return unknown / (windows + unknown) if windows + unknown else None


def is_doubtful(held: dict) -> bool:
    """Are the numbers of these windows (`windows`, `unknown`) not meaningful, because too many labels are unknown?

    Where no label is known there is no number to doubt.
    """
    share = unknown_share(held["windows"], held["unknown"])
    return bool(held["windows"]) and share is not None and share > DOUBTFUL_SHARE


def doubt(held: dict) -> str:
    """What stands beside the numbers of these windows if they are not meaningful, else ''."""
    return f"not meaningful: {100 * held['unknown_share']:.1f} % unknown" if held.get("not_meaningful") else ""


def ranked_runs(details: dict) -> list[str]:
    """Runs as they stand in tables: baselines, then each network with its blind versions above it."""
    trained = [run for run in details if run not in BASELINES]
    return [*BASELINES, *sorted(trained, key=lambda run: (split_name(run)[0], split_name(run)[1] == "", run))]


def leader(details: dict) -> str:
    """The network that sees everything and has the best mean PR-AUC on validation: the test drives choose nothing.

    Tasks whose numbers are not meaningful have no say, if there are others.
    """
    whole = [run for run in details if run not in BASELINES and not split_name(run)[1]]
    candidates = whole or [run for run in details if run not in BASELINES]

    def score(run: str) -> float:
        tasks = [task["validation"] for task in details[run].values() if task["validation"]["pr_auc"] is not None]
        sound = [task for task in tasks if not task.get("not_meaningful")]
        areas = [task["pr_auc"] for task in sound or tasks]
        return mean(areas) if areas else -1.0

    return max(candidates, key=lambda run: (score(run), run))
