"""The graph of dvc.yaml for the Prefect flows: which stages are out of date and why, and recording what a step made.

DVC's objects are not safe to use from several threads. So everything here runs under a lock of this process and DVC's
lock of the checkout, for about 0.03 s a stage. The steps themselves run outside both locks.
"""

from __future__ import annotations

# DVC is pinned in requirements/core.in, because these parts of it are not public:
#   Repo        index.graph, lock, stage_cache, cache.local, cache.local_cache_dir, tmp_dir, fs, config, cloud
#   PipelineStage and its deps and outs   changed, status, save, commit, dump, remove_outs; exists, hash_info, fs_path,
#               use_cache, changed_cache, get_hash, get_obj, checkout
#   HashFileDB, of the cache and of a remote   oid_to_path, oids_exist, add; load, check
#   ParamsDependency                      read_params
#   Lockfile                              dump
#   rwlock and its two files, make_lock, LockError, RunCacheNotFoundError
import hashlib
import json
import logging
import os
import re
import shutil
import sqlite3
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import networkx
import yaml
from dvc.dependency import ParamsDependency
from dvc.dvcfile import Lockfile
from dvc.exceptions import DvcException
from dvc.lock import LockError, make_lock
from dvc.output import Output
from dvc.repo import Repo
from dvc.rwlock import RWLOCK_FILE, RWLOCK_LOCK, rwlock
from dvc.stage import PipelineStage
from dvc.stage.cache import RunCacheNotFoundError
from dvc_data.hashfile import check, load
from dvc_objects.errors import ObjectFormatError

from flows import forcing, remote
from flows.environment import STATE
from flows.looked import Looked
from tasks.yard import code
from tasks.yard import stage as stages
from tasks.yard.files import FULL_DISK, digest, read_json, replacing, write_json
from tasks.yard.sources import watch
from tasks.yard.stage import CODE
from tasks.yard.step import BadInput, plain

log = logging.getLogger(__name__)


CUT_LOCK = (
    "dvc.lock is not whole, as after a `dvc repro` that was killed while it wrote it: `git checkout dvc.lock` brings "
    "back the last one that was committed, and a run then finds in DVC's run cache what was made since"
)


def _is_cut(lock: Path) -> bool:
    """DVC writes it in place."""
    try:
        return lock.exists() and "stages" not in (yaml.load(lock.read_text(encoding="utf-8"), stages.Loader) or {})
    except yaml.YAMLError:
        return True


class NotCached(BadInput):
    """What a stage has made is written into dvc.lock, and is not in the cache."""


class Apart(Repo):
    """DVC's locks lie in this folder then. What is written meanwhile may look changed: look again later."""

    @property
    def tmp_dir(self) -> str:
        folder = Path(self.root_dir, STATE, "apart")
        folder.mkdir(parents=True, exist_ok=True)
        return str(folder)


@dataclass
class Graph:
    """The stages of one line in dvc.yaml, `code` before them, in an order in which they can run."""

    line: str
    root: Path = field(default_factory=Path)
    apart: bool = False  # for looking only: with locks of its own, so that no run and no `dvc repro` waits for it
    repo: Repo | None = None  # of another line's graph: to read dvc.yaml and dvc.lock takes DVC half a second

    def __post_init__(self) -> None:
        for name in ("dvc", "dvc_data", "dvc_objects"):  # they log a traceback for each object that fails
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self.repo = self.repo or (Apart if self.apart else Repo)(str(self.root))
        self._lock = threading.RLock()
        self._looked = Looked(self.root, self.root / STATE / "looked.json")
        self._news: dict[str, list[str]] = {}
        self._mend_claims()
        try:
            with self.locked():
                graph = self.repo.index.graph
        except DvcException as error:
            way_out = CUT_LOCK if _is_cut(self.root / "dvc.lock") else "`dvc stage list` says more"
            raise BadInput(f"{error}; {way_out}") from None
        self._before = graph  # an edge points from a stage to one that has to come before it
        order = reversed(list(networkx.lexicographical_topological_sort(graph, key=lambda stage: stage.addressing)))
        self.stages: dict[str, PipelineStage] = {
            stage.name: stage
            for stage in order
            if isinstance(stage, PipelineStage) and (stage.name == CODE or stage.name.startswith(f"{self.line}-"))
        }
        for stage in self.stages.values():
            self._looked.serve(stage)

    @contextmanager
    def locked(self) -> Iterator[None]:
        with self._lock, _plainly(), self.repo.lock:
            yield

    def before(self, name: str) -> list[str]:
        """The stages whose outs this one reads."""
        return [stage.name for stage in self._before.successors(self.stages[name]) if stage.name in self.stages]

    def _needing(self, name: str) -> set[str]:
        """The stage, and those that need it, directly or not."""
        return {
            name,
            *(stage.name for stage in networkx.ancestors(self._before, self.stages[name])),
        } & self.stages.keys()

    def in_vain(self, name: str, failed: set[str]) -> bool:
        """Can nothing be finished any more that the stage is for? Nobody should wait for it to hear what failed."""
        lost = {stage for one in failed for stage in self._needing(one)}
        return all(stage in lost for stage in self._needing(name) if self._needing(stage) == {stage})

    def behind(self, name: str) -> int:
        """How many stages wait for this one, one after the other."""
        needing = [self.stages[one] for one in self._needing(name)]
        return networkx.dag_longest_path_length(self._before.subgraph(needing))

    def can_wait(self, name: str, unfinished: set[str]) -> bool:
        """Has another of these stages more behind it? The run ends earlier if that one is served first."""
        return any(self.behind(other) > self.behind(name) for other in unfinished)

    def why(self, name: str) -> list[str]:
        """The reasons why the stage has to run; empty if it is up to date."""
        forced = [forcing.REASON] if name in forcing.owed() else []
        if name not in self._news:  # its source is asked once a run, until the stage has read it
            self._news[name] = watch.news(stages.stage(name), self._seen(name))
        return [*forced, *self._why(name), *self._news[name]]

    def _seen(self, name: str) -> dict[str, str | None]:
        """What the stage saw of its outside sources, as its out here tells, or as dvc.lock names it."""
        file = watch.seen_file(stages.stage(name))
        recorded = [out.hash_info.value for out in self.stages[name].outs if Path(str(out)) == file and out.hash_info]
        places = [self.root / file, *(Path(self.repo.cache.local.oid_to_path(value)) for value in recorded)]
        return next((read_json(place) for place in places if place.is_file()), {})

    def _why(self, name: str) -> list[str]:
        stage = self.stages[name]
        with self.locked():
            edited, changed = self._code(stage), stage.changed()
            if not edited and not changed:
                return []
            if all(not out.hash_info for out in stage.outs):
                return ["never run"]
            reasons = [*edited, *_params(stage), *_files(stage.status().get(stage.addressing, []))]
            return reasons or ["not recorded in dvc.lock"]

    def _code(self, stage: PipelineStage) -> list[str]:
        """What differs between the code that made the stage's outs and the current code: one text per file."""
        listing = next((dep for dep in stage.deps if Path(str(dep)).parent == Path("data", CODE)), None)
        if listing is None or not listing.hash_info:
            return []
        recorded = listing.hash_info.value
        line, _, step = Path(str(listing)).name.rpartition("-")
        now = code.of(line, step, self.root)
        if hashlib.md5(now.encode()).hexdigest() == recorded:
            return []
        for place in (self.root / str(listing), Path(self.repo.cache.local.oid_to_path(recorded))):
            if place.is_file() and hashlib.md5(place.read_bytes()).hexdigest() == recorded:
                return [f"code {text}" for text in code.changed(place.read_text(encoding="utf-8"), now)]
        return ["code"]

    def refuse_if_missing(self, name: str) -> None:
        """Raises `BadInput` if a file or folder that the stage reads does not exist."""
        missing = [
            str(dep) for dep in self.stages[name].deps if not isinstance(dep, ParamsDependency) and not dep.exists
        ]
        if missing:
            raise BadInput(f"{name} reads {', '.join(missing)}: no such file or folder; run what makes it first")

    @contextmanager
    def claimed(self, name: str) -> Iterator[None]:
        """Hold DVC's locks on the stage's deps and outs inside the block, so that a `dvc repro` in this checkout is
        refused and names the holder. Raises `BadInput` if a `dvc repro` holds them already."""
        stage = self.stages[name]
        reads = [dep.fs_path for dep in stage.deps if dep.protocol == "local" and dep.fs_path]
        writes = [out.fs_path for out in stage.outs]
        # DVC identifies a holder by pid and command line, and lets the holder itself through: `restore` needs that.
        claim = rwlock(self.repo.tmp_dir, self.repo.fs, " ".join(sys.argv), reads, writes, hardlink=False)
        with ExitStack() as claims:
            # The claims of all stages are in one file, which DVC rewrites as a whole: one thread at a time.
            with self._lock, _plainly():
                claims.enter_context(claim)
                self._looked.forget()
                self._news.pop(name, None)
            try:
                yield
            finally:
                with self._lock:
                    self._looked.forget()
                    try:
                        claims.close()
                    except (LockError, OSError) as fault:  # a full disk, which must not take the place of what failed
                        why = str(fault).partition(". ")[0]
                        log.warning("%s: DVC's locks are not given back (%s); the next run drops them", name, why)

    def take_over(self) -> None:
        """For who holds the checkout: drop the claims of the last run here, should it have been killed. DVC believes
        them as long as any process of this machine has that pid, and it may have been another host's or a
        container's."""
        note, path = self.root / STATE / "claimant.json", Path(self.repo.tmp_dir, RWLOCK_FILE)
        with self._lock, _plainly(), make_lock(str(path.with_name(RWLOCK_LOCK)), tmp_dir=self.repo.tmp_dir):
            if note.exists() and path.exists():
                last, claims = read_json(note), read_json(path)
                left = {
                    "read": {at: [one for one in who if one != last] for at, who in claims.get("read", {}).items()},
                    "write": {at: who for at, who in claims.get("write", {}).items() if who != last},
                }
                left["read"] = {at: who for at, who in left["read"].items() if who}
                if left != claims:
                    write_json(path, left)
            write_json(note, {"pid": os.getpid(), "cmd": " ".join(sys.argv)})

    def _mend_claims(self) -> None:
        """Put a file of claims aside that cannot be read: DVC, killed while it wrote it, leaves it empty, and then
        refuses every later run. Its claims were those of the process that was killed."""
        path = Path(self.repo.tmp_dir, RWLOCK_FILE)
        with self._lock, _plainly(), make_lock(str(path.with_name(RWLOCK_LOCK)), tmp_dir=self.repo.tmp_dir):
            try:
                json.loads(path.read_bytes() if path.exists() else b"{}")
            except ValueError:
                log.warning("%s could not be read: a run was killed while it wrote it; set aside", path)
                path.replace(path.with_name(f"{RWLOCK_FILE}.damaged"))

    @contextmanager
    def aside(self, name: str) -> Iterator[None]:
        """Move the stage's outs away while the block runs, and back if it fails.

        `dvc repro` deletes them before a run, so a failed run leaves nothing. Outs with `persist` stay, as with DVC:
        the step continues from them.
        """
        folder = self.root / STATE / "aside"
        folder.mkdir(parents=True, exist_ok=True)
        outs = [(Path(out.fs_path), folder / f"{name}.{i}") for i, out in enumerate(self.stages[name].outs)
                if not out.persist and Path(out.fs_path).exists()]  # fmt: skip
        for path, refuge in outs:
            _remove(refuge)  # left by a run that was killed
            shutil.move(path, refuge)
        try:
            yield
        except BaseException:  # Ctrl-C too
            for path, refuge in outs:
                _remove(path)
                shutil.move(refuge, path)
            raise
        for _, refuge in outs:
            _remove(refuge)

    def restore(self, name: str) -> bool:
        """Restore the outs from DVC's run cache, as `dvc repro` would; False if it has no such run.

        The key of the run cache is the command and the current deps and params.
        """
        stage = self.stages[name]
        with self.locked():
            if not all(dep.exists for dep in stage.deps):
                return False  # DVC cannot hash what is not there; `refuse_if_missing` names it
            try:
                with self.aside(name):
                    stage.remove_outs(ignore_remove=False, force=False)  # outs with `persist` become writable
                    self.repo.stage_cache.restore(stage)
            except RunCacheNotFoundError:
                return False
            self._record(stage)
            return True

    def record(self, name: str) -> dict[str, str]:
        """Write what the step made into dvc.lock and the caches, as `dvc repro` would. Returns {out: md5}."""
        with self.locked():
            self._looked.forget()
            self._record(self.stages[name])
        return {str(out): out.hash_info.value for out in self.stages[name].outs}

    def _record(self, stage: PipelineStage) -> None:
        stage.save()
        with self._into_cache(stage.outs):
            try:
                stage.commit()
            finally:  # also of what the cache did not take: the next `pull` hands it over
                self._write_lock(stage)

    def _write_lock(self, stage: PipelineStage) -> None:
        """As `stage.dump`, but whole or not at all: DVC writes in place, and steps read dvc.lock in the meantime."""
        lock = Path(self.repo.root_dir, "dvc.lock")
        with replacing(lock) as temporary:
            if lock.exists():
                shutil.copyfile(lock, temporary)
            Lockfile(self.repo, str(temporary)).dump(stage)

    @contextmanager
    def _into_cache(self, outs: list[Output]) -> Iterator[None]:
        """Raises `BadInput` if the cache lacks some of the outs after the block: on a full disk DVC mostly goes on as
        if they were there."""
        try:
            yield
        except OSError as error:
            if error.errno not in FULL_DISK:
                raise
        if lacking := [out for out in outs if out.use_cache and out.changed_cache()]:
            cache = self.repo.cache.local_cache_dir
            room = f"{shutil.disk_usage(cache).free / 1e6:.0f} MB"
            raise NotCached(
                f"{lacking[0].stage.name}: DVC's cache {cache} did not take what it made ({room} are free there); make "
                "room, or move it by `dvc cache dir`, and run again: what it made is kept, and then only recorded"
            )

    def recorded(self) -> str:
        """Another one once dvc.lock says something else of any out of the line."""
        stages = [stage for name, stage in sorted(self.stages.items()) if name != CODE]
        return digest(*[(str(out), out.hash_info.value) for stage in stages for out in stage.outs])

    def discard(self, name: str) -> None:
        """Remove the stage's outs, also those with `persist`: the stage starts from scratch."""
        with self.locked():
            for out in self.stages[name].outs:
                out.remove(ignore_remove=False)

    def pull(self) -> None:
        """Bring back what dvc.lock names: fetch what neither the cache nor this checkout holds, where a DVC remote is
        configured, then check out the outs that are not here, or are here as they were recorded at some time.
        Unfinished work stays as it is, also that of a stage that `--force` has begun from scratch."""
        begun = {name for name, started in forcing.owed().items() if started}
        with self.locked():
            self._looked.forget()
            for out in [out for stage in self.stages.values() for out in stage.outs]:
                if out.hash_info and out.changed_cache() and out.exists and out.get_hash() == out.hash_info:
                    with self._into_cache([out]):  # it was full or cleared, or the data were copied without it
                        out.commit(relink=False)
            if remote.is_configured(self.repo):
                remote.fetch(self.repo, self.stages.values())
            for name, stage in self.stages.items():
                if name in begun:
                    continue
                if outs := [out for out in stage.outs if _is_to_be_checked_out(out)]:
                    with self.claimed(name):
                        for out in outs:
                            out.checkout(force=True)

    def push(self) -> None:
        """Send this line's outs and DVC's run cache to the remote, where one is configured."""
        if remote.is_configured(self.repo):
            with self.locked():
                memory = self.root / STATE / "sent" / f"{self.line}.json"
                remote.send(self.repo, self.stages.values(), memory)


def _is_to_be_checked_out(out: Output) -> bool:
    """Does it differ from what dvc.lock names and the cache holds, without anything in it that only it holds?"""
    if not out.hash_info or out.changed_cache():
        return False
    if not out.exists:
        return True
    now = out.get_hash()
    if now == out.hash_info:
        return False
    try:
        check(out.cache, load(out.cache, now))
    except (FileNotFoundError, ObjectFormatError):
        return False
    return True


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


@contextmanager
def _plainly() -> Iterator[None]:
    try:
        yield
    except LockError as error:
        raise BadInput(f"DVC is running in this checkout: {error}. Wait until it ends, then run again") from None
    except (OSError, sqlite3.OperationalError) as error:
        full = isinstance(error, sqlite3.OperationalError) and re.search("disk|full", str(error))
        if (
            said := f"a disk that DVC writes to is full ({error}); make room and run again" if full else plain(error)
        ) is None:
            raise
        raise BadInput(said) from None


def _params(stage: PipelineStage) -> Iterator[str]:
    """What changed in params.yaml, key by key: DVC itself only names the section."""
    for dep in stage.deps:
        if isinstance(dep, ParamsDependency):
            before, now = dict(_flatten(dep.hash_info.value or {})), dict(_flatten(dep.read_params()))
            for key in sorted(before.keys() | now.keys()):
                if before.get(key) != now.get(key):
                    yield f"param {key} {_short(before.get(key))} -> {_short(now.get(key))}"


def _short(value: object) -> str:
    return textwrap.shorten(str(value), 80, placeholder=" ...")


def _flatten(values: dict, prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _files(status: list) -> Iterator[str]:
    """What changed besides params and code, from DVC's own status."""
    for entry in status:
        if isinstance(entry, str):
            yield entry  # "changed command"
            continue
        for kind, changes in entry.items():
            for path, state in changes.items():
                if isinstance(state, str) and not path.startswith(("params.yaml", f"data/{CODE}/")):
                    yield f"{'output' if kind == 'changed outs' else 'dep'} {path} {state}"
