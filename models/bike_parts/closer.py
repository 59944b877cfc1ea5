"""A second, closer look at each part: what is a few pixels for the detector is cut out of the whole photograph.

The detector sees the photograph at a fraction of its size, which is enough to say about where a part is. A dent or a
scratch of it is then no larger than a pixel, and its box is off by some. So each box, with some of what is around it,
is cut out of the photograph as it is, and brought to one size. A network of its own puts the box right, looks again,
and says whether the box is on its part and, together with the detector, in what state that is. It learns from the true
boxes, shaken: most as much as found ones are off, some until they are on something else.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import batched_nms, generalized_box_iou_loss

from models.bike_parts.detector import PartDetector, Sizes, listed
from models.bike_parts.points import PointDetector
from models.bike_parts.small import block
from models.bike_parts.states import UNLABELLED, StateHead, StateLoss, Targets

WIDTHS = (24, 32, 64, 96)  # features of a cut-out
SMALLER = 8  # times, at the last of them
VECTOR, HIDDEN, EMBEDDING = 128, 128, 32
SAMPLES = 2  # a pixel of a cut-out, each way: a wheel is larger than it
MIDDLE, SIZE = 0.09, 0.12  # standard deviations by which boxes are shaken, of their edges and of the logarithm of them
FAR, FARTHER = 0.3, 4.0  # so many of them are shaken so many times as much
ON, TOLD, NEAR = 0.5, 0.2, 0.1  # overlap from which a box is on its part, its state is learnt, it can be put right
MOST = 0.7  # of its edges, and of the logarithm of them, by which a box is put right
WHOLE = "photograph"  # among the features


@dataclass(frozen=True)
class Close:
    """`shrink`: the detector sees the photograph so many times smaller."""

    shrink: int = 2
    edge_px: int = 32  # of a cut-out
    margin: float = 0.3  # of the box's edges, around it on each side
    weight: float = 1.0  # of its losses beside those of the detector


class CloseLook(nn.Module):
    """Photographs (B, 3, H, W), boxes of each (n, 4) in their pixels and parts 1..K -> logits (n, 4) of states, (n, 4)
    by how much the boxes are off, logits (n) that they are on their parts."""

    def __init__(self, parts: int, of: Close, dropout: float) -> None:
        super().__init__()
        self.edge, self.margin = of.edge_px, of.margin
        first, second, third, last = WIDTHS
        self.layers = nn.Sequential(
            block(3, first, 2), block(first, second), nn.MaxPool2d(2), block(second, third), nn.MaxPool2d(2),
            block(third, last),
        )  # fmt: skip
        self.vector = nn.Linear(last * (of.edge_px // SMALLER) ** 2, VECTOR)
        self.state = StateHead(VECTOR + 2 * last, HIDDEN, parts, "both", dropout)
        self.part = nn.Embedding(parts + 1, EMBEDDING)
        self.place = nn.Sequential(nn.Linear(VECTOR + EMBEDDING, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 5))

    def cut(self, images: Tensor, boxes: Sequence[Tensor]) -> Tensor:
        """(n, 3, edge, edge); what is out of the photograph looks like its edge."""
        high, wide = images.shape[2:]
        steps = (torch.arange(SAMPLES * self.edge, device=images.device) + 0.5) / (SAMPLES * self.edge) * 2 - 1
        found = []
        for image, mine in zip(images, boxes, strict=True):
            middle, half = (mine[:, :2] + mine[:, 2:]) / 2, (mine[:, 2:] - mine[:, :2]) * (0.5 + self.margin) + 1
            x, y = (middle[:, axis, None] + half[:, axis, None] * steps for axis in (0, 1))
            x, y, edge = 2 * x / wide - 1, 2 * y / high - 1, len(steps)
            grid = torch.stack([x[:, None].expand(-1, edge, -1), y[:, :, None].expand(-1, -1, edge)], 3)
            seen = F.grid_sample(
                image[None], grid.reshape(1, -1, edge, 2).to(image.dtype), padding_mode="border", align_corners=False
            )  # a photograph's boxes below one another
            found.append(smaller(seen[0].unflatten(1, (-1, edge)).transpose(0, 1), SAMPLES))
        return torch.cat(found)

    def forward(
        self, images: Tensor, boxes: Sequence[Tensor], labels: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        parts = torch.cat(list(labels))
        features = self.layers(self.cut(images, boxes).contiguous(memory_format=torch.channels_last))
        vector = F.relu(self.vector(features.flatten(1)))
        states = self.state(torch.cat([vector, features.mean((2, 3)), features.amax((2, 3))], 1), parts)
        place = self.place(torch.cat([vector, self.part(parts)], 1)).float()
        return states, MOST * place[:, :4].tanh(), place[:, 4]


class CloserDetector(nn.Module):
    """A detector of either family, and the close look. The same interface, in pixels of the photograph as it comes."""

    def __init__(
        self, detector: PartDetector | PointDetector, parts: int, of: Close, dropout: float, state_loss: StateLoss,
        nms: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.detector, self.shrink, self.weight, self.nms = detector, of.shrink, of.weight, nms
        self.look, self.state_loss = CloseLook(parts, of, dropout), state_loss

    def forward(
        self, images: Tensor, sizes: Sizes | None = None, targets: Targets | None = None
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        held = self.listed(images, sizes)
        features = self.backbone(images)
        return self.found(held, features) if targets is None else self.lost(held, features, targets)

    listed = staticmethod(listed)

    def judged(self) -> AbstractContextManager[None]:
        return self.detector.judged()

    def small(self, images: Tensor) -> Tensor:
        return smaller(images, self.shrink)

    def within(self, images: ImageList) -> ImageList:
        """What the detector sees."""
        sizes = [(-(-high // self.shrink), -(-wide // self.shrink)) for high, wide in images.image_sizes]
        return ImageList(self.small(images.tensors), sizes)

    def backbone(self, images: Tensor) -> dict[str, Tensor]:
        """The detector's features, and the photographs themselves."""
        return {**self.detector.backbone(self.small(images)), WHOLE: images}

    def found(self, images: ImageList, features: dict[str, Tensor]) -> list[dict[str, Tensor]]:
        found = self.detector.found(self.within(images), coarse(features))
        boxes, labels = [of["boxes"] * self.shrink for of in found], [of["labels"] for of in found]
        right, closer, on = self.looked(images, boxes, labels)
        states = agreed(closer, [of["states"] for of in found])
        told = zip(found, right, states, on, strict=True)
        return [self.sorted(of["labels"], at, of["scores"], sure, state) for of, at, state, sure in told]

    def looked(
        self, images: ImageList, boxes: list[Tensor], labels: list[Tensor]
    ) -> tuple[list[Tensor], Tensor, list[Tensor]]:
        """Boxes put right, and of those logits (n, 4) of states and probabilities that they are on their parts."""
        counts = [of.shape[0] for of in boxes]
        _, off, _ = self.look(images.tensors, boxes, labels)
        right = [
            within(put_right(at, by), size)
            for at, by, size in zip(boxes, off.split(counts), images.image_sizes, strict=True)
        ]
        closer, _, on = self.look(images.tensors, right, labels)
        return right, closer, list(on.sigmoid().split(counts))

    def placed(
        self, images: ImageList, features: dict[str, Tensor], boxes: list[Tensor], labels: list[Tensor]
    ) -> list[dict[str, Tensor]]:
        """See `PartDetector`."""
        right, closer, on = self.looked(images, boxes, labels)
        theirs = [of / self.shrink for of in right]
        states = self.detector.states(coarse(features), theirs, labels, self.within(images).image_sizes)
        told = zip(labels, right, on, agreed(closer, states), strict=True)
        return [dict(zip(("labels", "boxes", "scores", "states"), of, strict=True)) for of in told]

    def sorted(self, labels: Tensor, boxes: Tensor, scores: Tensor, on: Tensor, states: Tensor) -> dict[str, Tensor]:
        """Of a photograph: boxes that have become the same are one; the surest first."""
        scores = (scores * on).sqrt()
        keep = batched_nms(boxes, scores, labels, self.nms)
        return {"boxes": boxes[keep], "labels": labels[keep], "scores": scores[keep], "states": states[keep]}

    def states(
        self, features: dict[str, Tensor], boxes: list[Tensor], labels: list[Tensor], sizes: Sizes
    ) -> list[Tensor]:
        """Probabilities (n, 4) of the states of given boxes."""
        whole = features[WHOLE]
        smaller = self.within(listed(whole, sizes)).image_sizes
        theirs = self.detector.states(coarse(features), [of / self.shrink for of in boxes], labels, smaller)
        return agreed(self.look(whole, boxes, labels)[0], theirs)

    def lost(self, images: ImageList, features: dict[str, Tensor], targets: Targets) -> dict[str, Tensor]:
        smaller = [{**of, "boxes": of["boxes"] / self.shrink} for of in targets]
        losses = self.detector.lost(self.within(images), coarse(features), smaller)
        return {**losses, **self.lost_closer(images.tensors, targets)}

    def lost_closer(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        there = any(len(of["labels"]) for of in targets)
        if not there:  # norms need something to see, and every weight a gradient; nothing is learnt from it
            high, wide = images.shape[2:]
            some = {"boxes": [[0.0, 0.0, wide, high]], "labels": [1], "states": [UNLABELLED]}
            targets = [{name: torch.tensor(of, device=images.device) for name, of in some.items()}] * len(images)
        true, labels, states = ([of[name] for of in targets] for name in ("boxes", "labels", "states"))
        boxes = [shaken(of) for of in true]
        told, off, on = self.look(images, boxes, labels)
        true, boxes = torch.cat(true), torch.cat(boxes)
        iou = overlap(boxes, true)
        near = iou >= NEAR
        moved = generalized_box_iou_loss(put_right(boxes[near], off[near]), true[near]).sum() / len(true)
        losses = {
            "state": self.state_loss(told, torch.where(iou >= TOLD, torch.cat(states), UNLABELLED)),
            "box": moved,
            "on": F.binary_cross_entropy_with_logits(on, (iou >= ON).float()),
        }
        return {f"loss_close_{name}": self.weight * there * of for name, of in losses.items()}


def smaller(images: Tensor, times: int) -> Tensor:
    """Means of squares of `times` pixels each way: `avg_pool2d`, which takes twice as long where channels lie last."""
    high, wide = (int(edge) // times * times for edge in images.shape[2:])
    whole = images[..., :high, :wide]
    return sum(whole[..., y::times, x::times] for y in range(times) for x in range(times)) / times**2


def agreed(closer: Tensor, theirs: list[Tensor]) -> list[Tensor]:
    """Probabilities (n, 4) of each photograph: the geometric mean of what the closer look says, in logits of all, and
    the detector. The detector has seen the whole bike: each knows what the other does not."""
    states = ((F.log_softmax(closer.float(), 1) + torch.cat(theirs).float().clamp(min=1e-6).log()) / 2).softmax(1)
    return list(states.split([of.shape[0] for of in theirs]))


def coarse(features: dict[str, Tensor]) -> dict[str, Tensor]:
    """Those of the detector alone."""
    return {name: of for name, of in features.items() if name != WHOLE}


def put_right(boxes: Tensor, off: Tensor) -> Tensor:
    """By shares of their edges, and by logarithms of a factor of them."""
    edges = boxes[:, 2:] - boxes[:, :2]
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2 + off[:, :2] * edges
    half = edges * off[:, 2:].exp() / 2
    return torch.cat([middle - half, middle + half], 1)


def within(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    x, y = boxes[:, 0::2].clamp(0, size[1]), boxes[:, 1::2].clamp(0, size[0])
    return torch.stack([x, y], 2).flatten(1)


def shaken(boxes: Tensor) -> Tensor:
    far = 1 + (FARTHER - 1) * (torch.rand_like(boxes[:, :1]) < FAR).float()
    sizes = (SIZE * far).clamp(max=MOST / 2)
    return put_right(boxes, torch.randn_like(boxes) * torch.cat([far * MIDDLE, far * MIDDLE, sizes, sizes], 1))


def overlap(a: Tensor, b: Tensor) -> Tensor:
    """(n) IoU of each with its own."""
    common = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0).prod(1)
    return common / ((a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - common).clamp(min=1e-6)
