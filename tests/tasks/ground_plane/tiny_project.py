"""What detect and evaluate read, in a moment: a pack by the real steps, and a checkpoint of a small network.

root = project(tmp_path); networks = {"small": write_network(root, "small")}
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from models.ground_plane.factory import build
from tasks.ground_plane import check_data, pack
from tasks.ground_plane.formats import scenes
from tasks.ground_plane.params import Line
from tasks.yard.training import checkpoint
from tests import sections
from tests.tasks.ground_plane.tiny_scene import write_unit

REPO = Path(__file__).parents[3]
HEIGHT, WIDTH, CELL_M = 32, 48, 0.25
NETWORK = "small-mean_max"


def section(step: str, **changes):
    """One step's params as they stand in params.yaml, with some changed."""
    values = sections.values("ground_plane", step)
    return Line.model_fields[step].annotation.model_validate({**values, **changes})


def write_pack(
    root: Path, val: float = 0.25, test: float = 0.25, missing: Sequence[str] = (), guard_frames: int = 0, **units: dict
) -> Path:
    """download/, check_data/ and pack/ of units {name: what `write_unit` takes}; returns the latter.

    `missing`: files of download/ that are not there.
    """
    for seed, (name, said) in enumerate((units or {"tiny": {}}).items()):
        write_unit(root / "download", name, **{"frames": 12, "people": 4, "seed": seed, **said})
    for file in missing:
        (root / "download" / file).unlink()
    (root / "check_data").mkdir()
    check_data.run(section("check_data", pictures=0), root / "check_data", download=root / "download")
    params = section(
        "pack",
        height_px=HEIGHT,
        width_px=WIDTH,
        cell_m=CELL_M,
        shares={"val": val, "test": test},
        guard_frames=guard_frames,
    )
    pack.run(params, root / "pack", download=root / "download", check_data=root / "check_data")
    return root / "pack"


def write_network(
    root: Path, item: str, name: str = NETWORK, views: int = 3, threshold: float | None = 0.5, seed: int = 0, **config
) -> Path:
    """train/<item>/best.pt, untrained, as train leaves it; returns the folder."""
    scene = scenes.load(root / "pack")[0]
    torch.manual_seed(seed)
    network = {"name": name, "views": views, "pretrained": False}
    state = {
        "model": build(**network).state_dict(),
        "config": {
            "network": network, "height_px": HEIGHT, "width_px": WIDTH, "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225], "grid": list(scene.grid), "cell_m": CELL_M,
            "decode": section("train").decode.model_dump(), **config,
        },
        "scores": {"score": 0.0, "moda": 0.0, "modp": 0.0, "precision": 0.0, "recall": 0.0, "threshold": threshold},
    }  # fmt: skip
    folder = root / "train" / item
    folder.mkdir(parents=True)
    checkpoint.save(folder, "best", state, {})
    return folder
