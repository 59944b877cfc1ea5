"""One factory for all networks of the line: a name in, a detector of parts and their states out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.rpn import RPNHead

from models.bike_parts import published
from models.bike_parts.closer import Close, CloserDetector
from models.bike_parts.detector import PartDetector
from models.bike_parts.maps import Maps
from models.bike_parts.points import PointDetector
from models.bike_parts.proposals import CoarseProposals, like
from models.bike_parts.small import Pooled, SmallBackbone, SmallHead
from models.bike_parts.states import PartHeads, StateHead, StateLoss
from models.bike_parts.variants import KNOWS, NETWORKS, POINTS, SMALL, UNPUBLISHED

CELLS = 7  # cells of a box of the small network, each way
FINE = 32  # features of what parts are looked at
ANCHORS_PX, RATIOS = (9, 20, 48), (0.5, 1.0, 2.0)
SMALL_VECTOR, SMALL_HIDDEN, HIDDEN = 128, 128, 256


@dataclass(frozen=True)
class States:
    """How states are learnt; what `StateHead` and `StateLoss` say."""

    knows: str = "nothing"
    dropout: float = 0.2
    weight: float = 0.5  # of their loss beside that of the detection
    gamma: float = 0.0
    class_weights: tuple[float, ...] | None = None
    true_boxes: bool = False


@dataclass(frozen=True)
class Use:
    """How boxes are kept when the network is used."""

    floor: float = 0.05  # score below which nothing is told
    nms: float = 0.5
    most: int = 100  # of a photograph


def build(
    name: str,
    parts: int,
    states: States = States(),
    use: Use = Use(),
    before: str | None = None,
    close: Close | None = None,
) -> PartDetector | PointDetector | CloserDetector:
    """A network for `parts` parts, 1..K. `before`: "coco" or "imagenet", if it is to start from such weights of
    torchvision; see `published.load`. `close`: the state is told by a closer look at each box."""
    if name not in NETWORKS:
        raise ValueError(f"no network {name!r}; there are: {', '.join(NETWORKS)}")
    if parts < 1:
        raise ValueError(f"parts = {parts}: at least 1")
    if states.knows not in KNOWS:
        raise ValueError(f"a state head knows one of: {', '.join(KNOWS)}; not {states.knows!r}")
    if name in UNPUBLISHED and before is not None:
        raise ValueError(f"there are no {before} weights for {name}")
    if close is not None:
        detector = build(name, parts, states, use, before)
        made = CloserDetector(detector, parts, close, states.dropout, _loss(states), use.nms)
        return made.to(memory_format=torch.channels_last)
    if name == POINTS:
        return _points(parts, states, use)
    return _small(parts, states, use) if name == SMALL else _published(name, parts, states, use, before)


def _loss(states: States) -> StateLoss:
    weights = None if states.class_weights is None else torch.tensor(states.class_weights)
    return StateLoss(weights, states.gamma)


def _heads(vector: int, hidden: int, parts: int, states: States) -> dict:
    return {
        "state_head": StateHead(vector, hidden, parts, states.knows, states.dropout),
        "state_loss": _loss(states),
        "state_weight": states.weight,
        "true_boxes": states.true_boxes,
    }


def _small(parts: int, states: States, use: Use) -> PartDetector:
    """Fewer anchors, proposals and samples than torchvision's: with those of a large photograph a step on a CPU is
    spent on boxes."""
    backbone = SmallBackbone(fine=FINE)
    anchors = AnchorGenerator((ANCHORS_PX,), (RATIOS,))
    rpn = CoarseProposals(
        anchors, RPNHead(backbone.out_channels, anchors.num_anchors_per_location()[0]),
        fg_iou_thresh=0.6, bg_iou_thresh=0.3, batch_size_per_image=128, positive_fraction=0.5,
        pre_nms_top_n={"training": 200, "testing": 200}, post_nms_top_n={"training": 100, "testing": 100},
        nms_thresh=0.7,
    )  # fmt: skip
    heads = PartHeads(
        Pooled(CELLS, 4), SmallHead(FINE, SMALL_VECTOR, CELLS),
        FastRCNNPredictor(SMALL_VECTOR, parts + 1),
        fg_iou_thresh=0.5, bg_iou_thresh=0.5, batch_size_per_image=64, positive_fraction=0.5, bbox_reg_weights=None,
        score_thresh=use.floor, nms_thresh=use.nms, detections_per_img=use.most,
        **_heads(SMALL_VECTOR, SMALL_HIDDEN, parts, states),
    )  # fmt: skip
    return PartDetector(backbone, rpn, heads, Maps(FINE, parts)).to(memory_format=torch.channels_last)


def _points(parts: int, states: States, use: Use) -> PointDetector:
    heads = _heads(SMALL_VECTOR, SMALL_HIDDEN, parts, states)
    made = PointDetector(parts, SMALL_VECTOR, CELLS, use.floor, use.most, **heads)
    return made.to(memory_format=torch.channels_last)


def _published(name: str, parts: int, states: States, use: Use, before: str | None) -> PartDetector:
    made = published.built(
        name, parts + 1, before, box_score_thresh=use.floor, box_nms_thresh=use.nms, box_detections_per_img=use.most
    )
    old = made.roi_heads
    vector = old.box_predictor.cls_score.in_features
    heads = PartHeads(
        old.box_roi_pool, old.box_head, old.box_predictor,
        fg_iou_thresh=old.proposal_matcher.high_threshold, bg_iou_thresh=old.proposal_matcher.low_threshold,
        batch_size_per_image=old.fg_bg_sampler.batch_size_per_image,
        positive_fraction=old.fg_bg_sampler.positive_fraction, bbox_reg_weights=None,
        score_thresh=use.floor, nms_thresh=use.nms, detections_per_img=use.most,
        **_heads(vector, HIDDEN, parts, states),
    )  # fmt: skip
    return PartDetector(made.backbone, like(made.rpn), heads)
