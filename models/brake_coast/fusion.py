"""Fusions: telemetry (B, T, E) and a vector a box (E), both encoded, boxes and mask (B, T, S) -> one vector a step
(B, T, H)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.brake_coast.layers import Attention, Dropout, Pool, SlotAttention, Slots, masked_mean


class ConcatFusion(nn.Module):
    """Telemetry beside the boxes' weighted mean."""

    def __init__(self, embedding: int, hidden: int, heads: int, dropout: float, queries: int):
        super().__init__()
        self.pool = Pool(embedding)
        self.mix = nn.Sequential(nn.Linear(2 * embedding, hidden), nn.ReLU(), Dropout(dropout), nn.LayerNorm(hidden))

    def forward(self, steps: Tensor, slots: Slots, boxes: Tensor, mask: Tensor) -> Tensor:
        return self.mix(torch.cat([steps, self.pool(slots, boxes, mask)], dim=-1))


class CrossAttentionFusion(nn.Module):
    """The telemetry of a step asks the boxes of its frame."""

    def __init__(self, embedding: int, hidden: int, heads: int, dropout: float, queries: int):
        super().__init__()
        self.ask = SlotAttention(embedding, heads)
        self.ask_norm = nn.LayerNorm(embedding)
        self.mix = nn.Sequential(nn.Linear(2 * embedding, hidden), nn.ReLU(), Dropout(dropout))
        self.skip = nn.Identity() if 2 * embedding == hidden else nn.Linear(2 * embedding, hidden)
        self.norm = nn.LayerNorm(hidden)

    def forward(self, steps: Tensor, slots: Slots, boxes: Tensor, mask: Tensor) -> Tensor:
        answer = self.ask(steps.flatten(0, 1)[:, None], slots.spread(mask).flatten(0, 1), mask.flatten(0, 1))
        both = torch.cat([steps, self.ask_norm(answer).view_as(steps)], dim=-1)
        return self.norm(self.skip(both) + self.mix(both))


class QueryFusion(nn.Module):
    """Learned questions, worded by the telemetry of the step, asked to the boxes; telemetry weighs the answers."""

    def __init__(self, embedding: int, hidden: int, heads: int, dropout: float, queries: int):
        super().__init__()
        self.queries = nn.Parameter(torch.randn(queries, embedding) * 0.02)
        self.wording = nn.Linear(embedding, queries * embedding)  # one map a query, or all would ask the same
        self.ask = SlotAttention(embedding, heads)
        self.ask_norm = nn.LayerNorm(embedding)
        self.weigh = Attention(embedding, heads)
        self.weigh_norm = nn.LayerNorm(embedding)
        self.mix = nn.Sequential(nn.Linear(3 * embedding, hidden), nn.ReLU(), Dropout(dropout), nn.LayerNorm(hidden))

    def forward(self, steps: Tensor, slots: Slots, boxes: Tensor, mask: Tensor) -> Tensor:
        step, boxed = steps.flatten(0, 1), slots.spread(mask)
        queries = self.queries + self.wording(step).unflatten(-1, self.queries.shape)
        answers = self.ask_norm(queries + self.ask(queries, boxed.flatten(0, 1), mask.flatten(0, 1)))
        pooled = self.weigh_norm(self.weigh(step[:, None], answers)).view_as(steps)
        return self.mix(torch.cat([steps, pooled, masked_mean(boxed, mask)], dim=-1))


FUSIONS = {"concat": ConcatFusion, "cross_attention": CrossAttentionFusion, "query": QueryFusion}
