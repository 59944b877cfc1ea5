"""How far a plan, and what is learnt beside it, is from the expert's. Every term is a mean over moments, with the
original's weight times that of its group in params, so that it is a curve by itself and micro-batches add up."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from models.open_loop_driving.decoders import beta_of, raw_of
from models.open_loop_driving.factory import SPEED_MPS
from models.open_loop_driving.variants import CLASSES

WAYPOINTS, NOW, NEXT = 15.0, 15.0, 3.75  # averaged over the layers
SPEED, VALUE, VECTOR = 1.0, 0.001, 0.05  # value and vector: of each of two heads
MAPS = (0.25, 1 / 3, 1 / 4, 1 / 11)  # of 21, 10, 4 and 2 cells
REFINED_MAP, REFINED_VECTOR = 0.25, 0.005
TAUGHT = {"waypoints": 1.0, "controls": 1.0, "ahead": 0.25, "map": 0.25, "vector": 0.05}
SEEN, DEPTH = 10.0, 1.0
GAMMA = 2.0
MOST = 1.0  # of an entry of a map: what the expert knows and nobody can see must not outweigh the rest


def kl(alpha: Tensor, beta: Tensor, other_alpha: Tensor, other_beta: Tensor) -> Tensor:
    """KL(Beta(alpha, beta) || Beta(other_alpha, other_beta)), entry by entry."""

    def log_beta(a: Tensor, b: Tensor) -> Tensor:
        return torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)

    both = alpha + beta
    return (
        log_beta(other_alpha, other_beta) - log_beta(alpha, beta) + (alpha - other_alpha) * torch.digamma(alpha)
        + (beta - other_beta) * torch.digamma(beta) + (other_alpha + other_beta - both) * torch.digamma(both)
    )  # fmt: skip


def over_rows(values: Tensor, there: Tensor | None) -> Tensor:
    """(B) -> the mean over all rows, those that are not `there` (B) costing nothing."""
    return values.mean() if there is None else (values * there).mean()


def between(found: Tensor, wanted: Tensor, there: Tensor | None, most: float | None = None) -> Tensor:
    """Smooth L1 of maps (B, ..., C, h, w) or vectors (B, ..., C): the sum over channels, the mean over all else."""
    cost = F.smooth_l1_loss(found.float(), wanted.float(), reduction="none")
    if most is not None:
        cost = cost.clamp(max=most)
        return over_rows(cost.sum(-3).flatten(1).mean(1), there)
    return over_rows(cost.sum(-1).flatten(1).mean(1) if cost.ndim > 2 else cost.sum(-1), there)


def plans(found: dict, target: dict) -> dict[str, Tensor]:
    """Waypoints and controls of every layer; target: waypoints (B, S, 2), and where the source tells what the driver
    did, alpha and beta (B, S, 2) and `controlled` (B): of which moments."""
    cost = F.smooth_l1_loss(found["waypoints"].float(), target["waypoints"].expand_as(found["waypoints"]))
    if "alpha" not in target:
        return {"waypoints": WAYPOINTS * cost}
    alpha, beta = beta_of(found["raw"])
    # The expert's are given; of a wide table of layers each costs the same.
    apart = kl(target["alpha"].expand_as(alpha), target["beta"].expand_as(beta), alpha, beta)
    if "controlled" in target:
        apart = apart * target["controlled"][:, None, None]
    apart = apart.mean((0, 1, 3))
    lost = {"waypoints": WAYPOINTS * cost, "control": NOW * apart[0]}
    if len(apart) > 1:
        lost["control ahead"] = NEXT * apart[1:].mean()
    return lost


def heads(found: dict, target: dict) -> dict[str, Tensor]:
    lost = {}
    if "speed" in found:
        lost["speed"] = SPEED * F.smooth_l1_loss(found["speed"] / SPEED_MPS, target["speed"] / SPEED_MPS)
    if "values" in found and "value" in target:
        lost["value"] = VALUE * F.smooth_l1_loss(found["values"], target["value"][:, None].expand(-1, 2)) * 2
    if "joins" in found and "vector" in target:
        wanted = target["vector"][:, None].expand_as(found["joins"])
        lost["features"] = VECTOR * between(found["joins"], wanted, target["imitates"]) * 2
    return lost


def imitation(found: dict, target: dict) -> dict[str, Tensor]:
    """That the maps are like the expert's: those of now, refined, and, on the expert's own plan, those ahead.
    target: maps [(B, C, n, n)], vector (B, V), ahead (B, S, C, 21, 21), imitates (B)."""
    there, lost = target["imitates"], {}
    for name, weight, map_, wanted in zip((21, 10, 4, 2), MAPS, found["maps"], target["maps"], strict=True):
        lost[f"map {name}"] = weight * between(map_, wanted, there, MOST)
    now, vector = target["maps"][0], target["vector"]
    share = 1 / max(len(found["refined"]), 1)
    for map_, about in found["refined"]:
        for key, value in (("refined map", REFINED_MAP * between(map_, now, there, MOST)),
                           ("refined vector", REFINED_VECTOR * between(about, vector, there))):  # fmt: skip
            lost[key] = lost.get(key, 0) + share * value
    for made in found["taught"]:
        for key, value in (("taught ahead", TAUGHT["ahead"] * between(made["ahead"], target["ahead"], there, MOST)),
                           ("taught map", TAUGHT["map"] * between(made["map"], now, there, MOST)),
                           ("taught vector", TAUGHT["vector"] * between(made["vector"], vector, there))):  # fmt: skip
            lost[key] = lost.get(key, 0) + share * value
    return lost


def taught(found: dict) -> dict[str, Tensor]:
    """That a layer leaves the expert's plan as it is."""
    lost: dict[str, Tensor] = {}
    for made in found["taught"]:
        for key, name in (("offset", "waypoints"), ("change", "controls")):
            cost = F.smooth_l1_loss(made[key].float(), torch.zeros_like(made[key], dtype=torch.float))
            lost[f"taught {name}"] = lost.get(f"taught {name}", 0) + TAUGHT[name] * cost / len(found["taught"])
    return lost


def depth(logits: Tensor, metres: Tensor, depths: tuple[float, float, int]) -> Tensor:
    """Logits (N, D, h, w), metres (N, H, W), 0: none -> binary cross-entropy of the shares, the sum over bins, the mean
    over the parts that have a depth: the nearest in each (BEVDepth)."""
    first, step, count = depths
    rows, columns = logits.shape[-2:]
    near = -F.adaptive_max_pool2d(torch.where(metres > 0, -metres, -1e4)[:, None], (rows, columns))[:, 0]
    bin_ = ((near - first) / step).floor()
    there = (bin_ >= 0) & (bin_ < count)
    wanted = F.one_hot(bin_.clamp(0, count - 1).long(), count).movedim(-1, 1).float()
    found = logits.float().softmax(1).clamp(1e-6, 1 - 1e-6)
    cost = F.binary_cross_entropy(found, wanted, reduction="none").sum(1) * there
    return (cost.flatten(1).sum(1) / there.flatten(1).sum(1).clamp(min=1)).mean()


def class_of(ids: Tensor) -> Tensor:
    """CARLA's ids -> 1.. for those that are told apart, 0 for the rest."""
    table = torch.zeros(256, dtype=torch.long, device=ids.device)
    for number, carla in enumerate(CLASSES.values(), 1):
        table[carla] = number
    return table[ids.long()]


def classes(logits: Tensor, ids: Tensor) -> Tensor:
    """Focal loss of logits (N, K, h, w) against CARLA's ids (N, H, W), by the nearest pixel: no class is invented."""
    wanted = class_of(F.interpolate(ids[:, None].float(), logits.shape[-2:], mode="nearest-exact")[:, 0])
    cost = F.cross_entropy(logits.float(), wanted, reduction="none")
    return ((1 - torch.exp(-cost)) ** GAMMA * cost).mean()


def all_terms(found: dict, target: dict, depths: tuple[float, float, int] | None) -> dict[str, Tensor]:
    """Every term that the network and the data have. target: see learning/batches.py."""
    lost = {**plans(found, target), **heads(found, target)}
    if found.get("taught"):
        lost |= taught(found)
    if "maps" in found and "maps" in target:
        lost |= imitation(found, target)
    if "classes" in found and "classes" in target:
        lost["classes"] = SEEN * classes(found["classes"], target["classes"].flatten(0, 1))
    if "depth" in found and "metres" in target and depths is not None:
        lost["depth"] = DEPTH * depth(found["depth"], target["metres"].flatten(0, 1), depths)
    return lost


def truth_of(target: dict) -> tuple[Tensor, Tensor] | None:
    """The expert's plan as a layer is given one: for teacher forcing. None where no source tells its controls."""
    if "alpha" not in target:
        return None
    return target["waypoints"], raw_of(target["alpha"], target["beta"])
