"""Decoders: fused steps (B, T, H) -> the state at the window's last frame (B, H); and the heads on it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.brake_coast.layers import Attention, Dropout


class LSTMDecoder(nn.Module):
    """Torch's LSTM. In training on a CPU its layers are called one by one, as torch itself does there, with our dropout
    between them instead of torch's, which draws a number a value. Not under torch.compile: it leaves nn.LSTM alone, but
    traces into its layers and unrolls their steps, which is slow."""

    def __init__(self, hidden: int, layers: int, heads: int, dropout: float):
        super().__init__()
        between = dropout if layers > 1 else 0.0  # torch warns where there is no layer to drop between
        self.lstm = nn.LSTM(hidden, hidden, layers, batch_first=True, dropout=between)
        self.drop = Dropout(between)

    def forward(self, steps: Tensor) -> Tensor:
        if not self.training or not steps.is_cpu or not self.drop.rate or torch.compiler.is_compiling():
            return self.lstm(steps)[0][:, -1]
        start = steps.new_zeros(1, steps.shape[0], self.lstm.hidden_size)
        steps = steps.transpose(0, 1)
        for layer, weights in enumerate(self.lstm.all_weights):
            steps = torch.lstm(
                self.drop(steps) if layer else steps, (start, start), weights, True, 1, 0.0, True, False, False
            )[0]
        return steps[-1]


class TransformerLayer(nn.Module):
    """Post-norm encoder layer. `last_only` computes what the last step needs: its query and its feed-forward."""

    def __init__(self, hidden: int, heads: int, dropout: float):
        super().__init__()
        self.attend = Attention(hidden, heads)
        self.attend_norm = nn.LayerNorm(hidden)
        wide = 4 * hidden
        self.feed = nn.Sequential(nn.Linear(hidden, wide), nn.GELU(), Dropout(dropout), nn.Linear(wide, hidden))
        self.feed_norm = nn.LayerNorm(hidden)
        self.drop = Dropout(dropout)

    def forward(self, steps: Tensor, last_only: bool) -> Tensor:
        query = steps[:, -1:] if last_only else steps
        query = self.attend_norm(query + self.drop(self.attend(query, steps)))
        return self.feed_norm(query + self.drop(self.feed(query)))


class TransformerDecoder(nn.Module):
    def __init__(self, hidden: int, layers: int, heads: int, dropout: float):
        super().__init__()
        self.layers = nn.ModuleList(TransformerLayer(hidden, heads, dropout) for _ in range(layers))

    def forward(self, steps: Tensor) -> Tensor:
        for layer in self.layers:  # the top layer's other steps would be thrown away
            steps = layer(steps, last_only=layer is self.layers[-1])
        return steps[:, 0]


class Heads(nn.Module):
    """One two-layer head a task, computed together. They start at each task's prior, not at one half."""

    def __init__(self, hidden: int, priors: list[float], dropout: float):
        super().__init__()
        self.first = nn.Linear(hidden, len(priors) * (hidden // 2))
        self.drop = Dropout(dropout)
        self.weight = nn.Parameter(torch.empty(len(priors), hidden // 2).uniform_(-1, 1) / (hidden // 2) ** 0.5)
        self.bias = nn.Parameter(torch.logit(torch.tensor(priors), eps=1e-4))

    def forward(self, state: Tensor) -> Tensor:
        features = self.drop(F.relu(self.first(state))).unflatten(-1, self.weight.shape)
        sums = (features * self.weight).flatten(0, 1).sum(-1)  # flat, because OpenVINO 2026.4 adds a wrong bias else
        return sums.view(-1, len(self.bias)) + self.bias


DECODERS = {"lstm": LSTMDecoder, "transformer": TransformerDecoder}
