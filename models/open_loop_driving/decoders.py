"""From vectors to plans: waypoints, and Betas of acceleration and steer at each step."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEAST = 1e-3  # of a Beta's parameters


def mlp(inputs: int, hidden: int, outputs: int, last: float | None = None) -> nn.Sequential:
    """Two hidden layers; `last`: scale of the last one's first weights, 0: starts at nothing."""
    made = nn.Sequential(
        nn.Linear(inputs, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, hidden), nn.ReLU(inplace=True),
        nn.Linear(hidden, outputs),
    )  # fmt: skip
    if last is not None:
        with torch.no_grad():
            made[-1].weight.mul_(last)
            made[-1].bias.mul_(last)
    return made


def beta_of(raw: Tensor) -> tuple[Tensor, Tensor]:
    """(..., 4) raw -> alpha (..., 2), beta (..., 2): softplus, at least 0.001."""
    positive = F.softplus(raw.float()).clamp(min=LEAST)
    return positive[..., :2], positive[..., 2:]


def raw_of(alpha: Tensor, beta: Tensor) -> Tensor:
    """What `beta_of` makes these of: (..., 2), (..., 2) -> (..., 4)."""
    both = torch.cat([alpha, beta], -1).clamp(min=LEAST)
    return both + torch.log(-torch.expm1(-both))


class Coarse(nn.Module):
    """The first plan, from the vector of what is seen and the state.

    A speed head and a value head from the vector: a network that can tell its speed from what it sees does not need to
    copy the one that it is given.
    """

    def __init__(self, vector: int, state: int, hidden: int, steps: int, learned: bool = True) -> None:
        super().__init__()
        self.steps, self.learned = steps, learned
        self.trajectory = mlp(vector + state, hidden, vector)
        self.controls = mlp(vector + state, hidden, vector)
        self.waypoints = nn.Linear(vector, 2 * steps)
        self.policy = nn.Linear(vector, 4 * steps)
        self.speed = mlp(vector, vector, 1)
        self.values = nn.ModuleList(nn.Linear(vector, 1) for _ in range(2))

    def forward(self, vector: Tensor, state: Tensor, constant: Tensor) -> dict[str, Tensor]:
        """`constant` (B, steps, 2): the path of constant velocity, which the waypoints are counted from."""
        both = torch.cat([vector, state], 1)
        join, steer = F.relu(self.trajectory(both)), F.relu(self.controls(both))
        waypoints = self.waypoints(join).view(-1, self.steps, 2) * 4
        raw = self.policy(steer).view(-1, self.steps, 4) * 4 + 4
        if not self.learned:
            waypoints, raw = waypoints * 0, raw * 0 + 4
        return {
            "waypoints": waypoints + constant, "raw": raw, "speed": self.speed(vector)[:, 0],
            "values": torch.cat([self.values[0](join), self.values[1](steer)], 1),
            "joins": torch.stack([join, steer], 1),
        }  # fmt: skip
