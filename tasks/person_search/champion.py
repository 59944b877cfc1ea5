"""The challenge in person_search: mAP on the test people as they are now."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np

from tasks.person_search.formats import crops
from tasks.person_search.formats.crops import Split
from tasks.person_search.judging import ranking, scores
from tasks.person_search.judging.runs import NAIVE, before
from tasks.person_search.judging.sides import rank, sides_of
from tasks.person_search.learning.embed import embed, load_network
from tasks.person_search.params import Line
from tasks.yard.files import read_json
from tasks.yard.params import Reporting
from tasks.yard.step import BadInput
from tasks.yard.tracking.champion import Comparison, Leader, Score, compared
from tasks.yard.training.accelerator import accelerator
from tasks.yard.training.learnt import Item, unseen

JUDGED_AFTER = ("calibrate",)  # it comes with the model


def challenger(data: Path) -> Leader | None:
    """The network that finds the validation people best."""
    path = data / "evaluate" / "details.json"
    details = read_json(path) if path.exists() else {"leader": None}
    run, runs = details["leader"], details.get("runs")
    if run is None:
        return None
    # Another network as it was before training is no baseline of this one.
    bars = [name for name in (*NAIVE, before(run, runs)) if name in runs]
    splits = ("validation", "test")
    return Leader(run, "mAP", {split: {name: runs[name][split]["map"] for name in (run, *bars)} for split in splits})


def compare(challenger: Path, champion: Path, data: Path, section: Line, reporting: Reporting) -> Comparison:
    """Raises `BadInput` if the champion cannot take the crops of today, or there is nobody to find, or too few people
    are left that neither has learnt from: neither asks for the others, nor has to tell them apart."""
    test, of = crops.load(data / "pack" / "test.h5"), section.evaluate
    people = read_json(data / "pack" / "dataset_config.json")["identities"]["test"]
    configs = {"the champion": load_network(champion)[1], "the challenger": load_network(challenger)[1]}
    new = unseen([Item((who,)) for who in people], configs, "test people")
    stays = np.append(new.kept, True)[test.identity]  # -1, a distractor, is the last
    test = Split(**{field.name: getattr(test, field.name)[stays] for field in fields(Split)})

    def score(checkpoint: Path) -> Score:
        network, config = load_network(checkpoint, accelerator())
        sides = sides_of(test, embed(network, test.images, config, of.batch))
        ranked = rank(sides)
        if ranked.map is None:
            raise BadInput(f"nobody to find in the test split: {scores.why_null(ranked, sides)}")
        asked = [people[number] for number in np.unique(sides.query_ids[ranked.used])]
        drawn = ranking.replicates(ranked, sides.query_ids, reporting.bootstrap_replicates, reporting.bootstrap_seed)
        return Score("mAP", ranked.map, drawn["map"], asked)

    return compared(score, challenger, champion, new.words)
