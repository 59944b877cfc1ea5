"""One question asked of the finished runs, answered in pictures and numbers; each is in analyses/<analysis>.py.

Reads    download, annotate, pack, train and evaluate, as far as the question needs them
Writes   analyse/<analysis>/*.png and <analysis>.json; ablation also ablation.md; report.html, all of it on one page
Alone    python -m tasks brake_coast-analyse@misses

A question that the data cannot answer (no camera, no positives) leaves its picture out and says why in the json.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tasks.brake_coast.judging.analyses.inputs import Inputs
from tasks.brake_coast.page import data_card
from tasks.brake_coast.params import Analyse
from tasks.yard.metrics.rounding import as_metrics
from tasks.yard.params import Reporting
from tasks.yard.reporting import sheet
from tasks.yard.reporting.words import rendered
from tasks.yard.step import BadInput, Context

QUESTIONS = {
    "misses": "The onsets that the best run did not predict, beside those it did, and what the camera saw then.",
    "attention": "What a run looks at: which of the window's frames, and which box.",
    "calibration": "Does a predicted probability come true as often as it says, and do corrections help?",
    "horizons": "How far ahead does each run see, beside the baselines?",
    "ablation": "Each variant with all inputs, with telemetry alone, with detections alone: PR-AUC on test drives.",
    "cost": "What each run costs: parameters, multiply-accumulates of a window, latency of one window.",
}


def maker(analysis: str) -> Callable[[Analyse, Reporting, Path, Inputs], dict[str, float]]:
    """The `make` of an analysis; only that one is imported, because three of the six do without torch."""
    if analysis == "misses":
        from tasks.brake_coast.judging.analyses import misses as chosen
    elif analysis == "attention":
        from tasks.brake_coast.judging.analyses import attention as chosen
    elif analysis == "calibration":
        from tasks.brake_coast.judging.analyses import calibration as chosen
    elif analysis == "horizons":
        from tasks.brake_coast.judging.analyses import horizons as chosen
    elif analysis == "ablation":
        from tasks.brake_coast.judging.analyses import ablation as chosen
    elif analysis == "cost":
        from tasks.brake_coast.judging.analyses import cost as chosen
    else:
        raise BadInput(f"no analysis {analysis!r}; brake_coast.analyse.items of params.yaml names those there are")
    return chosen.make


def run(
    params: Analyse,
    out: Path,
    ctx: Context = Context(),
    *,
    analysis: str,
    download: Path,
    annotate: Path,
    pack: Path,
    train: dict[str, Path],
    evaluate: Path,
    reporting_params: Reporting,
) -> dict[str, float]:
    """Returns the few numbers of the answer that are worth a curve over runs."""
    make = maker(analysis)
    inputs = Inputs(download, annotate, pack, train, evaluate)
    if not inputs.runs:
        raise BadInput(
            f"{evaluate}/details.json: no trained run was judged; run brake_coast-train and brake_coast-evaluate first"
        )
    out.mkdir(parents=True, exist_ok=True)
    for pattern in ("*.png", "*.json", "*.md", "*.html"):
        for stale in out.glob(pattern):
            stale.unlink()
    numbers = as_metrics(make(params, reporting_params, out, inputs))
    world = rendered(data_card.layouts(download), "recordings")
    stage, title = f"brake_coast-analyse@{analysis}", f"brake_coast: {analysis}"
    sheet.write(out, stage, title, QUESTIONS[analysis], numbers, reporting_params.source_url, world)
    return numbers
