"""One unit of work per recording: unchanged ones are kept, a bad one is quarantined, a killed one is resumed.

Reads nothing of its own. Writes, under a step's `out` folder (a `persist: true` out of DVC, so that it survives a
rerun):

    <key>/...            what `work` wrote for that recording
    <key>/.done.json     fingerprint of everything it was made from, and the summary that `work` returned
    <key>.part/          the same, while it is being made: left behind by a kill, handed back to `work` to go on; where
                         <key>/ is there already, it waits finished until the whole run has turned out well
    quarantine.json      {key: reason} of the recordings that could not be used
"""

from __future__ import annotations

import logging
import shutil
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.yard.files import read_json, sweep, write_json
from tasks.yard.step import BadInput, Context, plain

log = logging.getLogger(__name__)
DONE = ".done.json"
NOUNS = ("recording", "recordings")  # what one unit of work and several are called
UNFINISHED = ".part"  # .dvcignore passes over what is called so


@dataclass(frozen=True)
class FanOut:
    summaries: dict[str, dict]  # of every usable recording, kept or new, sorted by key
    quarantined: dict[str, str]  # key -> reason
    made: list[str]  # the ones this run worked on
    out: Path

    def folder(self, key: str) -> Path:
        """Where a usable recording is now: until the run has turned out well a new one waits beside an older one."""
        part = self.out / f"{key}{UNFINISHED}"
        return part if key in self.made and part.exists() else self.out / key


OF_A_FILE = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)


def of_the_machine(error: Exception) -> bool:
    """Is it a fault of disk, memory, device or installation, which the next recording would meet too?

    A file that is not there or may not be read is a recording's own fault; so are PIL's complaints of a picture, which
    are `OSError`s without a number.
    """
    if isinstance(error, OSError):
        return error.errno is not None and not isinstance(error, OF_A_FILE)
    return isinstance(error, (MemoryError, RuntimeError, ImportError))


def as_bad_input(error: Exception, where: str) -> BadInput:
    """What no check foresaw in one recording, as a reason that names it. Raises `error` again if it is the machine's.

    The place in the code is for those who mend it: a function and not a line, so that equal runs give equal reasons.
    """
    if isinstance(error, BadInput):
        return error
    if of_the_machine(error):
        raise error
    frames = traceback.extract_tb(error.__traceback__)
    last = [frame for frame in frames if "tasks" in Path(frame.filename).parts][-1]  # ours, not a library's
    place = f"{last.name} in {Path(last.filename).name}"
    return BadInput(
        f"{where}: cannot be used: {type(error).__name__}: {error} ({place}); no check foresaw this fault: look at the "
        "file, and tell those who look after Trainyard"
    )


Job = tuple[str, Any, str]  # key, item, fingerprint


@dataclass(frozen=True)
class Making:
    """What a map calls for each recording, and what a machine without this disk needs to call it too."""

    work: Callable[[Any, Path], dict]
    out: Path
    needs: Callable[[Any], Sequence[Path]] | None

    def __call__(self, job: Job) -> dict:
        return one(job, work=self.work, out=self.out)

    def place(self, job: Job, summary: dict, bring: Callable[[Path], None]) -> dict:
        """Take what another machine made of a recording; `bring` writes it into a folder, `DONE` last."""
        part = self.out / f"{job[0]}{UNFINISHED}"
        if part.exists():
            shutil.rmtree(part)
        bring(part)
        return in_place(part, self.out / job[0], summary)


def one(job: Job, *, work: Callable[[Any, Path], dict], out: Path) -> dict:
    """Make one recording's folder: `work(item, folder)`, then one rename. An older one is left for `fan_out`."""
    key, item, fingerprint = job
    part, final = out / f"{key}{UNFINISHED}", out / key
    begun = part / ".begun.json"
    for folder in (part, final):  # the second by a worker that was lost before it could say so
        if (summary := made_before(folder, fingerprint)) is not None:
            return in_place(folder, final, summary)
    if part.exists() and not (begun.exists() and read_json(begun) == fingerprint):
        shutil.rmtree(part)  # begun from other inputs, params or code: of no use now
    part.mkdir(parents=True, exist_ok=True)
    write_json(begun, fingerprint)
    try:
        summary = work(item, part)
    except Exception as error:
        reason = as_bad_input(error, key)
        shutil.rmtree(part)
        raise reason from None
    begun.unlink()
    sweep(part, everyone=True)  # of a worker that was killed, on whatever host: nobody else writes here
    write_json(part / DONE, {"fingerprint": fingerprint, "summary": summary})
    return in_place(part, final, summary)


def in_place(part: Path, final: Path, summary: dict) -> dict:
    if not final.exists():
        part.rename(final)
    return summary


def made_before(folder: Path, fingerprint: str) -> dict | None:
    """The summary of a finished folder, None if there is none or it was made from something else."""
    done = folder / DONE
    if done.exists() and (record := read_json(done))["fingerprint"] == fingerprint:
        return record["summary"]
    return None


def fan_out(
    work: Callable[[Any, Path], dict],
    items: Mapping[str, Any],
    fingerprints: Mapping[str, str],
    out: Path,
    ctx: Context,
    *,
    parallel: bool = True,
    accept: Callable[[FanOut], object] | None = None,
    nouns: tuple[str, str] = NOUNS,
    needs: Callable[[Any], Sequence[Path]] | None = None,
) -> FanOut:
    """Run `work(items[key], folder)` for every key whose fingerprint changed; see the module docstring for the files.

    `work` is picklable (a module-level function or a `functools.partial` of one), writes into `folder` and returns a
    JSON-able summary. It may find its own unfinished files in `folder`. A `BadInput` from it, or an error that its
    input must have caused, quarantines the recording; a fault of the machine is raised once all the others are through,
    so that their results are kept.

    `nouns`: what people read instead of recording and recordings.

    `needs(item)`, a function of a module: all files and folders that `work` reads of it. Said, a recording can be sent
    to a machine that has no disk in common with this one; else it stays here.

    `accept` looks at the outcome and raises `BadInput` if the step must fail; it finds the folder of a recording by
    `FanOut.folder`. A run that fails, or in which nothing is usable, takes nothing away: the folders of other
    recordings, and the older one of a recording that is new or bad now, go only after that.
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
        if (summary := made_before(out / key, fingerprints[key])) is not None:
            summaries[key] = summary
    todo = sorted(set(items) - set(summaries))
    if summaries:
        log.info("%d of %d %s unchanged and kept", len(summaries), len(items), nouns[1])

    failed: dict[str, Exception] = {}
    jobs = [(key, items[key], fingerprints[key]) for key in todo]
    results = ctx.map(Making(work, out, needs), jobs, names=todo, parallel=parallel)
    for index, result in ctx.progress(results, total=len(jobs), desc=out.name, unit=nouns[0]):
        key = todo[index]
        if isinstance(result, BadInput):
            log.warning("quarantined %s: %s", key, result)
            quarantined[key] = str(result)
        elif isinstance(result, Exception):
            failed[key] = result
        else:
            summaries[key] = result
    write_json(out / "quarantine.json", quarantined)
    if failed:
        key, error = next(iter(failed.items()))
        said = f"{len(failed)} of {len(items)} {nouns[1]} failed, first {key}: "
        if (cause := plain(error)) is not None:
            raise BadInput(said + cause.removeprefix(f"{key}: ")) from None
        raise RuntimeError(f"{said}{error!r}") from error
    done = FanOut(dict(sorted(summaries.items())), quarantined, todo, out)
    if accept is not None:
        accept(done)
    for key in summaries:
        if (new := done.folder(key)) != out / key:
            shutil.rmtree(out / key)
            new.rename(out / key)
    if summaries or not (items or misnamed):  # a source that holds nothing usable takes nothing away
        for path in out.iterdir():
            if path.is_dir() and path.name not in summaries:
                shutil.rmtree(path)
    return done
