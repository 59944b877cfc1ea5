"""The challenge in person_search: mAP on the test people as they are now."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tasks import metrics
from tasks.champion import Comparison
from tasks.files import read_json
from tasks.person_search import crops, ranking
from tasks.person_search.embed import embed, load_network
from tasks.person_search.evaluate import sides
from tasks.person_search.params import Line
from tasks.step import BadInput


def challenger(data: Path) -> str | None:
    """The network that finds the validation people best."""
    details = data / "evaluate" / "details.json"
    return read_json(details)["leader"] if details.exists() else None


def compare(challenger: Path, champion: Path, data: Path, section: Line) -> Comparison:
    """Raises `BadInput` if the champion cannot take the crops of today, or there is nobody to find."""
    test, of = crops.load(data / "pack" / "test.h5"), section.evaluate
    found, drawn = [], []
    for path in (challenger, champion):
        network, config = load_network(path)
        query, gallery, *whose = sides(test, embed(network, test.images, config, of.batch))
        ranked = ranking.rank(query, gallery, *whose)
        if ranked.map is None:
            raise BadInput("no test query has a match")
        found.append(ranked.map)
        drawn.append(ranking.bootstrap(ranked, whose[0], of.bootstrap_replicates, of.bootstrap_seed)["map"])
    people = len(np.unique(whose[0][ranked.used]))
    spread = metrics.interval(drawn[0] - drawn[1]) if people > 1 else None
    low, high = (spread["low"], spread["high"]) if spread else (None, None)
    return Comparison(f"mAP on {people} test people", *found, low, high)
