"""The challenge in person_search: mAP on the test people as they are now."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tasks.person_search import evaluate
from tasks.person_search.formats import crops
from tasks.person_search.judging import judge, ranking
from tasks.person_search.learning.embed import embed, load_network
from tasks.person_search.params import Line
from tasks.yard.files import read_json
from tasks.yard.metrics import binary as metrics
from tasks.yard.params import Reporting
from tasks.yard.step import BadInput
from tasks.yard.tracking.champion import Comparison


def challenger(data: Path) -> str | None:
    """The network that finds the validation people best."""
    details = data / "evaluate" / "details.json"
    return read_json(details)["leader"] if details.exists() else None


def compare(challenger: Path, champion: Path, data: Path, section: Line, reporting: Reporting) -> Comparison:
    """Raises `BadInput` if the champion cannot take the crops of today, or there is nobody to find."""
    test, of = crops.load(data / "pack" / "test.h5"), section.evaluate
    scores, replicates, people = [], [], 0
    for path in (challenger, champion):
        network, config = load_network(path, evaluate.device())
        mine = judge.sides(test, embed(network, test.images, config, of.batch))
        found = judge.rank(mine)
        if found.map is None:
            raise BadInput(f"nobody to find in the test split: {judge.why_null(found, mine)}")
        people = len(np.unique(mine.query_ids[found.used]))
        scores.append(found.map)
        draws = (reporting.bootstrap_replicates, reporting.bootstrap_seed)
        replicates.append(ranking.bootstrap(found, mine.query_ids, *draws)["map"])
    spread = metrics.interval(replicates[0] - replicates[1]) if people > 1 else None
    low, high = (spread["low"], spread["high"]) if spread else (None, None)
    return Comparison(f"mAP on {people} test people", *scores, low, high)
