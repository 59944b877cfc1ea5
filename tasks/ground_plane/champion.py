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
from tasks.yard.tracking.champion import Comparison, Leader, Score, compared
from tasks.yard.training.accelerator import accelerator
from tasks.yard.training.learnt import unseen


def challenger(data: Path) -> Leader | None:
    """The network that finds people of validation best; the baselines look at no image."""
    path = data / "evaluate" / "details.json"
    details = read_json(path) if path.exists() else {"leader": None}
    leader, runs = details["leader"], details.get("runs")
    if leader is None:
        return None
    names = (leader, *details["baselines"])
    validation = {name: runs[name]["validation"]["moda"] for name in names}
    return Leader(leader, "MODA", {"validation": validation, "test": {name: runs[name]["moda"] for name in names}})


def compare(challenger: Path, champion: Path, data: Path, section: Line, reporting: Reporting) -> Comparison:
    """Each at its own threshold, both by the match radius of today's params, over the same draws.

    Raises `BadInput` if one has no threshold, cannot take the images or cells of today, or there is nobody to find in
    frames that neither has learnt from, nor from their neighbours.
    """
    packed = scenes.load(data / "pack")
    held = scenes.of_split(packed, "test")
    configs = {"the champion": load_network(champion)[1], "the challenger": load_network(challenger)[1]}
    new = unseen(scenes.tested(packed, section.pack.guard_frames), configs, "test frames")
    frames = [frame for frame, kept in zip(held, new.kept, strict=True) if kept]
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
        groups = scores.independent(counts, frames)
        drawn = scores.replicates(list(groups.values()), match_m, reporting)["moda"]
        return Score("MODA", moda, drawn, list(groups))

    return compared(score, challenger, champion, new.words)
