"""Pickles that others made, read without running anything in them: numbers, texts and numpy's arrays, and no class."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from tasks.yard.step import BadInput

# numpy 1 and 2 call the same things by two names.
ALLOWED = {
    (f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")
} | {
    (f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")
} | {("numpy", "ndarray"), ("numpy", "dtype"), ("builtins", "set"), ("collections", "OrderedDict")}  # fmt: skip


class Refused(pickle.UnpicklingError):
    pass


class Numbers(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in ALLOWED:
            return super().find_class(module, name)
        raise Refused(f"it holds {module}.{name}; only numbers, texts and numpy's arrays are read")


def load(path: Path) -> Any:
    """Of a .pkl, or of a .npy that holds a pickled object. Raises `BadInput`."""
    try:
        return loads(path.read_bytes())
    except Refused as error:
        raise BadInput(f"{path}: cannot be taken: {error}; a class in a pickle may run any program") from None
    except Exception as error:  # a damaged pickle raises whatever its bytes happen to say
        raise BadInput(f"{path}: cannot be read as a pickle ({type(error).__name__}: {error}); bring it anew") from None


def loads(data: bytes) -> Any:
    file = io.BytesIO(data)
    if data[:6] != b"\x93NUMPY":
        return Numbers(file).load()
    version = np.lib.format.read_magic(file)
    header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    _, _, dtype = header[version](file)
    if not dtype.hasobject:
        return np.load(io.BytesIO(data), allow_pickle=False)
    found = Numbers(file).load()
    return found.item() if isinstance(found, np.ndarray) and found.shape == () else found
