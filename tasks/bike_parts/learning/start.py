"""What a network starts from: nothing, torchvision's weights, or a file of it or of an earlier training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.error import URLError

import torch
from torch import nn

from models.bike_parts import published
from models.bike_parts.closer import CloserDetector
from models.bike_parts.variants import HEADS, UNPUBLISHED
from tasks.yard.step import BadInput
from tasks.yard.training import checkpoint

DOWNLOADED = ("coco", "imagenet")
Fill = Callable[[nn.Module], None]


def files(weights: str | None) -> list[Path]:
    """What a fingerprint has to hash."""
    return [] if weights is None or weights in DOWNLOADED else [Path(weights)]


def of(weights: str | None, name: str, parts: Sequence[str]) -> tuple[str | None, Fill]:
    """("coco", "imagenet" or None: what `factory.build` has to know, and what fills the network that it makes).

    Raises `BadInput` if the weights cannot be had or are of another network.
    """
    if weights is None:
        return None, lambda network: None
    if weights in DOWNLOADED:
        return weights, lambda network: published.load(detector_of(network), weights, _downloaded(name, weights))
    path, state = Path(weights), checkpoint.load(Path(weights))
    if "config" in state and "model" in state:
        return _of_training(path, state, name, parts)
    if name in UNPUBLISHED:
        raise BadInput(f"{path}: holds weights of torchvision, and {name} is none of its networks; set weights to null")

    before = published.trained_on(state)

    def fill(network: nn.Module) -> None:
        try:
            published.load(detector_of(network), before, state)
        except ValueError as error:
            raise BadInput(f"{path}: no weights for {name} ({error}); take torchvision's file for it") from None

    return before, fill


def detector_of(network: nn.Module) -> nn.Module:
    """Without the closer look, of which nobody publishes weights."""
    return network.detector if isinstance(network, CloserDetector) else network


def _downloaded(name: str, weights: str) -> dict[str, torch.Tensor]:
    try:
        return published.downloaded(name, weights)
    except (URLError, OSError, RuntimeError) as error:  # RuntimeError: the hash is another
        raise BadInput(
            f"{name}: the {weights} weights cannot be fetched ({error}); put torchvision's file into "
            f"{torch.hub.get_dir()}/checkpoints, or set bike_parts.train.weights to null"
        ) from None


def _edge_of(about: dict) -> int | None:
    """Of the cut-outs of a checkpoint's network; None: it has no closer look."""
    return about["close"] and about["close"]["edge_px"]


def _of_training(path: Path, state: dict, name: str, parts: Sequence[str]) -> tuple[str | None, Fill]:
    """Where the parts are the same the heads are taken too."""
    about, theirs = state["config"]["network"], list(state["config"]["parts"])
    if about["name"] != name:
        raise BadInput(f"{path}: is a checkpoint of {about['name']}, not of {name}; name another file")

    def fill(network: nn.Module) -> None:
        edge = network.look.edge if isinstance(network, CloserDetector) else None
        theirs_close, close = ("null" if of is None else f"of edge_px {of}" for of in (_edge_of(about), edge))
        if close != theirs_close:
            raise BadInput(
                f"{path}: was trained with close {theirs_close}, and bike_parts.train.close is {close}: set it as "
                "there, or name another file"
            )
        own = network.state_dict()
        kept = {
            key: value for key, value in state["model"].items()
            if key in own and own[key].shape == value.shape and (theirs == list(parts) or not key.startswith(HEADS))
        }  # fmt: skip
        missing = [key for key in own if key not in kept and not key.startswith(HEADS)]
        if missing:
            raise BadInput(f"{path}: lacks {missing[0]} of {name}: it was made by another version; train again")
        network.load_state_dict(kept, strict=False)

    return about["before"], fill
