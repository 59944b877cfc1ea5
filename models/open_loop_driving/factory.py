"""One factory for all networks of the line: a name in, a network from what is seen to a plan of several layers out.

Every network is called with the same tensors, of which it takes what it needs (`variants.needs`):

    state            (B, 9) speed / 12, target (2), one of 6 commands
    images           (B, 2, N, 3, H, W) of the moment before and of now, normalised by ImageNet's mean and std
    K                (B, N, 3, 3)
    camera_from_ego  (B, N, 4, 4)
    motion           (B, 4, 4) from the car's frame of the moment before to that of now
    voxels           (B, C, grid, grid) of both sweeps in the car's frame of now, see encoders.voxels

and gives a dict: waypoints (L, B, S, 2), raw (L, B, S, 4), speed (B) and values (B, 2) where it has them, and from
ThinkTwice networks what is learnt beside. With `truth` the layers are run again on the expert's plan (teacher forcing).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.open_loop_driving import variants
from models.open_loop_driving.decoders import Coarse, mlp
from models.open_loop_driving.encoders import Cameras, Down, Fusion, Lidar, backbone
from models.open_loop_driving.refine import FIXED_M, Layer
from models.open_loop_driving.variants import STATE, Sizes

SPEED_MPS = 12.0  # what 1 of the state is
TARGET_M = 20.0


def constant_velocity(state: Tensor, steps: int, step_s: float) -> Tensor:
    """(B, 9) -> (B, steps, 2): straight ahead at the speed of now."""
    along = state[:, :1] * SPEED_MPS * step_s * torch.arange(1, steps + 1, device=state.device, dtype=state.dtype)
    return torch.stack([along, torch.zeros_like(along)], -1)


class ThinkTwice(nn.Module):
    def __init__(self, sizes: Sizes, steps: int, step_s: float, pretrained: bool = False) -> None:
        super().__init__()
        self.sizes, self.steps, self.step_s = sizes, steps, step_s
        self.cameras = Cameras(sizes, pretrained) if sizes.cameras else None
        self.lidar = Lidar(sizes) if sizes.uses_lidar else None
        self.fusion = Fusion(sizes)
        self.down = Down(sizes.bev, sizes.vector)
        self.state = nn.Sequential(
            nn.Linear(STATE, sizes.state), nn.ReLU(), nn.Linear(sizes.state, sizes.state), nn.ReLU()
        )
        self.coarse = Coarse(sizes.vector, sizes.state, sizes.hidden, steps, sizes.coarse)
        self.layers = nn.ModuleList(Layer(sizes, steps) for _ in range(sizes.layers))

    def forward(
        self, state: Tensor, images: Tensor | None = None, K: Tensor | None = None,
        camera_from_ego: Tensor | None = None, motion: Tensor | None = None, voxels: Tensor | None = None,
        truth: tuple[Tensor, Tensor] | None = None,
    ) -> dict[str, Tensor | list]:  # fmt: skip
        found: dict[str, Tensor | list] = {}
        seen: dict = {"K": K, "camera_from_ego": camera_from_ego}
        camera = lidar = None
        if self.cameras is not None:
            camera, seen["levels"], found["depth"], found["classes"] = self.cameras(images, K, camera_from_ego, motion)
            seen["image"] = tuple(images.shape[-2:])
        if self.lidar is not None:
            lidar = seen["lidar"] = self.lidar(voxels)
        now = self.fusion(camera, lidar)
        found["maps"], vector = self.down(now)
        known = self.state(state)
        coarse = self.coarse(vector, known, constant_velocity(state, self.steps, self.step_s))
        found["speed"], found["values"] = coarse["speed"] * SPEED_MPS, coarse["values"]
        found["joins"] = coarse["joins"]
        waypoints, raws = [coarse["waypoints"]], [coarse["raw"]]
        found["refined"], found["taught"], looks = [], [], []
        below, about = now, vector
        for layer in self.layers:
            before, policy = waypoints[-1].detach(), raws[-1].detach()
            made = layer(before, policy, below, about, known, seen, self.down)
            if truth is not None:
                found["taught"].append(layer(*truth, below, about, known, seen, self.down))
            looks.append(before)
            waypoints.append(before + made["offset"])
            raws.append(policy + made["change"])
            below, about = made["map"], made["vector"]
            found["refined"].append((below, about))
        found["waypoints"], found["raw"] = torch.stack(waypoints), torch.stack(raws)
        if looks:
            found["look"] = torch.stack(looks)
        return found


class Tcp(nn.Module):
    """One image of now to two branches: a GRU that walks to the target, and controls of now and of the next steps, for
    which the image is looked at again where the trajectory says (Wu et al., NeurIPS 2022)."""

    def __init__(self, name: str, steps: int, step_s: float, pretrained: bool = False) -> None:
        super().__init__()
        small = name == "tcp_small"
        self.steps, self.step_s = steps, step_s
        self.backbone = backbone("small" if small else "resnet34", pretrained)
        channels, width = self.backbone.channels[-1], 64 if small else 256
        self.state = nn.Sequential(
            nn.Linear(STATE, width // 2), nn.ReLU(), nn.Linear(width // 2, width // 2), nn.ReLU()
        )
        self.feature = nn.Sequential(nn.Linear(4 * channels, width), nn.ReLU())
        self.speed = mlp(width, width, 1)
        self.values = nn.ModuleList(nn.Linear(width, 1) for _ in range(2))
        both = width + width // 2
        self.join, self.walk = mlp(both, 2 * width, width), nn.GRUCell(4, width)
        self.step = nn.Linear(width, 2)
        self.attend = nn.Linear(width // 2 + width, channels)
        self.look = nn.Linear(channels, channels)
        self.control = mlp(channels + both, 2 * width, width)
        self.next, self.again = nn.GRUCell(width + 4, width), nn.Linear(2 * width, channels)
        self.mixed = nn.Linear(width + channels, width)
        self.policy = nn.Linear(width, 4)

    def attended(self, features: Tensor, query: Tensor) -> Tensor:
        """(B, C, h, w) where a query (B, C) finds them alike -> (B, C)."""
        flat = features.flatten(2)
        share = torch.einsum("bc,bcp->bp", query, flat) / flat.shape[1] ** 0.5
        return self.look(torch.einsum("bp,bcp->bc", share.softmax(-1), flat))

    def forward(self, state: Tensor, images: Tensor | None = None, **_: Tensor) -> dict[str, Tensor | list]:
        """The first camera's image of now; it looks ahead."""
        features = self.backbone(images[:, 1, 0].contiguous(memory_format=torch.channels_last))[-1]
        vector = self.feature(F.adaptive_avg_pool2d(features, 2).flatten(1))
        known = self.state(state)
        both = torch.cat([vector, known], 1)
        hidden = join = F.relu(self.join(both))
        at, waypoints, walked = state.new_zeros(len(state), 2), [], []
        for _ in range(self.steps):
            hidden = self.walk(torch.cat([at / 8, state[:, 1:3]], 1), hidden)
            at = at + self.step(hidden) * 4
            waypoints.append(at)
            walked.append(hidden)
        again = self.attended(features, self.attend(torch.cat([known, join], 1)))
        steer = F.relu(self.control(torch.cat([again, both], 1)))
        raws, state_of = [self.policy(steer) * 4 + 4], steer
        for step in range(1, self.steps):
            state_of = self.next(torch.cat([steer, raws[-1].detach() / 8], 1), state_of)
            ahead = self.attended(features, self.again(torch.cat([state_of, walked[step - 1]], 1)))
            steer = F.relu(self.mixed(torch.cat([state_of, ahead], 1)))
            raws.append(self.policy(steer) * 4 + 4)
        values = torch.cat([self.values[0](join), self.values[1](steer)], 1)
        return {
            "waypoints": torch.stack(waypoints, 1)[None], "raw": torch.stack(raws, 1)[None],
            "speed": self.speed(vector)[:, 0] * SPEED_MPS, "values": values, "joins": torch.stack([join, steer], 1),
        }  # fmt: skip


class Blind(nn.Module):
    """From the state alone: what any network has to beat that is said to see."""

    def __init__(self, steps: int, step_s: float) -> None:
        super().__init__()
        self.steps, self.step_s = steps, step_s
        self.layers = mlp(STATE, 128, 6 * steps)

    def forward(self, state: Tensor, **_: Tensor) -> dict[str, Tensor | list]:
        found = self.layers(state).view(-1, self.steps, 6) * 4
        waypoints = found[..., :2] + constant_velocity(state, self.steps, self.step_s)
        return {"waypoints": waypoints[None], "raw": found[None, ..., 2:] + 4}


def build(name: str, steps: int, step_s: float, pretrained: bool = False) -> nn.Module:
    """`steps` of `step_s` seconds are planned; `pretrained`: ResNets start from ImageNet's weights."""
    if name == "blind":
        return Blind(steps, step_s)
    if name.startswith("tcp"):
        return Tcp(name, steps, step_s, pretrained).to(memory_format=torch.channels_last)
    return ThinkTwice(variants.sizes_of(name), steps, step_s, pretrained).to(memory_format=torch.channels_last)


def layers_of(name: str) -> tuple[str, ...]:
    """What the layers of a plan are called."""
    refined = 0 if name in variants.PLAIN else variants.sizes_of(name).layers
    return ("coarse", *map(str, range(1, refined + 1)))


__all__ = ["FIXED_M", "build", "constant_velocity", "layers_of"]
