"""The challenger without proposals: each part is the peak of a map of its own (Zhou et al., Objects as Points, 2019).

Every cell of every photograph teaches which part is where, also where a part is absent; nothing is drawn at random, no
overlaps are suppressed and nothing is matched. The box is read off at the peak. The state is told as by the other
family: from the vector of the final box.

Of the detectors with transformers RF-DETR was weighed. Its package (rfdetr 1.11) resolves beside the lock, with twelve
packages more; but it is made to be tuned from weights that it downloads, by a trainer of its own: neither in minutes on
two cores from nothing, nor with this yard's resume, processes and judge.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import clip_boxes_to_image, generalized_box_iou_loss

from models.bike_parts.detector import Sizes, found_or_lost, listed
from models.bike_parts.maps import STRIDE, Maps
from models.bike_parts.small import Pooled, SmallBackbone, SmallHead, block
from models.bike_parts.states import StateHead, StateLoss, Targets

USUAL_PX = 16.0  # edge of a box before anything is learnt
PEAKS = 3  # of each part and photograph
BOX_WEIGHT = 2.0  # of the loss of boxes beside that of the maps
SHAKEN = (
    0.1  # by so much of their edges true boxes are moved before states are learnt from them: found ones are off too
)
AROUND = [(x, y) for y in (-1, 0, 1) for x in (-1, 0, 1)]  # cells around a part from which its box is learnt


class PointDetector(nn.Module):
    """The same interface as `PartDetector`."""

    def __init__(
        self, parts: int, vector: int, cells: int, floor: float, most: int, state_head: StateHead,
        state_loss: StateLoss, state_weight: float, true_boxes: bool, width: int = 64, narrow: int = 32,
    ) -> None:  # fmt: skip
        super().__init__()
        self.parts, self.floor, self.most = parts, floor, most
        self.state_weight, self.true_boxes = state_weight, true_boxes
        self.backbone = SmallBackbone(fine=width, one=True)
        self.hidden = block(width, width, kernel=1)
        self.maps = Maps(width, parts)
        self.box = nn.Linear(width, 4 * parts)
        nn.init.normal_(self.box.weight, std=0.01)
        nn.init.zeros_(self.box.bias)
        self.look = block(width, narrow, kernel=1)
        self.pool, self.box_head = Pooled(cells, STRIDE), SmallHead(narrow, vector, cells)
        self.state_head, self.state_loss = state_head, state_loss

    forward = found_or_lost
    listed = staticmethod(listed)

    @contextmanager
    def judged(self) -> Iterator[None]:
        """Nothing is drawn at random but how true boxes are shaken."""
        yield

    def boxes(self, hidden: Tensor, parts: Tensor, cells: Tensor) -> Tensor:
        """Features (n, C) at cells x, y (n, 2) -> boxes (n, 4) x1, y1, x2, y2 px of parts (n) 1..K."""
        of = self.box(hidden).unflatten(1, (self.parts, 4))
        x, y, width, height = of[torch.arange(len(of), device=of.device), parts - 1].unbind(1)
        middle = (cells + 0.5 + torch.stack([x, y], 1)) * STRIDE
        half = USUAL_PX / 2 * torch.stack([width, height], 1).clamp(-4, 4).exp()
        return torch.cat([middle - half, middle + half], 1)

    def vectors(self, features: dict[str, Tensor], boxes: list[Tensor], sizes: Sizes) -> Tensor:
        return self.box_head(self.pool({"0": self.look(features["0"])}, boxes, sizes))

    def states(
        self, features: dict[str, Tensor], boxes: list[Tensor], labels: list[Tensor], sizes: Sizes
    ) -> list[Tensor]:
        """Probabilities (n, 4) of the states of given boxes."""
        logits = self.state_head(self.vectors(features, boxes, sizes), torch.cat(labels))
        return list(logits.float().softmax(1).split([of.shape[0] for of in boxes]))

    def found(self, images: ImageList, features: dict[str, Tensor]) -> list[dict[str, Tensor]]:
        hidden = self.hidden(features["0"])
        heat = self.maps(hidden).float().sigmoid()
        heat = heat * (heat == F.max_pool2d(heat, 3, 1, 1))
        width = int(heat.shape[3])
        scores, at = heat.flatten(2).topk(PEAKS, 2)  # (B, K, PEAKS)
        parts = torch.arange(1, self.parts + 1, device=heat.device)[:, None].expand(self.parts, PEAKS).flatten()
        boxes, kept_parts, kept_scores = [], [], []
        for score, place, seen, size in zip(scores.flatten(1), at.flatten(1), hidden, images.image_sizes, strict=True):
            order = score.topk(min(self.most, self.parts * PEAKS)).indices
            order = order[score[order] > self.floor]
            place, part = place[order], parts[order]
            cells = torch.stack([place % width, torch.div(place, width, rounding_mode="floor")], 1)
            mine = self.boxes(seen.flatten(1).T[place], part, cells.float()).float()
            x, y = mine[:, 0::2].clamp(0, size[1]), mine[:, 1::2].clamp(0, size[0])
            boxes.append(torch.stack([x, y], 2).flatten(1))
            kept_parts.append(part)
            kept_scores.append(score[order])
        states = self.states(features, boxes, kept_parts, images.image_sizes)
        found = zip(boxes, kept_parts, kept_scores, states, strict=True)
        return [dict(zip(("boxes", "labels", "scores", "states"), of, strict=True)) for of in found]

    def placed(
        self, images: ImageList, features: dict[str, Tensor], boxes: list[Tensor], labels: list[Tensor]
    ) -> list[dict[str, Tensor]]:
        """See `PartDetector`; the box is read off at the middle of the expected one."""
        hidden = self.hidden(features["0"])
        heat = self.maps(hidden).float().sigmoid()
        limit = torch.tensor([heat.shape[3] - 1, heat.shape[2] - 1], device=heat.device)
        right, scores = [], []
        for seen, score, box, part, size in zip(hidden, heat, boxes, labels, images.image_sizes, strict=True):
            cells = torch.minimum(((box[:, :2] + box[:, 2:]) / (2 * STRIDE)).floor().clamp(min=0), limit)
            x, y = cells.long().unbind(1)
            right.append(clip_boxes_to_image(self.boxes(seen[:, y, x].T, part, cells).float(), size))
            scores.append(score[part - 1, y, x])
        told = zip(labels, right, scores, self.states(features, right, labels, images.image_sizes), strict=True)
        return [dict(zip(("labels", "boxes", "scores", "states"), of, strict=True)) for of in told]

    def lost(self, images: ImageList, features: dict[str, Tensor], targets: Targets) -> dict[str, Tensor]:
        hidden = self.hidden(features["0"])
        photo = torch.cat([torch.full_like(of["labels"], i) for i, of in enumerate(targets)])
        boxes, parts = (torch.cat([of[name] for of in targets]) for name in ("boxes", "labels"))
        at = (boxes[:, :2] + boxes[:, 2:]) / (2 * STRIDE)  # in cells
        true = [of["boxes"] for of in targets]
        shaken = [shake(of) for of in true]
        rois = [torch.cat(both) for both in zip(shaken, true, strict=True)] if self.true_boxes else shaken
        twice = 2 if self.true_boxes else 1
        of_parts = torch.cat([of["labels"].repeat(twice) for of in targets])
        of_states = torch.cat([of["states"].repeat(twice) for of in targets])
        found = self.state_head(self.vectors(features, rois, images.image_sizes), of_parts)
        return {
            "loss_maps": self.maps.loss(hidden, targets),
            "loss_box": BOX_WEIGHT * self.of_boxes(hidden, photo, parts, at, boxes),
            "loss_state": self.state_weight * self.state_loss(found, of_states),
        }

    def of_boxes(self, hidden: Tensor, photo: Tensor, parts: Tensor, at: Tensor, boxes: Tensor) -> Tensor:
        """Mean over parts of what their boxes lose, read off at the middle and, within the box, around it."""
        height, width = hidden.shape[2:]
        limit = torch.tensor([width - 1, height - 1], device=at.device)
        around = torch.tensor(AROUND, device=at.device)
        cells = torch.minimum((at.floor()[:, None] + around).clamp(min=0), limit)  # (n, 9, 2)
        place = (cells + 0.5) * STRIDE
        inside = ((place > boxes[:, None, :2]) & (place < boxes[:, None, 2:])).all(2) | (around == 0).all(1)
        row, which = inside.nonzero(as_tuple=True)
        cell = cells[row, which]
        x, y = cell.long().unbind(1)
        seen = hidden.permute(0, 2, 3, 1)[photo[row], y, x]
        lost = generalized_box_iou_loss(self.boxes(seen, parts[row], cell).float(), boxes[row].float())
        return lost.sum() / max(len(row), 1)


def shake(boxes: Tensor) -> Tensor:
    edges = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    return boxes + SHAKEN * (2 * torch.rand_like(boxes) - 1) * edges
