"""What a source had in some time, taken in blocks of days: `python -m flows run <line> --from DATE --to DATE`.

A block is a run of its own, the oldest one first: it adds its days to `dates` of the section that names the line's
source, so that what the blocks before it have made stays. All but the last run only the steps that keep their work
recording by recording; the last one runs the line. Killed at any time, the same command goes on with the block that it
was in, and the end is that of one run over all of these days.
"""

from __future__ import annotations

import importlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from tasks.yard import params as params_file
from tasks.yard import stage as stages
from tasks.yard.files import read_if_there
from tasks.yard.sources import dates, watch
from tasks.yard.sources import uri as source_uri
from tasks.yard.sources.dates import Span
from tasks.yard.step import BadInput, Context

SIZE = re.compile(r"([1-9]\d*)(d?)")


@dataclass(frozen=True)
class Block:
    """One run: the days that it adds, how many recordings are of them, and what `dates` are then."""

    days: Span
    recordings: int
    dates: list[str]


def source_step(line: str) -> str:
    """The step that brings the line's recordings."""
    sections = type(getattr(params_file.load(), line)).model_fields
    found = [step for step, field in sections.items() if "dates" in getattr(field.annotation, "model_fields", {})]
    if not found:
        raise BadInput(f"--from, --to: no step of {line} has a param `dates`, which says what days it takes")
    return found[0]


def asked(first: str | None, last: str | None) -> Span:
    begin = dates.day(first, "--from") if first else date.min
    end = dates.day(last, "--to") if last else date.max
    if begin > end:
        raise BadInput(f"--from {first} is after --to {last}: the first day comes first")
    return Span(begin, end)


def size(text: str) -> tuple[int, bool]:
    """(how many, whether of days or of recordings)."""
    found = SIZE.fullmatch(text)
    if not found:
        raise BadInput(f"--block {text}: write 7d for blocks of 7 days, or 50 for blocks of about 50 recordings")
    return int(found[1]), bool(found[2])


def blocks(found: Iterable[date], wanted: Span, block: str, least: int, now: Sequence[str] | None) -> list[Block]:
    """The blocks that a source with recordings of these days is taken in, without those that are done.

    None is empty, and the first is as large as it takes for `least` recordings. `now`: `dates` as they are; of the
    blocks that are in them all but the last are done.
    """
    number, of_days = size(block)
    counts = Counter(day for day in found if day in wanted)
    if not counts:
        return []
    order = sorted(counts)
    begin = order[0] if wanted.first == date.min else wanted.first
    spans: list[tuple[date, int]] = []  # (last day, recordings)
    end, held, so_far = begin, 0, 0
    for day in order:
        full = day > end if of_days else held >= number
        if full and held and so_far >= least:
            spans.append((end, held))
            held = 0
        if of_days:
            end = begin + (day - begin) // timedelta(days=number) * timedelta(days=number) + timedelta(days=number - 1)
        else:
            end = day
        held, so_far = held + counts[day], so_far + counts[day]
    spans.append((wanted.last, held))
    before = [dates.span(text) for text in now or ()]
    made, first = [], wanted.first
    for last, recordings in spans:
        upto = dates.joined([*before, Span(wanted.first, last)])
        made.append(Block(Span(first, last), recordings, [str(one) for one in upto]))
        first = last + timedelta(days=1) if last < date.max else last
    known = [str(one) for one in dates.joined(before)]
    done = [number for number, one in enumerate(made) if one.dates == known]
    return made[done[-1] :] if done else made


def plan(line: str, wanted: Span, block: str, assignments: list[str]) -> list[Block]:
    """Raises `BadInput` where there is nothing of these days, or nothing to leave out."""
    step = source_step(line)
    key = f"{line}.{step}"
    size(block)
    if any(text.partition("=")[0].strip() == f"{key}.dates" for text in assignments):
        raise BadInput(f"--from and --to set {key}.dates; leave it out of --set")
    section = _section(line, step, assignments)
    shown = source_uri.redacted(section.source)
    dates.refuse_world([] if source_uri.scheme(section.source) == "synth" else None, section.source)
    stage = stages.stage(f"{line}-{step}")
    if section.dates is None and section.source in read_if_there(watch.seen_file(stage)):
        raise BadInput(
            f"{key}.dates is null: every day of {shown} is in already, and a run without --from and --to brings "
            f"what has come since; to leave the other days out, --set {key}.dates=[{wanted}]"
        )
    module = importlib.import_module(f"tasks.{line}.{step}")
    try:
        wide = dates.plain([*(section.dates or ()), str(wanted)])  # of a bucket no more than that is fetched
        found = [dated.day for dated in module.days(section.model_copy(update={"dates": wide}), Context())]
    except ConnectionError as error:
        raise BadInput(str(error)) from None
    least = max([1, *(value for name, value in section if name.startswith("min_") and isinstance(value, int))])
    made = blocks(found, wanted, block, least, section.dates)
    if not made:
        range_ = f"{min(found)} to {max(found)}" if found else "none"
        raise BadInput(f"{shown}: nothing in it is of {wanted}; what it holds is of {range_}")
    return made


def _section(line: str, step: str, assignments: list[str]) -> Any:
    """The section as `--set` will leave it."""
    section, own = getattr(getattr(params_file.load(), line), step), f"{line}.{step}."
    changes = params_file.set_values(assignments, write=False) if assignments else {}
    mine = {key.removeprefix(own): now for key, (_, now) in changes.items() if key.startswith(own)}
    return section.model_copy(update=mine)


def steps(line: str, until: str | None) -> str:
    """Those that a block runs which is not the last, as `--until` takes them: the one that brings the recordings, and
    those after it that keep work recording by recording. A split depends on what was there when it was drawn, so that
    it is drawn once, at the end; so does what is trained."""
    first = source_step(line)
    values = getattr(params_file.load(), line)
    entries = stages.entries()
    kept = {first}
    about = stages.chosen_entries(line, until, None)
    for name in [name for name in entries if name in about and name.startswith(f"{line}-")]:
        step, stage = name.removeprefix(f"{line}-"), stages.Stage(name, line, "", None, entries[name])
        before = stages.steps_before(line, step)
        outs = [out for out in entries[name].get("outs", []) if isinstance(out, dict)]
        keeps = any(options.get("persist") for out in outs for options in out.values())
        splits = "splits" in type(getattr(values, step, None) or values).model_fields
        own = {other for other in before if other == first or first in stages.steps_before(line, other)}
        if first in before and keeps and not splits and not stage.tracked and "matrix" not in entries[name]:
            kept |= {step} if own <= kept else set()
    return ",".join(sorted(kept))
