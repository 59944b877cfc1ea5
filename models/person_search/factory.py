"""One factory for all networks of the line: a name in, a network with `feature_dim` and a classifier out."""

from __future__ import annotations

from torch import nn

from models.person_search.osnet import OSNet
from models.person_search.small import StripeCNN
from models.person_search.variants import NETWORKS, OSNETS, SMALL

HEAD = "classifier"  # in every network the one part that belongs to its training identities


def build(name: str, identities: int, embedding: int | None = None) -> nn.Module:
    """`network(images)`: float (B, 3, H, W), normalised by ImageNet's mean and std.

    In training -> (logits (B, identities), embedding (B, feature_dim)), else the embedding alone.
    `embedding`: its length; None: the network's own.
    """
    if name not in NETWORKS:
        raise ValueError(f"no network {name!r}; there are: {', '.join(NETWORKS)}")
    if identities < 1:
        raise ValueError(f"identities = {identities}: at least 1")
    if embedding is not None and embedding < 1:
        raise ValueError(f"embedding = {embedding}: at least 1")
    length = {} if embedding is None else {"embedding": embedding}
    return StripeCNN(identities, **length) if name == SMALL else OSNet(OSNETS[name], identities, **length)


def backbone(network: nn.Module) -> tuple[str, ...]:
    """Names of the parts that are not the head: what stands still while a new head finds its place, or for ever.

    A part stands still in eval mode and without gradients; in training mode its batch norms would go on moving.
    """
    return tuple(name for name, _ in network.named_children() if name != HEAD)
