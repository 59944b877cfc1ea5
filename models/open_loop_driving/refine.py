"""A refined layer: what will the surroundings be if the plan is driven, and what is there where it leads?

The original's look, as released, kept the padding of its queries and dropped the places themselves, gave every step the
same vector, and set what the lidar saw to zero. Here each step looks at its own places in both sensors.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.open_loop_driving import lift
from models.open_loop_driving.decoders import beta_of, mlp
from models.open_loop_driving.encoders import Down
from models.open_loop_driving.variants import Sizes

TIME = 16  # channels of the embedding of a step, times 8 as published
FIXED_M = ((7.0, 0.0), (13.0, 0.0), (19.0, 0.0), (26.0, 0.0))  # looked at whatever the plan is: it may be to stand
NEAR_M = 1.8  # between the places around one that are looked up in the lidar's map


class Prediction(nn.Module):
    """The next maps if the plan is driven: a convolutional GRU whose input is the plan's step, the same everywhere."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        width = sizes.bev[0]
        self.told = nn.Linear(6, 3 * width)
        self.gates, self.new = nn.Conv2d(width, 2 * width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)

    def forward(self, waypoints: Tensor, raw: Tensor, now: Tensor) -> Tensor:
        """Plans (B, S, 2), (B, S, 4), a map (B, C, 21, 21) -> (B, S, C, 21, 21)."""
        steps = self.told(torch.cat([waypoints / 8, torch.cat(beta_of(raw), -1) / 8], -1))[..., None, None]
        width, state, found = now.shape[1], now, []
        for step in range(steps.shape[1]):
            told = steps[:, step]
            reset, keep = (self.gates(state) + told[:, : 2 * width]).sigmoid().chunk(2, 1)
            new = (self.new(reset * state) + told[:, 2 * width :]).tanh()
            state = keep * state + (1 - keep) * new
            found.append(state)
        return torch.stack(found, 1)


class Attention(nn.Module):
    """Deformable attention (Zhu et al., 2021) from places in the world to the images of all cameras.

    Every query looks at a few places around its own, on every level, in each camera that sees it, and is given their
    mean over these cameras; a query that no camera sees is given zeros.
    """

    def __init__(self, query: int, width: int, heads: int, levels: int, points: int) -> None:
        super().__init__()
        self.heads, self.levels, self.points = heads, levels, points
        self.value = nn.Linear(width, width)
        self.offsets = nn.Linear(query, heads * levels * points * 2)
        self.weights = nn.Linear(query, heads * levels * points)
        self.out = nn.Linear(width, width)
        nn.init.zeros_(self.offsets.weight)
        nn.init.zeros_(self.weights.weight)
        angle = torch.arange(heads) * (2 * torch.pi / heads)
        ways = torch.stack([angle.cos(), angle.sin()], -1)[:, None, None]
        far = (torch.arange(points) + 0.5)[:, None]
        with torch.no_grad():
            self.offsets.bias.copy_((ways * far).expand(heads, levels, points, 2).flatten())

    def forward(self, query: Tensor, at: Tensor, visible: Tensor, levels: list[Tensor]) -> Tensor:
        """Queries (B, Q, D), places (B, N, Q, 2) in -1..1, which cameras see them (B, N, Q), levels (B * N, C, h, w)
        -> (B, Q, C)."""
        b, n, q = visible.shape
        shape = (b, 1, q, self.heads, self.levels, self.points)
        offsets = self.offsets(query).view(*shape, 2)
        weights = self.weights(query).view(b, q, self.heads, -1).softmax(-1).view(shape)
        found: Tensor | float = 0.0
        for k, level in enumerate(levels):
            c, size = level.shape[1], level.new_tensor([level.shape[3], level.shape[2]])
            values = self.value(level.flatten(2).transpose(1, 2)).transpose(1, 2)
            values = values.reshape(b * n * self.heads, c // self.heads, *level.shape[2:])
            place = at[:, :, :, None, None] + offsets[..., k, :, :] * (2 / size)  # (B, N, Q, heads, points, 2)
            place = place.permute(0, 1, 3, 2, 4, 5).reshape(b * n * self.heads, q, self.points, 2)
            seen = F.grid_sample(values.float(), place.float(), align_corners=False).to(values.dtype)
            share = weights[..., k, :].expand(b, n, q, self.heads, self.points)
            share = share.permute(0, 1, 3, 2, 4).reshape(b * n * self.heads, 1, q, self.points)
            found = found + (seen * share).sum(-1).view(b, n, c, q)
        shown = visible[:, :, None].to(found.dtype)
        mean = (found * shown).sum(1) / shown.sum(1).clamp(min=1)  # (B, C, Q)
        return self.out(mean.transpose(1, 2)) * visible.any(1)[..., None]


class Look(nn.Module):
    """What cameras and lidar have at every waypoint, and at fixed places ahead: (B, S, C) of each."""

    def __init__(self, sizes: Sizes, time: int) -> None:
        super().__init__()
        self.heights = sizes.heights
        levels = min(sizes.levels, 4) if sizes.cameras else 0
        self.attention, self.gate = None, None
        query = 4 + 3 + time + sizes.state + sizes.vector
        if sizes.cameras:
            self.attention = Attention(query + levels * sizes.fpn, sizes.fpn, sizes.heads, levels, sizes.points)
            self.collect = nn.Sequential(nn.Linear(len(self.heights) * sizes.fpn, sizes.fpn), nn.ReLU())
        if sizes.uses_lidar:
            self.gate = nn.Sequential(nn.Linear(2 + 4 + time, sizes.lidar), nn.Sigmoid())
            self.near = nn.Sequential(nn.Linear(9 * sizes.lidar, sizes.vector), nn.ReLU())
        self.channels = sizes.fpn * sizes.cameras + sizes.vector * sizes.uses_lidar

    def in_images(self, places: Tensor, told: Tensor, seen: dict) -> Tensor:
        """Places (B, P, 2), what is known at each (B, P, D) -> (B, P, C)."""
        b, p, _ = places.shape
        heights = places.new_tensor(self.heights)
        high = len(self.heights)
        xyz = torch.cat([places[:, :, None].expand(b, p, high, 2), heights.view(1, 1, -1, 1).expand(b, p, high, 1)], -1)
        xyz = xyz.reshape(b, p * high, 3)
        at, visible = lift.project(xyz, seen["K"], seen["camera_from_ego"], seen["image"])
        first = []
        for level in seen["levels"]:  # of every camera that sees it, on every level
            got = F.grid_sample(level.float(), at.flatten(0, 1)[:, :, None].float(), align_corners=False)[..., 0]
            got = got.view(b, -1, level.shape[1], p * high).to(level.dtype) * visible[:, :, None]
            first.append((got.sum(1) / visible.sum(1)[:, None].clamp(min=1)).transpose(1, 2))
        told = told[:, :, None].expand(b, p, high, told.shape[-1]).reshape(b, p * high, -1)
        query = torch.cat([xyz / 8, told, *first], -1)
        return self.collect(self.attention(query, at, visible, seen["levels"]).view(b, p, -1))

    def in_lidar(self, places: Tensor, told: Tensor, lidar: Tensor) -> Tensor:
        """Places (B, P, 2), gates' inputs (B, P, D), a map (B, C, h, w) -> (B, P, V): 3 x 3 places around each."""
        steps = torch.arange(-1, 2, device=places.device) * NEAR_M
        around = torch.stack(torch.meshgrid(steps, steps, indexing="ij"), -1).view(1, 1, 9, 2)
        at = lift.on_ground(places[:, :, None] + around)
        found = F.grid_sample(lidar.float(), at.float(), align_corners=False).to(lidar.dtype)  # (B, C, P, 9)
        gated = found.permute(0, 2, 3, 1) * self.gate(told)[:, :, None]
        return self.near(gated.flatten(2))

    def forward(
        self, waypoints: Tensor, raw: Tensor, time: Tensor, state: Tensor, vector: Tensor, seen: dict
    ) -> Tensor:
        """-> (B, S + 4, C): of every step and of the fixed places."""
        b, s, _ = waypoints.shape
        fixed = waypoints.new_tensor(FIXED_M).expand(b, -1, 2)
        places = torch.cat([waypoints, fixed], 1)
        control = torch.cat([torch.cat(beta_of(raw), -1) / 8, raw.new_zeros(b, fixed.shape[1], 4)], 1)
        when = torch.cat([time.expand(b, s, -1), time.new_zeros(b, fixed.shape[1], time.shape[-1])], 1)
        parts = []
        if self.attention is not None:
            around = torch.cat([state, vector], -1)[:, None].expand(-1, places.shape[1], -1)
            parts.append(self.in_images(places, torch.cat([control, when, around], -1), seen))
        if self.gate is not None:
            parts.append(self.in_lidar(places, torch.cat([places / 8, control, when], -1), seen["lidar"]))
        return torch.cat(parts, -1)


class Layer(nn.Module):
    """(waypoints, raw controls, map, vector) -> those of the next layer, and what was thought of on the way."""

    def __init__(self, sizes: Sizes, steps: int) -> None:
        super().__init__()
        time = TIME if sizes.hidden < 512 else 8 * TIME
        self.time = nn.Parameter(torch.randn(1, steps, time) * 0.1)
        self.prediction, self.look = Prediction(sizes), Look(sizes, time)
        looked, hidden = self.look.channels, sizes.hidden
        self.ahead = nn.Sequential(nn.Linear(len(FIXED_M) * looked, sizes.vector), nn.ReLU())
        inputs = sizes.vector + looked + sizes.vector + time + sizes.state + sizes.vector + 6
        self.fuse = nn.Sequential(nn.LayerNorm(inputs), nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden),
                                  nn.ReLU())  # fmt: skip
        whole = steps * hidden
        self.waypoints, self.controls = mlp(whole, hidden, 2 * steps, 0.1), mlp(whole, hidden, 4 * steps, 0.1)
        self.map = nn.Conv2d(sizes.bev[0] + sizes.vector, sizes.bev[0], 3, padding=1)
        self.reduce = nn.Linear(hidden, sizes.vector)
        self.vector = mlp(2 * sizes.vector, sizes.vector, sizes.vector, 0.1)

    def forward(
        self, waypoints: Tensor, raw: Tensor, now: Tensor, vector: Tensor, state: Tensor, seen: dict, down: Down
    ) -> dict[str, Tensor]:
        b, s, _ = waypoints.shape
        ahead = self.prediction(waypoints, raw, now)
        later = down(ahead.flatten(0, 1))[1].unflatten(0, (b, s))
        looked = self.look(waypoints, raw, self.time, state, vector, seen)
        fixed = self.ahead(looked[:, s:].flatten(1))
        shared = torch.cat([fixed, state, vector], -1)[:, None].expand(b, s, -1)
        plan = torch.cat([waypoints / 8, torch.cat(beta_of(raw), -1) / 8], -1)
        step = self.fuse(torch.cat([later, looked[:, :s], self.time.expand(b, -1, -1), shared, plan], -1))
        mean = self.reduce(step.mean(1))
        tiled = mean[..., None, None].expand(-1, -1, *now.shape[2:])
        return {
            "offset": self.waypoints(step.flatten(1)).view(b, s, 2),
            "change": self.controls(step.flatten(1)).view(b, s, 4),
            "ahead": ahead, "map": F.relu(now + self.map(torch.cat([now, tiled], 1))),
            "vector": vector + self.vector(torch.cat([vector, mean], 1)),
        }  # fmt: skip
