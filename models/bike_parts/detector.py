"""torchvision's Faster R-CNN with states: backbone, proposals and heads bear its names, so that its weights fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork

from models.bike_parts.maps import Maps
from models.bike_parts.states import PartHeads, Targets

Sizes = Sequence[tuple[int, int]]  # height, width of each photograph within its canvas


def listed(images: Tensor, sizes: Sizes | None) -> ImageList:
    height, width = (int(n) for n in images.shape[-2:])
    return ImageList(images, [(height, width)] * len(images) if sizes is None else list(sizes))


def found_or_lost(
    network: nn.Module, images: Tensor, sizes: Sizes | None = None, targets: Targets | None = None
) -> dict[str, Tensor] | list[dict[str, Tensor]]:
    """`forward` of every family: with targets what it loses, else what it finds."""
    held = listed(images, sizes)
    features = network.backbone(images)
    return network.found(held, features) if targets is None else network.lost(held, features, targets)


class PartDetector(nn.Module):
    """Photographs (B, 3, H, W), normalised, each in the upper left corner of its canvas. With targets -> losses; else
    -> a dict for each photograph: boxes (n, 4) x1, y1, x2, y2 in pixels of the canvas, labels (n) 1..K, scores (n),
    states (n, 4), the surest first.

    torchvision's own resizing is not used: canvases have one size, and photographs are brought to it before.
    `maps`, of level "0", teach the backbone in training and are not used else.
    """

    def __init__(
        self, backbone: nn.Module, rpn: RegionProposalNetwork, roi_heads: PartHeads, maps: Maps | None = None
    ) -> None:
        super().__init__()
        self.backbone, self.rpn, self.roi_heads, self.maps = backbone, rpn, roi_heads, maps

    forward = found_or_lost
    listed = staticmethod(listed)

    def found(self, images: ImageList, features: dict[str, Tensor]) -> list[dict[str, Tensor]]:
        proposals, _ = self.rpn(images, features)
        return self.roi_heads(features, proposals, images.image_sizes)[0]

    def lost(self, images: ImageList, features: dict[str, Tensor], targets: Targets) -> dict[str, Tensor]:
        """Of a network in training, or within `judged`."""
        proposals, of_proposals = self.rpn(images, features, targets)
        _, of_parts = self.roi_heads(features, proposals, images.image_sizes, targets)
        of_maps = {} if self.maps is None else {"loss_maps": self.maps.loss(features["0"], targets)}
        return {**of_parts, **of_proposals, **of_maps}

    def states(
        self, features: dict[str, Tensor], boxes: list[Tensor], labels: list[Tensor], sizes: Sizes
    ) -> list[Tensor]:
        """Probabilities (n, 4) of the states of given boxes."""
        return self.roi_heads.states(features, boxes, labels, list(sizes))

    def placed(
        self, images: ImageList, features: dict[str, Tensor], boxes: list[Tensor], labels: list[Tensor]
    ) -> list[dict[str, Tensor]]:
        """Of boxes where parts are expected, as `found` has it, but every one in its order: the box put right, how sure
        it is that the part is there, in whatever state, and the states."""
        return self.roi_heads.placed(features, boxes, labels, images.image_sizes)

    @contextmanager
    def judged(self) -> Iterator[None]:
        """A true validation loss: boxes are drawn as in training, but norms and dropout are as in use."""
        before = self.rpn.training, self.roi_heads.training
        self.rpn.training = self.roi_heads.training = True  # not of their layers, which .train() would change too
        try:
            yield
        finally:
            self.rpn.training, self.roi_heads.training = before
