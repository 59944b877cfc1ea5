"""One unit of work per recording: unchanged ones are kept, a bad one is quarantined, a killed one is resumed.

Reads nothing of its own. Writes, under a step's `out` folder (a `persist: true` out of DVC, so that it survives a
rerun):

    <key>/...            what `work` wrote for that recording
    <key>/.done.json     fingerprint of everything it was made from, and the summary that `work` returned
    <key>.part/          the same, while it is being made: left behind by a kill, handed back to `work` to go on
    quarantine.json      {key: reason} of the recordings that could not be used
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tasks.yard.files import read_json, write_json
from tasks.yard.step import BadInput, Context

log = logging.getLogger(__name__)
DONE = ".done.json"
UNFINISHED = ".part"  # .dvcignore passes over what is called so


@dataclass(frozen=True)
class FanOut:
    summaries: dict[str, dict]  # of every usable recording, kept or new, sorted by key
    quarantined: dict[str, str]  # key -> reason
    made: list[str]  # the ones this run worked on


def one(job: tuple[str, Any, str], *, work: Callable[[Any, Path], dict], out: Path) -> dict:
    """Make one recording's folder: `work(item, folder)`, then one rename."""
    key, item, fingerprint = job
    part, final = out / f"{key}{UNFINISHED}", out / key
    begun = part / ".begun.json"
    if part.exists() and not (begun.exists() and read_json(begun) == fingerprint):
        shutil.rmtree(part)  # begun from other inputs, params or code: of no use now
    part.mkdir(parents=True, exist_ok=True)
    write_json(begun, fingerprint)
    try:
        summary = work(item, part)
    except BadInput:
        shutil.rmtree(part)
        raise
    begun.unlink()
    write_json(part / DONE, {"fingerprint": fingerprint, "summary": summary})
    if final.exists():
        shutil.rmtree(final)
    part.rename(final)
    return summary


def fan_out(
    work: Callable[[Any, Path], dict],
    items: Mapping[str, Any],
    fingerprints: Mapping[str, str],
    out: Path,
    ctx: Context,
    *,
    parallel: bool = True,
) -> FanOut:
    """Run `work(items[key], folder)` for every key whose fingerprint changed; see the module docstring for the files.

    `work` is picklable (a module-level function or a `functools.partial` of one), writes into `folder` and returns a
    JSON-able summary. It may find its own unfinished files in `folder`. A `BadInput` from it quarantines the recording;
    any other error is raised once all the others are through, so that their results are kept.
    """
    out.mkdir(parents=True, exist_ok=True)
    misnamed = sorted(key for key in items if key.endswith(UNFINISHED))
    quarantined = {
        key: f"{key}: {UNFINISHED} at the end of a name marks unfinished work; rename it" for key in misnamed
    }
    for reason in quarantined.values():
        log.warning("quarantined %s", reason)
    items = {key: item for key, item in items.items() if key not in quarantined}
    summaries: dict[str, dict] = {}
    for key in items:
        done = out / key / DONE
        if done.exists() and (record := read_json(done))["fingerprint"] == fingerprints[key]:
            summaries[key] = record["summary"]
    todo = sorted(set(items) - set(summaries))
    if summaries:
        log.info("%d of %d recordings unchanged and kept", len(summaries), len(items))

    failed: dict[str, Exception] = {}
    jobs = [(key, items[key], fingerprints[key]) for key in todo]
    results = ctx.map(partial(one, work=work, out=out), jobs, names=todo, parallel=parallel)
    for index, result in ctx.progress(results, total=len(jobs), desc=out.name, unit="recording"):
        key = todo[index]
        if isinstance(result, BadInput):
            log.warning("quarantined %s: %s", key, result)
            quarantined[key] = str(result)
            if (out / key).exists():
                shutil.rmtree(out / key)
        elif isinstance(result, Exception):
            failed[key] = result
        else:
            summaries[key] = result
    if summaries or not (items or misnamed):  # a source that holds nothing usable takes nothing away
        for path in out.iterdir():
            if path.is_dir() and path.name.removesuffix(UNFINISHED) not in items:
                shutil.rmtree(path)
    write_json(out / "quarantine.json", quarantined)
    if failed:
        key, error = next(iter(failed.items()))
        raise RuntimeError(f"{len(failed)} of {len(items)} recordings failed, first {key}: {error!r}") from error
    return FanOut(dict(sorted(summaries.items())), quarantined, todo)
