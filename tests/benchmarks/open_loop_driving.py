"""The line's own operations against the straightforward ways: `python -m tests.benchmarks open_loop_driving`.

Lift-splat: shares of depth made a matrix, against a loop over cameras and bins, and against a scatter of the whole
cloud of features. Deformable attention: all queries, heads and cameras at once, against a loop over them. Training:
`thinktwice_small` as it stands, moments in memory and all cameras one batch, against a module-by-module loop: a camera
at a time, a cloud that is scattered, and pixels normalised one image after the other; with the same losses. Then memory
and time of `thinktwice`, the published sizes, by batch, each in a process of its own, and what of it the moment before
costs; a batch for which the machine has no memory is named and left out.
"""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.open_loop_driving import lift, losses, variants
from models.open_loop_driving.encoders import LAYERS, Cameras, told
from models.open_loop_driving.factory import ThinkTwice, build
from models.open_loop_driving.refine import Attention
from models.open_loop_driving.variants import GRID, sizes_of

SERVER = multiprocessing.get_context("forkserver")  # a process begins with the memory of its imports alone
ROUNDS = 7
FIRST_MB = {"thinktwice": 7000.0}  # of one moment, as an earlier run has measured it
SIZES = {"thinktwice_small": (64, 112, 2), "thinktwice": (448, 896, 4)}  # height, width, cameras


def rig(batch: int, cameras: int, image: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """K and camera_from_ego of level cameras around the car."""
    height, width = image
    K = torch.tensor([[0.6 * width, 0, width / 2], [0, 0.6 * width, height / 2], [0, 0, 1.0]])
    poses = []
    for k in range(cameras):
        angle = torch.tensor(2 * torch.pi * k / cameras)
        c, s = float(angle.cos()), float(angle.sin())
        turn = torch.tensor([[s, -c, 0], [0, 0, -1], [c, s, 0]])
        pose = torch.eye(4)
        pose[:3, :3], pose[:3, 3] = turn, -turn @ torch.tensor([1.5 * c, 1.5 * s, 2.5])
        poses.append(pose)
    return K.expand(batch, cameras, 3, 3), torch.stack(poses).expand(batch, -1, -1, -1)


def moments(name: str, batch: int) -> dict[str, Tensor]:
    torch.manual_seed(0)
    height, width, cameras = SIZES[name]
    K, pose = rig(batch, cameras, (height, width))
    cells = sizes_of(name).lidar_cells
    return {
        "state": torch.rand(batch, 9), "images": torch.rand(batch, 2, cameras, 3, height, width), "K": K,
        "camera_from_ego": pose, "motion": torch.eye(4).expand(batch, 4, 4),
        "voxels": torch.rand(batch, 2 * (LAYERS + 1), cells, cells),
    }  # fmt: skip


def targets(name: str, batch: int) -> dict[str, Tensor | list[Tensor]]:
    sizes, (height, width, cameras) = sizes_of(name), SIZES[name]
    return {
        "waypoints": torch.rand(batch, 4, 2) * 8, "alpha": torch.rand(batch, 4, 2) * 9 + 1,
        "beta": torch.rand(batch, 4, 2) * 9 + 1, "speed": torch.rand(batch) * 8, "value": torch.rand(batch),
        "maps": [torch.rand(batch, c, n, n) for c, n in zip(sizes.bev, (21, 10, 4, 2), strict=True)],
        "vector": torch.rand(batch, sizes.vector), "imitates": torch.ones(batch),
        "ahead": torch.rand(batch, 4, sizes.bev[0], 21, 21), "metres": torch.rand(batch, cameras, height, width) * 50,
        "classes": torch.randint(0, 19, (batch, cameras, height, width)),
    }  # fmt: skip


def scattered(features: Tensor, depth: Tensor, place: Tensor, inside: Tensor) -> Tensor:
    """The plain way: a vector for every pixel and bin, all of them added to their cells."""
    b, n, c, p = features.shape
    d = depth.shape[2]
    cloud = (features[:, :, None].transpose(3, 4) * (depth * inside)[..., None]).reshape(b * n * d * p, c)
    row = torch.arange(b).view(b, 1, 1, 1) * GRID * GRID
    below = features.new_zeros(b * GRID * GRID, c).index_add(0, (place + row).flatten(), cloud)
    return below.view(b, GRID, GRID, c).permute(0, 3, 1, 2)


def looped(features: Tensor, depth: Tensor, place: Tensor, inside: Tensor) -> Tensor:
    """A moment, a camera and a bin at a time."""
    b, n, c, _ = features.shape
    rows = []
    for i in range(b):
        below = features.new_zeros(GRID * GRID, c)
        for j in range(n):
            for k in range(depth.shape[2]):
                share = (depth[i, j, k] * inside[i, j, k])[:, None]
                below = below.index_add(0, place[i, j, k], features[i, j].T * share)
        rows.append(below.T.view(c, GRID, GRID))
    return torch.stack(rows)


def attended(attention: Attention, query: Tensor, at: Tensor, visible: Tensor, levels: list[Tensor]) -> Tensor:
    """A moment, a camera, a head and a level at a time, and each query by itself."""
    (b, n, q), heads, points = visible.shape, attention.heads, attention.points
    width = levels[0].shape[1] // heads
    offsets = attention.offsets(query).view(b, q, heads, len(levels), points, 2)
    weights = attention.weights(query).view(b, q, heads, -1).softmax(-1).view(b, q, heads, len(levels), points)
    rows = []
    for i in range(b):
        for j in range(q):
            seen = [k for k in range(n) if bool(visible[i, k, j])]
            total = query.new_zeros(levels[0].shape[1])
            for k in seen:
                for m, level in enumerate(levels):
                    values = attention.value(level[i * n + k].permute(1, 2, 0)).permute(2, 0, 1)
                    size = level.new_tensor([level.shape[3], level.shape[2]])
                    parts = []
                    for h in range(heads):
                        place = at[i, k, j] + offsets[i, j, h, m] * 2 / size
                        part = values[None, h * width : (h + 1) * width]
                        found = F.grid_sample(part, place[None, None], align_corners=False)[0, :, 0]
                        parts.append((found * weights[i, j, h, m]).sum(1))
                    total = total + torch.cat(parts) / len(seen)
            rows.append(attention.out(total) if seen else total * 0)
    return torch.stack(rows).view(b, q, -1)


def plain_seen(cameras: Cameras, images: Tensor, K: Tensor, pose: Tensor, motion: Tensor | None):
    """As `Cameras.seen`, a camera at a time and with the whole cloud scattered."""
    below: Tensor | float = 0.0
    parts = []
    for k in range(images.shape[1]):
        one = torch.stack([image / 1.0 for image in images[:, k]])
        levels = cameras.pyramid(cameras.backbone(one))
        classes, at = cameras.classes(levels[0]), levels[cameras.sizes.lift]
        from_camera = lift.inverse(pose[:, k])
        from_camera = from_camera if motion is None else motion @ from_camera
        size, grid = tuple(one.shape[-2:]), tuple(at.shape[-2:])
        numbers = told(K[:, k], pose[:, k], size)
        depth, features = cameras.depth(at, numbers, classes)
        cloud = lift.frustum(K[:, k], from_camera, size, grid, lift.bins(cameras.sizes.depths, one.device))
        place, inside = lift.cells(cloud)
        flat = (of.flatten(2)[:, None] for of in (features, depth.softmax(1), place, inside))
        below = below + scattered(*flat)
        parts.append((levels, depth, classes))
    levels = [torch.stack(same, 1).flatten(0, 1) for same in zip(*(part[0] for part in parts), strict=True)]
    depth, classes = (torch.stack([part[i] for part in parts], 1).flatten(0, 1) for i in (1, 2))
    return below, levels, depth, classes


def step(network: nn.Module, given: dict, wanted: dict, name: str) -> None:
    network.zero_grad(set_to_none=True)
    found = network(**given, truth=losses.truth_of(wanted))
    sum(losses.all_terms(found, wanted, variants.sizes_of(name).depths).values()).backward()


def plain_step(network: ThinkTwice, given: dict, wanted: dict, name: str) -> None:
    kept = network.cameras.seen
    network.cameras.seen = partial(plain_seen, network.cameras)
    try:
        step(network, given, wanted, name)
    finally:
        network.cameras.seen = kept


def timed(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each, interleaved."""
    for way in ways.values():
        way()
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            begin = time.perf_counter()
            way()
            found[name].append(time.perf_counter() - begin)
    return {name: median(values) for name, values in found.items()}


def printed(title: str, took: dict[str, float]) -> None:
    ours, *others = took
    said = ", ".join(f"{name} {took[name] * 1000:.1f} ms ({took[name] / took[ours]:.1f} x)" for name in others)
    print(f"{title}: {ours} {took[ours] * 1000:.1f} ms, {said}")


def pooling(batch: int, rounds: int) -> None:
    """Forward and backward, at the small network's sizes."""
    sizes, (height, width, cameras) = sizes_of("thinktwice_small"), SIZES["thinktwice_small"]
    grid = height // 8, width // 8
    K, pose = rig(batch, cameras, (height, width))
    middle = lift.bins(sizes.depths, torch.device("cpu"))
    place, inside = (
        of.flatten(3) for of in lift.cells(lift.frustum(K, lift.inverse(pose), (height, width), grid, middle))
    )
    features = torch.randn(batch, cameras, sizes.fpn, grid[0] * grid[1], requires_grad=True)
    depth = torch.randn(batch, cameras, len(middle), grid[0] * grid[1]).softmax(2).requires_grad_()
    ways = {"by a matrix": lift.splat, "plain scatter": scattered, "loop": looped}
    results = [way(features, depth, place, inside) for way in ways.values()]
    apart = max(float((one - results[0]).detach().abs().max()) for one in results[1:])
    took = timed(
        {name: lambda way=way: way(features, depth, place, inside).sum().backward() for name, way in ways.items()},
        rounds,
    )
    printed(f"lift-splat, {batch} moments, {apart:.0e} apart", took)


def attention(batch: int, rounds: int) -> None:
    torch.manual_seed(0)
    net = Attention(query=64, width=32, heads=2, levels=2, points=4)
    levels = [torch.randn(batch * 2, 32, *size) for size in ((16, 28), (8, 14))]
    query, at = torch.randn(batch, 32, 64), torch.rand(batch, 2, 32, 2) * 2 - 1
    visible = torch.rand(batch, 2, 32) < 0.7
    with torch.no_grad():
        apart = float((net(query, at, visible, levels) - attended(net, query, at, visible, levels)).abs().max())
        ways = {"at once": lambda: net(query, at, visible, levels)}
        took = timed(ways | {"loop": lambda: attended(net, query, at, visible, levels)}, rounds)
    printed(f"deformable attention, {batch} moments of 32 places, {apart:.0e} apart", took)


def training(batch: int, rounds: int) -> None:
    name = "thinktwice_small"
    network, given, wanted = build(name, 4, 0.5), moments(name, batch), targets(name, batch)
    ways = {
        "ours": lambda: step(network, given, wanted, name),
        "module by module": lambda: plain_step(network, given, wanted, name),
    }  # fmt: skip
    took = timed(ways, rounds)
    printed(f"a training step of {name}, {batch} moments", took)
    print(", ".join(f"{way} {batch / seconds:.1f} samples/s" for way, seconds in took.items()))


def published(name: str, batch: int, before: bool, answers: multiprocessing.Queue) -> None:
    """Peak memory in MB and seconds of a step; without the moment before, its map is zeros."""
    torch.manual_seed(0)
    network, given, wanted = build(name, 4, 0.5), moments(name, batch), targets(name, batch)
    if not before:
        seen = network.cameras.seen

        def now_alone(images: Tensor, K: Tensor, pose: Tensor, motion: Tensor | None):
            if motion is None:
                return seen(images, K, pose, None)
            return (images.new_zeros(len(images), network.sizes.fpn, GRID, GRID),)

        network.cameras.seen = now_alone
    begin = time.perf_counter()
    step(network, given, wanted, name)
    took = time.perf_counter() - begin
    answers.put((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, took))


def free_mb() -> float:
    """What the machine, or the control group of this process, has left."""
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    found = [int(lines["MemAvailable"].split()[0]) / 1024]
    group = Path("/sys/fs/cgroup")
    if (group / "memory.max").is_file() and (most := (group / "memory.max").read_text().strip()) != "max":
        found.append((int(most) - int((group / "memory.current").read_text())) / 2**20)
    return min(found)


def measured(name: str, batch: int, before: bool) -> tuple[float, float] | str:
    """MB and seconds of `published` in a process of its own, or why there are none."""
    answers = SERVER.Queue()
    process = SERVER.Process(target=published, args=(name, batch, before, answers))
    process.start()
    while process.is_alive() and answers.empty():
        process.join(0.2)
    if answers.empty():
        return f"its process ended with code {process.exitcode}: most likely there was too little memory"
    found = answers.get()
    process.join()
    return found


def by_batch(name: str, batches: tuple[int, ...]) -> None:
    SERVER.set_forkserver_preload([__name__])
    needed = FIRST_MB.get(name, 0.0)  # of one moment; several take at most so many times as much
    for batch in batches:
        if (free := free_mb()) < needed * batch:
            print(f"{name}, batch {batch}: left out: it may take {needed * batch:.0f} MB, and {free:.0f} MB are free")
            continue
        found = [measured(name, batch, before) for before in (True, False)]
        if words := [of for of in found if isinstance(of, str)]:
            print(f"{name}, batch {batch}: no figure: {words[0]}")
            continue
        (memory, took), (less, shorter) = found
        needed = memory / batch
        print(
            f"{name}, batch {batch}: {memory:.0f} MB, {took:.1f} s a step; without the moment before {less:.0f} MB, "
            f"{shorter:.1f} s ({took / shorter:.2f} x)"
        )


def main(tiny: bool = False) -> None:
    batch, rounds = (2, 1) if tiny else (16, ROUNDS)
    pooling(batch, rounds)
    attention(min(batch, 4), rounds)
    training(batch, rounds)
    by_batch("thinktwice_small" if tiny else "thinktwice", (1,) if tiny else (1, 2))


if __name__ == "__main__":
    main()
