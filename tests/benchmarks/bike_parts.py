"""States of bike parts against the way of the first network of this kind: `python -m tests.benchmarks bike_parts`.

It runs backbone and proposals once more for each photograph, pairs the states of the photograph with its first
proposals by their place in the list, and adds the losses of the photographs up (Veloway's notebook; as it stands there
it does not run). Ours draws boxes once for both tasks, and a box has the state of the part that it was matched with.
Same network at first, same photographs in the same order, same optimizer and epochs; states are told by our inference
on both sides, for theirs tells none. The losses of the detection are the same.
"""

from __future__ import annotations

import copy
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.detection.roi_heads import RoIHeads, fastrcnn_loss

from models.bike_parts.detector import PartDetector
from models.bike_parts.factory import States, Use, build
from models.bike_parts.states import Targets
from tasks.bike_parts.formats import photos as photos_of
from tasks.bike_parts.formats.detections import gathered
from tasks.bike_parts.judging.chosen import scored
from tasks.bike_parts.judging.matching import matched
from tasks.bike_parts.judging.states import of_pairs
from tasks.bike_parts.learning import network as networks
from tasks.bike_parts.learning.batches import Photographs, normalised
from tests.tasks.bike_parts.tiny_photos import HEIGHT, PARTS, WIDTH, write_split

EPOCHS, BATCH, RATE = 16, 2, 2e-3  # batch: the original's
SEEDS = (0, 1, 2)
DETECTION = ("loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg")


def ours(model: PartDetector, images: Tensor, targets: Targets) -> dict[str, Tensor]:
    return model(images, None, targets)


def originals(model: PartDetector, images: Tensor, targets: Targets) -> dict[str, Tensor]:
    """The detection's losses as torchvision has them, then the states as they were paired there."""
    held = model.listed(images, None)
    features = model.backbone(images)
    proposals, lost = model.rpn(held, features, targets)
    heads = model.roi_heads
    drawn, _, labels, moves = RoIHeads.select_training_samples(heads, proposals, targets)
    found, moved = heads.box_predictor(heads.vectors(features, drawn, held.image_sizes))
    of_parts, of_boxes = fastrcnn_loss(found, moved, labels, moves)
    of_states = torch.zeros(())
    for i, target in enumerate(targets):
        one = model.listed(images[i : i + 1], None)
        again = model.backbone(one.tensors)
        (boxes,), _ = model.rpn(one, again, [target])
        count = min(len(boxes), len(target["states"]))
        vectors = heads.vectors(again, [boxes[:count]], one.image_sizes)
        logits = heads.state_head(vectors, target["labels"][:count])
        of_states = of_states + F.cross_entropy(logits, target["states"][:count])
    return {
        "loss_classifier": of_parts, "loss_box_reg": of_boxes, "loss_state": heads.state_weight * of_states, **lost
    }  # fmt: skip


def judged(model: PartDetector, photos: photos_of.Photos, held: Photographs) -> dict[str, float]:
    """AP50, macro-F1 of states on matches over all four, and that of saying intact of everything."""
    model.eval()
    with torch.inference_mode():
        found = [
            networks.told(one, (1.0, 1.0))
            for ids in torch.arange(len(held)).split(8)
            for one in model(normalised(held(ids).pictures))
        ]
    true, said = [], []
    for photo, of in zip(photos.photos, found, strict=True):
        mine = photos.photo == photo.id
        at = matched(of.part, of.box, photos.part[mine], photos.box[mine])
        true.append(photos.state[mine][at[at >= 0]])
        said.append(of.states[at >= 0].argmax(1))
    true, said = np.concatenate(true), np.concatenate(said)
    ours, majority = (of_pairs(true, of)["macro_f1"] or 0.0 for of in (said, np.zeros_like(true)))
    ids = np.array([photo.id for photo in photos.photos])
    return {"ap50": scored(photos, gathered(ids, found))["ap50"], "f1": ours, "majority": majority}


def side_by_side(folders: dict[str, Path], seed: int, epochs: int) -> dict:
    train, val = (photos_of.read(folders["split"], split) for split in ("train", "val"))
    held, held_out = (Photographs(of, folders["download"], (HEIGHT, WIDTH), "cpu") for of in (train, val))
    torch.manual_seed(seed)
    first = build("small", len(PARTS), States(), Use(floor=0.02)).train()
    first.maps = None  # which the original has none of
    ways = {"ours": ours, "original": originals}
    models = {name: copy.deepcopy(first) for name in ways}
    batch = held(torch.arange(BATCH))
    lost = {}
    for name, way in ways.items():
        torch.manual_seed(seed)
        lost[name] = way(copy.deepcopy(first), normalised(batch.pictures), batch.targets())
    apart = max(float((lost["ours"][name] - lost["original"][name]).abs().detach()) for name in DETECTION)
    assert apart < 1e-5, f"the detection loses otherwise: {apart}"
    optimizers = {
        name: torch.optim.AdamW(model.parameters(), RATE, weight_decay=1e-4) for name, model in models.items()
    }
    steps = len(held) // BATCH * epochs
    took: dict[str, list[float]] = {name: [] for name in ways}
    rows = torch.cat([torch.randperm(len(held))[: len(held) // BATCH * BATCH] for _ in range(epochs)])
    for step, ids in enumerate(rows.split(BATCH)):
        batch = held(ids)
        images, targets = normalised(batch.pictures), batch.targets()
        for name, way in ways.items():  # the sides take turns
            for group in optimizers[name].param_groups:
                group["lr"] = RATE * min(1.0, (step + 1) / 20, 2 * (1 - step / steps))
            torch.manual_seed(step)
            begin = time.perf_counter()
            sum(way(models[name], images, targets).values()).backward()
            torch.nn.utils.clip_grad_norm_(models[name].parameters(), 10.0)
            optimizers[name].step()
            optimizers[name].zero_grad()
            took[name].append(time.perf_counter() - begin)
    speed = median(b / a for a, b in zip(took["ours"], took["original"], strict=True))
    rates = {name: BATCH / median(of) for name, of in took.items()}
    return {"apart": apart, "speed": speed, "rates": rates,
            **{name: judged(model, val, held_out) for name, model in models.items()}}  # fmt: skip


def main(tiny: bool = False) -> None:
    torch.set_num_threads(1)
    counts, epochs, seeds = ((4, 2), 1, (0,)) if tiny else ((64, 48), EPOCHS, SEEDS)
    found = []
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            folders = write_split(Path(folder), seed, train=counts[0], val=counts[1], test=0)
            of = side_by_side(folders, seed, epochs)
        found.append(of)
        print(
            f"seed {seed}: losses of the detection {of['apart']:.1e} apart; images/s in training "
            f"{of['rates']['ours']:.1f} and {of['rates']['original']:.1f}, {of['speed']:.2f} x; macro-F1 of states "
            f"{of['ours']['f1']:.3f} and {of['original']['f1']:.3f} (intact of all: {of['original']['majority']:.3f}); "
            f"AP50 {of['ours']['ap50']:.3f} and {of['original']['ap50']:.3f}",
            flush=True,
        )
    ratio = median(of["ours"]["f1"] / max(of["original"]["f1"], 1e-9) for of in found)
    print(
        f"states by the matched part against states by place in the list, {counts[0]} photographs, {epochs} epochs: "
        f"macro-F1 {ratio:.2f} x, images/s in training {median(of['speed'] for of in found):.2f} x (medians)"
    )


if __name__ == "__main__":
    main()
