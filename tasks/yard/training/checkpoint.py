"""Checkpoints: `<name>.pt` loads with `weights_only=True`, `<name>.json` beside it is for people.

Both are written to a temporary name and renamed, the weights first: a kill at any moment leaves the old or the new one.
"""

from __future__ import annotations

import io
import logging
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch

from tasks.yard.files import replacing, write_json
from tasks.yard.step import BadInput

log = logging.getLogger(__name__)


def interned(value: Any) -> Any:
    """The same with one object for each text. Pickle writes an object that it has met before as a reference: the texts
    of a run that was taken up are others than those of one in one go, and so were the bytes."""
    if isinstance(value, str):
        return sys.intern(value)
    if type(value) in (dict, OrderedDict):
        made = type(value)((interned(key), interned(item)) for key, item in value.items())
        if hasattr(value, "_metadata"):  # torch's, of a model's state
            made._metadata = interned(value._metadata)
        return made
    if type(value) in (list, tuple):
        return type(value)(map(interned, value))
    return value


def save(folder: Path, name: str, state: dict[str, Any], readable: dict[str, Any]) -> None:
    state = interned(state)
    buffer = io.BytesIO()  # torch.save writes a file's name into the file, and the temporary name holds a process id
    torch.save(state, buffer)
    with replacing(folder / f"{name}.pt") as temporary:
        temporary.write_bytes(buffer.getvalue())
    write_json(folder / f"{name}.json", readable)


def load(path: Path) -> dict[str, Any]:
    """The state, on the CPU. Raises `BadInput` if the file is none of ours."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise BadInput(f"{path}: no such checkpoint; train first") from None
    except Exception as error:  # on a file of another kind torch's reader fails in any way, from KeyError to EOFError
        raise BadInput(f"{path}: not a checkpoint ({type(error).__name__}); delete it and train again") from None


def resumable(path: Path, fingerprint: str) -> dict[str, Any] | None:
    """The state to go on from, or None if there is none or it was made from other data, params or code."""
    if not path.exists():
        return None
    try:
        state = load(path)
    except BadInput as error:
        log.warning("%s; starting over", error)
        return None
    if state.get("fingerprint") != fingerprint:
        log.info("%s was made from other data, params or code: starting over", path)
        return None
    return state
