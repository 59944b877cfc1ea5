"""The runs that are judged: networks, the leader with something taken from it, and what looks at no image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tasks.ground_plane.formats.detections import FILE, SPLITS, read_detections
from tasks.ground_plane.judging import controls, matching
from tasks.ground_plane.judging.controls import BLIND, EMPTY, Frames
from tasks.ground_plane.judging.matching import Counts, Frame, people_of
from tasks.ground_plane.judging.scores import numbers, unjudged
from tasks.ground_plane.learning.network import load_network
from tasks.ground_plane.params import Decode
from tasks.yard.params import Reporting
from tasks.yard.step import BadInput, Context
from tasks.yard.training.accelerator import accelerator

RADII_M = (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5)


@dataclass(frozen=True)
class Network:
    """One that was trained, and what it found."""

    checkpoint: Path
    decode: Decode
    threshold: float | None
    frames: dict[str, list[Frame]]  # by split


def network_of(train: Path, detect: Path, frames: Mapping[str, Frames]) -> Network:
    """Raises `BadInput` where the detections are of other frames than the pack's."""
    _, config, scores = load_network(train / "best.pt")
    detected: dict[str, list[Frame]] = {}
    detections = read_detections(detect / FILE, maps=False)
    for name, number in SPLITS.items():
        of_split = [one for one in detections if one.split == number]
        expected = [(scene.name, int(scene.frames[row])) for scene, row in frames[name]]
        if [(one.scene, one.frame) for one in of_split] != expected:
            raise BadInput(f"{detect / FILE}: not of the {name} frames of pack; run ground_plane-detect again")
        detected[name] = [
            (one.xy, one.confidence, people_of(scene, row))
            for one, (scene, row) in zip(of_split, frames[name], strict=True)
        ]  # fmt: skip
    return Network(train / "best.pt", Decode.model_validate(config["decode"]), scores["threshold"], detected)


def judged_network(of: Network, frames: Mapping[str, Frames], reporting: Reporting) -> dict[str, Any]:
    """A network at its threshold, on test and on validation, by scene and by match radius."""
    about: dict[str, Any] = {"kind": "network", "what": "trained", "threshold": of.threshold}
    if of.threshold is None:
        why = "its checkpoint has no threshold: nobody to choose one by on validation"
        sides = {split: unjudged(len(found), why) for split, found in of.frames.items()}
        return about | sides["test"] | {"validation": sides["val"], "by_scene": {}, "by_match_m": []}
    at = {split: matching.counts_at(found, of.threshold, of.decode.match_m) for split, found in of.frames.items()}
    sides = {split: numbers(counts, frames[split], of.decode.match_m, reporting) for split, counts in at.items()}
    by_scene: dict[str, list[tuple[Counts, tuple]]] = {}
    for one, frame in zip(at["test"], frames["test"], strict=True):
        by_scene.setdefault(frame[0].name, []).append((one, frame))
    about["by_scene"] = {
        name: numbers(*map(list, zip(*pairs, strict=True)), of.decode.match_m, reporting)
        for name, pairs in by_scene.items()
    }
    by_radius = {r: sum(matching.counts_at(of.frames["test"], of.threshold, r), Counts()) for r in RADII_M}
    about["by_match_m"] = [{"match_m": radius, **counts.metrics(radius)} for radius, counts in by_radius.items()]
    return about | sides["test"] | {"validation": sides["val"]}


def judged_controls(of: Network, test: Frames, reporting: Reporting, ctx: Context) -> dict[str, dict]:
    """{run: what details.json says} of the leader with something taken from it."""
    network, config, _ = load_network(of.checkpoint, accelerator())
    of_scenes = controls.controls_of(list({scene.name: scene for scene, _ in test}.values()))
    runs = {}
    with ctx.progress(total=len(of_scenes) * len(test), desc="controls", unit="frame") as bar:
        for run, control in of_scenes.items():
            about = {"kind": control.kind, "what": control.what, "camera": control.camera, "threshold": of.threshold}
            seen = controls.look(network, config, test, of.threshold, accelerator(), control.change, bar)
            if seen:
                counts = matching.counts_at([frame for _, frame in seen], of.threshold, of.decode.match_m)
                frames = [test[place] for place, _ in seen]
                runs[run] = about | numbers(counts, frames, of.decode.match_m, reporting)
            else:
                runs[run] = about | unjudged(0, "no scene of the test split has the cameras for it")
    return runs


def judged_baselines(decode: Decode, frames: Mapping[str, Frames], reporting: Reporting) -> dict[str, dict]:
    """{run: what details.json says} of what looks at no image."""
    what = {
        BLIND: "the places where people stood most in training, so many as are best on validation, in every frame",
        EMPTY: "nobody, in no frame",
    }
    nobody = (np.empty((0, 2)), np.empty(0))
    empty = {split: [(*nobody, people_of(scene, row)) for scene, row in frames[split]] for split in SPLITS}
    guess = controls.blind(frames["train"], frames["val"], frames["test"], decode)
    places = {
        BLIND: guess and ({"val": guess[0], "test": guess[1]}, guess[2]),
        EMPTY: (empty, None),
    }
    runs = {}
    for run, known in places.items():
        about = {"kind": "baseline", "what": what[run], "threshold": known and known[1]}
        if known is None:
            sides = {split: unjudged(len(frames[split]), "nobody in training or in validation") for split in SPLITS}
        else:
            at = {split: matching.counts_at(of, known[1] or 0.0, decode.match_m) for split, of in known[0].items()}
            sides = {split: numbers(counts, frames[split], decode.match_m, reporting) for split, counts in at.items()}
        runs[run] = about | sides["test"] | {"validation": sides["val"]}
    return runs


def cameras_of(runs: Mapping[str, dict]) -> dict[str, Any]:
    """{"alone" | "without": {"moda": {camera: moda}, "mean", "worst", "worst_camera"}} of the controls."""
    cameras = {}
    for kind in ("alone", "without"):
        moda = {of["camera"]: of["moda"] for of in runs.values() if of["kind"] == kind}
        known = {camera: value for camera, value in moda.items() if value is not None}
        worst = min(known, key=lambda camera: known[camera]) if known else None
        mean = float(np.mean(list(known.values()))) if known else None
        cameras[kind] = {"moda": moda, "mean": mean, "worst": known.get(worst), "worst_camera": worst}
    return cameras
