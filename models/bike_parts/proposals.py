"""Proposals that are not taught that a part is nowhere, where it is only doubted."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork

from models.bike_parts.states import Targets

BACKGROUND, IGNORED, OPEN = 0.0, -1.0, -2.0  # of an anchor; open: background, unless a doubted part is there


class Proposals(RegionProposalNetwork):
    """Of a part that is doubted in a photograph nobody knows the place, and that an anchor is on no part is known only
    where nothing looks like one. So there what the network takes for background is taught as that, and what it takes
    for a part, and no label says so, is not taught at all."""

    def assign_targets_to_anchors(self, anchors: list[Tensor], targets: Targets) -> tuple[list[Tensor], list[Tensor]]:
        labels, boxes = super().assign_targets_to_anchors(anchors, targets)
        doubted = [len(of.get("doubted", ())) > 0 for of in targets]
        opened = [
            torch.where(mine == BACKGROUND, OPEN, mine) if some else mine
            for mine, some in zip(labels, doubted, strict=True)
        ]
        return opened, boxes

    def compute_loss(
        self, objectness: Tensor, pred_bbox_deltas: Tensor, labels: list[Tensor], regression_targets: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        likely = objectness.detach().flatten().split([len(mine) for mine in labels])
        known = [
            torch.where(mine == OPEN, torch.where(looks > 0, IGNORED, BACKGROUND), mine)
            for mine, looks in zip(labels, likely, strict=True)
        ]
        return super().compute_loss(objectness, pred_bbox_deltas, known, regression_targets)


class CoarseProposals(Proposals):
    """From the coarser level alone."""

    def forward(
        self, images: ImageList, features: dict[str, Tensor], targets: Targets | None = None
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        return super().forward(images, {"1": features["1"]}, targets)


def like(old: RegionProposalNetwork) -> Proposals:
    """With the layers and the settings of torchvision's."""
    of, draw = old.proposal_matcher, old.fg_bg_sampler
    return Proposals(
        old.anchor_generator, old.head, of.high_threshold, of.low_threshold, draw.batch_size_per_image,
        draw.positive_fraction, old._pre_nms_top_n, old._post_nms_top_n, old.nms_thresh, old.score_thresh,
    )  # fmt: skip
