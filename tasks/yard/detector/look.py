"""Running a detector on images: fitted into its canvas, seen, overlaps suppressed, boxes back in the image's pixels."""

# Private parts of ultralytics, which is pinned because of them: of a network end2end, fuse and stride, and the layout
# of what it returns in eval mode, with and without the suppression of overlaps inside it.

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torchvision.ops import batched_nms

from tasks.yard.detector.network import device_of, load_network
from tasks.yard.step import BadInput, cores
from tasks.yard.training.accelerator import Carried

AHEAD = 16  # batches under way or waiting to be written
GREY = 114  # what YOLO is trained to see around an image


@contextmanager
def threads(count: int | None) -> Iterator[ThreadPoolExecutor]:
    """Threads (null: one a core) of which each runs a network on one core, and so gives the same bits on any number.

    Four batches on a core each take less time than one after the other on four cores: no layer waits for its last part.
    """
    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(count or cores(), initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)  # a thread's call also changed what later threads begin with


def ahead(fn: Callable[[Any], Any], items: Iterable[Any], pool: Executor, depth: int = AHEAD) -> Iterator[Any]:
    """`map(fn, items)` by the pool, in order, and at most `depth` items ahead of the consumer."""
    pending: deque = deque()
    try:
        for item in items:
            pending.append(pool.submit(fn, item))
            if len(pending) >= depth:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:  # after an error: the next recording begins with idle threads
        for future in pending:
            future.cancel()
        wait(pending)


@dataclass(frozen=True)
class Frame:
    """An image as the network takes it, and the way back to its own pixels."""

    pixels: np.ndarray  # (canvas height, canvas width, 3) uint8 RGB
    size_px: tuple[int, int]  # width, height of the image
    scaled_px: tuple[int, int]  # the same on the canvas
    corner_px: tuple[int, int]  # left, top of the image on the canvas


class Detector(Carried):
    """Weights ready to run, by several threads at once if they like.

    `classes` maps the network's class names to ours, `confidence` holds the threshold of each of ours; a class that is
    not mapped is dropped. Overlaps are suppressed among our classes: what it calls a car and a truck is one vehicle.
    `device` is a name that `device_of` takes.
    """

    def __init__(
        self,
        weights: Path,
        classes: Mapping[str, str],
        confidence: Mapping[str, float],
        *,
        imgsz: int,
        iou: float,
        device: str | list[int],
    ):
        network = load_network(weights)
        named = {index: classes.get(name) for index, name in network.names.items()}
        theirs = {ours: [index for index, name in named.items() if name == ours] for ours in confidence}
        self.classes, self.theirs = list(theirs), list(theirs.values())
        if not any(theirs.values()):
            names = ", ".join(list(network.names.values())[:8])
            raise BadInput(f"{weights}: none of its classes ({names}) is a key of classes ({', '.join(classes)})")
        self.named = device
        self.device = self.chosen()
        self.parameters = sum(weight.numel() for weight in network.parameters())
        self.network = network.fuse().to(self.device, memory_format=torch.channels_last)  # as CPUs want it
        self.end2end = bool(getattr(network, "end2end", False))
        self.imgsz, self.iou, self.stride = imgsz, iou, int(network.stride.max())
        self.ours = torch.tensor([self.classes.index(name) if name in theirs else -1 for name in named.values()])
        self.threshold = torch.tensor([confidence[name] for name in self.classes])

    def chosen(self) -> torch.device:
        return torch.device(device_of(self.named))

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.device = self.chosen()

    def canvas(self, width_px: int, height_px: int) -> tuple[int, int]:
        """Width and height of the network's input: the longer side `imgsz`, both multiples of the stride."""
        gain = self.imgsz / max(width_px, height_px)
        return tuple(-(-round(side * gain) // self.stride) * self.stride for side in (width_px, height_px))

    def frame(self, image: np.ndarray, canvas: tuple[int, int]) -> Frame:
        """Fit a BGR image into the middle of the canvas, proportions kept."""
        height, width = image.shape[:2]
        gain = min(canvas[0] / width, canvas[1] / height)
        w, h = max(round(width * gain), 1), max(round(height * gain), 1)
        left, top = (canvas[0] - w) // 2, (canvas[1] - h) // 2
        pixels = np.full((canvas[1], canvas[0], 3), GREY, np.uint8)
        resized = image if (w, h) == (width, height) else cv2.resize(image, (w, h), interpolation=cv2.INTER_LINEAR)
        cv2.cvtColor(resized, cv2.COLOR_BGR2RGB, dst=pixels[top : top + h, left : left + w])
        return Frame(pixels, (width, height), (w, h), (left, top))

    @torch.inference_mode()
    def detect(self, frames: Sequence[Frame]) -> list[np.ndarray]:
        """For each frame of one canvas size (n, 6) float32: x1, y1, x2, y2 in its own pixels, confidence, class."""
        if not frames:
            return []
        batch = torch.from_numpy(np.stack([frame.pixels for frame in frames])).to(self.device)
        output = self.network(batch.permute(0, 3, 1, 2).float() / 255)
        output = (output[0] if isinstance(output, (list, tuple)) else output).float().cpu()
        if self.end2end:  # (images, boxes, x1 y1 x2 y2 confidence class)
            boxes, best, ours = output[..., :4], output[..., 4], self.ours[output[..., 5].long()]
        else:  # (images, cx cy w h and a score a class, boxes)
            centre, size, scores = output[:, 0:2].mT, output[:, 2:4].mT, output[:, 4 : 4 + len(self.ours)]
            groups = [scores[:, theirs].amax(1) if theirs else torch.zeros_like(scores[:, 0]) for theirs in self.theirs]
            best, ours = torch.stack(groups, dim=1).max(1)
            boxes = torch.cat([centre - size / 2, centre + size / 2], dim=-1)
        image, slot = torch.nonzero((ours >= 0) & (best > self.threshold[ours]), as_tuple=True)
        boxes, best, ours = boxes[image, slot], best[image, slot], ours[image, slot]
        keep = batched_nms(boxes, best, image * len(self.classes) + ours, self.iou)
        image, detections = image[keep].numpy(), torch.cat([boxes, best[:, None], ours[:, None]], dim=1)[keep].numpy()
        return [self._in_image(detections[image == index], frame) for index, frame in enumerate(frames)]

    @staticmethod
    def _in_image(detections: np.ndarray, frame: Frame) -> np.ndarray:
        pairs = frame.corner_px, frame.scaled_px, frame.size_px
        corner, scaled, size = (np.array(pair * 2, np.float32) for pair in pairs)
        detections[:, :4] = np.clip((detections[:, :4] - corner) * (size / scaled), 0, size)
        return detections
