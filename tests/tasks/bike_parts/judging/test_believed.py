"""What training shares with judging is as little as a served model needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.yard import code

APART = {"calibration", "changes", "judge", "known", "layout", "together", "verdicts"}


@pytest.mark.parametrize("step", ["train", "tune"])
def test_what_fits_a_calibration_or_makes_a_claim_or_a_sentence_retrains_nothing(step):
    files = [line.split()[0] for line in code.of("bike_parts", step, Path(__file__).parents[4]).splitlines()]
    names = {Path(file).stem for file in files if file.startswith("tasks/bike_parts/judging/")}
    assert "believed" in names and not names & APART
