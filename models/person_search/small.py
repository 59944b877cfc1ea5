"""The declared small member of the family, for the demo on a CPU. It is no OSNet and has none of its published scores.

A person at 64 x 32 px is told by what they wear from head to shoes: four plain convolutions, then the mean over each of
four stripes, one above the other (Sun et al., Beyond Part Models, ECCV 2018). Where it was done in seconds, OSNet
x0_25, at three times the price of a step, had not begun to tell people apart.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

CHANNELS = (24, 48, 96, 128)
STRIPES = 4


def stripes(x: Tensor, count: int) -> Tensor:
    """(B, C, H, W) -> (B, C x count): means over bands of rows of any H, as adaptive pooling cuts them.

    That itself has no deterministic gradient on a GPU.
    """
    height = x.shape[2]
    bands = [x[:, :, i * height // count : -(-(i + 1) * height // count)] for i in range(count)]
    return torch.cat([band.mean((2, 3)) for band in bands], dim=1)


class StripeCNN(nn.Module):
    """Images (B, 3, H, W) -> in training (logits (B, identities), embedding (B, feature_dim)), else the embedding.

    With a BNNeck (Luo et al., Bag of Tricks, CVPR-W 2019): the softmax wants people apart by angle, the triplet by
    distance, so the two see the embedding on the two sides of a batch norm. In training the embedding is that before
    the norm, for the triplet, and the logits come from that after it; in use the embedding is that after it.
    """

    def __init__(self, identities: int, embedding: int = 128):
        super().__init__()
        self.feature_dim = embedding
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise((3, *CHANNELS)):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs)]
            layers += [nn.ReLU(inplace=True)]
            layers += [nn.MaxPool2d(2, ceil_mode=True)] if outputs != CHANNELS[-1] else []
        self.features = nn.Sequential(*layers)
        self.fc = nn.Linear(CHANNELS[-1] * STRIPES, embedding, bias=False)
        self.neck = nn.BatchNorm1d(embedding, affine=False)  # no shift: it would spoil the angles
        self.classifier = nn.Linear(embedding, identities, bias=False)
        nn.init.normal_(self.classifier.weight, std=0.001)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        vectors = self.fc(stripes(self.features(x), STRIPES))
        normed = self.neck(vectors)
        return (self.classifier(normed), vectors) if self.training else normed
