"""Crops to vectors, against the plain loop over images: `python -m tests.benchmarks.embed`.

The plain loop is what a feature extractor of the field does: an image at a time is made a tensor, normalised and shown
to the network. Ours is tasks/person_search/learning/embed.py, which the evaluation and the index step use. Same
network, same crops, one thread and then all cores; the vectors have to agree.
"""

from __future__ import annotations

import time
from functools import partial
from statistics import median

import numpy as np
import torch
from torch.nn import functional as F

from models.person_search.factory import build
from tasks.person_search.formats.crops import MEAN, STD
from tasks.person_search.learning.embed import embed

SHAPES = {"stripe_cnn": (64, 32, 2048), "osnet_x0_25": (256, 128, 128), "osnet_x1_0": (256, 128, 64)}
ROUNDS = 5


@torch.inference_mode()
def plain_loop(network: torch.nn.Module, images: np.ndarray) -> np.ndarray:
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    found = []
    for image in images:
        batch = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
        found.append(F.normalize(network((batch - mean) / std)).numpy())
    return np.concatenate(found)


def seconds(work) -> tuple[float, np.ndarray]:
    begin = time.perf_counter()
    found = work()
    return time.perf_counter() - begin, found


def main(tiny: bool = False) -> None:
    rounds = 1 if tiny else ROUNDS
    cores = torch.get_num_threads()
    for name, (height, width, count) in SHAPES.items():
        count = 2 if tiny else count
        torch.manual_seed(0)
        network = build(name, 10).eval()
        fast = build(name, 10).to(memory_format=torch.channels_last).eval()
        fast.load_state_dict(network.state_dict())
        images = np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)
        config = {"height_px": height, "width_px": width, "mean": MEAN, "std": STD}
        for threads in sorted({1, cores}):
            torch.set_num_threads(threads)
            ours, theirs = [], []
            for _ in range(rounds):
                took, found = seconds(partial(embed, fast, images, config))
                ours.append(count / took)
                took, expected = seconds(partial(plain_loop, network, images))
                theirs.append(count / took)
            assert np.abs(found - expected).max() < 1e-4, f"{name}: the plain loop finds other vectors"
            ratio = median(a / b for a, b in zip(ours, theirs, strict=True))
            print(
                f"{name:12} {height}x{width}, {threads} thread{'s' * (threads > 1)}: {median(ours):7.1f} images/s, "
                f"plain loop {median(theirs):7.1f}, {ratio:.2f} x"
            )


if __name__ == "__main__":
    main()
