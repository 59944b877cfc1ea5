"""What cameras and lidar are seen with, and how the two become the maps of the car's surroundings."""

from __future__ import annotations

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from models.open_loop_driving import lift
from models.open_loop_driving.variants import CLASSES, GRID, Sizes

GROUPS = 4
CAMERA = 16  # numbers that tell a camera: K's four, over the size of the image, and its place


def block(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """Convolution, group norm, ReLU: a moment is worth the same whatever others are in its batch."""
    padding = dilation * (kernel // 2)
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=False)
    return nn.Sequential(conv, nn.GroupNorm(GROUPS, outputs), nn.ReLU(inplace=True))


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = block(channels, channels), nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(self.first(x)))


class Small(nn.Module):
    """(N, 3, H, W) -> strides 4 and 8; for images of a hundred pixels, where a light is three pixels wide."""

    channels = (32, 48)

    def __init__(self) -> None:
        super().__init__()
        self.near = nn.Sequential(block(3, 16, 5, 2), block(16, 32, 3, 2), block(32, 32))
        self.far = nn.Sequential(block(32, 48, 3, 2), block(48, 48), block(48, 48, dilation=2))

    def forward(self, images: Tensor) -> list[Tensor]:
        near = self.near(images)
        return [near, self.far(near)]


class ResNet(nn.Module):
    """(N, 3, H, W) -> strides 4, 8, 16, 32: torchvision's four layers."""

    def __init__(self, name: str, pretrained: bool) -> None:
        super().__init__()
        whole = torchvision.models.get_model(name, weights="DEFAULT" if pretrained else None)
        self.stem = nn.Sequential(whole.conv1, whole.bn1, whole.relu, whole.maxpool)
        self.layers = nn.ModuleList([whole.layer1, whole.layer2, whole.layer3, whole.layer4])
        self.channels = tuple(whole.fc.in_features // 2**k for k in (3, 2, 1, 0))

    def forward(self, images: Tensor) -> list[Tensor]:
        found, x = [], self.stem(images)
        for layer in self.layers:
            x = layer(x)
            found.append(x)
        return found


def pooled(x: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, C, H, W) -> (N, C, *size), about whole times smaller: means of equal squares, which ONNX has."""
    times = max(round(int(x.shape[2]) / size[0]), 1)
    x = F.avg_pool2d(x, times, ceil_mode=True, count_include_pad=False) if times > 1 else x
    return x if (int(x.shape[2]), int(x.shape[3])) == size else F.interpolate(x, size)


def backbone(name: str, pretrained: bool) -> nn.Module:
    return Small() if name == "small" else ResNet(name, pretrained)


class Pyramid(nn.Module):
    """The levels of a backbone, each told of the coarser ones, and these of the finer ones (PAFPN)."""

    def __init__(self, channels: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(c, width, 1) for c in channels)
        self.up = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in channels)
        self.down = nn.ModuleList(nn.Conv2d(width, width, 3, stride=2, padding=1) for _ in channels[1:])

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        found = [layer(x) for layer, x in zip(self.lateral, levels, strict=True)]
        for k in range(len(found) - 1, 0, -1):
            found[k - 1] = found[k - 1] + F.interpolate(found[k], found[k - 1].shape[2:])
        found = [layer(x) for layer, x in zip(self.up, found, strict=True)]
        for k, layer in enumerate(self.down):
            found[k + 1] = found[k + 1] + layer(found[k])
        return [F.relu(x) for x in found]


class Wide(nn.Module):
    """Near and far in one look (ASPP, Chen et al., 2017): 1x1, 3x3 of growing dilation, and the whole image."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        part = channels // 4
        self.parts = nn.ModuleList([block(channels, part, 1), *(block(channels, part, dilation=d) for d in (2, 4, 8))])
        self.whole = nn.Conv2d(channels, channels, 1)
        self.join = block(4 * part, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.join(torch.cat([part(x) for part in self.parts], 1)) + self.whole(x.mean((2, 3), keepdim=True))


def told(K: Tensor, camera_from_ego: Tensor, image: tuple[int, int]) -> Tensor:
    """(..., 16) numbers about a camera, all of about 1."""
    height, width = image
    inner = torch.stack([K[..., 0, 0] / width, K[..., 1, 1] / height, K[..., 0, 2] / width, K[..., 1, 2] / height], -1)
    return torch.cat([inner, camera_from_ego[..., :3, :].flatten(-2)], -1)


class Depth(nn.Module):
    """How far away a pixel is and what is there, as this camera sees it (BEVDepth, Li et al., 2022): the numbers of the
    camera gate the channels."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        width, bins = sizes.fpn, sizes.depths[2]
        middle = 2 * width
        self.reduce = block(width, middle)
        self.gates = nn.ModuleList(
            nn.Sequential(nn.Linear(CAMERA, middle), nn.ReLU(), nn.Linear(middle, middle), nn.Sigmoid())
            for _ in range(2)
        )
        deep = [*(Residual(middle) for _ in range(3)), Wide(middle)] if sizes.deep else []
        self.depth = nn.Sequential(*deep, nn.Conv2d(middle, bins, 1))
        self.context = nn.Conv2d(middle, width, 1)
        self.classes = nn.Conv2d(len(CLASSES) + 1, width // 2, 1)
        self.merge = block(width + width // 2, width)

    def forward(self, level: Tensor, camera: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, h, w), numbers (N, 16), logits of classes (N, K, ., .) -> logits of depth, features."""
        x = self.reduce(level)
        of_depth, of_context = (x * gate(camera)[..., None, None] for gate in self.gates)
        # What the classes are told does not come back from the ground.
        seen = pooled(classes.detach().softmax(1), (int(level.shape[2]), int(level.shape[3])))
        return self.depth(of_depth), self.merge(torch.cat([self.context(of_context), self.classes(seen)], 1))


class Cameras(nn.Module):
    """Images of now and of the moment before -> one map of the ground, the levels that layers look at, and what is
    learnt beside."""

    def __init__(self, sizes: Sizes, pretrained: bool = False) -> None:
        super().__init__()
        self.sizes = sizes
        self.backbone = backbone(sizes.backbone, pretrained)
        self.pyramid = Pyramid(self.backbone.channels, sizes.fpn)
        self.classes = nn.Sequential(block(sizes.fpn, sizes.fpn), nn.Conv2d(sizes.fpn, len(CLASSES) + 1, 1))
        self.depth = Depth(sizes)
        self.both = block(2 * sizes.fpn, sizes.fpn)

    def seen(
        self, images: Tensor, K: Tensor, camera_from_ego: Tensor, motion: Tensor | None
    ) -> tuple[Tensor, list[Tensor], Tensor, Tensor]:
        """Images (B, N, 3, H, W) -> map, levels (B * N, C, h, w), logits of depth and of classes. `motion` (B, 4, 4)
        leads from the car's frame then to that of now; None: it is now."""
        n, _, *size = (int(side) for side in images.shape[1:])
        levels = self.pyramid(self.backbone(images.flatten(0, 1).contiguous(memory_format=torch.channels_last)))
        classes = self.classes(levels[0])
        at = levels[self.sizes.lift]
        depth, features = self.depth(at, told(K, camera_from_ego, tuple(size)).flatten(0, 1), classes)
        back = lift.inverse(camera_from_ego)
        if motion is not None:
            back = motion[:, None] @ back
        middle = lift.bins(self.sizes.depths, images.device)
        place, inside = lift.cells(lift.frustum(K, back, tuple(size), tuple(at.shape[2:]), middle))
        below = lift.splat(
            features.flatten(2).unflatten(0, (-1, n)), depth.float().softmax(1).flatten(2).unflatten(0, (-1, n)),
            place.flatten(3), inside.flatten(3),
        )  # fmt: skip
        return below.to(features.dtype), levels, depth, classes

    def forward(
        self, images: Tensor, K: Tensor, camera_from_ego: Tensor, motion: Tensor
    ) -> tuple[Tensor, list[Tensor], Tensor, Tensor]:
        """`images` (B, 2, N, 3, H, W): before, now."""
        now, levels, depth, classes = self.seen(images[:, 1], K, camera_from_ego, None)
        with torch.no_grad():  # what was seen before is learnt when it is now
            before = self.seen(images[:, 0], K, camera_from_ego, motion)[0]
        return self.both(torch.cat([now, before], 1)), levels, depth, classes


HEIGHTS_M = (0.3, 0.8, 1.4, 2.0, 3.0, 4.5)  # edges of the layers of the lidar's grid, above and below them is more
LAYERS = len(HEIGHTS_M) + 1


def voxels(points: Tensor, row: Tensor, sweep: Tensor, batch: int, grid: int) -> Tensor:
    """Points (M, 4) x, y, z of the car's frame now and intensity, of moments `row` (M) and sweeps (M) 0 now, 1 before
    -> (batch, 2 * LAYERS + 2, grid, grid): of each sweep the logarithm of 1 + the points of a layer, and their mean
    intensity over all layers."""
    place, inside = lift.cells(points, grid)
    layer = torch.bucketize(points[:, 2].contiguous(), torch.tensor(HEIGHTS_M, device=points.device))
    cells = grid * grid
    slot = ((row * 2 + sweep) * LAYERS + layer) * cells + place
    count = points.new_zeros(batch * 2 * LAYERS * cells).index_add_(0, slot, inside.to(points.dtype))
    below = (row * 2 + sweep) * cells + place
    bright = points.new_zeros(batch * 2 * cells).index_add_(0, below, points[:, 3] * inside)
    count, bright = count.view(batch, 2, LAYERS, grid, grid), bright.view(batch, 2, 1, grid, grid)
    mean = bright / count.sum(2, keepdim=True).clamp(min=1)
    return torch.cat([count.log1p(), mean], 2).flatten(1, 2)


class Lidar(nn.Module):
    """Voxels (B, 2 * (LAYERS + 1), grid, grid) -> (B, C, grid / 4, grid / 4)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        width = sizes.lidar
        middle = max(width // 2, 16)
        self.layers = nn.Sequential(
            block(2 * (LAYERS + 1), middle, 5, 2),
            block(middle, middle),
            block(middle, width, 3, 2),
            block(width, width),
        )

    def forward(self, found: Tensor) -> Tensor:
        return self.layers(found.contiguous(memory_format=torch.channels_last))


class Fusion(nn.Module):
    """One map of 21 x 21 cells from those of cameras and lidar; a sensor that the network lacks has no part."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        width = sizes.fpn
        self.camera = Residual(width) if sizes.cameras else None
        self.lidar = nn.Sequential(nn.Conv2d(sizes.lidar, width, 1), Residual(width)) if sizes.uses_lidar else None
        both = width * (sizes.cameras + sizes.uses_lidar)
        self.join = nn.Sequential(block(both, width), nn.Conv2d(width, width, 3, padding=1))
        self.last = nn.Conv2d(width, sizes.bev[0], 3, padding=1)

    def forward(self, camera: Tensor | None, lidar: Tensor | None) -> Tensor:
        parts = []
        if self.camera is not None:
            parts.append(self.camera(camera))
        if self.lidar is not None:
            parts.append(self.lidar(pooled(lidar, (GRID, GRID))))
        return F.relu(self.last(F.relu(self.join(torch.cat(parts, 1)) + sum(parts))))


class Down(nn.Module):
    """The map of 21 cells -> those of 10, 4 and 2, and a vector; as Roach's expert, whose maps they are to be like."""

    def __init__(self, bev: tuple[int, ...], vector: int, gated: bool = True) -> None:
        super().__init__()
        a, b, c, d = bev
        self.layers = nn.ModuleList([nn.Conv2d(a, b, 3, 2), nn.Conv2d(b, c, 3, 2), nn.Conv2d(c, d, 3, 1)])
        self.gates = nn.ModuleList(nn.Sequential(nn.Linear(n, n), nn.Sigmoid()) for n in (b, c, d)) if gated else None
        self.vector = nn.Sequential(nn.Linear(4 * d, 2 * vector), nn.ReLU(), nn.Linear(2 * vector, vector), nn.ReLU())

    def forward(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        found = [x]
        for k, layer in enumerate(self.layers):
            x = F.relu(layer(x))
            if self.gates is not None:
                x = x * self.gates[k](x.mean((2, 3)))[..., None, None] * 2
            found.append(x)
        return found, self.vector(x.flatten(1))
