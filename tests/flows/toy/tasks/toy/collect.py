"""One folder a number found in the source; a text that is no number is quarantined."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

from tasks.yard.fanout import fan_out
from tasks.yard.files import digest, file_hash, write_text
from tasks.yard.step import BadInput, Context


def take(path: Path, folder: Path, pause_s: float) -> dict:
    time.sleep(pause_s)
    try:
        number = int(path.read_text())
    except ValueError:
        raise BadInput(f"{path.name}: {path.read_text()!r} is not a whole number") from None
    write_text(folder / "number.txt", str(number))
    return {"number": number}


def run(params, out, ctx=Context()) -> dict:
    items = {path.stem: path for path in sorted(Path(params.source).glob("*.txt"))}
    if not items:
        raise BadInput(f"{params.source}: holds no number")
    fingerprints = {key: digest(file_hash(path), ctx.code) for key, path in items.items()}
    made = fan_out(partial(take, pause_s=params.pause_s), items, fingerprints, out, ctx)
    return {"numbers": len(made.summaries), "made": len(made.made)}
