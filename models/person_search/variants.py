"""Names of networks. Imports no torch: params.yaml is checked by it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """An OSNet: channels after the stem and the three stages, and whether the stem and conv2 normalise each image."""

    channels: tuple[int, int, int, int]
    instance_norm: bool = False


# Zhou et al., Omni-Scale Feature Learning for Person Re-Identification, ICCV 2019; widths and names are torchreid's.
OSNETS = {
    "osnet_x1_0": Shape((64, 256, 384, 512)),
    "osnet_x0_75": Shape((48, 192, 288, 384)),
    "osnet_x0_5": Shape((32, 128, 192, 256)),
    "osnet_x0_25": Shape((16, 64, 96, 128)),
    "osnet_ibn_x1_0": Shape((64, 256, 384, 512), instance_norm=True),
}
SMALL = "stripe_cnn"  # no OSNet: a plain network that learns in a minute on a CPU
NETWORKS = (*OSNETS, SMALL)
