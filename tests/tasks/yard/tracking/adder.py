"""A model that MLflow can serve: it adds the number in its file."""

from __future__ import annotations

from pathlib import Path

import numpy as np


class Adder:
    def __init__(self, number: int) -> None:
        self.number = number

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        return inputs + self.number


def _load_pyfunc(path: str) -> Adder:
    return Adder(int(Path(path).read_text()))


def served_model(out: Path, _item: str | None, _data: Path) -> tuple[str, Path, np.ndarray]:
    return __name__, out / "best.pt", np.zeros((1, 2))
