"""The challenge in ground_plane: MODA on the test frames as they are now."""

from __future__ import annotations

from pathlib import Path

from tasks.ground_plane.formats import scenes
from tasks.ground_plane.judging import controls, matching, scores
from tasks.ground_plane.learning.network import load_network
from tasks.ground_plane.params import Line
from tasks.yard.files import read_json
from tasks.yard.params import Reporting
from tasks.yard.step import BadInput
from tasks.yard.tracking.champion import Comparison, Score, compared
from tasks.yard.training.accelerator import accelerator


def challenger(data: Path) -> str | None:
    """The network that finds people of validation best; None if a baseline does as well there."""
    path = data / "evaluate" / "details.json"
    details = read_json(path) if path.exists() else {"leader": None}
    leader = details["leader"]
    if leader is None:
        return None
    moda = {run: details["runs"][run]["validation"]["moda"] for run in (leader, *details["baselines"])}
    known = [value for run, value in moda.items() if run != leader and value is not None]
    return leader if moda[leader] is None or moda[leader] > max(known, default=-1e9) else None


def compare(challenger: Path, champion: Path, data: Path, section: Line, reporting: Reporting) -> Comparison:
    """Each at its own threshold, both by the match radius of today's params, over the same draws.

    Raises `BadInput` if one has no threshold, cannot take the images or cells of today, or there is nobody to find.
    """
    frames = scenes.of_split(scenes.load(data / "pack"), "test")
    if not any(len(matching.people_of(scene, row)) for scene, row in frames):
        raise BadInput(f"nobody to find in the {len(frames)} labelled frames of the test split")
    match_m = section.train.decode.match_m

    def score(checkpoint: Path) -> Score:
        network, config, on_validation = load_network(checkpoint, accelerator())
        threshold = on_validation["threshold"]
        if threshold is None:
            raise BadInput(f"{checkpoint}: has no threshold, for nobody was there on validation to choose one by")
        judged = controls.look(network, config, frames, threshold, accelerator())
        counts = matching.counts_at([frame for _, frame in judged], threshold, match_m)
        moda = sum(counts, matching.Counts()).metrics(match_m)["moda"]
        drawn = scores.replicates(scores.independent(counts, frames), match_m, reporting)["moda"]
        return Score(f"MODA on {len(frames)} test frames", moda, drawn, len(frames))

    return compared(score, challenger, champion)
