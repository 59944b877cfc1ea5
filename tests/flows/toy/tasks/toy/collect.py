"""One folder a number found in the source; a text that is no number is quarantined."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tasks.toy.reading import number

from tasks.yard.fanout import fan_out
from tasks.yard.files import digest, file_hash, write_text
from tasks.yard.sources import dates
from tasks.yard.sources.local import local
from tasks.yard.sources.units import refuse_too_few
from tasks.yard.sources.uri import redacted
from tasks.yard.step import BadInput, Context

GIVE_UP_S = 240


def wait_at(gate: Path) -> None:
    """Until a test lets this one through: no test has to guess how long another takes."""
    deadline = time.monotonic() + GIVE_UP_S
    while not gate.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{gate} did not appear")
        time.sleep(0.02)


def take(path: Path, folder: Path, gates: str | None) -> dict:
    if gates:
        wait_at(Path(gates, path.stem))
    try:
        value = number(path.read_text())
    except ValueError:
        raise BadInput(f"{path.name}: {path.read_text()!r} is not a whole number") from None
    write_text(folder / "number.txt", str(value))
    return {"number": value}


@dataclass(frozen=True)
class Text:
    path: Path


def texts(params, ctx) -> tuple[list[Text], Path]:
    folder = local(params.source, progress=ctx.progress)
    return [Text(path) for path in sorted(folder.glob("*.txt"))], folder


def days(params, ctx=Context()) -> list[dates.Dated]:
    there, folder = texts(params, ctx)
    return dates.days(there, folder, lambda text: [text.path])


def run(params, out, ctx=Context()) -> dict:
    there, _ = texts(params, ctx)
    mine, about = dates.chosen(there, days(params, ctx), params.dates, redacted(params.source), ("number", "numbers"))
    dates.refuse_none(mine, [about], redacted(params.source), "number")
    items = {text.path.stem: text.path for text in mine}
    if not items:
        raise BadInput(f"{redacted(params.source)}: holds no number")
    fingerprints = {key: digest(file_hash(path), ctx.code) for key, path in items.items()}
    accept = partial(refuse_too_few, needed=1, what="numbers", uri=params.source)
    made = fan_out(partial(take, gates=params.gates), items, fingerprints, out, ctx, accept=accept)
    return {"numbers": len(made.summaries), "made": len(made.made)}
