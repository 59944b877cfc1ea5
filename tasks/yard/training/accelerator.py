"""Where a trained network runs."""

from __future__ import annotations

import torch


def accelerator() -> torch.device:
    """The GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
