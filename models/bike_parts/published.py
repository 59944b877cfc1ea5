"""The detectors of published sizes, as torchvision builds them, and its weights."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torchvision.models import MobileNet_V3_Large_Weights, ResNet50_Weights, detection
from torchvision.models.detection import (
    FasterRCNN_MobileNet_V3_Large_FPN_Weights,
    FasterRCNN_ResNet50_FPN_V2_Weights,
    FasterRCNN_ResNet50_FPN_Weights,
)
from torchvision.ops.misc import FrozenBatchNorm2d

from models.bike_parts.variants import TORCHVISION

HEAD, OURS, COUNTER = "roi_heads.box_predictor.", "roi_heads.state_", "num_batches_tracked"
MOVING_STAGES = 3  # counted from the last, of a backbone that was trained before: torchvision's default
COCO = {
    "resnet50": FasterRCNN_ResNet50_FPN_Weights.COCO_V1,
    "resnet50_v2": FasterRCNN_ResNet50_FPN_V2_Weights.COCO_V1,
    "mobilenet_v3": FasterRCNN_MobileNet_V3_Large_FPN_Weights.COCO_V1,
}
IMAGENET = {
    "resnet50": ResNet50_Weights.IMAGENET1K_V1,
    "resnet50_v2": ResNet50_Weights.IMAGENET1K_V1,
    "mobilenet_v3": MobileNet_V3_Large_Weights.IMAGENET1K_V1,
}


def built(name: str, classes: int, before: str | None, **settings: Any) -> nn.Module:
    """torchvision's detector without weights, for `classes` with the background.

    `before`: "coco" or "imagenet", whose weights are to be loaded. Then the statistics of its norms stand still, as
    torchvision has it (of v2 they move), and so do the first stages.
    """
    made = getattr(detection, TORCHVISION[name])(
        weights=None, weights_backbone=None, num_classes=classes, progress=False, **settings
    )
    if before is not None:
        if name != "resnet50_v2":  # whose COCO weights were trained with an eps of 0, as torchvision's loader knows
            freeze_norms(made, 0.0 if (name, before) == ("resnet50", "coco") else None)
        for part in first_stages(made.backbone.body):
            part.requires_grad_(False)
    return made


def freeze_norms(module: nn.Module, eps: float | None) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, FrozenBatchNorm2d(child.num_features, child.eps if eps is None else eps))
        else:
            freeze_norms(child, eps)


def first_stages(body: nn.ModuleDict) -> list[nn.Module]:
    """All but the last MOVING_STAGES of a ResNet, or of a MobileNet, whose stages begin where it strides."""
    parts = dict(body.named_children())
    if "conv1" in parts:
        return [parts[name] for name in ("conv1", "bn1", "layer1")]
    strides = [0, *(i for i, part in enumerate(parts.values()) if getattr(part, "_is_cn", False)), len(parts) - 1]
    return list(parts.values())[: strides[-MOVING_STAGES]]


def downloaded(name: str, before: str) -> dict[str, Tensor]:
    """Once; later from torch's cache. Raises what torchvision does."""
    return (COCO if before == "coco" else IMAGENET)[name].get_state_dict(progress=False, check_hash=True)


def trained_on(state: dict[str, Tensor]) -> str:
    """ "coco" for the weights of a detector, "imagenet" for those of a network that names what a picture shows."""
    return "coco" if any(key.startswith("backbone.") for key in state) else "imagenet"


def load(detector: nn.Module, before: str, state: dict[str, Tensor]) -> None:
    """torchvision's weights, without the head that knows its own classes. Raises `ValueError` if they do not fit."""
    if before == "imagenet":
        plain = {key.removeprefix("features."): value for key, value in state.items()}
        own = detector.backbone.body.state_dict()
        left = detector.backbone.body.load_state_dict({key: plain[key] for key in own if key in plain}, strict=False)
        missing = [key for key in left.missing_keys if not key.endswith(COUNTER)]
    else:
        kept = {key: value for key, value in state.items() if not key.startswith(HEAD)}
        try:
            left = detector.load_state_dict(kept, strict=False)
        except RuntimeError as error:
            raise ValueError(str(error).splitlines()[-1].strip()) from None
        missing = [key for key in left.missing_keys if not key.startswith((HEAD, OURS)) and not key.endswith(COUNTER)]
        missing += left.unexpected_keys
    if missing:
        raise ValueError(f"{len(missing)} of its tensors are of another network, such as {missing[0]}")
