"""The networks of this line by name, and their sizes; torch is not imported, so that params can be checked fast.

    thinktwice          as published: ResNet-50, 256 channels, five refined layers
    thinktwice_small    the same shape for small images and CPUs
    tcp, tcp_small      one image to a trajectory and a control branch (Wu et al., NeurIPS 2022), no refined layers
    blind               speed, command and target point alone

What is left out of a ThinkTwice network stands behind its name, as often as wanted: thinktwice_small-lidar-layers1.

    -camera, -lidar     without these sensors
    -coarse             the layers refine the path of constant velocity, not a learned plan
    -layers1            one refined layer; -layers0: none
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

STATE = 9  # speed / 12, target (2), command (6)
WINDOW_M = (-8.0, 30.4, -19.2, 19.2)  # back, front, right, left of what the network sees from above: Roach's
GRID = 21
COMMANDS = 6
# CARLA's classes that are told apart, by their ids; class 0 is all the rest and nothing else.
CLASSES = {
    "building": 1, "pedestrian": 4, "pole": 5, "road line": 6, "road": 7, "sidewalk": 8, "vegetation": 9,
    "vehicle": 10, "traffic sign": 12, "sky": 13, "traffic light": 18,
}  # fmt: skip


@dataclass(frozen=True)
class Sizes:
    backbone: str  # small, resnet34, resnet50
    fpn: int  # channels of every level of the image pyramid
    levels: int
    lift: int  # the level that is lifted to the ground
    depths: tuple[float, float, int]  # metres of the first bin, of a bin, how many
    deep: bool  # the depth network has residual blocks and looks wide
    lidar_cells: int  # of an edge of the lidar's grid; 4 times those of its map
    lidar: int  # channels of the lidar's map
    bev: tuple[int, int, int, int]  # channels of the maps of 21, 10, 4 and 2 cells, as the teacher's
    vector: int
    state: int
    hidden: int
    layers: int
    heads: int
    points: int  # places a head looks at, on every level
    heights: tuple[float, ...]  # metres above a place that is looked at
    cameras: bool = True
    uses_lidar: bool = True
    coarse: bool = True


SIZES = {
    "thinktwice": Sizes(
        backbone="resnet50", fpn=256, levels=4, lift=2, depths=(1.0, 0.5, 80), deep=True, lidar_cells=336, lidar=512,
        bev=(32, 64, 128, 256), vector=256, state=128, hidden=512, layers=5, heads=8, points=8,
        heights=tuple(float(z) for z in range(-4, 11)),
    ),
    "thinktwice_small": Sizes(
        backbone="small", fpn=32, levels=2, lift=1, depths=(1.0, 1.5, 27), deep=False, lidar_cells=84, lidar=32,
        bev=(16, 32, 64, 128), vector=64, state=32, hidden=128, layers=2, heads=2, points=4,
        heights=(0.5, 1.5, 3.0, 4.5),
    ),
}  # fmt: skip
PLAIN = ("tcp", "tcp_small", "blind")
PARTS = ("camera", "lidar", "coarse", "layers0", "layers1")
NETWORKS = (*SIZES, *PLAIN, *(f"{name}-{part}" for name in SIZES for part in PARTS))


def sizes_of(name: str) -> Sizes:
    """Of a ThinkTwice network. Raises `ValueError` for another name."""
    base, *without = name.split("-")
    found = SIZES.get(base)
    if found is None:
        raise ValueError(f"no network {name!r}; there are: {', '.join(NETWORKS)}")
    for part in without:
        if part == "camera":
            found = replace(found, cameras=False)
        elif part == "lidar":
            found = replace(found, uses_lidar=False)
        elif part == "coarse":
            found = replace(found, coarse=False)
        elif match := re.fullmatch(r"layers(\d)", part):
            found = replace(found, layers=int(match[1]))
        else:
            raise ValueError(f"{name!r}: nothing is called {part!r}; there are: {', '.join(PARTS)}")
    if not (found.cameras or found.uses_lidar):
        raise ValueError(f"{name!r} sees nothing; that is the network blind")
    return found


def needs(name: str) -> tuple[str, ...]:
    """The sensors that a network is given."""
    if name == "blind":
        return ()
    if name.startswith("tcp"):
        return ("rgb",)
    sizes = sizes_of(name)
    return (*(["rgb"] if sizes.cameras else []), *(["lidar"] if sizes.uses_lidar else []))
