"""A second look at the two photographs of a ride, where both together expect each part; see judging/layout.py.

A part that was lost in the ride is often found in a wrong place, where something looks like it, or nowhere. Where it
was before, and where everything else is after, say where it has to be, and there the network looks once more.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tasks.bike_parts.formats.photos import Photos
from tasks.bike_parts.judging import layout as layouts
from tasks.bike_parts.judging.layout import Layout, expected
from tasks.bike_parts.judging.pairs import pairs_of
from tasks.bike_parts.judging.verdicts import Again, Seen
from tasks.bike_parts.learning.batches import Fitted
from tasks.bike_parts.learning.network import Network, device_of, on_canvas, told

LEAST_PX = 2.0  # of the canvas: an expected box is at least so wide and high


def layout_of_rides(train: Photos) -> Layout | None:
    """Of the rides of the training split, with as many digits as are kept; None where it has too few."""
    found = layouts.learnt(train, pairs_of(train))
    return layouts.layout_of(found and found.told())


def on_photo(boxes: np.ndarray, of: Fitted) -> np.ndarray:
    """(n, 4) px of the photograph -> px of the canvas, where they show at least something of the photograph."""
    scaled = boxes * np.tile(of.factor, 2)
    high, wide = of.size
    edges = np.array([wide, high]) - LEAST_PX
    low = np.clip(scaled[:, :2], 0, edges)
    return np.concatenate([low, np.clip(np.maximum(scaled[:, 2:], low + LEAST_PX), 0, (wide, high))], 1)


@torch.inference_mode()
def looked_again(
    network: Network, photos: Sequence[Fitted], sides: Sequence[Seen], layout: Layout
) -> list[Again] | None:
    """Of what was seen in the two photographs (in their own pixels), of which nothing may have been cut off. None: too
    little was."""
    there = expected(layout, sides)
    if there is None:
        return None
    device = device_of(network)
    parts = np.flatnonzero(layout.known)
    boxes: list[Tensor] = [
        torch.from_numpy(on_photo(of.box[parts], photo).astype(np.float32)).to(device)
        for of, photo in zip(there, photos, strict=True)
    ]
    labels = [torch.from_numpy(parts + 1).to(device)] * len(photos)
    pictures, sizes = on_canvas(photos, device)
    images, features = network.listed(pictures, sizes), network.backbone(pictures)
    found = [
        told(one, of.factor) for one, of in zip(network.placed(images, features, boxes, labels), photos, strict=True)
    ]
    return [
        Again(Seen(one.part, one.box, one.score, one.states), of.off[parts])
        for one, of in zip(found, there, strict=True)
    ]
