"""One optimizer step as a CUDA graph: some hundred small kernels launched by a single call.

These networks are small: at batch 256 a step's kernels take less time on a large GPU than their launches do on the
host.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

WARM_UP = 3  # steps that run as they are, for libraries to pick their kernels and the optimizer to make its state


class StepGraph:
    """`step(ids)` for ids of one length, all of it on the device; returns the tensors of `step`, overwritten by the
    next call.

    The first calls run `step` itself. They and the replays do the same work on the same random numbers.
    """

    def __init__(self, step: Callable[[Tensor], dict[str, Tensor]], rows: int, device: torch.device):
        self.step = step
        self.ids = torch.zeros(rows, dtype=torch.int64, device=device)
        self.calls = 0
        self.graph: torch.cuda.CUDAGraph | None = None
        self.results: dict[str, Tensor] = {}

    def __call__(self, ids: Tensor) -> dict[str, Tensor]:
        self.ids.copy_(ids)
        self.calls += 1
        if self.calls <= WARM_UP:
            beside = torch.cuda.Stream()  # what capture demands of the calls before it
            beside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(beside):
                results = self.step(self.ids)
            torch.cuda.current_stream().wait_stream(beside)
            return results
        if self.graph is None:
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self.results = self.step(self.ids)
        self.graph.replay()
        return self.results
