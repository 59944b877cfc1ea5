"""How many of the detections that were searched would be so similar to a query if the person were nowhere there?

By pairs of two people and how similar they are; a search compares a query with every detection, so of N of them N times
the share of such pairs are as similar by chance. Crops of one stranger are alike: so many detections are fewer people.

    searches    what searches among people of validation say, each with its own person taken out of the index
                (calibration.py): the same detector's boxes, and so the nearest to what is searched
    read        what evaluate left beside the threshold: the pairs of validation, which two cameras saw
                (evaluate/plots/errors.csv). It holds where people and cameras are like those of validation
    in_frames   without that, of the searched cameras themselves: who is in one frame twice is two people. They share
                camera and light, which makes strangers more alike, not less
"""

from __future__ import annotations

import csv
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.person_search.formats.cameras import Indexed
from tasks.person_search.judging.search_metrics import ious

ERRORS = Path("plots/errors.csv")
FEWEST = 100  # pairs that say something
SAMPLED = 500  # frames of a camera, evenly spread
SEARCHES = "searches for people of validation, each taken out of the index"
VALIDATION, FRAMES = "pairs of two people of validation", "pairs of people who are in one frame of these cameras"


@dataclass(frozen=True)
class Strangers:
    similarity: Sequence[float]  # rising
    accepted: Sequence[int]  # pairs of two people at least so similar
    pairs: int
    of: str

    def expected(self, similarity: float, detections: int) -> float:
        """Detections of another person that are at least so similar. Where none of the pairs was, as if one were: the
        (k + 1) / (n + 1) of a test by simulation (Davison and Hinkley 1997, 4.2), which is never too low."""
        place = bisect_right(self.similarity, similarity) - 1
        accepted = self.accepted[place] if place >= 0 else self.pairs
        return detections * (accepted + 1) / (self.pairs + 1)

    def level(self, share: float) -> float | None:
        """The lowest similarity that at most so many pairs of two people reach; None if it takes more pairs to tell."""
        place = next((i for i, count in enumerate(self.accepted) if count + 1 <= share * (self.pairs + 1)), None)
        return None if place is None else float(self.similarity[place])


def shown(expected: float) -> str:
    """Two digits are more than is known."""
    return f"{expected:.2g}" if expected < 100 else f"{expected:,.0f}"


def read(evaluate: Path, threshold: dict) -> Strangers | None:
    """`threshold` as details.json has it; None where validation had no pairs."""
    file, pairs = evaluate / ERRORS, (threshold.get("validation") or {}).get("different_pairs")
    if not pairs or not file.is_file():
        return None
    with file.open(encoding="utf-8", newline="") as text:
        rows = [row for row in csv.DictReader(text) if row["split"] == "validation"]
    if not rows:
        return None
    levels = [float(row["threshold"]) for row in rows]
    return Strangers(levels, [round(float(row["false_accepts"]) * pairs) for row in rows], pairs, VALIDATION)


def apart(one: Indexed) -> np.ndarray:
    """Similarities (P) of the people in one frame of a camera, of boxes that do not touch: one person may have two."""
    frames = np.unique(one.rows["frame"])
    found = [np.empty(0, np.float32)]
    for frame in frames[np.unique(np.linspace(0, len(frames) - 1, min(SAMPLED, len(frames))).round().astype(int))]:
        mine = slice(*np.searchsorted(one.rows["frame"], [frame, frame + 1]))
        box, embedding = one.rows["box"][mine], one.rows["embedding"][mine]
        first, second = np.triu_indices(len(box), 1)
        untouched = ious(box[first], box[second]) == 0
        found.append((embedding[first] * embedding[second]).sum(axis=1)[untouched])
    return np.concatenate(found)


def counted(similarity: np.ndarray, of: str) -> Strangers:
    """Of pairs (P) of two people themselves."""
    values, counts = np.unique(similarity.astype(np.float32), return_counts=True)
    above = np.nextafter(values, np.float32(2))  # from here on none that is as similar as this one
    return Strangers(above.tolist(), (len(similarity) - np.cumsum(counts)).tolist(), len(similarity), of)


def in_frames(indexed: Sequence[Indexed]) -> Strangers | None:
    """None where too few people are in one frame with others."""
    similarity = np.concatenate([np.empty(0, np.float32), *(apart(one) for one in indexed)])
    return counted(similarity, FRAMES) if len(similarity) >= FEWEST else None
