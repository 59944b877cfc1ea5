"""What every line's `apply` shares: the model that is applied, what belongs to it, and one result a given input.

A line takes part with a module tasks/<line>/apply.py:

    belongings(data, item, line, folder)           writes into `folder` what the network of train/<item> needs besides
                                                   its weights: thresholds, the detector that looked for it, `MADE_WITH`
    run(source, model, out, line, ctx, *, ...) -> Applied     `model` on what lies at `source`, by the functions that
                                                   the stages call; a keyword-only argument is an option of the command
    READS                                          the steps whose params it reads; those of others are refused
    SERVED                                         the belongings that the model served by MLflow reads too; may lack

The belongings go into the registry with the leader of a run (tracking/champion.py), and come back with its weights
(tracking/fetched.py); those of weights in this checkout are written anew.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tasks.yard.fanout import as_bad_input
from tasks.yard.files import digest, file_hash, read_if_there, write_json
from tasks.yard.sources import uri as source_uri
from tasks.yard.step import BadInput

MADE_WITH = "params.json"  # among the belongings: {step: the section of it that the model was made with}
RESULT = "apply.json"


@dataclass(frozen=True)
class Model:
    """Weights, and where they come from; what is not known is None."""

    name: str  # models:/<line>/<version>, or the file as it was given
    weights: Path
    belongings: Path  # a folder, empty if nothing is known
    item: str | None = None  # of the train stage
    version: str | None = None
    dvc_hash: str | None = None
    git_commit: str | None = None
    sha256: str = ""

    def belonging(self, name: str) -> Path | None:
        path = self.belongings / name
        return path if path.exists() else None

    @property
    def fingerprint(self) -> str:
        return digest(self.sha256, [(path.name, file_hash(path)) for path in sorted(self.belongings.glob("*"))])

    def told(self) -> dict[str, Any]:
        """For a result: where the model comes from."""
        kept = ("name", "item", "version", "dvc_hash", "git_commit", "sha256")
        return {key: value for key, value in asdict(self).items() if key in kept}


@dataclass(frozen=True)
class Applied:
    """What became of one input."""

    results: Mapping[str, dict]  # of every recording, photograph, sequence: its numbers and the files written
    quarantined: Mapping[str, str] = field(default_factory=dict)  # the others, each with its reason
    said: Sequence[str] = ()  # what was corrected or resampled


def made_with(line: Any, model: Model, changes: Mapping[str, Any]) -> Any:
    """The line's params as the model was made with, as far as that is known, then the `changes` ({dotted key: value})
    that were asked for on the command line."""
    kept = read_if_there(model.belongings / MADE_WITH)
    values = line.model_dump(mode="json")
    values |= {step: section for step, section in kept.items() if step in values}
    for step in type(line).model_fields:  # which days a model learnt from says nothing of what it is applied to
        values[step] |= {"dates": None} if hasattr(getattr(line, step), "dates") else {}
    for key, value in changes.items():
        node, *parts = values, *key.split(".")
        for part in parts[:-1]:
            node = node[part]
        node[parts[-1]] = value
    try:
        return type(line).model_validate(values)
    except ValueError as error:
        first = str(error).splitlines()
        raise BadInput(
            f"{model.name} was made with params that this Trainyard does not know ({' '.join(first[1:3])}); check out "
            f"the commit that made it ({model.git_commit or 'not known'}), or train again"
        ) from None


def names_of(sources: Sequence[str], out: Path) -> dict[str, str]:
    """{name of its folder of results below `out`: source}. A source whose last part is that of another one of them, or
    of one whose results lie there already, is told apart by a hash of where it is."""
    places = {_place(source): source for source in reversed(sources)}
    plain = {place: _last(source) for place, source in places.items()}
    found: dict[str, str] = {}
    for place, source in reversed(places.items()):
        name = plain[place]
        hashed = f"{name}-{mark_of(source)}"
        there = read_if_there(out / name / RESULT)
        if not there:
            taken = (out / hashed / RESULT).exists() or list(plain.values()).count(name) > 1
        else:
            taken = name in found or there.get("mark") != mark_of(source)
        found[hashed if taken else name] = source
    return found


def mark_of(source: str) -> str:
    """Tells apart what reads the same once secrets are left out of it, and says nothing of them."""
    return digest(_place(source))[:6]


def _last(source: str) -> str:
    last = source_uri.redacted(source).partition("?")[0].partition("#")[0].rstrip("/")
    name = re.sub(r"[^\w.-]+", "_", Path(last).resolve().name if "://" not in last else last.rpartition("/")[2])
    return name.lstrip(".") or "input"


def _place(source: str) -> str:
    """Where it is, however a path to it is written."""
    return source if "://" in source else str(Path(source).resolve())


def to_all(
    sources: Sequence[str], out: Path, about: Mapping[str, Any], apply: Callable[[str, Path], Applied]
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Apply to one input after the other, each with a folder below `out` that has an `apply.json` of its own. One that
    cannot be used is named, and does not stop the others; a fault of the machine does. Yields each folder, and what
    came of it now: that stands in its `apply.json`. Where nothing came of it, what an earlier call made stays there,
    with this as `failed`, and `kept` says how many results that are."""
    for name, source in names_of(sources, out).items():
        shown = source_uri.redacted(source)
        try:
            done = asdict(apply(source, out / name))
        except Exception as fault:
            if not isinstance(fault, BadInput) and isinstance(fault, ConnectionError):
                error: BadInput = BadInput(str(fault))
            else:
                error = as_bad_input(fault, shown)
            done = {"results": {}, "quarantined": {name: str(error)}, "said": []}
        told = {"input": shown, "mark": mark_of(source), **done, **about}
        before = read_if_there(out / name / RESULT)
        kept = 0 if done["results"] else len(before.get("results", ()))
        write_json(out / name / RESULT, {**before, "failed": told} if kept else told)
        yield out / name, {**told, "kept": kept}


def reason_of(out: Path, error: BadInput) -> BadInput:
    """Of a step that could use nothing: the reason of the first one instead of where the reasons stand."""
    reasons = read_if_there(out / "quarantine.json")
    if not reasons:
        return error
    more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
    return BadInput(f"{next(iter(reasons.values()))}{more}")


def refuse_unknown_options(line: str, given: Mapping[str, Any], taken: Sequence[str]) -> None:
    for option in given:
        if option not in taken:
            known = [f"--{name.replace('_', '-')}" for name in taken]
            raise BadInput(f"apply {line} takes no --{option.replace('_', '-')}; it takes {', '.join(known) or 'none'}")


@contextmanager
def quiet(*names: str) -> Iterator[None]:
    """Without what these loggers say meanwhile, but for errors."""
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
