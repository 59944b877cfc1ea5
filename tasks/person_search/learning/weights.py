"""Weights that others have trained: torchreid's files, or ours, into a network by key.

    left = load_into(build("osnet_x0_25", identities=751), Path("osnet_x0_25_msmt17.pt"))   # ["classifier.weight", ...]

The file holds the tensors by name, or has them under `state_dict` (torchreid's checkpoints) or `model` (best.pt of
person_search-train). Nothing in it is run. `as_they_are` makes a best.pt of it without any training.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.person_search.factory import HEAD, build
from models.person_search.variants import NETWORKS, OSNETS
from tasks.person_search.formats import crops
from tasks.yard.files import file_hash
from tasks.yard.step import BadInput
from tasks.yard.training.learnt import Learnt

UNDER = ("state_dict", "model")
PUBLISHED_PX = {"height_px": 256, "width_px": 128}  # of the crops that torchreid's OSNets have learnt from
WRAPPER = "module."  # what nn.DataParallel puts before every name
COUNTER = "num_batches_tracked"  # of batch norms; files from before torch 0.4.1 have none, and nothing reads it here
# torchreid keeps rank-1 beside the weights as a numpy scalar.
SCALARS = [
    (np._core.multiarray.scalar, "numpy.core.multiarray.scalar"), np._core.multiarray.scalar,
    np.dtype, np.dtypes.Float32DType, np.dtypes.Float64DType,
]  # fmt: skip


def missing(path: Path) -> BadInput:
    return BadInput(f"{path}: no such file; give person_search.train.weights another, or null for none")


def hash_of(path: Path) -> str:
    """sha256 of a file that training may start from."""
    try:
        return file_hash(path)
    except FileNotFoundError:
        raise missing(path) from None


def _loaded(path: Path) -> object:
    try:
        with torch.serialization.safe_globals(SCALARS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise missing(path) from None
    except Exception as error:  # on a file of another kind torch's reader fails in any way, from KeyError to EOFError
        raise BadInput(f"{path}: not a file of weights that torch can read safely ({type(error).__name__})") from None


def config_of(path: Path) -> dict[str, Any]:
    """What a best.pt of this line says of its network; {} of another file."""
    state = _loaded(path)
    config = state.get("config") if isinstance(state, dict) else None
    return config if isinstance(config, dict) and "network" in config else {}


def learnt_before(path: Path) -> Learnt:
    """What the network of a file has learnt from, as a best.pt of this line tells it; nothing if it does not."""
    return config_of(path).get("learnt") or {}


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, on the CPU, by name. Raises `BadInput` where there are none."""
    state = _loaded(path)
    for key in UNDER:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise BadInput(f"{path}: holds no tensors by name, neither itself nor under {' or '.join(UNDER)}")
    return {str(key).removeprefix(WRAPPER): value for key, value in state.items()}


def shapes(network: nn.Module) -> dict[str, torch.Size]:
    return {key: value.shape for key, value in network.state_dict().items()}


@cache
def shapes_of(name: str, embedding: int | None = None) -> dict[str, torch.Size]:
    """Of a network of that name, without its weights, which take memory."""
    with torch.device("meta"):
        return shapes(build(name, 1, embedding))


def difference(wanted: Mapping[str, torch.Size], state: dict[str, Tensor]) -> str | None:
    """Where weights and the shapes of a network part first, but for the classifier; None if nowhere."""
    for key in [*wanted, *(key for key in state if key not in wanted)]:
        if key.startswith(f"{HEAD}.") or key.endswith(f".{COUNTER}"):
            continue
        if key not in state:
            return f"{key} {tuple(wanted[key])} is not in it"
        if key not in wanted:
            return f"{key} {tuple(state[key].shape)} is not in the network"
        if state[key].shape != wanted[key]:
            return f"{key} is {tuple(state[key].shape)}, in the network {tuple(wanted[key])}"
    return None


def fits(state: dict[str, Tensor]) -> list[tuple[str, int | None]]:
    """The networks that the weights would fit, each with the embedding they have, None if it is the network's own."""
    own = [name for name in NETWORKS if difference(shapes_of(name), state) is None]
    first = next((state[key] for key in ("fc.0.weight", "fc.weight") if key in state), None)
    if own or first is None or first.ndim != 2:
        return [(name, None) for name in own]
    length = len(first)
    return [(name, length) for name in NETWORKS if difference(shapes_of(name, length), state) is None]


def fitting(state: dict[str, Tensor]) -> list[str]:
    """As `fits`, in the words of params.yaml."""
    return [f"{name} with person_search.train.embedding: {length}" if length else name for name, length in fits(state)]


def as_they_are(path: Path, made: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The state of a best.pt whose network has these weights, untrained here; `made`: {name, embedding} of a network
    that they must fit, by default the one that they do. It takes crops of the size that they were trained on.

    Raises `BadInput` for weights of no network here, or of one whose file must say the size of its crops and does not.
    """
    said, state = config_of(path), read(path)
    if made is None:
        known = [(said["network"]["name"], said["network"].get("embedding"))] if said else fits(state)
        if not known:
            raise BadInput(f"{path}: these weights fit none of the networks {', '.join(NETWORKS)}")
        made = dict(zip(("name", "embedding"), known[0], strict=True))
    if not said and made["name"] not in OSNETS:
        raise BadInput(f"{path}: says nothing of the size of the crops that {made['name']} takes; give its best.pt")
    head = state.get(f"{HEAD}.weight")
    network = {**made, "identities": 1 if head is None else len(head)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # of a classifier that is not in the file
        model = build(**network)
    load_into(model, path)
    config = {
        "network": network, **PUBLISHED_PX, "mean": list(crops.MEAN), "std": list(crops.STD), "datasets": [],
        "learnt": {},
    } | {**said, "network": network}  # fmt: skip
    return {"model": model.state_dict(), "config": config}


def load_into(network: nn.Module, path: Path) -> list[str]:
    """The network takes over all weights of a file; a classifier of other identities stays as it is.

    Returns the names in the file that were left out. Raises `BadInput`, and changes nothing, if anything else differs.
    """
    state = read(path)
    found = difference(shapes(network), state)
    if found:
        fits = fitting(state)
        fix = f"they fit {' or '.join(fits)}" if fits else f"they fit none of {', '.join(NETWORKS)}"
        raise BadInput(f"{path}: these weights are of another network: {found}; {fix}")
    wanted = network.state_dict()
    taken = {key: value for key, value in state.items() if key in wanted and value.shape == wanted[key].shape}
    network.load_state_dict(taken, strict=False)
    return [key for key in state if key not in taken]
