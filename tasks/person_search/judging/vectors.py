"""The vectors of all runs that are judged: each network, trained and as it was before, and the naive baselines."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn

from models.person_search.factory import build
from tasks.person_search.formats import crops
from tasks.person_search.formats.crops import Split
from tasks.person_search.judging import baselines
from tasks.person_search.judging.runs import CHANCE, NAIVE, START, UNTRAINED
from tasks.person_search.learning.embed import embed, load_network
from tasks.yard.step import BadInput, Context
from tasks.yard.training.accelerator import accelerator

SEED = 1  # of chance and of untrained weights
NORM_CROPS = 64  # whose statistics an untrained network's norms take: without any it would be needlessly poor
Vectors = dict[str, dict[str, np.ndarray]]  # run -> split -> (N, D)


def naive_vectors(splits: Mapping[str, Split]) -> Vectors:
    embedding = {
        CHANCE: lambda images: baselines.chance(images, SEED),
        "raw_pixels": baselines.raw_pixels,
        "colour_stripes": baselines.colour_stripes,
    }
    return {run: {name: embedding[run](split.images) for name, split in splits.items()} for run in NAIVE}


def network_vectors(train: Mapping[str, Path], splits: Mapping[str, Split], batch: int, ctx: Context) -> Vectors:
    """Of every network, trained and before. Raises `BadInput` for crops of another size than it was trained on."""
    vectors: Vectors = {}
    images = {name: split.images for name, split in splits.items()}
    total = 2 * len(train) * sum(map(len, images.values()))
    with ctx.progress(total=total, desc="embed", unit="crop") as bar:
        for name, folder in sorted(train.items()):
            for run, checkpoint in before_and_after(name, folder, max(images.values(), key=len)).items():
                vectors[run] = {split: _embedded(*checkpoint, some, batch, bar) for split, some in images.items()}
    return vectors


def _embedded(file: Path, network: nn.Module, config: dict, images: np.ndarray, batch: int, bar) -> np.ndarray:
    """(N, D), a batch after the other. Raises `BadInput` that names the file."""
    parts = [np.empty((0, network.feature_dim), np.float32)]
    for start in range(0, len(images), batch):
        part = images[start : start + batch]
        try:
            parts.append(embed(network, part, config, batch))
        except BadInput as error:
            raise BadInput(f"{file}: {error}") from None
        bar.update(len(part))
    vectors = np.concatenate(parts)
    if not np.isfinite(vectors).all():
        raise BadInput(f"{file}: gives NaN or infinity: the training diverged; train again")
    return vectors


def before_and_after(name: str, folder: Path, images: np.ndarray) -> dict[str, tuple[Path, nn.Module, dict]]:
    """{run: (file, network, what it was made from)}, trained and as it was before."""
    best, start = folder / "best.pt", folder / "start.pt"
    trained = best, *load_network(best, accelerator())
    if start.exists():
        return {name: trained, f"{name}{START}": (start, *load_network(start, accelerator()))}
    return {name: trained, f"{name}{UNTRAINED}": (best, untrained(trained[2], images), trained[2])}


def untrained(config: dict, images: np.ndarray) -> nn.Module:
    """The network with random weights; its norms have seen one batch."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        network = build(**config["network"])
    some = crops.floats(torch.from_numpy(images[:NORM_CROPS])).double()  # sums that no number of threads changes
    if len(some) > 1:
        for module in network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.momentum = 1.0
        with torch.inference_mode():
            network.double().train()(crops.normalised(some, config["mean"], config["std"]))
    return network.float().to(accelerator(), memory_format=torch.channels_last).eval()
