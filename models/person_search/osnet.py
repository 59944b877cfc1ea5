"""OSNet: each block looks at a person at four scales, and one gate decides, image by image, which of them count.

Zhou et al., Omni-Scale Feature Learning for Person Re-Identification, ICCV 2019. Modules are named as in torchreid, so
that its weights load by key. Made for 256 x 128 px; any size of at least 16 px works.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.person_search.variants import Shape

REDUCTION = 4  # of channels inside a block
GATE_REDUCTION = 16
STREAMS = ("conv2a", "conv2b", "conv2c", "conv2d")  # 1, 2, 3 and 4 convolutions deep: 3, 5, 7 and 9 px wide
BLOCKS = 2  # a stage


def conv(
    inputs: int, outputs: int, size: int = 1, stride: int = 1, relu: bool = True, per_image: bool = False
) -> nn.Sequential:
    """Convolution, norm, and ReLU unless it is to be linear. `per_image`: instance norm."""
    norm = nn.InstanceNorm2d(outputs, affine=True) if per_image else nn.BatchNorm2d(outputs)
    parts = {"conv": nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False), "bn": norm}
    return nn.Sequential(OrderedDict(parts | ({"relu": nn.ReLU(inplace=True)} if relu else {})))


def light_conv(channels: int) -> nn.Sequential:
    """A 3x3 convolution in two cheap ones: over the channels, then over the pixels of each channel."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(channels, channels, 1, bias=False),
            conv2=nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
            bn=nn.BatchNorm2d(channels),
            relu=nn.ReLU(inplace=True),
        )
    )


class Gate(nn.Module):
    """(B, C, 1, 1), what a stream holds on average -> (B, C, 1, 1) in 0..1, how much of each channel to let through."""

    def __init__(self, channels: int):
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // GATE_REDUCTION, 1)
        self.fc2 = nn.Conv2d(channels // GATE_REDUCTION, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.relu(self.fc1(x))).sigmoid()


class Block(nn.Module):
    """(B, inputs, H, W) -> (B, outputs, H, W)"""

    def __init__(self, inputs: int, outputs: int, instance_norm: bool):
        super().__init__()
        middle = outputs // REDUCTION
        self.conv1 = conv(inputs, middle)
        for depth, name in enumerate(STREAMS, 1):
            stream = [light_conv(middle) for _ in range(depth)]
            self.add_module(name, nn.Sequential(*stream) if depth > 1 else stream[0])
        self.gate = Gate(middle)
        self.conv3 = conv(middle, outputs, relu=False)
        self.downsample = conv(inputs, outputs, relu=False) if inputs != outputs else nn.Identity()
        self.IN = nn.InstanceNorm2d(outputs, affine=True) if instance_norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        reduced = self.conv1(x)
        streams = [self.get_submodule(name)(reduced) for name in STREAMS]
        means = torch.cat([stream.mean((2, 3), keepdim=True) for stream in streams])
        gates = self.gate(means).chunk(len(streams))  # the streams share the gate: one pass for all
        mixed = streams[0] * gates[0]
        for stream, gate in zip(streams[1:], gates[1:], strict=True):
            mixed = torch.addcmul(mixed, stream, gate)
        return F.relu(self.IN(self.conv3(mixed) + self.downsample(x)))


def stage(inputs: int, outputs: int, instance_norm: bool = False, halve: bool = True) -> nn.Sequential:
    blocks = [Block(inputs if i == 0 else outputs, outputs, instance_norm) for i in range(BLOCKS)]
    return nn.Sequential(*blocks, *([nn.Sequential(conv(outputs, outputs), nn.AvgPool2d(2))] if halve else []))


class OSNet(nn.Module):
    """Images (B, 3, H, W) -> in training (logits (B, identities), embedding (B, feature_dim)), else the embedding.

    The embedding is what comes out of a ReLU: no number in it is negative.
    """

    def __init__(self, shape: Shape, identities: int, embedding: int = 512):
        super().__init__()
        stem, *widths = shape.channels
        self.feature_dim = embedding
        self.conv1 = conv(3, stem, 7, stride=2, per_image=shape.instance_norm)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.conv2 = stage(stem, widths[0], shape.instance_norm)
        self.conv3 = stage(widths[0], widths[1])
        self.conv4 = stage(widths[1], widths[2], halve=False)
        self.conv5 = conv(widths[2], widths[2])
        self.fc = nn.Sequential(nn.Linear(widths[2], embedding), nn.BatchNorm1d(embedding), nn.ReLU(inplace=True))
        self.classifier = nn.Linear(embedding, identities)
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        for part in (self.conv1, self.maxpool, self.conv2, self.conv3, self.conv4, self.conv5):
            x = part(x)
        vectors = self.fc(x.mean((2, 3)))
        return (self.classifier(vectors), vectors) if self.training else vectors


def initialise(module: nn.Module) -> None:
    """As torchreid does; norms start at 1 and 0 by themselves."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01)
    if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
