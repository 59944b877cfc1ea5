"""Where a network runs, and in what numbers."""

from __future__ import annotations

import torch


def accelerator() -> torch.device:
    """The GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def cpu_has_bf16() -> bool:
    """Does oneDNN take bfloat16 on this processor? Without AVX-512 it refuses an LSTM, and the rest is slower in it."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
