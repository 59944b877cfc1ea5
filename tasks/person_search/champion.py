"""The challenge in person_search: mAP on the test people as they are now."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tasks.person_search.formats import crops
from tasks.person_search.judging import ranking, scores
from tasks.person_search.judging.sides import rank, sides_of
from tasks.person_search.learning.embed import embed, load_network
from tasks.person_search.params import Line
from tasks.yard.files import read_json
from tasks.yard.params import Reporting
from tasks.yard.step import BadInput
from tasks.yard.tracking.champion import Comparison, Score, compared
from tasks.yard.training.accelerator import accelerator


def challenger(data: Path) -> str | None:
    """The network that finds the validation people best."""
    details = data / "evaluate" / "details.json"
    return read_json(details)["leader"] if details.exists() else None


def compare(challenger: Path, champion: Path, data: Path, section: Line, reporting: Reporting) -> Comparison:
    """Raises `BadInput` if the champion cannot take the crops of today, or there is nobody to find."""
    test, of = crops.load(data / "pack" / "test.h5"), section.evaluate

    def score(checkpoint: Path) -> Score:
        network, config = load_network(checkpoint, accelerator())
        sides = sides_of(test, embed(network, test.images, config, of.batch))
        ranked = rank(sides)
        if ranked.map is None:
            raise BadInput(f"nobody to find in the test split: {scores.why_null(ranked, sides)}")
        people = len(np.unique(sides.query_ids[ranked.used]))
        drawn = ranking.replicates(ranked, sides.query_ids, reporting.bootstrap_replicates, reporting.bootstrap_seed)
        return Score(f"mAP on {people} test people", ranked.map, drawn["map"], people)

    return compared(score, challenger, champion)
