"""The networks of this line by name; torch is not imported, so that params can be checked fast."""

from __future__ import annotations

SMALL = "small"
POINTS = "small_points"  # without proposals: the challenger of another family
# Of published sizes: torchvision's builders, whose COCO weights fit.
TORCHVISION = {
    "resnet50": "fasterrcnn_resnet50_fpn",
    "resnet50_v2": "fasterrcnn_resnet50_fpn_v2",
    "mobilenet_v3": "fasterrcnn_mobilenet_v3_large_fpn",
}
NETWORKS = (SMALL, POINTS, *TORCHVISION)
UNPUBLISHED = (SMALL, POINTS)  # nobody has weights for them
# What of a network knows its own parts: its weights are not those of another list of parts.
_HEADS = ("roi_heads.box_predictor.", "roi_heads.state_head.", "state_head.", "maps.", "box.")
HEADS = (*_HEADS, *(f"detector.{name}" for name in _HEADS), "look.state.", "look.part.")
KNOWS = ("nothing", "embedding", "outputs", "both")  # what a state head is told of the part: see states.py
