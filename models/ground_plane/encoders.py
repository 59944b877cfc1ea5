"""Encoders: one image of one camera -> features of a stride, the same weights for every camera.

What they give is never negative (each ends in a ReLU), so that 0 can mean "not seen".
"""

from __future__ import annotations

import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

GROUPS = 4


def block(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """Convolution, group norm, ReLU. Group norm knows one image only: what a view is worth does not depend on which
    others stand in its batch, and several processes take the steps of one."""
    padding = dilation * (kernel // 2)
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=False)
    return nn.Sequential(conv, nn.GroupNorm(GROUPS, outputs), nn.ReLU(inplace=True))


class Small(nn.Module):
    """(N, 3, H, W) -> (N, 32, H / 4, W / 4), sizes rounded up: for small images and CPUs.

    What is at a place is told from what is around it, at a stride of 8: legs from a pillar by who is above them.
    """

    channels, stride = 32, 4

    def __init__(self) -> None:
        super().__init__()
        self.near = nn.Sequential(block(3, 16, 5, 2), block(16, 32, 3, 2), block(32, 32))
        self.far = nn.Sequential(block(32, 48, 3, 2), block(48, 48), block(48, 48, dilation=2))
        self.lateral, self.back = nn.Conv2d(32, self.channels, 1), nn.Conv2d(48, self.channels, 1, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        near = self.near(images)
        far = F.interpolate(self.back(self.far(near)), near.shape[2:], mode="bilinear", align_corners=False)
        return F.relu(self.lateral(near) + far)


class ResNet(nn.Module):
    """(N, 3, H, W) -> (N, 128, H / 8, W / 8), sizes rounded up: torchvision's up to its layer2, as the original has it.

    Its norms are batch norms, which in training see all views of all frames of a batch.
    """

    channels, stride = 128, 8

    def __init__(self, name: str, pretrained: bool) -> None:
        super().__init__()
        whole = torchvision.models.get_model(name, weights="IMAGENET1K_V1" if pretrained else None)
        self.layers = nn.Sequential(whole.conv1, whole.bn1, whole.relu, whole.maxpool, whole.layer1, whole.layer2)

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


def build(name: str, pretrained: bool) -> Small | ResNet:
    return Small() if name == "small" else ResNet(name, pretrained)
