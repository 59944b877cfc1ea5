"""One factory for the twelve networks: a validated config in, logits (B, tasks) out of (telemetry, boxes, mask)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.brake_coast.decoders import DECODERS, Heads
from models.brake_coast.encoders import ENCODERS
from models.brake_coast.fusion import FUSIONS
from models.brake_coast.layers import PERSPECTIVE, Standardise, perspective
from models.brake_coast.variants import parse


@dataclass(frozen=True)
class Config:
    """Everything that decides a network's shape; the defaults are the original's sizes."""

    variant: str
    priors: dict[str, float]  # task -> share of positives in the training split; the heads start there
    telemetry_dim: int = 10
    window: int = 20  # frames
    embedding: int = 64
    hidden: int = 128
    heads: int = 8
    layers: int = 4
    dropout: float = 0.15
    queries: int = 8

    def __post_init__(self):
        parse(self.variant)
        for name in ("telemetry_dim", "window", "embedding", "hidden", "heads", "layers", "queries"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)}: at least 1")
        for name in ("embedding", "hidden"):
            if getattr(self, name) % (2 * self.heads):
                raise ValueError(f"{name} = {getattr(self, name)} must be a multiple of 2 x heads = {2 * self.heads}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout = {self.dropout}: from 0 to below 1")
        if not self.priors or not all(0 <= prior <= 1 for prior in self.priors.values()):
            raise ValueError(f"priors = {self.priors}: at least one task, each a share from 0 to 1")


class Network(nn.Module):
    def __init__(self, config: Config):
        super().__init__()
        c, variant = config, parse(config.variant)
        self.config = config
        self.modality = variant.modality
        self.scale_telemetry, self.scale_boxes = Standardise(c.telemetry_dim), Standardise(len(PERSPECTIVE))
        self.encoder = ENCODERS[variant.encoder](
            c.telemetry_dim, len(PERSPECTIVE), c.embedding, c.heads, c.window, c.dropout
        )
        self.fusion = FUSIONS[variant.fusion](c.embedding, c.hidden, c.heads, c.dropout, c.queries)
        self.decoder = DECODERS[variant.decoder](c.hidden, c.layers, c.heads, c.dropout)
        self.heads = Heads(c.hidden, list(c.priors.values()), c.dropout)

    def forward(self, telemetry: Tensor, boxes: Tensor, mask: Tensor) -> Tensor:
        """telemetry (B, T, F), boxes (B, T, S, 6) in [0, 1], mask (B, T, S) bool, T <= window -> logits (B, tasks)."""
        if telemetry.shape[1] > self.config.window:
            raise ValueError(f"windows of {telemetry.shape[1]} frames; this network was built for {self.config.window}")
        if self.modality == "telemetry":
            mask = torch.zeros_like(mask)
        boxes = boxes.masked_fill(~mask[..., None], 0)  # what padding holds cannot matter
        telemetry, boxes = self.scale_telemetry(telemetry), self.scale_boxes(perspective(boxes, mask))
        if self.modality == "detections":
            telemetry = torch.zeros_like(telemetry)
        steps, slots = self.encoder(telemetry, boxes, mask)
        return self.heads(self.decoder(self.fusion(steps, slots, boxes, mask)))

    def fit_scales(self, telemetry: Tensor, boxes: Tensor, mask: Tensor) -> None:
        """Learn the input scales from training windows: telemetry (N, T, F), boxes (N, T, S, 6), mask (N, T, S)."""
        self.scale_telemetry.fit(telemetry.flatten(0, -2), least=0.05)
        self.scale_boxes.fit(perspective(boxes, mask)[mask], least=0.02)


def build(config: Config) -> Network:
    return Network(config)
