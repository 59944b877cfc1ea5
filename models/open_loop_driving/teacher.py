"""The privileged network: masks of what surrounds the car in, what the expert does and how it goes on out.

Its maps and vector are what the networks that see are to be like, as ThinkTwice's are Roach's (Zhang et al., 2021).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.open_loop_driving.decoders import beta_of, mlp
from models.open_loop_driving.encoders import Down
from models.open_loop_driving.variants import STATE

MASKS, MASK_PX = 15, 64
PARAMETERS = 4  # alpha and beta of acceleration and steer


class Teacher(nn.Module):
    """Masks (B, 15, h, w) in 0..1 and the state (B, 9) -> alpha and beta (B, 2), value (B), maps, vector (B, V)."""

    def __init__(self, bev: tuple[int, ...], vector: int) -> None:
        super().__init__()
        self.sizes = {"bev": list(bev), "vector": vector}
        half = 2 * bev[0]
        self.first = nn.Sequential(
            nn.Conv2d(MASKS, half, 4, 3), nn.ReLU(), nn.Conv2d(half, bev[0], 3, padding=1), nn.ReLU()
        )
        self.down = Down(tuple(bev), vector, gated=False)
        self.policy = mlp(vector + STATE, vector, PARAMETERS)
        self.value = mlp(vector + STATE, vector, 1)

    def forward(self, masks: Tensor, state: Tensor) -> dict[str, Tensor | list[Tensor]]:
        maps, vector = self.down(self.first(shrunk(masks)))
        both = torch.cat([vector, state], 1)
        alpha, beta = beta_of(self.policy(both))
        return {"alpha": alpha, "beta": beta, "value": self.value(both)[:, 0], "maps": maps, "vector": vector}


def shrunk(masks: Tensor) -> Tensor:
    """To 64 x 64, of which 4 x 4 are a cell's: what is anywhere in a pixel is in it, for a light's line is 1 m wide."""
    if masks.shape[-2:] == (MASK_PX, MASK_PX):
        return masks
    if min(masks.shape[-2:]) < MASK_PX:
        return F.interpolate(masks, (MASK_PX, MASK_PX))
    return F.adaptive_max_pool2d(masks, MASK_PX)
