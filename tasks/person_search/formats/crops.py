"""The crops of one split of the pack step: read whole, held on the device as bytes, gathered by row.

split = crops.load(Path("data/person_search/pack/train.h5"))
gather = Crops(split.images, "cpu")
x = normalised(gather(torch.tensor([3, 1, 4])))     # (3, 3, H, W), as the networks want it
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor

from tasks.yard.step import BadInput

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, RGB in 0..1
TRAIN, QUERY, GALLERY = 0, 1, 2


@dataclass(frozen=True)
class Split:
    images: np.ndarray  # (N, H, W, 3) uint8 RGB
    identity: np.ndarray  # (N) int32; -1 a distractor
    camera: np.ndarray  # (N) int32
    role: np.ndarray  # (N) uint8: TRAIN, QUERY or GALLERY
    dataset: np.ndarray  # (N) int32


def load(path: Path) -> Split:
    """Raises `BadInput` if `path` is not a split that the pack step wrote."""
    try:
        with h5py.File(path) as file:
            return Split(**{field.name: file[field.name][:] for field in fields(Split)})
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file; run person_search-pack") from None
    except (OSError, KeyError) as error:
        raise BadInput(f"{path}: not a split of person_search-pack ({error}); run it again") from None


def paths(path: Path) -> list[str]:
    """Of each crop of a split the file it was made from."""
    with h5py.File(path) as file:
        return file["path"].asstr()[:].tolist()


class Crops:
    """Images on the device; a batch is one gather of rows."""

    def __init__(self, images: np.ndarray, device: torch.device | str):
        self.images = torch.from_numpy(images).to(device)

    def __call__(self, rows: Tensor) -> Tensor:
        """(B) -> (B, 3, H, W) float32 in 0..1, channels last in memory."""
        return floats(self.images.index_select(0, rows))


def floats(images: Tensor) -> Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, H, W) float32 in 0..1."""
    return images.permute(0, 3, 1, 2).float() / 255


@cache
def constant(values: tuple, device: torch.device) -> Tensor:
    """On the device once and for all: a step that copies from the host could not be captured in a CUDA graph."""
    return torch.tensor(values, device=device)


def normalised(x: Tensor, mean: tuple = MEAN, std: tuple = STD) -> Tensor:
    """(B, 3, H, W) in 0..1 -> what the networks were made for."""
    mean, std = (constant(tuple(values), x.device).view(1, 3, 1, 1) for values in (mean, std))
    return (x - mean) / std
