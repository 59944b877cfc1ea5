"""The second task of the detector: the state of each part, from the vector that its box has become.

The first network of this kind, in public code, paired the states of a photograph with its first proposals by their
place in the list. Here a box has the state of the part that it was matched with, in the one draw of boxes that the loss
of parts uses too.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.roi_heads import RoIHeads, fastrcnn_loss
from torchvision.ops import clip_boxes_to_image

STATES = 4  # intact, damaged, absent, occluded
UNLABELLED = -1  # no state is known: the box is learnt, its state is not
# Of a photograph: boxes (n, 4) x1, y1, x2, y2 px, labels (n) 1..K, states (n); doubted (m), if any: parts that may be
# anywhere in it.
Targets = list[dict[str, Tensor]]


class StateHead(nn.Module):
    """Vectors of boxes (n, `inputs`) and their parts (n) 1..K -> logits (n, 4).

    `knows`: "nothing" of the part, as published; "embedding": a vector for each part is beside that of the box;
    "outputs": each part has four outputs of its own; "both": that and an embedding.
    """

    def __init__(self, inputs: int, hidden: int, parts: int, knows: str, dropout: float, embedding: int = 32) -> None:
        super().__init__()
        self.by_part = knows in ("outputs", "both")
        self.part = nn.Embedding(parts + 1, embedding) if knows in ("embedding", "both") else None
        self.hidden = nn.Linear(inputs + (embedding if self.part else 0), hidden)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(hidden, STATES * (parts if self.by_part else 1))

    def forward(self, vectors: Tensor, parts: Tensor) -> Tensor:
        if self.part is not None:
            vectors = torch.cat([vectors, self.part(parts)], 1)
        logits = self.out(self.dropout(F.relu(self.hidden(vectors))))
        if not self.by_part:
            return logits
        place = (parts - 1)[:, None] * STATES + torch.arange(STATES, device=parts.device)
        return logits.gather(1, place)


class StateLoss(nn.Module):
    """Cross-entropy, or focal with `gamma` above 0 (Lin et al., ICCV 2017), times the weight of the true state; a mean
    over the boxes whose state is known, not over their weights."""

    def __init__(self, weights: Tensor | None = None, gamma: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("weights", torch.ones(STATES) if weights is None else weights, persistent=False)
        self.gamma = gamma

    def forward(self, logits: Tensor, states: Tensor) -> Tensor:
        known = states != UNLABELLED
        logits, states = logits[known], states[known]
        logs = F.log_softmax(logits.float(), 1).gather(1, states[:, None])[:, 0]
        lost = -self.weights[states] * logs
        if self.gamma:
            lost = lost * (1 - logs.exp()) ** self.gamma
        return lost.sum() / max(len(states), 1)  # 0 where none is known, and yet a sum: all weights have a gradient


def without_doubted(logits: Tensor, labels: list[Tensor], targets: Targets) -> Tensor:
    """Logits (n, K + 1) of all photographs' boxes, of which `labels` are the parts: a box does not lose by being like
    another part that is doubted in its photograph, for that one may be there."""
    hidden = []
    for of, mine in zip(targets, labels, strict=True):
        here = torch.zeros((len(mine), logits.shape[1]), dtype=torch.bool, device=logits.device)
        if "doubted" in of:
            here[:, of["doubted"]] = mine[:, None] != of["doubted"]
        hidden.append(here)
    return logits.masked_fill(torch.cat(hidden), -torch.inf)


class PartHeads(RoIHeads):
    """torchvision's heads with states. In training its boxes are drawn and their vectors made once, for both tasks.

    `true_boxes`: the state is learnt from every true box besides, which costs their vectors.
    """

    def __init__(
        self, *args, state_head: StateHead, state_loss: StateLoss, state_weight: float, true_boxes: bool, **others
    ) -> None:
        super().__init__(*args, **others)
        self.state_head, self.state_loss = state_head, state_loss
        self.state_weight, self.true_boxes = state_weight, true_boxes

    def vectors(self, features: dict[str, Tensor], boxes: list[Tensor], sizes: list[tuple[int, int]]) -> Tensor:
        return self.box_head(self.box_roi_pool(features, boxes, sizes))

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: Targets | None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """Detections (boxes, labels, scores, states) and no losses; in training losses and no detections."""
        if self.training:
            return [], self.losses(features, proposals, image_shapes, targets or [])
        logits, moves = self.box_predictor(self.vectors(features, proposals, image_shapes))
        boxes, scores, labels = self.postprocess_detections(logits, moves, proposals, image_shapes)
        states = self.states(features, boxes, labels, image_shapes)
        found = zip(boxes, labels, scores, states, strict=True)
        return [dict(zip(("boxes", "labels", "scores", "states"), of, strict=True)) for of in found], {}

    def states(
        self, features: dict[str, Tensor], boxes: list[Tensor], labels: list[Tensor], sizes: list[tuple[int, int]]
    ) -> list[Tensor]:
        """Probabilities (n, 4) of boxes in pixels of what the network sees: their vectors are made anew."""
        logits = self.state_head(self.vectors(features, boxes, sizes), torch.cat(labels))
        return list(logits.float().softmax(1).split([of.shape[0] for of in boxes]))

    def placed(
        self, features: dict[str, Tensor], boxes: list[Tensor], labels: list[Tensor], sizes: list[tuple[int, int]]
    ) -> list[dict[str, Tensor]]:
        """See `PartDetector`."""
        logits, moves = self.box_predictor(self.vectors(features, boxes, sizes))
        parts, counts = torch.cat(labels), [of.shape[0] for of in labels]
        rows = torch.arange(len(parts), device=parts.device)
        right = self.box_coder.decode(moves, boxes)[rows, parts].split(counts)
        right = [clip_boxes_to_image(of, size) for of, size in zip(right, sizes, strict=True)]
        scores = logits.float().softmax(1)[rows, parts].split(counts)
        told = zip(labels, right, scores, self.states(features, right, labels, sizes), strict=True)
        return [dict(zip(("labels", "boxes", "scores", "states"), of, strict=True)) for of in told]

    def losses(
        self, features: dict[str, Tensor], proposals: list[Tensor], sizes: list[tuple[int, int]], targets: Targets
    ) -> dict[str, Tensor]:
        proposals, matched, labels, moves = self.select_training_samples(proposals, targets)
        vectors = self.vectors(features, proposals, sizes)
        found, moved = self.box_predictor(vectors)
        of_parts, of_boxes = fastrcnn_loss(without_doubted(found, labels, targets), moved, labels, moves)
        states = [
            of["states"][at] if len(of["states"]) else torch.full_like(at, UNLABELLED)
            for of, at in zip(targets, matched, strict=True)
        ]
        parts, states = torch.cat(labels), torch.cat(states)
        there = parts > 0
        vectors, parts, states = vectors[there], parts[there], states[there]
        if self.true_boxes:
            true = [of["boxes"].to(proposals[0]) for of in targets]
            vectors = torch.cat([vectors, self.vectors(features, true, sizes)])
            parts = torch.cat([parts, *(of["labels"] for of in targets)])
            states = torch.cat([states, *(of["states"] for of in targets)])
        of_states = self.state_weight * self.state_loss(self.state_head(vectors, parts), states)
        return {"loss_classifier": of_parts, "loss_box_reg": of_boxes, "loss_state": of_states}
