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


def latin1(text: str, encoding: str) -> bytes:
    """Bytes of an array, as protocols 0 to 2 write them: codecs.encode, of texts and to this encoding alone."""
    if type(text) is not str or encoding != "latin1":
        raise Refused(f"it holds _codecs.encode to {encoding!r}")
    return text.encode("latin1")


def nothing() -> bytes:
    """Those of an empty array; to the class itself a number would be room to make."""
    return b""


CALLED = {("_codecs", "encode"): latin1, ("builtins", "bytes"): nothing}


class Refused(pickle.UnpicklingError):
    pass


class Numbers(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        module = "builtins" if module == "__builtin__" else module  # as protocols 0 to 2 call it
        if (module, name) in CALLED:
            return CALLED[module, name]
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
