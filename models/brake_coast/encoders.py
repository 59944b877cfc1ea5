"""Encoders: telemetry (B, T, F) -> (B, T, E), and boxes (B, T, S, 8) with mask (B, T, S) -> a vector a box (E)."""

from __future__ import annotations

from torch import Tensor, nn

from models.brake_coast.layers import Attention, Dropout, SlotAttention, Slots, on_filled, positions


class SimpleEncoder(nn.Module):
    """Each time step and each box on its own."""

    def __init__(self, telemetry_dim: int, box_dim: int, embedding: int, heads: int, window: int, dropout: float):
        super().__init__()
        self.telemetry = nn.Sequential(nn.Linear(telemetry_dim, embedding), nn.ReLU(), Dropout(dropout))
        self.register_buffer("position", positions(window, embedding), persistent=False)
        self.telemetry_norm = nn.LayerNorm(embedding)
        self.boxes = nn.Sequential(
            nn.Linear(box_dim, 2 * embedding), nn.ReLU(), Dropout(dropout),
            nn.Linear(2 * embedding, embedding), nn.LayerNorm(embedding),
        )  # fmt: skip

    def forward(self, telemetry: Tensor, boxes: Tensor, mask: Tensor) -> tuple[Tensor, Slots]:
        steps = self.telemetry_norm(self.telemetry(telemetry) + self.position[: telemetry.shape[1]])
        return steps, on_filled(self.boxes, boxes, mask)


class AttentionEncoder(SimpleEncoder):
    """Time steps look at each other, and the boxes of a frame look at each other."""

    def __init__(self, telemetry_dim: int, box_dim: int, embedding: int, heads: int, window: int, dropout: float):
        super().__init__(telemetry_dim, box_dim, embedding, heads, window, dropout)
        self.over_time = Attention(embedding, heads)
        self.over_time_norm = nn.LayerNorm(embedding)
        self.over_slots = SlotAttention(embedding, heads)
        self.over_slots_norm = nn.LayerNorm(embedding)

    def forward(self, telemetry: Tensor, boxes: Tensor, mask: Tensor) -> tuple[Tensor, Slots]:
        steps, slots = super().forward(telemetry, boxes, mask)
        steps = self.over_time_norm(steps + self.over_time(steps, steps))
        boxed = slots.spread(mask)
        flat, keep = boxed.flatten(0, 1), mask.flatten(0, 1)
        flat = self.over_slots_norm(flat + self.over_slots(flat, flat, keep)) * keep[..., None]
        return steps, Slots(flat.view_as(boxed), None)


ENCODERS = {"simple": SimpleEncoder, "attention": AttentionEncoder}
