"""A ground_plane network, forward and backward, against a loop over cameras: `python -m tests.benchmarks.ground_plane`.

The loop is the straightforward way: each camera by itself goes through the encoder, its homography and its view of the
grid are computed in every call, and what it sees is brought to the ground. Ours sees all cameras as one batch and looks
up where each cell is seen once a scene. Same network, same maps. Then the peak memory of a step by number of cameras,
each in a process of its own.
"""

from __future__ import annotations

import multiprocessing
import re
import time
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor

from models.ground_plane.factory import GroundNetwork, build
from models.ground_plane.ground import sampled
from models.ground_plane.losses import focal
from tasks.yard.geometry.camera import Camera, Plane, cells, looked_up

SIZES = {"small-mean_max": (90, 160, 4), "resnet18-mean_max": (180, 320, 1)}  # height, width, frames a step
PLANE, CELL_M = Plane((0.0, 0.0), (8.0, 8.0)), 0.2
GRID = PLANE.grid(CELL_M)
ROUNDS = 7


def ring(count: int, height: int, width: int) -> list[Camera]:
    """Cameras around the plane, 3 m up, looking at its middle."""
    found = []
    for angle in np.linspace(0, 2 * np.pi, count, endpoint=False):
        place = np.array([4 + 6.5 * np.cos(angle), 4 + 6.5 * np.sin(angle), 3.0])
        ahead = np.array([4, 4, 0.8]) - place
        ahead /= np.linalg.norm(ahead)
        right = np.cross(ahead, [0, 0, 1.0])
        right /= np.linalg.norm(right)
        R = np.stack([right, np.cross(ahead, right), ahead])
        K = np.array([[0.8 * width, 0, (width - 1) / 2], [0, 0.8 * width, (height - 1) / 2], [0, 0, 1]])
        found.append(Camera(K, R, -R @ place, (height, width)))
    return found


def looks(cameras: list[Camera]) -> tuple[Tensor, Tensor]:
    found = [looked_up(camera, PLANE, cells(GRID, CELL_M)) for camera in cameras]
    return tuple(torch.from_numpy(np.stack(part)) for part in zip(*found, strict=True))


def ours(network: GroundNetwork, images: Tensor, looked: tuple[Tensor, Tensor], cameras: list[Camera]) -> Tensor:
    sampling, visible = (part.expand(len(images), *part.shape) for part in looked)
    return network(images, sampling, visible)["ground"]


def loop(network: GroundNetwork, images: Tensor, looked: tuple[Tensor, Tensor], cameras: list[Camera]) -> Tensor:
    below, seen = [], []
    for v, camera in enumerate(cameras):
        sampling, visible = (torch.from_numpy(part) for part in looked_up(camera, PLANE, cells(GRID, CELL_M)))
        features = network.bring(network.encoder(images[:, v]))
        at, there = (part.expand(len(images), *part.shape) for part in (sampling, visible))
        below.append(sampled(features, at, there))
        seen.append(there)
    visible = torch.stack(seen, 1)
    ground = network.ground(network.join(torch.stack(below, 1), visible))
    return network.head(ground)[:, 0].masked_fill(~visible.any(1), -30.0)


def step(way, network: GroundNetwork, images: Tensor, looked, cameras: list[Camera], target: Tensor) -> Tensor:
    network.zero_grad(set_to_none=True)
    found = way(network, images, looked, cameras)
    focal(found, target, torch.ones_like(target, dtype=torch.bool)).backward()
    return found.detach()


def case(name: str, count: int) -> tuple:
    height, width, frames = SIZES[name]
    torch.manual_seed(0)
    cameras = ring(count, height, width)
    network = build(name, count).eval()  # batch norms of resnets: the loop would see other batches
    images = torch.randn(frames, count, 3, height, width)
    target = torch.zeros(frames, *GRID)
    target[:, 10, 10] = 1.0
    return network, images, looks(cameras), cameras, target


def seconds(work) -> tuple[float, Tensor]:
    begin = time.perf_counter()
    found = work()
    return time.perf_counter() - begin, found


def peak_mb(name: str, count: int) -> float:
    held = case(name, count)
    for _ in range(2):
        step(ours, *held)
    status = Path("/proc/self/status").read_text()  # not getrusage: a new process starts at its parent's maximum
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024


def main(tiny: bool = False) -> None:
    rounds, counts = (1, (2,)) if tiny else (ROUNDS, (4, 7))
    for name, (height, width, frames) in SIZES.items():
        for count in counts:
            held = case(name, count)
            times: dict[str, list[float]] = {"ours": [], "loop": []}
            for _ in range(rounds):
                found = {}
                for key, way in (("ours", ours), ("loop", loop)):
                    took, found[key] = seconds(partial(step, way, *held))
                    times[key].append(took)
                assert (found["ours"] - found["loop"]).abs().max() < 1e-3, "the loop draws another map"
            rates = {key: frames / median(took) for key, took in times.items()}
            ratio = median(b / a for a, b in zip(times["ours"], times["loop"], strict=True))
            print(
                f"{name:18} {height}x{width}, {count} cameras: {rates['ours']:6.1f} frames/s forward and backward, "
                f"loop {rates['loop']:6.1f}, {ratio:.2f} x, same maps"
            )
        if tiny:  # peaks take a process for each number of cameras
            continue
        with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
            peaks = {count: pool.apply(peak_mb, (name, count)) for count in (1, 4, 7)}
        print(f"{name:18} peak memory of a step: " + ", ".join(f"{n} cameras {mb:.0f} MB" for n, mb in peaks.items())
              + f"; {(peaks[7] - peaks[1]) / 6:.1f} MB a camera")  # fmt: skip


if __name__ == "__main__":
    main()
