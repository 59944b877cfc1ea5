"""Where a network runs, and in what numbers."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn


def accelerator() -> torch.device:
    """The GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Carried:
    """Who holds a network, on a device. Another process that it is sent to, perhaps on another machine, has the network
    on the device that is chosen there."""

    network: nn.Module

    def chosen(self) -> torch.device:
        return accelerator()

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "network": copy.deepcopy(self.network).cpu()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.network.to(self.chosen())


def cpu_has_bf16() -> bool:
    """Does oneDNN take bfloat16 on this processor? Without AVX-512 it refuses an LSTM, and the rest is slower in it."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
